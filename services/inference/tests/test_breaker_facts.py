"""What a breaker tells when it turns, and which calls are evidence."""

import pytest

from headrace.events.definition import BreakerDefinition
from headrace_inference.core.breaker import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    Breaker,
    Call,
    Transition,
    allows,
    on_call,
    on_hang,
    on_removal,
    on_time,
)

PLAN = BreakerDefinition(
    failure_share=0.5, slow_share=0.8, slow_s=1.0, window_s=30.0, window_calls=5, min_calls=3, open_s=10.0, probes=2
)


def calls(*given: Call, start: Breaker = Breaker()) -> tuple[Breaker, list[Transition]]:  # noqa: B008 - frozen
    facts: list[Transition] = []
    for call in given:
        step = on_call(start, PLAN, call)
        start, facts = step.state, [*facts, *step.facts]
    return start, facts


def test_a_breaker_says_why_it_opened_and_what_its_window_held() -> None:
    breaker, facts = calls(Call(1.0), Call(2.0, 1.0, 2.0, "old"), Call(3.0, 0.5, 0.1, "NaN"))
    why = "50% of the rows of 3 calls failed, the limit is 50%: NaN"
    assert facts == [Transition(OPEN, CLOSED, why, 3, 0.5, pytest.approx(1 / 3))]
    assert (breaker.state, breaker.since_s, len(breaker.window), breaker.reason) == (OPEN, 3.0, 3, why)
    _, facts = calls(*[Call(n, 0.0, 1.0) for n in range(4)])
    assert [fact.reason for fact in facts] == ["100% of 3 calls took 1 s or longer, the limit is 80%"]
    assert (
        calls(*[Call(n, 0.0, 1.0) for n in range(2)], Call(2.0), Call(3.0, 0.0, 1.0), Call(4.0, 0.0, 1.0))[1][
            0
        ].slow_share
        == 0.8
    )


def test_the_window_ends_by_time_and_by_count() -> None:
    breaker, _ = calls(Call(0.0), Call(1.0), Call(30.0))
    assert [call.at_s for call in breaker.window] == [1.0, 30.0]
    breaker, _ = calls(*[Call(float(n)) for n in range(7)])
    assert [call.at_s for call in breaker.window] == [2.0, 3.0, 4.0, 5.0, 6.0]


def test_a_hang_opens_it_at_once_and_once() -> None:
    before, _ = calls(Call(1.0, 0.25, 0.1, "r"))
    step = on_hang(before, PLAN, 5.0, "it hangs")
    assert step.facts == (Transition(OPEN, CLOSED, "it hangs", 1, 0.25, 0.0),)
    assert (step.state.since_s, step.state.reason, step.state.window) == (5.0, "it hangs", before.window)
    again = on_hang(step.state, PLAN, 6.0, "it hangs")
    assert (again.state, again.facts) == (step.state, ())


def test_time_lets_probes_through_and_the_reason_stays() -> None:
    opened = on_hang(Breaker(), PLAN, 5.0, "it hangs").state
    assert (on_time(opened, PLAN, 14.9).state, allows(opened)) == (opened, False)
    step = on_time(opened, PLAN, 15.0)
    assert step.facts == (Transition(HALF_OPEN, OPEN, "it has been open for long enough", 0, 0.0, 0.0),)
    assert (step.state.since_s, step.state.reason, allows(step.state)) == (15.0, "it hangs", True)
    closed, facts = calls(Call(16.0), Call(17.0), start=step.state)
    assert facts == [Transition(CLOSED, HALF_OPEN, "its probes succeeded", 0, 0.0, 0.0)]
    assert closed == Breaker(CLOSED, 17.0)


def test_a_probe_that_fails_or_is_slow_opens_it_again_and_says_why() -> None:
    half = Breaker(HALF_OPEN, 1.0)
    failed, facts = calls(Call(2.0, 0.5, 0.1, "NaN", ((1, 2),)), start=half)
    assert (failed.state, failed.since_s, failed.reason, failed.suspects) == (
        OPEN,
        2.0,
        "a probe failed: NaN",
        ((1, 2),),
    )
    assert [fact.calls for fact in facts] == [1]
    slow, _ = calls(Call(2.0, 0.0, 1.2344), start=half)
    assert slow.reason == "a probe took 1.23 s, slow is 1 s"
    fine, facts = calls(Call(2.0, 0.4, 0.9), start=half)
    assert (fine.state, len(fine.window), facts) == (HALF_OPEN, 1, [])
    assert calls(Call(2.0, 0.4, None), start=half)[0] == half


def test_a_failure_of_a_row_or_a_unit_that_failed_before_is_no_new_evidence() -> None:
    first = Call(1.0, 0.5, 0.1, "r", ((1, 1),))
    breaker, _ = calls(first, Call(2.0, 0.5, 0.1, "r", ((1, 2), (3, 3))))
    assert [call.failed for call in breaker.window] == [0.5, pytest.approx(0.25 / 0.75)]
    whole, _ = calls(first, Call(2.0, 1.0, 0.1, "r", ((2, 1),)))
    assert whole.window == (first,)
    same, _ = calls(Call(1.0, 0.5, 0.1, "r", ((1, 1), (1, 2), (2, 1))))
    assert same.window[0].failed == pytest.approx((0.5 / 3) / (0.5 + 0.5 / 3))


def test_culprits_are_remembered_over_the_time_that_it_is_open() -> None:
    opened, _ = calls(*[Call(float(n), 1.0, 0.1, "r", ((n, n),)) for n in range(3)])
    half = on_time(opened, PLAN, 20.0).state
    assert half.suspects == ((0, 0), (1, 1), (2, 2))
    again, _ = calls(Call(21.0, 1.0, 0.1, "r", ((7, 7),)), start=half)
    assert (again.state, again.suspects) == (OPEN, (*half.suspects, (7, 7)))
    assert on_time(again, PLAN, 40.0).state.suspects == again.suspects


def test_a_version_that_nobody_names_leaves_a_closed_breaker() -> None:
    opened = on_hang(Breaker(), PLAN, 5.0, "it hangs").state
    step = on_removal(opened, 9.0)
    assert step.state == Breaker(CLOSED, 9.0)
    assert step.facts == (Transition(CLOSED, OPEN, "no route names it any more", 0, 0.0, 0.0),)
    assert on_removal(Breaker(), 9.0).facts == ()
