"""Hung or starved, measured on real processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from headrace.hosting.core_wait import CoreWait, unhindered_s, was_starved

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="the kernel counts no waiting")
SPIN = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(flush=True)\nwhile True: pass"
SLEEP = "import time; print(flush=True); time.sleep(60)"


@contextmanager
def running(code: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def watched(pid: int, until_s: float) -> tuple[CoreWait, CoreWait]:
    """Two readings, so many seconds of wanting a core (or of the clock, where it wants none) apart."""
    before = after = CoreWait.read(pid)
    while after.at_s - before.at_s < until_s:
        time.sleep(0.02)
        after = CoreWait.read(pid)
    return before, after


def test_four_that_share_a_core_are_starved_and_their_time_counts_in_part() -> None:
    with ExitStack() as stack:
        pids = [stack.enter_context(running(SPIN)) for _ in range(4)]
        before, after = watched(pids[0], 0.6)
    assert was_starved(before, after)
    assert unhindered_s(before, after) < 0.6 * (after.at_s - before.at_s)


def test_one_that_sleeps_is_not_starved_however_long() -> None:
    with running(SLEEP) as pid:
        before, after = watched(pid, 0.3)
    assert not was_starved(before, after)
    assert unhindered_s(before, after) > 0.9 * (after.at_s - before.at_s)


def test_a_process_that_is_gone_raises() -> None:
    with running(SLEEP) as pid:
        pass
    with pytest.raises(ProcessLookupError, match=str(pid)):
        CoreWait.read(pid)


def test_all_threads_of_a_process_count_together_and_one_that_is_gone_counts_nothing() -> None:
    two = "import threading, time; threading.Thread(target=lambda: sum(range(3_000_000))).start(); time.sleep(60)"
    with running("print(flush=True); " + two) as pid:
        while (found := CoreWait.of_all_threads(pid)).cpu_s <= CoreWait.read(pid).cpu_s:
            time.sleep(0.02)
    assert found.cpu_s > 0
    gone = CoreWait.of_all_threads(pid)
    assert (gone.cpu_s, gone.waited_s) == (0, 0)
