"""Starting and ending an installation: which process owns its folder, and what its files mean."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.errors import HeadraceError, Retryable
from headrace.hosting.settings import Settings
from headrace_cli.commands.daily import _is_looping
from headrace_cli.installation import supervisor as supervising
from headrace_cli.installation.folder import LOCK_FILE, locked, sign
from headrace_cli.installation.local import Local, settings_here
from headrace_cli.installation.supervisor import Supervisor


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


def test_a_second_up_is_refused_because_one_is_starting_already(tmp_path: Path) -> None:
    lock = locked(tmp_path)
    assert lock is not None
    os.write(lock, str(os.getpid()).encode())
    with pytest.raises(HeadraceError, match=rf"it is starting already \(process {os.getpid()}\)"):
        Local(tmp_path).start(1)
    os.close(lock)
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
def locked_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which a supervisor runs according to the lock, and no file names a broker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    lock = locked(tmp_path)
    assert lock is not None
    sign(lock, os.getpid())
    yield tmp_path
    os.close(lock)


@pytest.mark.parametrize("lies", WRONG)
def test_where_up_runs_and_its_broker_is_not_known_commands_refuse_instead_of_asking_another(
    locked_folder: Path, lies: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lies is not None:
        (locked_folder / "supervisor.json").write_text(lies)
    with pytest.raises(Retryable, match=rf"runs here \(process {os.getpid()}\).*supervisor.json is missing or damaged"):
        settings_here()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "b:7")
    assert settings_here().bootstrap_servers == "b:7"


def test_while_up_starts_commands_report_its_phase_and_then_find_its_broker(locked_folder: Path) -> None:
    supervisor = Supervisor(locked_folder, 1, False, Settings(), phase="creating topics")
    supervisor._write_state("")
    with pytest.raises(Retryable, match="it is creating topics; try again in a moment"):
        settings_here()
    supervisor._write_state("b:8")
    assert settings_here().bootstrap_servers == "b:8"


async def test_a_state_that_somebody_removed_or_broke_is_written_again(
    locked_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "HOUSEKEEPING_EVERY_S", 0.0)
    supervisor, file = Supervisor(locked_folder, 1, False, Settings()), locked_folder / "supervisor.json"
    tending = asyncio.create_task(supervisor._tend("b:9"))
    try:
        for lies in WRONG:
            file.unlink(missing_ok=True) if lies is None else file.write_text(lies)
            async with asyncio.timeout(20):
                while (Local(locked_folder).state() or {}).get("bootstrap_servers") != "b:9":
                    await asyncio.sleep(0.01)
    finally:
        tending.cancel()


def test_a_supervisor_that_is_stopped_is_reported_with_the_way_on(tmp_path: Path) -> None:
    lock = locked(tmp_path)
    assert lock is not None
    process = subprocess.Popen(["sleep", "60"])
    try:
        sign(lock, process.pid)
        assert Local(tmp_path).why_unattended() == ""
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        message = Local(tmp_path).why_unattended()
        assert message.startswith(f"the supervisor (process {process.pid}) is stopped: it restarts nothing that ends")
        assert f"kill -CONT {process.pid}" in message
    finally:
        process.kill()
        process.wait()
        os.close(lock)
    assert Local(tmp_path).why_unattended() == ""
