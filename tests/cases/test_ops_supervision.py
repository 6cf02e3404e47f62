"""Who is replaced and who is not, what is said of it, and what `up`, `down` and `status` say: without a broker."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from headrace.errors import HeadraceError, Retryable
from headrace.events.ops import HealthReported, PartitionStopped
from headrace.hosting.settings import Settings
from headrace.hosting.stops import way_on
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace_cli.commands.daily import _is_looping
from headrace_cli.evidence.status import local_rows, one_line, service_row, service_rows, stopped_line
from headrace_cli.installation import supervisor as supervising
from headrace_cli.installation.alerts import Alarms, Pulse, disk_almost_full
from headrace_cli.installation.children import Child, last_line, reunite, rotate
from headrace_cli.installation.disk import Disk
from headrace_cli.installation.folder import LOCK_FILE, locked, sign
from headrace_cli.installation.hung import AT_WORK_S, Look, Oversight, look_at
from headrace_cli.installation.local import Local, settings_here
from headrace_cli.installation.supervisor import Supervisor
from headrace_cli.terminal.waiting import NothingMoves, Workers, wait_for


def _until(holds: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up_s


def _looks(seconds: int, look: Callable[[float], Look]) -> str | None:
    seen = Oversight()
    return next((why for at_s in range(0, seconds, 2) if (why := seen.take(look(float(at_s))))), None)


def test_a_stopped_process_is_replaced_and_one_that_is_continued_in_time_is_not() -> None:
    assert _looks(20, lambda at_s: Look(at_s, "T", 1.0, 0.0, False)) == "stopped for 10 s"
    assert _looks(60, lambda at_s: Look(at_s, "T" if at_s % 10 < 8 else "S", 1.0, 0.0, False)) is None


def test_a_process_that_waits_for_a_core_is_never_replaced_however_long_it_is_silent() -> None:
    starved = _looks(3600, lambda at_s: Look(at_s, "R", 0.01 * at_s, 0.98 * at_s, False))
    assert starved is None


def test_a_silent_process_that_sleeps_or_spins_is_replaced() -> None:
    asleep = _looks(120, lambda at_s: Look(at_s, "S", 0.0, 0.0, False))
    assert asleep == "hung: silent for 32 s and asleep, not waiting for a core"
    spinning = _looks(1200, lambda at_s: Look(at_s, "R", 0.3 * at_s, 0.7 * at_s, False))
    assert spinning is not None
    assert f"used {AT_WORK_S + 1:.0f} s of a core" in spinning


def test_who_answers_is_let_be_whatever_it_uses() -> None:
    assert _looks(600, lambda at_s: Look(at_s, "R", at_s, 0.0, True)) is None


def test_a_supervisor_that_was_frozen_judges_nobody_by_the_gap() -> None:
    seen = Oversight()
    assert seen.take(Look(0.0, "S", 0.0, 0.0, False)) is None
    assert seen.take(Look(3600.0, "T", 0.0, 0.0, False)) is None
    assert seen.take(Look(3602.0, "S", 0.0, 0.0, False)) is None


def test_a_real_process_that_is_stopped_is_seen_so() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        look = look_at(process.pid, 0.0, None)
        assert look is not None
        assert look.state == "T"
    finally:
        process.kill()
        process.wait()
    assert look_at(process.pid, 0.0, None) is None


def test_a_replaced_child_says_why_and_when(tmp_path: Path) -> None:
    child = Child("monitor", ["sleep", "60"], tmp_path / "log", {"PATH": "/usr/bin:/bin"}, http_port=1)
    child.start(0.0)
    process = child.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    child.replace("stopped for 10 s")
    process.wait()
    child.tend(1.0)
    told = child.told()
    assert (told["pid"], told["reason"], told["last_code"]) == (None, "replaced: stopped for 10 s", -9)
    assert told["at"].endswith("Z")


def test_a_child_that_restarted_itself_says_why_in_its_own_words(tmp_path: Path) -> None:
    said = '{"logger": "headrace.runtime", "message": "raw.movements.v1/0 goes on: restarting, to read it from there"}'
    child = Child("pipeline", ["sh", "-c", f"echo '{said}'; exit 75"], tmp_path / "log", {"PATH": "/usr/bin:/bin"})
    child.start(0.0)
    assert child.process is not None
    child.process.wait()
    child.tend(1.0)
    assert child.reason == "restarted itself; it said: raw.movements.v1/0 goes on: restarting, to read it from there"


def test_the_monitor_is_away_after_its_silence_and_not_while_the_broker_is_or_while_it_starts() -> None:
    def away(seconds: int, *, hears: bool = True, stops: bool = False) -> bool:
        pulse = Pulse()
        pulse.note(0.0, heard=True, hears=True, stops=stops)
        return [pulse.note(float(at_s), heard=False, hears=hears) for at_s in range(1, seconds)][-1]

    assert not away(10)
    assert away(15)
    assert not away(600, hears=False)
    assert not away(60, stops=True)
    assert away(200, stops=True)


def test_an_alert_of_the_supervisors_opens_once_and_resolves(tmp_path: Path) -> None:
    alarms = Alarms(Settings())
    alarm = disk_almost_full(Disk(99 * 2**30, 2**20))
    (opened,) = alarms._changes({alarm.name: alarm})
    alarms._adopt(opened)
    assert (opened.status, opened.labels["severity"]) == ("firing", "critical")
    assert opened.annotations["runbook_url"] == "docs/runbooks/DiskAlmostFull.md"
    assert alarms._changes({alarm.name: alarm}) == []
    (resolved,) = alarms._changes({})
    alarms._adopt(resolved)
    assert (resolved.status, resolved.fingerprint, resolved.starts_at) == (
        "resolved",
        opened.fingerprint,
        opened.starts_at,
    )
    assert alarms._changes({}) == []


def test_every_alert_of_the_supervisors_has_its_runbook() -> None:
    for name in ("MonitorDown", "DiskAlmostFull"):
        text = (Path(__file__).parents[2] / "docs" / "runbooks" / f"{name}.md").read_text()
        assert text.startswith(f"# {name}\n**Means.**")


async def test_a_folder_that_is_away_for_a_moment_does_not_end_who_looks_after_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    monkeypatch.setattr("headrace_cli.installation.supervisor.HOUSEKEEPING_EVERY_S", 0.0)
    away.mkdir()
    supervisor = Supervisor(home, 1, False, Settings())
    tending = asyncio.create_task(supervisor._tend(""))
    async with asyncio.timeout(20):
        while not tending.done() and "is tried again: [Errno 2]" not in caplog.text:
            await asyncio.sleep(0.01)
        away.rename(home)
        while not tending.done() and not supervisor.disk.used_bytes:
            await asyncio.sleep(0.01)
    assert not tending.done()
    tending.cancel()


def test_a_call_that_will_not_return_is_told_with_the_service_that_has_it() -> None:
    report = HealthReported("inference", "i-1", True, hung_calls={"delay/3": 1})
    row = service_row(report, {})
    assert row["ready"]
    assert row["reason"] == "1 call of delay/3 will not return and may use a core each: restart it to be rid of them"


def test_a_log_is_cut_at_its_size_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old line\n" * 100)
        assert rotate(log, 500)
        writer.write(b'{"level": "error", "message": "the new one"}\n')
    assert log.read_bytes().startswith(b'{"level"')
    assert (tmp_path / "x.log.1").read_bytes().startswith(b"old line")
    assert last_line(log) == "the new one"
    assert not rotate(log, 500)


def test_a_log_that_was_removed_is_at_its_path_again_and_bounded_while_its_writer_goes_on(tmp_path: Path) -> None:
    says = 'for _ in $(seq 100); do echo "an old line"; done; exec sleep 60'
    log = tmp_path / "logs" / "x.log"
    child = Child("x", ["sh", "-c", says], log, {"PATH": "/usr/bin:/bin"})
    child.start(0.0)  # the folder is not there either
    _until(lambda: log.stat().st_size == 1200)
    shutil.rmtree(log.parent)
    assert not reunite(log, 0)
    assert reunite(log, child.pid)
    assert log.read_bytes() == b"an old line\n" * 100
    assert os.stat(f"/proc/{child.pid}/fd/1").st_size == 0
    assert rotate(log, 500)
    child.kill()


def test_a_log_that_was_moved_away_stays_where_it_was_moved_to(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    child = Child("x", ["sh", "-c", "echo said; exec sleep 60"], log, {"PATH": "/usr/bin:/bin"})
    child.start(0.0)
    _until(lambda: log.stat().st_size == 5)
    log.rename(tmp_path / "kept")
    assert not reunite(log, child.pid)
    assert (tmp_path / "kept").read_bytes() == b"said\n"
    child.kill()


def test_a_child_whose_logs_folder_is_gone_is_started_and_one_that_cannot_be_says_why(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, 1, False, Settings())
    child = Child("gateway", ["sleep", "60"], tmp_path / "logs" / "gateway.log", {"PATH": "/usr/bin:/bin"})
    child.start(0.0)
    process = child.process
    assert process is not None
    shutil.rmtree(tmp_path / "logs")
    (tmp_path / "logs").write_text("a file stands where the folder was")
    process.kill()
    process.wait()
    assert supervisor._tend_child(child, 1.0)
    assert supervisor._tend_child(child, 2.0)
    told = child.told()
    assert told["reason"].startswith("killed by SIGKILL; cannot be started: [Errno 17] File exists")
    assert (told["pid"], told["restarts"]) == (None, 0)
    (tmp_path / "logs").unlink()
    assert supervisor._tend_child(child, 60.0)
    told = child.told()
    assert (told["pid"] is not None, told["reason"], told["restarts"]) == (True, "killed by SIGKILL", 1)
    child.kill()


def test_a_supervisor_that_cannot_write_its_state_goes_on(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "gone", 1, False, Settings())
    supervisor._write_state("b:1")
    assert not (tmp_path / "gone").exists()


# -- status


def _message(report: HealthReported, age_s: float) -> Message:
    record = Record("ops.health.v1", 0, 0, b"k", b"", (), int((1000.0 - age_s) * 1000))
    return Message(record, Envelope("i", "", "x", 0.0), report)


def _state(**services: dict) -> dict:
    base = {"pid": 1, "http_port": 2, "log": "/l", "restarts": 0, "last_code": None, "reason": "", "at": ""}
    return {"services": {name: base | given for name, given in services.items()}}


def test_what_should_run_and_does_not_keeps_its_row_with_the_reason() -> None:
    state = _state(monitor={"pid": None, "reason": "killed by SIGKILL", "at": "2026-01-01T00:00:00Z", "restarts": 4})
    (row,) = service_rows([], state, 1000.0)
    assert (row["service"], row["ready"], row["pid"], row["restarts"]) == ("monitor", False, None, 4)
    assert row["reason"] == "not running: killed by SIGKILL"
    assert row["last_end"] == "killed by SIGKILL at 2026-01-01T00:00:00Z"


def test_a_silent_instance_says_for_how_long_and_is_not_ready() -> None:
    report = HealthReported("monitor", "monitor-1", True, pid=7, http_port=9)
    (row,) = service_rows([_message(report, 34.0)], _state(monitor={"pid": 7}), 1000.0)
    assert (row["ready"], row["reason"], row["pid"], row["http_port"]) == (False, "silent for 34 s", 7, 9)
    (elsewhere,) = service_rows([_message(report, 34.0)], {}, 1000.0)
    assert elsewhere["reason"] == "silent for 34 s"
    assert service_rows([_message(report, 7200.0)], {}, 1000.0) == []
    assert service_rows([_message(msgspec.structs.replace(report, stopping=True), 1.0)], {}, 1000.0) == []


def test_the_report_of_a_process_that_was_replaced_does_not_speak_for_its_successor() -> None:
    report = HealthReported("monitor", "monitor-1", True, pid=7)
    (row,) = service_rows([_message(report, 1.0)], _state(monitor={"pid": 8}), 1000.0)
    assert (row["ready"], row["reason"], row["pid"]) == (False, "starting", 8)


def test_a_state_over_its_bound_and_a_degraded_deployment_are_told() -> None:
    report = HealthReported(
        "inference",
        "inference-1",
        True,
        degraded={"delay": "its champion is not loaded"},
        state_bytes={"repeats": 70, "tiles": 5},
        state_limits={"repeats": 64, "tiles": 10},
    )
    (row,) = service_rows([_message(report, 1.0)], {}, 1000.0)
    assert row["reason"] == (
        "delay is degraded: its champion is not loaded; state repeats holds 70 bytes, over its bound of 64"
    )


def test_a_stop_is_told_once_with_the_whole_command_however_long_its_reason_is() -> None:
    stop = PartitionStopped("feature", "n.events.landings.v1", 0, 110, f"too many records cannot be read: {'x' * 500}")
    reason = f"{stop.topic}/0 is stopped at offset 110: {stop.reason}; {way_on('events.landings.v1')}"
    report = HealthReported("feature", "feature-1", False, reason=reason, failing=(f"stopped:{stop.topic}/0",))
    (row,) = service_rows([_message(report, 1.0)], {}, 1000.0)
    assert row["reason"] == "n.events.landings.v1/0 is stopped"
    line = stopped_line(Topics.load("n"), stop)
    assert line.startswith("feature has stopped reading events.landings.v1/0 at offset 110: too many records")
    assert line.endswith(f"xxx ...; {way_on('events.landings.v1')}")
    both = msgspec.structs.replace(report, failing=(*report.failing, "broker"), reason=f"{reason}; no answer")
    (row,) = service_rows([_message(both, 1.0)], {}, 1000.0)
    assert row["reason"].startswith("n.events.landings.v1/0 is stopped at offset 110")


def test_a_librarys_advice_is_one_line_in_a_cell() -> None:
    advice = "X has 3 features\n\nPlease read https://example.org\n" + "and this " * 200
    assert one_line(advice) == "X has 3 features"
    assert len(one_line("word " * 200)) <= 200


def test_without_a_broker_status_tells_what_the_supervisor_knows() -> None:
    rows = local_rows(_state(feature={}, monitor={"pid": None, "reason": "ended with 1"}))
    assert [(row["service"], row["ready"]) for row in rows] == [("feature", False), ("monitor", False)]
    assert rows[0]["reason"] == "its report cannot be read: the broker does not answer"


# -- up and down


def test_a_service_that_ends_again_and_again_is_given_up_and_one_that_a_project_restarted_is_not() -> None:
    assert _is_looping({"restarts": 3, "last_code": 2})
    assert not _is_looping({"restarts": 9, "last_code": 75})
    assert not _is_looping({"restarts": 1, "last_code": 1})


def test_files_that_a_killed_supervisor_left_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("4242")
    left = {
        "pid": 4242,
        "phase": "running",
        "error": "",
        "bootstrap_servers": "b:1",
        "services": {},
        "broker_pid": None,
    }
    (tmp_path / "supervisor.json").write_text(json.dumps(left))
    local = Local(tmp_path)
    assert local.supervisor() is None
    assert local.state() is None
    assert not local.stop()
    assert not (tmp_path / "supervisor.json").exists()


def test_a_second_up_is_told_that_one_is_starting_already(tmp_path: Path) -> None:
    held = locked(tmp_path)
    assert held is not None
    os.write(held, str(os.getpid()).encode())
    with pytest.raises(HeadraceError, match=rf"it is starting already \(process {os.getpid()}\)"):
        Local(tmp_path).start(1)
    os.close(held)
    assert Local(tmp_path).supervisor() is None


def test_half_written_state_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "supervisor.json").write_text('{"pid": 1')
    assert Local(tmp_path).state() is None


WRONG = (
    None,
    "",
    "[]",
    "{",
    '{"pid": 1, "error": "x", "services": []}',
    '{"pid": "x", "error": null, "services": [1]}',
)


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which a supervisor runs, as its lock says, and nothing names a broker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    lock = locked(tmp_path)
    assert lock is not None
    sign(lock, os.getpid())
    yield tmp_path
    os.close(lock)


@pytest.mark.parametrize("lies", WRONG)
def test_where_up_runs_and_nothing_says_where_its_broker_is_commands_refuse_instead_of_asking_another(
    held: Path, lies: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lies is not None:
        (held / "supervisor.json").write_text(lies)
    with pytest.raises(Retryable, match=rf"runs here \(process {os.getpid()}\).*supervisor.json is gone or broken"):
        settings_here()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "b:7")
    assert settings_here().bootstrap_servers == "b:7"


def test_while_up_starts_commands_say_what_it_is_at_and_then_find_its_broker(held: Path) -> None:
    supervisor = Supervisor(held, 1, False, Settings(), phase="making topics")
    supervisor._write_state("")
    with pytest.raises(Retryable, match="it is making topics; try again in a moment"):
        settings_here()
    supervisor._write_state("b:8")
    assert settings_here().bootstrap_servers == "b:8"


async def test_a_state_that_somebody_removed_or_broke_is_written_again(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "HOUSEKEEPING_EVERY_S", 0.0)
    supervisor, file = Supervisor(held, 1, False, Settings()), held / "supervisor.json"
    tending = asyncio.create_task(supervisor._tend("b:9"))
    try:
        for lies in WRONG:
            file.unlink(missing_ok=True) if lies is None else file.write_text(lies)
            async with asyncio.timeout(20):
                while (Local(held).state() or {}).get("bootstrap_servers") != "b:9":
                    await asyncio.sleep(0.01)
    finally:
        tending.cancel()


def test_a_supervisor_that_is_stopped_is_told_with_the_way_on(tmp_path: Path) -> None:
    lock = locked(tmp_path)
    assert lock is not None
    process = subprocess.Popen(["sleep", "60"])
    try:
        sign(lock, process.pid)
        assert Local(tmp_path).why_unattended() == ""
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        told = Local(tmp_path).why_unattended()
        assert told.startswith(f"the supervisor (process {process.pid}) is stopped: nothing that ends is started again")
        assert f"kill -CONT {process.pid}" in told
    finally:
        process.kill()
        process.wait()
        os.close(lock)
    assert Local(tmp_path).why_unattended() == ""


# -- waiting


async def test_a_wait_goes_on_while_something_moves_and_ends_when_nothing_does() -> None:
    moves = iter(range(6))

    async def has() -> bool | None:
        return next(moves) == 5 or None

    assert await wait_for(
        has, what=lambda: "x", tell=lambda _: None, sign=lambda: time.monotonic(), quiet_s=0.01, every_s=0.02
    )

    async def never() -> bool | None:
        return None

    with pytest.raises(NothingMoves, match="a rollout: nothing has moved for 0 s"):
        await wait_for(never, what=lambda: "a rollout", tell=lambda _: None, quiet_s=0.05, every_s=0.02)


def test_workers_that_work_are_busy() -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        workers = Workers(lambda: [process.pid])
        assert workers.are_busy()
        workers._looked_s = 0.0
        began_s = time.monotonic()
        while time.monotonic() - began_s < 0.3:
            pass
        assert workers.are_busy()
    finally:
        process.kill()
        process.wait()
