"""Waiting goes on as long as something moves."""

import subprocess
import sys
import time

import pytest

from headrace_cli.terminal.waiting import NothingMoves, Workers, wait_for


async def test_a_wait_goes_on_while_something_moves_and_ends_when_nothing_does() -> None:
    moves = iter(range(6))

    async def has() -> bool | None:
        return next(moves) == 5 or None

    assert await wait_for(
        has, what=lambda: "x", report=lambda _: None, sign=lambda: time.monotonic(), quiet_s=0.01, every_s=0.02
    )

    async def never() -> bool | None:
        return None

    with pytest.raises(NothingMoves, match="a rollout: nothing has progressed for 0 s"):
        await wait_for(never, what=lambda: "a rollout", report=lambda _: None, quiet_s=0.05, every_s=0.02)


def test_workers_that_work_are_busy() -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        workers = Workers(lambda: [process.pid])
        assert workers.are_busy()
        workers._read_s = 0.0
        began_s = time.monotonic()
        while time.monotonic() - began_s < 0.3:
            pass
        assert workers.are_busy()
    finally:
        process.kill()
        process.wait()
