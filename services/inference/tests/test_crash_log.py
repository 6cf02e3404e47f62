"""A version on which the service crashes while it serves: noted by the crashing process, rejected after the second time."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_inference.adapters.crash_log import MOST_CRASHES, CrashLog, blamed

CRASHING = """
import asyncio, ctypes, os, signal, sys
from pathlib import Path
from headrace_inference.adapters.crash_log import CrashLog
from headrace_inference.adapters.model_worker import ModelWorker

crash_log = CrashLog(Path(sys.argv[1]))
wild, well = ModelWorker("model-d-3", crash_log.note_thread("d", 3, "f00d")), ModelWorker("model-d-2", crash_log.note_thread("d", 2, "beef"))
ways = {
    "reads wild": lambda: ctypes.string_at(0),
    "aborts": os.abort,
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "ends": lambda: None,
}

async def main():
    await well.run(lambda: None, None)
    await wild.run(lambda: None, None)
    await wild.renewed().run(ways[sys.argv[2]], None)
    crash_log.end()

asyncio.run(main())
"""


def crashes(folder: Path, how: str) -> int:
    return subprocess.run([sys.executable, "-c", CRASHING, str(folder), how], timeout=60, check=False).returncode


@pytest.mark.parametrize(
    ("how", "number", "wanted"),
    [("reads wild", signal.SIGSEGV, "Segmentation fault"), ("aborts", signal.SIGABRT, "Aborted")],
)
def test_a_version_that_ends_the_process_twice_is_rejected_and_no_other(
    tmp_path: Path, how: str, number: int, wanted: str
) -> None:
    for _ in range(MOST_CRASHES):
        assert crashes(tmp_path, how) == -number
    crash_log = CrashLog(tmp_path)
    assert crash_log.why_not("f00d") == f"the service crashed on it 2 times while it served ({wanted})"
    assert crash_log.why_not("beef") is None
    crash_log.end()
    # It is kept: nobody finds out a third time.
    again = CrashLog(tmp_path)
    assert again.why_not("f00d") is not None
    again.end()


@pytest.mark.parametrize(("how", "code"), [("is killed", -signal.SIGKILL), ("ends", 0)])
def test_a_process_that_is_killed_from_outside_or_ends_blames_nobody(tmp_path: Path, how: str, code: int) -> None:
    for _ in range(MOST_CRASHES):
        assert crashes(tmp_path, how) == code
    crash_log = CrashLog(tmp_path)
    assert crash_log.why_not("f00d") is None
    crash_log.end()
    assert not list(tmp_path.glob("crash-*"))


def test_a_crash_of_a_thread_that_asks_no_version_blames_none() -> None:
    fatal = "Fatal Python error: Bus error\n\nCurrent thread 0x00000009 (most recent call first):\n"
    assert blamed(f"asks 0x0000000000000007 f00d d/3\n{fatal}") is None
    assert blamed(f"asks 0x0000000000000009 f00d d/3\nasks 0x0000000000000009 beef d/4\n{fatal}") == (
        "beef",
        "d/4",
        "Bus error",
    )


def test_where_nothing_can_be_written_the_service_serves_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    crash_log = CrashLog(tmp_path / "file" / "folder")
    crash_log.note_thread("d", 3, "f00d")(7)
    assert crash_log.why_not("f00d") is None
    crash_log.end()
