"""A version that the service dies of while it serves: told by the dying process, rejected after the second time."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_inference.adapters.blackbox import MOST_DEATHS, Blackbox, blamed

DYING = """
import asyncio, ctypes, os, signal, sys
from pathlib import Path
from headrace_inference.adapters.blackbox import Blackbox
from headrace_inference.adapters.lane import Lane

box = Blackbox(Path(sys.argv[1]))
wild, well = Lane("model-d-3", box.asks("d", 3, "f00d")), Lane("model-d-2", box.asks("d", 2, "beef"))
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
    box.end()

asyncio.run(main())
"""


def dies(folder: Path, how: str) -> int:
    return subprocess.run([sys.executable, "-c", DYING, str(folder), how], timeout=60, check=False).returncode


@pytest.mark.parametrize(
    ("how", "number", "told"),
    [("reads wild", signal.SIGSEGV, "Segmentation fault"), ("aborts", signal.SIGABRT, "Aborted")],
)
def test_a_version_that_ends_the_process_twice_is_rejected_and_no_other(
    tmp_path: Path, how: str, number: int, told: str
) -> None:
    for _ in range(MOST_DEATHS):
        assert dies(tmp_path, how) == -number
    box = Blackbox(tmp_path)
    assert box.why_not("f00d") == f"the service died of it 2 times while it served ({told})"
    assert box.why_not("beef") is None
    box.end()
    # It is kept: nobody finds out a third time.
    again = Blackbox(tmp_path)
    assert again.why_not("f00d") is not None
    again.end()


@pytest.mark.parametrize(("how", "code"), [("is killed", -signal.SIGKILL), ("ends", 0)])
def test_a_process_that_is_killed_from_outside_or_ends_blames_nobody(tmp_path: Path, how: str, code: int) -> None:
    for _ in range(MOST_DEATHS):
        assert dies(tmp_path, how) == code
    box = Blackbox(tmp_path)
    assert box.why_not("f00d") is None
    box.end()
    assert not list(tmp_path.glob("crash-*"))


def test_a_death_on_a_thread_of_nobody_blames_nobody() -> None:
    fatal = "Fatal Python error: Bus error\n\nCurrent thread 0x00000009 (most recent call first):\n"
    assert blamed(f"asks 0x0000000000000007 f00d d/3\n{fatal}") is None
    assert blamed(f"asks 0x0000000000000009 f00d d/3\nasks 0x0000000000000009 beef d/4\n{fatal}") == (
        "beef",
        "d/4",
        "Bus error",
    )


def test_where_nothing_can_be_written_the_service_serves_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    box = Blackbox(tmp_path / "file" / "folder")
    box.asks("d", 3, "f00d")(7)
    assert box.why_not("f00d") is None
    box.end()
