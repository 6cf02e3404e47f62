"""The breaker: its table, and what no history of calls can do to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.definition import BreakerDefinition
from headrace_inference.core.breaker import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    Breaker,
    Call,
    allows,
    at,
    failure_share,
    on_call,
    on_hang,
)

PLAN = BreakerDefinition(slow_s=1.0, window_s=30.0, window_calls=5, min_calls=3, open_s=10.0, probes=2)
GOOD, BAD, SLOW = {"failed": 0.0}, {"failed": 1.0, "reason": "NaN"}, {"took_s": 1.0}
UNTIMED = {"failed": 0.1, "reason": "one row", "took_s": None}


def after(start: Breaker, *calls: dict, from_s: float = 100.0) -> Breaker:
    """The breaker after calls one second apart."""
    for number, call in enumerate(calls):
        start = on_call(start, PLAN, Call(at_s=from_s + number, **call)).state
    return start


@pytest.mark.parametrize(
    ("start", "calls", "state"),
    [
        (Breaker(), [], CLOSED),
        (Breaker(), [GOOD] * 9, CLOSED),
        (Breaker(), [BAD, BAD], CLOSED),
        (Breaker(), [BAD, BAD, BAD], OPEN),
        (Breaker(), [GOOD, GOOD, BAD, GOOD, BAD], CLOSED),
        (Breaker(), [GOOD, BAD, GOOD, BAD], OPEN),
        (Breaker(), [BAD, GOOD, GOOD, GOOD, GOOD, GOOD, BAD], CLOSED),
        (Breaker(), [{"failed": 0.4}] * 5, CLOSED),
        (Breaker(), [{"failed": 0.6}] * 3, OPEN),
        (Breaker(), [SLOW, SLOW, SLOW], OPEN),
        (Breaker(), [SLOW, GOOD, SLOW, SLOW, GOOD], CLOSED),
        (Breaker(), [SLOW, SLOW, UNTIMED, UNTIMED], CLOSED),
        (Breaker(), [SLOW, SLOW, UNTIMED, SLOW], OPEN),
        (Breaker(OPEN, since_s=90.0), [UNTIMED] * 5, HALF_OPEN),
        (Breaker(OPEN, since_s=90.0), [{**UNTIMED, "failed": 1.0}], OPEN),
        (Breaker(OPEN, since_s=95.0), [GOOD], OPEN),
        (Breaker(OPEN, since_s=90.0), [GOOD], HALF_OPEN),
        (Breaker(OPEN, since_s=90.0), [GOOD, GOOD], CLOSED),
        (Breaker(OPEN, since_s=90.0), [BAD], OPEN),
        (Breaker(OPEN, since_s=90.0), [GOOD, SLOW], OPEN),
        (Breaker(HALF_OPEN, since_s=90.0), [{"failed": 0.1}, GOOD], CLOSED),
    ],
)
def test_the_table(start: Breaker, calls: list[dict], state: str) -> None:
    assert after(start, *calls).state == state


def test_openings_in_a_row_are_counted_while_the_versions_own_failures_are_their_cause() -> None:
    opened = after(Breaker(), BAD, BAD, BAD)
    again = after(opened, BAD, from_s=120.0)
    thrice = on_hang(at(again, PLAN, 140.0), PLAN, 140.0, "it hangs").state
    assert [found.openings for found in (opened, again, thrice, at(thrice, PLAN, 160.0))] == [1, 2, 3, 3]
    assert on_hang(thrice, PLAN, 141.0, "it hangs").state == thrice
    assert after(thrice, GOOD, GOOD, from_s=160.0) == Breaker(CLOSED, 161.0)
    slow = after(thrice, SLOW, from_s=160.0)
    assert (slow.state, slow.openings) == (OPEN, 0)
    assert after(Breaker(), SLOW, SLOW, SLOW).openings == 0
    assert (on_hang(Breaker(), PLAN, 1.0, "it hangs").state.openings, after(slow, BAD, from_s=180.0).openings) == (1, 1)


def test_calls_that_lie_too_far_apart_do_not_add_up() -> None:
    breaker = Breaker()
    for number in range(9):
        breaker = on_call(breaker, PLAN, Call(at_s=100.0 + 31 * number, failed=1.0, reason="x")).state
    assert breaker.state == CLOSED


def test_it_says_why_it_opened() -> None:
    assert "100% of the rows of 3 calls failed, the limit is 50%: NaN" in after(Breaker(), BAD, BAD, BAD).reason
    assert "slow is 1 s" in after(Breaker(HALF_OPEN), SLOW).reason


def test_a_closed_breaker_begins_with_an_empty_window() -> None:
    assert after(Breaker(OPEN, since_s=90.0), GOOD, GOOD).window == ()


CALLS = st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 1.0), st.floats(0.0, 2.0))


@given(st.lists(CALLS, max_size=60))
def test_no_history_opens_early_or_keeps_it_open_longer(history: list[tuple[float, float, float]]) -> None:
    """It opens only on a window that reaches a limit or on a bad probe, and rests exactly `open_s`."""
    breaker, now_s = Breaker(), 0.0
    for gap_s, failed, took_s in history:
        now_s += gap_s
        before = at(breaker, PLAN, now_s)
        breaker = on_call(breaker, PLAN, Call(now_s, failed, took_s, "x")).state
        assert len(breaker.window) <= PLAN.window_calls
        if breaker.state == OPEN and before.state == CLOSED:
            slow = sum(call.took_s >= PLAN.slow_s for call in breaker.window) / len(breaker.window)
            assert len(breaker.window) >= PLAN.min_calls
            assert failure_share(breaker) >= PLAN.failure_share or slow >= PLAN.slow_share
        if breaker.state == OPEN:
            assert not allows(at(breaker, PLAN, breaker.since_s + PLAN.open_s - 0.01))
            assert allows(at(breaker, PLAN, breaker.since_s + PLAN.open_s))


@given(st.lists(CALLS, max_size=60))
def test_well_behaved_calls_always_close_it_again(history: list[tuple[float, float, float]]) -> None:
    breaker, now_s = Breaker(), 0.0
    for gap_s, failed, took_s in history:
        now_s += gap_s
        breaker = on_call(breaker, PLAN, Call(now_s, failed, took_s, "x")).state
    now_s += PLAN.open_s + PLAN.window_s
    for _ in range(PLAN.probes):
        breaker = on_call(breaker, PLAN, Call(now_s, 0.0, 0.0)).state
    assert breaker.state == CLOSED


def test_twenty_failures_of_one_row_or_one_unit_are_one() -> None:
    plan, breaker = BreakerDefinition(), Breaker()
    for n in range(20):
        breaker = on_call(breaker, plan, Call(float(n), 1.0, culprits=((7, n),))).state
        breaker = on_call(breaker, plan, Call(float(n), 1.0, culprits=((n + 100, 7),))).state
    assert breaker.state == CLOSED
    assert len(breaker.window) == 2


def test_three_failures_of_different_rows_and_units_open_it() -> None:
    plan, breaker = BreakerDefinition(), Breaker()
    for n in range(3):
        breaker = on_call(breaker, plan, Call(float(n), 1.0, culprits=((n, n),))).state
    assert breaker.state == OPEN


def test_a_row_that_is_known_to_fail_is_no_verdict_as_a_probe() -> None:
    plan, breaker = BreakerDefinition(), Breaker()
    for n in range(3):
        breaker = on_call(breaker, plan, Call(float(n), 1.0, culprits=((n, n),))).state
    breaker = on_call(breaker, plan, Call(20.0, 1.0, culprits=((2, 2),))).state
    assert (breaker.state, breaker.window) == (HALF_OPEN, ())
    for n in range(3):
        breaker = on_call(breaker, plan, Call(21.0 + n)).state
    assert breaker.state == CLOSED
