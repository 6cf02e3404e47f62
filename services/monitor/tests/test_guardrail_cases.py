"""What the guardrails count of each request, by hand: arms, pairs, streaks, and what counts once."""

from typing import Any

import pytest
from services.monitor.tests.rollouts_scene import STATE, decided
from services.monitor.tests.test_rollout_analysis import HOUR, NEW, OLD
from services.monitor.tests.test_rollout_cases import ONE, TWO, decision, pending

from headrace.events.definition import GuardrailDefinition
from headrace.events.failures import Failure, InvalidScore, Raised, Shed
from headrace.events.inference import DecisionMade, Expired, FellBack, Score, Served, ShadowScored
from headrace_monitor.core.arms import BAD, GOOD, UNASKED, Kind, Result
from headrace_monitor.core.counted_once import PASSED_OVER
from headrace_monitor.core.guardrail_cases import GuardrailCases, is_late_case
from headrace_monitor.core.rollout_requests import RolloutRequests, Seen

EVERY = {metric: GuardrailDefinition(metric, 0.1) for metric in ("errors", "invalid_scores", "degraded")}
BOTH_OWN, NEW_OWN, CONTROL_OWN, NOBODY = (True, True), (True, False), (False, True), (False, False)


class Counted:
    """The cases and the bad cases of both arms, and the streak, per guardrail that counts shares; without pairs."""

    def __init__(self, *, has_control: bool = True) -> None:
        self.cases = GuardrailCases(EVERY, {}, has_control=has_control, is_paired=False)

    def row(
        self, owners: Any, kinds: Any, share: float = 0.5, unit: str = "u", key: int = 7, *, waits: bool = False
    ) -> Any:
        return self.cases.row(decision(Served(ONE), unit=unit), share, owners, kinds, 0, key, waits=waits)

    def add(self, *rows: Any) -> dict[str, tuple[list[float], list[float], int]]:
        self.cases.add(rows, [])
        return {
            metric: (test.new.tolist(), test.control.tolist(), test.streak.length)
            for metric, test in self.cases.tests.items()
        }  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("share_", "owners", "kinds", "errors_", "invalid", "degraded"),
    [
        (0.1, NEW_OWN, (GOOD, UNASKED), ([1, 0], [0, 0], 0), ([1, 0], [0, 0], 0), ([1, 0], [0, 0], 0)),
        (0.1, NEW_OWN, (BAD, GOOD), ([1, 1], [0, 0], 1), ([1, 0], [0, 0], 0), ([1, 1], [0, 0], 1)),
        (0.1, NEW_OWN, (Kind.INVALID, GOOD), ([1, 1], [0, 0], 1), ([1, 1], [0, 0], 1), ([1, 1], [0, 0], 1)),
        (0.1, NEW_OWN, (BAD, BAD), ([1, 1], [0, 0], 0), ([1, 0], [0, 0], 0), ([1, 1], [0, 0], 0)),
        (0.1, NEW_OWN, (UNASKED, GOOD), ([0, 0], [0, 0], 0), ([0, 0], [0, 0], 0), ([0, 0], [0, 0], 0)),
        (0.1, CONTROL_OWN, (GOOD, BAD), ([0, 0], [1, 1], 0), ([0, 0], [1, 0], 0), ([0, 0], [1, 1], 0)),
        (0.0, CONTROL_OWN, (BAD, GOOD), ([1, 1], [1, 0], 1), ([1, 0], [1, 0], 0), ([0, 0], [1, 0], 0)),
        (0.0, NOBODY, (GOOD, GOOD), ([1, 0], [0, 0], 0), ([1, 0], [0, 0], 0), ([0, 0], [0, 0], 0)),
        (1.0, NEW_OWN, (GOOD, BAD), ([1, 0], [1, 1], 0), ([1, 0], [1, 0], 0), ([1, 0], [0, 0], 0)),
        (0.5, NOBODY, (BAD, BAD), ([0, 0], [0, 0], 0), ([0, 0], [0, 0], 0), ([0, 0], [0, 0], 0)),
    ],
)  # fmt: skip
def test_a_decision_is_a_case_of_the_arms_that_its_unit_and_share_say(
    share_: float, owners: Any, kinds: Any, errors_: Any, invalid: Any, degraded: Any
) -> None:
    counted = Counted()
    assert counted.add(counted.row(owners, kinds, share_)) == {
        "errors": errors_,
        "invalid_scores": invalid,
        "degraded": degraded,
    }


def test_a_request_that_is_not_the_first_of_its_unit_is_no_case_but_may_begin_a_streak() -> None:
    counted = Counted()
    assert counted.add(counted.row(NEW_OWN, (BAD, GOOD), key=PASSED_OVER))["errors"] == ([0, 0], [0, 0], 1)


def test_a_failure_counts_once_in_the_streak_and_a_row_once_everywhere() -> None:
    counted = Counted()
    cases = (("a", NEW_OWN, (BAD, GOOD)), ("a", NEW_OWN, (BAD, GOOD)), ("a", CONTROL_OWN, (GOOD, BAD)), ("b", NEW_OWN, (BAD, GOOD)))  # fmt: skip
    rows = [counted.row(owners, kinds, unit=unit) for unit, owners, kinds in cases]
    assert counted.add(*rows)["errors"] == ([3, 3], [1, 1], 2)
    same = Counted()
    twice = [same.cases.row(decision(Served(ONE), unit=unit, row=b"r"), 0.5, NEW_OWN, (BAD, GOOD), 0, 7, waits=False) for unit in "ab"]  # fmt: skip
    assert same.add(*twice)["errors"] == ([1, 1], [0, 0], 1)
    again = GuardrailCases(EVERY, counted.cases.numbers(), has_control=True)
    assert again.numbers() == counted.cases.numbers()


def test_the_last_call_is_remembered_so_that_it_counts_once() -> None:
    latency = {"latency": GuardrailDefinition("latency", 2.0)}
    first = GuardrailCases(latency, {}, has_control=True)
    assert "call" not in first.numbers()
    call = [(Result(ONE, GOOD, 40.0), Result(TWO, GOOD, 10.0), PASSED_OVER)]
    first.add([], call)
    again = GuardrailCases(latency, first.numbers(), has_control=True)
    again.add([], call)
    test: Any = again.tests["latency"]
    assert (again.numbers(), test.shares.new.tolist()) == (first.numbers(), [1, 1])


def test_a_failure_that_waits_for_the_control_counts_when_it_came_and_without_one_at_once() -> None:
    counted = Counted()
    assert counted.add(counted.row(NEW_OWN, (BAD, UNASKED), waits=True))["errors"] == ([1, 1], [0, 0], 0)
    late = counted.cases.row_of_late_control(pending(share=0.5, in_streak=BAD), Result(TWO, GOOD, 1.0))
    assert counted.add(late)["errors"] == ([1, 1], [0, 0], 1)
    alone = Counted(has_control=False)
    assert alone.add(alone.row(NEW_OWN, (BAD, UNASKED)))["errors"] == ([1, 1], [0, 0], 1)
    silent = Counted()
    silent.add(silent.row(NEW_OWN, (BAD, UNASKED)))
    assert silent.cases.tests["errors"].streak.waiting == 1  # type: ignore[union-attr]


def test_a_late_result_of_a_shadow_is_in_the_streak_only_while_it_has_no_traffic_of_its_own() -> None:
    good, bad, unasked = Result(ONE, GOOD, 1.0), Result(None, BAD, None), Result(None, UNASKED, None)
    assert [
        is_late_case(pending(share=share_), result) for share_, result in ((0.0, good), (0.1, good), (0.0, unasked))
    ] == [True, False, False]
    counted = Counted()
    healthy = pending(control=good)
    assert [counted.add(counted.cases.row_of_late_new(healthy, bad))["errors"][2] for _ in range(2)] == [1, 1]
    waiting = pending(control_due=True, unit="b", row=b"other")
    assert counted.add(counted.cases.row_of_late_new(waiting, bad))["errors"] == ([0, 0], [0, 0], 1)
    other = pending(share=0.5, unit="c", row=b"x", control=good)
    assert counted.add(counted.cases.row_of_late_new(other, bad))["errors"] == ([0, 0], [0, 0], 1)


# pairs


class Paired:
    """The requests of a rollout whose versions both score every request."""

    def __init__(self, numbers: Any = None, *, is_paired: bool = True) -> None:
        self.cases = GuardrailCases(EVERY, numbers or {}, has_control=True, is_paired=is_paired)
        self.requests = RolloutRequests(NEW, OLD, self.cases, None, HOUR, {})
        self.offset = 0

    def take(self, *events: DecisionMade | ShadowScored) -> "Paired":
        for event in events:
            self.requests.take([Seen("t/0", self.offset, event)], STATE)
            self.offset += 1
        return self

    def of(self, metric: str) -> tuple[list[float], list[float]]:
        test: Any = self.cases.tests[metric]
        return test.new.tolist(), test.control.tolist()


def failed(n: int, version: int, failure: Failure | None = None, **more: Any) -> DecisionMade:
    """A request of the arm of the version, which failed; the other one answered in the fallback chain."""
    other = OLD if version == NEW else NEW
    failures = {str(version): failure or Raised("r")}
    answer = FellBack("previous", "it failed", Score(other, "", 0.6))
    return decided(n, version, answer=answer, failures=failures, **more)


def shadow(n: int, version: int, failure: Failure | None = None) -> ShadowScored:
    score = Score(version, "", 0.4) if failure is None else None
    return ShadowScored(f"r{n}", "d", f"u{n}", version, 60.0 * n, score, failure, 1.0)


def test_requests_that_both_were_asked_are_pairs_whoever_answered() -> None:
    found = Paired().take(
        decided(0, NEW, OLD),
        decided(1, OLD, NEW),
        failed(2, NEW),
        decided(3, OLD, failures={str(NEW): InvalidScore("NaN")}),
        decided(4, OLD, shadows_due=(NEW,)), shadow(4, NEW, Raised("late")),
        decided(5, NEW, shadows_due=(OLD,)), shadow(5, OLD, Raised("late")),
    )  # fmt: skip
    assert found.of("errors") == ([6, 3], [6, 1])
    assert found.of("invalid_scores") == ([6, 1], [6, 0])
    assert found.of("degraded") == ([3, 1], [3, 0])


def test_of_each_unit_the_first_request_of_a_block_is_a_pair_whatever_comes_back_first() -> None:
    found = Paired().take(decided(0, NEW, OLD, unit="a"), failed(1, NEW, unit="a"), failed(2, NEW, unit="a"))
    assert (found.of("errors"), found.of("degraded")) == (([1, 0], [1, 0]), ([1, 0], [0, 0]))
    assert found.take(failed(60, NEW, unit="a")).of("errors") == ([2, 1], [2, 0])
    late = Paired().take(decided(0, NEW, unit="a", shadows_due=(OLD,)), failed(1, NEW, unit="a"))
    assert late.of("errors") == ([0, 0], [0, 0])
    assert late.take(shadow(0, OLD)).of("errors") == ([1, 0], [1, 0])


def test_identical_rows_fail_once_for_all_units() -> None:
    found = Paired().take(failed(0, NEW, row=b"r"), failed(1, NEW, row=b"r"), decided(2, NEW, OLD, row=b"r"))
    assert found.of("errors") == ([2, 1], [2, 0])


def test_a_request_that_one_of_them_was_not_asked_is_no_pair() -> None:
    found = Paired().take(
        decided(0, NEW, failures={str(OLD): Shed("overload")}),
        decided(1, OLD, failures={str(NEW): Shed("overload")}),
        decided(2, OLD, shadows_due=(NEW,)), shadow(2, NEW, Shed("overload")),
        decided(3, NEW, answer=Expired(1)),
    )  # fmt: skip
    assert found.of("errors") == ([0, 0], [0, 0])


def test_where_shadows_are_shed_what_the_control_answers_after_a_failure_is_no_pair() -> None:
    shed = decided(0, NEW, failures={str(OLD): Shed("overload")})
    found = Paired().take(shed, failed(1, NEW))
    assert (found.of("errors"), found.of("degraded")) == (([0, 0], [0, 0]), ([2, 1], [0, 0]))
    assert Paired(found.cases.numbers()).take(failed(2, NEW)).of("errors") == ([0, 0], [0, 0])
    assert found.take(decided(3, NEW, OLD), failed(4, NEW)).of("errors") == ([2, 1], [2, 0])
    late = Paired().take(decided(0, NEW, shadows_due=(OLD,)), shadow(0, OLD, Shed("overload")), failed(1, NEW))
    assert late.of("errors") == ([0, 0], [0, 0])
    again = late.take(decided(2, NEW, shadows_due=(OLD,)), shadow(2, OLD), failed(3, NEW))
    assert again.of("errors") == ([2, 1], [2, 0])


def test_without_pairs_the_arms_are_compared_by_unit_and_block() -> None:
    found = Paired(is_paired=False).take(
        decided(0, OLD), decided(1, NEW), decided(2, NEW, unit="u1"), failed(3, NEW), decided(4, OLD, unit="u0")
    )
    assert found.of("errors") == ([2, 1], [1, 0])
