"""Logs of supervised processes are bounded, whatever becomes of their files."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from headrace.hosting.settings import Settings
from headrace_cli.installation.children import Child, last_line, reunite, rotate
from headrace_cli.installation.supervisor import Supervisor


def _until(holds: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up_s


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
    script = 'for _ in $(seq 100); do echo "an old line"; done; exec sleep 60'
    log = tmp_path / "logs" / "x.log"
    child = Child("x", ["sh", "-c", script], log, {"PATH": "/usr/bin:/bin"})
    child.start(0.0)  # the folder does not exist either
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
    child = Child("x", ["sh", "-c", "echo text; exec sleep 60"], log, {"PATH": "/usr/bin:/bin"})
    child.start(0.0)
    _until(lambda: log.stat().st_size == 5)
    log.rename(tmp_path / "kept")
    assert not reunite(log, child.pid)
    assert (tmp_path / "kept").read_bytes() == b"text\n"
    child.kill()


def test_a_child_whose_logs_folder_is_gone_is_started_and_one_that_cannot_be_reports_why(tmp_path: Path) -> None:
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
    report = child.report()
    assert report["reason"].startswith("killed by SIGKILL; cannot be started: [Errno 17] File exists")
    assert (report["pid"], report["restarts"]) == (None, 0)
    (tmp_path / "logs").unlink()
    assert supervisor._tend_child(child, 60.0)
    report = child.report()
    assert (report["pid"] is not None, report["reason"], report["restarts"]) == (True, "killed by SIGKILL", 1)
    child.kill()


def test_a_supervisor_that_cannot_write_its_state_goes_on(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "gone", 1, False, Settings())
    supervisor._write_state("b:1")
    assert not (tmp_path / "gone").exists()
