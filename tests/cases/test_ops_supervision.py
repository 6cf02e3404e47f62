"""Which processes are replaced and which are not, and what is reported about it, without a broker."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.events.ops import HealthReported
from headrace.hosting.settings import Settings
from headrace_cli.evidence.status import service_row
from headrace_cli.installation.alerts import Alarms, Pulse, disk_almost_full
from headrace_cli.installation.children import Child
from headrace_cli.installation.disk import Disk
from headrace_cli.installation.hung import AT_WORK_S, Observation, Oversight, observe
from headrace_cli.installation.supervisor import Supervisor


def _judged(seconds: int, observed: Callable[[float], Observation]) -> str | None:
    seen = Oversight()
    return next((why for at_s in range(0, seconds, 2) if (why := seen.take(observed(float(at_s))))), None)


def test_a_stopped_process_is_replaced_and_one_that_is_continued_in_time_is_not() -> None:
    assert _judged(20, lambda at_s: Observation(at_s, "T", 1.0, 0.0, False)) == "stopped for 10 s"
    assert _judged(60, lambda at_s: Observation(at_s, "T" if at_s % 10 < 8 else "S", 1.0, 0.0, False)) is None


def test_a_process_that_waits_for_a_core_is_never_replaced_however_long_it_is_silent() -> None:
    starved = _judged(3600, lambda at_s: Observation(at_s, "R", 0.01 * at_s, 0.98 * at_s, False))
    assert starved is None


def test_a_silent_process_that_sleeps_or_spins_is_replaced() -> None:
    asleep = _judged(120, lambda at_s: Observation(at_s, "S", 0.0, 0.0, False))
    assert asleep == "hung: silent for 32 s and asleep, not waiting for a core"
    spinning = _judged(1200, lambda at_s: Observation(at_s, "R", 0.3 * at_s, 0.7 * at_s, False))
    assert spinning is not None
    assert f"used {AT_WORK_S + 1:.0f} s of a core" in spinning


def test_who_answers_is_let_be_whatever_it_uses() -> None:
    assert _judged(600, lambda at_s: Observation(at_s, "R", at_s, 0.0, True)) is None


def test_a_supervisor_that_was_frozen_judges_nobody_by_the_gap() -> None:
    seen = Oversight()
    assert seen.take(Observation(0.0, "S", 0.0, 0.0, False)) is None
    assert seen.take(Observation(3600.0, "T", 0.0, 0.0, False)) is None
    assert seen.take(Observation(3602.0, "S", 0.0, 0.0, False)) is None


def test_a_real_process_that_is_stopped_is_seen_so() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        seen = observe(process.pid, 0.0, None)
        assert seen is not None
        assert seen.state == "T"
    finally:
        process.kill()
        process.wait()
    assert observe(process.pid, 0.0, None) is None


def test_a_replaced_child_reports_why_and_when(tmp_path: Path) -> None:
    child = Child("monitor", ["sleep", "60"], tmp_path / "log", {"PATH": "/usr/bin:/bin"}, http_port=1)
    child.start(0.0)
    process = child.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    child.replace("stopped for 10 s")
    process.wait()
    child.tend(1.0)
    report = child.report()
    assert (report["pid"], report["reason"], report["last_code"]) == (None, "replaced: stopped for 10 s", -9)
    assert report["at"].endswith("Z")


def test_a_child_that_restarted_itself_is_shown_with_its_own_reason(tmp_path: Path) -> None:
    line = '{"logger": "headrace.runtime", "message": "raw.movements.v1/0 goes on: restarting, to read it from there"}'
    child = Child("pipeline", ["sh", "-c", f"echo '{line}'; exit 75"], tmp_path / "log", {"PATH": "/usr/bin:/bin"})
    child.start(0.0)
    assert child.process is not None
    child.process.wait()
    child.tend(1.0)
    assert (
        child.reason == "restarted itself; last log line: raw.movements.v1/0 goes on: restarting, to read it from there"
    )


def test_the_monitor_is_away_after_its_silence_and_not_while_the_broker_is_or_while_it_starts() -> None:
    def away(seconds: int, *, is_connected: bool = True, stops: bool = False) -> bool:
        pulse = Pulse()
        pulse.note(0.0, reported=True, is_connected=True, stops=stops)
        return [pulse.note(float(at_s), reported=False, is_connected=is_connected) for at_s in range(1, seconds)][-1]

    assert not away(10)
    assert away(15)
    assert not away(600, is_connected=False)
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


def test_a_call_that_will_not_return_is_reported_with_the_service_that_has_it() -> None:
    report = HealthReported("inference", "i-1", True, hung_calls={"delay/3": 1})
    row = service_row(report, {})
    assert row["ready"]
    assert row["reason"] == "1 call of delay/3 will not return and may use a core each: a restart ends them"
