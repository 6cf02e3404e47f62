"""When versions are tried again, and the verdict of each check."""

import signal
from typing import Any

import pytest

from headrace.events.failures import Busy, Hung
from headrace.events.ops import LOAD_REASON_CHARS, FailedLoads
from headrace.events.registry import Route
from headrace_inference.core.lateness import Spent, is_hung, why_late
from headrace_inference.core.load_check import (
    CHILD,
    MEMORY,
    TIME,
    ChildReport,
    Crashed,
    Failed,
    ProcessTimes,
    Rejected,
    after_crash,
    is_alive,
    judge,
    why_no_room,
)
from headrace_inference.core.load_check import (
    Passed as PassedCheck,
)
from headrace_inference.core.loading import (
    FAILURES_KEPT,
    Tries,
    champion_of,
    degraded,
    failed_again,
    on_failure,
    on_room,
    plan_loads,
    wait_s,
)


def test_loads_that_fail_wait_longer_each_time_and_room_ends_the_wait() -> None:
    assert [wait_s(attempt) for attempt in (1, 2, 6, 7, 12)] == [1.0, 2.0, 32.0, 60.0, 60.0]
    step = on_failure(Tries(1, 0.0, 2), 100.0)
    assert (step.state, step.facts, step.wake_at_s) == (Tries(2, 102.0, 2), (), 102.0)
    assert on_room(Tries(1, 50.0, 2), 10.0).state == Tries(1, 10.0, 2)
    assert (on_room(Tries(1, 5.0), 10.0).state, on_room(Tries(1, 5.0), 10.0).wake_at_s) == (Tries(1, 5.0), 5.0)


def test_a_champion_that_keeps_failing_waits_in_line_and_what_is_not_due_is_left_alone() -> None:
    routes = [Route(name, {1: 1.0}, "s", 1, warm=(2,)) for name in "ab"]
    known = {(name, version) for name in "ab" for version in (1, 2)}
    assert plan_loads(routes, known, set(), set(), {("a", 1): Tries(2)}).load == (
        ("b", 1),
        ("a", 1),
        ("a", 2),
        ("b", 2),
    )
    assert plan_loads(routes, known, set(), set(), {("a", 1): Tries(3)}).load == (
        ("b", 1),
        ("a", 2),
        ("b", 2),
        ("a", 1),
    )
    assert plan_loads(routes, known, set(), set(), {("a", 1): Tries(1, 5.0)}, 4.9).load == (
        ("b", 1),
        ("a", 2),
        ("b", 2),
    )
    assert plan_loads(routes, known, set(), set(), {("a", 1): Tries(1, 5.0), ("b", 1): Tries(1, 4.0)}, 5.0).load[
        :2
    ] == (("b", 1), ("a", 1))


def test_a_deployment_whose_champion_cannot_answer_is_degraded() -> None:
    routes = [Route("a", {1: 0.4, 2: 0.6}, "s", 1), Route("b", {1: 1.0}, "s", 1, champion=7), Route("c", {}, "s", 1)]
    assert [champion_of(route) for route in routes] == [2, 7, None]
    assert degraded(routes, lambda name: None if name == ("a", 2) else f"not {name[0]}") == {"b": "version 7: not b"}


GIB = 1024**3


@pytest.mark.parametrize(
    ("report", "exit_code", "free_bytes", "hung_s", "verdict"),
    [
        (ChildReport("passed", footprint_bytes=7), 0, None, 0.0, PassedCheck(7)),
        (ChildReport("rejected", "bad"), 0, None, 9.0, Rejected("bad")),
        (ChildReport("broken", "bad"), 0, None, 0.0, Failed(CHILD, "bad")),
        (ChildReport("memory", "m", 1_000, 2_000), 0, None, 0.0, Failed(MEMORY, "no memory was left to load it: m")),
        (ChildReport("memory", "m", 1_000, 2_000), 0, 1_999, 0.0, Failed(MEMORY, "no memory was left to load it: m")),
        (ChildReport("memory", "m", 1_000, 2_000), 0, 2_000, 0.0, Rejected("loading and first asking it takes more than 2,000 bytes (its file declares about 1,000): m")),
        (None, -signal.SIGKILL, None, 61.4, Failed(TIME, "its process did nothing for 61 s, neither running nor waiting for a core: killed")),
        (None, -signal.SIGKILL, None, 0.0, Failed(MEMORY, "its process was killed (SIGKILL), by the kernel's memory killer most likely")),
        (None, -signal.SIGSEGV, None, 0.0, Crashed("its process died of SIGSEGV while it was loaded and first asked")),
        (None, -signal.SIGXCPU, None, 0.0, Rejected("loading and first asking it used more than 60 s of CPU")),
        (None, -signal.SIGTERM, None, 0.0, Failed(CHILD, "its process ended with exit code -15")),
        (None, signal.SIGSEGV, None, 0.0, Failed(CHILD, "its process ended with exit code 11")),
        (None, 0, None, 0.0, Failed(CHILD, "its process ended with exit code 0")),
        (None, None, None, 0.0, Failed(CHILD, "its process ended with exit code None")),
    ],
)  # fmt: skip
def test_the_verdict_of_a_check(
    report: Any, exit_code: int | None, free_bytes: int | None, hung_s: float, verdict: Any
) -> None:
    assert judge(report, exit_code, free_bytes, 60, hung_s) == verdict


def test_one_crash_is_tried_again_and_room_is_counted_to_the_byte() -> None:
    assert after_crash(Crashed("c"), 0) == Failed(CHILD, "c")
    assert why_no_room(10, 90, 100) is None
    why = "it takes about 1,011 bytes, and 90 of 1,100 are taken: raise HEADRACE_MODEL_MEMORY_BYTES"
    assert why_no_room(1_011, 90, 1_100) == Failed(MEMORY, why)


@pytest.mark.parametrize(
    ("now", "alive"),
    [
        (ProcessTimes(1.01, 0.0), True),
        (ProcessTimes(1.0, 0.005), False),
        (ProcessTimes(1.0, 0.006), True),
        (ProcessTimes(1.0, 0.0, True), True),
    ],
)
def test_a_process_lives_while_it_runs_or_waits_for_a_core_or_a_disk(now: ProcessTimes, alive: bool) -> None:
    assert is_alive(ProcessTimes(1.0, 0.0), now) is alive


@pytest.mark.parametrize(
    ("spent", "hung"),
    [
        (Spent(4.0, 4.5, 0.0), True), (Spent(4.0, 4.4, 0.0), False), (Spent(4.5, 0.0, 0.0), True), (Spent(5.0, 0.0, 0.6), False), (Spent(5.0, 0.0, 0.0, 0.5), True),
        (Spent(5.0, 0.0, 0.0, 0.49), False),
    ],
)  # fmt: skip
def test_a_call_hangs_when_it_had_its_time_or_could_have_run(spent: Spent, hung: bool) -> None:
    assert is_hung(spent, 5.0) is hung
    late = Busy(f"predict took over 5 s, {spent.waited_s:.2g} s of them waiting for a core")
    assert why_late(spent, 5.0) == (Hung("predict took over 5 s") if hung else late)


def test_of_failed_loads_the_newest_instants_and_the_last_reason_are_reported_within_bounds() -> None:
    found = None
    for n in range(20):
        found = failed_again(found, "memory", f"{n} " + "r" * 400, float(n))
    instants = tuple(float(n) for n in range(20 - FAILURES_KEPT, 20))
    assert found == FailedLoads(instants, "memory", ("19 " + "r" * 400)[:LOAD_REASON_CHARS])
