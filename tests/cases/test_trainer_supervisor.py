"""What ends a run's process, and how its supervisor reports it. Real processes, no log."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace.hosting.runs import AttemptBegan, AttemptEnded, RunFolder, end_runs

# A supervisor with short pauses. The program is a piece of Python that receives the run's folder and the supervisor's process.
_SUPERVISOR = """
import sys
from headrace_trainer.adapters import supervisor
from headrace_trainer.core import attempts, supervision
attempts.FIRST_PAUSE_S, supervision.LOOK_S = 0.01, 0.05
raise SystemExit(supervisor.main(sys.argv[1], ["-c", sys.argv[2]]))
"""
_FINISHES = """
from pathlib import Path
from headrace.events.training import TrainingFinished
from headrace.hosting.runs import RunFolder
RunFolder(Path(sys.argv[1])).append(TrainingFinished("d", "run", "registered", ""))
"""
_DIES = "from headrace_trainer.adapters.processes import die_with; die_with(int(sys.argv[2]));"


class Supervised:
    """One run and its supervisor."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path / "run")
        self.folder.write_order(RetrainAccepted("d", "run", "q", "manual", "", 0.0))
        self.supervisors: list[subprocess.Popen[bytes]] = []

    def supervise(self, work: str, **limits: float) -> subprocess.Popen[bytes]:
        environ = os.environ | {f"HEADRACE_TRAINING_{name.upper()}": str(most) for name, most in limits.items()}
        command = [sys.executable, "-c", _SUPERVISOR, str(self.folder.path), f"import os, sys, time\n{work}"]
        self.supervisors.append(subprocess.Popen(command, env=environ, start_new_session=True))
        return self.supervisors[-1]

    def ended(self, work: str, **limits: float) -> list[Any]:
        """The journal after the supervisor's end."""
        assert self.supervise(work, **limits).wait(60) == 0
        return self.folder.read()[0]

    def until(self, holds: Callable[[], Any]) -> None:
        give_up_s = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < give_up_s
            time.sleep(0.01)

    def began(self) -> list[AttemptBegan]:
        return [entry for entry in self.folder.read()[0] if isinstance(entry, AttemptBegan)]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Supervised]:
    found = Supervised(tmp_path)
    yield found
    for supervisor in found.supervisors:
        supervisor.kill()
        supervisor.wait()


def lives(pid: int) -> bool:
    """Whether a process lives, a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize(
    ("work", "limits", "attempts", "reason"),
    [
        ("os._exit(0)", {}, 1, "left with code 0 before it was done"),
        ("raise SystemExit(3)", {}, 1, "left with code 3 before it was done"),
        ("import ctypes; ctypes.string_at(0)", {}, 2, "died of SIGSEGV, a fault in native code, 2 times"),
        ("os.abort()", {}, 2, "died of SIGABRT, a fault in native code, 2 times"),
        ("os.kill(os.getpid(), 9)", {}, 5, "was killed by SIGKILL (the machine ran out of memory, or somebody did it)"),
        ("x = b'x' * 3 * 10**8; time.sleep(60)", {"memory_bytes": 2e8}, 1, "took more than 191 MiB of memory"),
        ("while True: pass", {"cpu_s": 0.5}, 1, "used more than 0 s of CPU"),
        ("time.sleep(60)", {"idle_s": 0.5}, 2, "neither computed nor read anything for 0 s though it had a core"),
    ],
)  # fmt: skip
def test_a_run_whose_process_ends_early_fails_with_its_cause_after_so_many_attempts(
    run: Supervised, work: str, limits: dict[str, float], attempts: int, reason: str
) -> None:
    *_, last = run.ended(work, **{name: int(most) if name == "memory_bytes" else most for name, most in limits.items()})
    assert isinstance(last, TrainingFinished)
    assert last.outcome == "failed"
    assert reason in last.reason
    assert len(run.began()) == attempts


def test_a_process_that_was_killed_once_is_begun_again_and_finishes(run: Supervised) -> None:
    once = "mark = sys.argv[1] + '/mark'\nif not os.path.exists(mark):\n  open(mark, 'w'); os.kill(os.getpid(), 9)\n"
    entries = run.ended(once + _FINISHES)
    assert [entry.how for entry in entries if isinstance(entry, AttemptEnded)] == ["killed"]
    assert entries[-1] == TrainingFinished("d", "run", "registered", "")


def test_what_a_run_prints_is_kept_within_two_megabytes_and_holds_nothing_up(run: Supervised) -> None:
    run.ended("for _ in range(20_000): print('x' * 500)\n" + _FINISHES)
    assert 2**20 < sum(path.stat().st_size for path in run.folder.path.glob("out.log*")) <= 2 * 2**20


def test_what_a_run_forks_ends_with_it_even_in_another_session(run: Supervised) -> None:
    forks = "if os.fork() == 0:\n  os.setsid()\n  open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); time.sleep(600)\n"
    waits = "while not os.path.exists(sys.argv[1] + '/pid'): time.sleep(.01)\n"
    run.ended(forks + waits + _FINISHES)
    assert not lives(int((run.folder.path / "pid").read_text()))


def test_memory_that_forks_share_with_a_run_counts_once(run: Supervised) -> None:
    forks = "x = b'x' * 10**8\nfor _ in range(3):\n  if os.fork() == 0: time.sleep(600)\ntime.sleep(1)\n"
    assert run.ended(forks + _FINISHES, memory_bytes=2 * 10**8)[-1].outcome == "registered"


def test_a_run_is_supervised_once_however_many_supervisors_are_begun(run: Supervised) -> None:
    supervisor = run.supervise("time.sleep(600)")
    run.until(run.began)
    assert run.folder.holder() == supervisor.pid
    assert run.supervise("time.sleep(600)").wait(20) == 0
    assert len(run.began()) == 1


def test_a_supervisor_that_is_killed_takes_its_process_along_and_the_next_one_counts_it(run: Supervised) -> None:
    supervisor = run.supervise(_DIES + "time.sleep(600)")
    run.until(run.began)
    (began,) = run.began()
    supervisor.kill()
    supervisor.wait()
    run.until(lambda: not lives(began.pid))
    assert run.folder.holder() is None
    entries = run.ended(_FINISHES)
    assert [entry.how for entry in entries if isinstance(entry, AttemptEnded)] == ["killed"]
    assert isinstance(entries[-1], TrainingFinished)


def test_a_run_that_a_person_stops_fails_with_the_name_and_one_stopped_for_now_goes_on_later(run: Supervised) -> None:
    run.supervise("time.sleep(600)")
    run.until(run.began)
    assert end_runs(run.folder.path.parent) == 1
    assert run.folder.holder() is None
    assert run.folder.read()[0][-1].how == "stopped"
    supervisor = run.supervise("time.sleep(600)")
    run.until(lambda: len(run.began()) == 2)
    run.folder.ask_to_stop("ada")
    assert supervisor.wait(20) == 0
    *_, last = run.folder.read()[0]
    assert last == TrainingFinished("d", "run", "failed", "it was stopped by ada")


def test_a_run_that_nobody_looks_after_ends_by_itself(run: Supervised) -> None:
    *_, last = run.ended("time.sleep(600)", alone_s=0.5)
    assert last.reason == "no trainer has looked after it for 0 s"


def test_a_run_whose_folder_is_gone_ends(run: Supervised) -> None:
    supervisor = run.supervise("time.sleep(600)")
    run.until(run.began)
    (began,) = run.began()
    run.folder.remove()
    assert supervisor.wait(20) == 0
    assert not lives(began.pid)


def test_what_a_killed_writer_left_half_written_is_cut_off(run: Supervised) -> None:
    run.folder.append(AttemptBegan(1, 1))
    run.folder.append(AttemptEnded(1, "stopped", ""))
    whole = run.folder.read()[1]
    with (run.folder.path / "journal").open("ab") as journal:
        journal.write(b"\x00\x00\x00\x40torn")
    assert run.folder.read()[1] == whole
    assert isinstance(run.ended(_FINISHES)[-1], TrainingFinished)


def test_a_stopped_process_does_not_count_as_idle_while_it_waits_for_a_core() -> None:
    from headrace_trainer.core.supervision import Idleness, Usage

    still = Idleness()
    assert [still.look(1, Usage(0.0, float(n)), 1.0) for n in range(1, 5)] == [0.0, 0.0, 0.0, 0.0]
    assert still.look(1, Usage(0.0, 4.0), 1.0) == 1.0
    assert still.look(2, Usage(0.0, 4.0), 1.0) == 0.0


def test_signals_are_named() -> None:
    from headrace_trainer.core.attempts import Again, Ended, Limits, decide_next

    decided = decide_next(Ended(-signal.SIGHUP), Limits(1, 1, 1), [])
    assert isinstance(decided, Again)
    assert "SIGHUP" in decided.reason
