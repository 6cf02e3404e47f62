"""What counts of each request of a rollout, by hand: streaks, intervals, arms and cases."""

import math
from typing import Any

import numpy as np
import pytest

from headrace.events.definition import GuardrailDefinition, LabelDefinition
from headrace.events.failures import Busy, Hung, InvalidScore, NoTime, NotLoaded, Raised, RowUnfit, Shed
from headrace.events.inference import DecisionMade, Expired, FellBack, Score, Served, ShadowScored
from headrace.stats.sequential import log_mean_exp, staked
from headrace_monitor.core import guardrails
from headrace_monitor.core.arms import (
    BAD,
    GOOD,
    UNASKED,
    Kind,
    PendingRequest,
    PendingRequests,
    Result,
    assigned,
    calls,
    kind_of,
    late_result_of,
    range_of,
    result_of,
    scaled_score,
    scaled_scores,
    score_of,
)
from headrace_monitor.core.guardrail_cases import GuardrailCases, is_late_case
from headrace_monitor.core.guardrails import DistanceTest, LatencyTest, SeenFailures, ShareTest, Streak, intervals


def bools(text: str) -> Any:
    """One flag per character, on for an x."""
    return np.array([char == "x" for char in text])


@pytest.mark.parametrize(
    ("in_new", "bad_new", "in_control", "bad_control", "left"),
    [
        ("xxx", "xxx", "xxx", "...", (3, 3, 0)),
        ("xxx", "xxx", "xxx", ".x.", (2, 2, 0)),
        ("xxx", "xx.", "xxx", "...", (0, 2, 0)),
        ("xx.", "xx.", "..x", "...", (2, 2, 0)),
        ("xx.", "xx.", "..x", "..x", (0, 0, 0)),
        ("xx", "xx", "..", "..", (0, 0, 2)),
        ("xxx", "xx.", "...", "...", (0, 0, 0)),
        ("x.x.", "x.x.", ".x..", "....", (1, 1, 1)),
        ("xxxx", ".xx.", "xxxx", "....", (0, 2, 0)),
        (".", "x", "x", ".", (0, 0, 0)),
    ],
)
def test_a_streak_by_hand_whole_and_one_by_one(
    in_new: str, bad_new: str, in_control: str, bad_control: str, left: tuple[int, int, int]
) -> None:
    columns = [bools(text) for text in (in_new, bad_new, in_control, bad_control)]
    whole, single = Streak(), Streak()
    whole.take(*columns)
    for place in range(len(in_new)):
        single.take(*(column[place : place + 1] for column in columns))
    assert (whole.length, whole.longest, whole.waiting) == (single.length, single.longest, single.waiting) == left


@pytest.mark.parametrize(("bad", "left"), [(".", (2, 2, 0)), ("x", (0, 0, 0))])
def test_what_waits_is_decided_by_the_next_case_of_the_control_in_a_later_batch(
    bad: str, left: tuple[int, int, int]
) -> None:
    streak = Streak()
    streak.take(bools("xx"), bools("xx"), bools(".."), bools(".."))
    streak.take(bools("..x"), bools("..."), bools(".xx"), bools("." + bad + "x"))
    assert (streak.length, streak.longest, streak.waiting) == (0, left[1], 0)
    later = Streak(2, 2, 3)
    later.take(bools(".."), bools(".."), bools(".x"), bools("." + bad))
    assert (later.length, later.waiting) == ((5, 0) if bad == "." else (2, 0))


def test_intervals_end_as_soon_as_both_arms_have_had_a_case() -> None:
    new = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [1, 1], [1, 0]], float)
    control = np.array([[0, 0], [0, 0], [1, 1], [1, 0], [0, 0], [0, 0]], float)
    ends, differences = intervals(new, control)
    assert (ends.tolist(), differences.tolist()) == ([2, 4], [0.5 - 1.0, 1.0 - 0.0])
    assert intervals(new[:2], control[:2])[0].tolist() == []


def test_a_share_is_bet_on_by_interval_and_the_rest_waits() -> None:
    test = ShareTest(0.1)
    test.take(bools("xx..xx"), bools(".x..x."), bools("..xx.."), bools("..x..."))
    wealth = staked((np.array([-0.5, 1.0]) - 0.1) / 1.1).sum(axis=0)
    assert test.wealth.tolist() == pytest.approx(wealth.tolist())
    assert test.log_e == pytest.approx(float(log_mean_exp(wealth)))
    assert [found.tolist() for found in (test.new, test.control, test.open_new, test.open_control)] == [
        [4, 2],
        [2, 1],
        [1, 0],
        [0, 0],
    ]
    assert test.measured == 0.0
    test.take(bools(".."), bools("xx"), bools("xx"), bools(".x"))
    assert (test.open_new.tolist(), test.open_control.tolist()) == ([0, 0], [1, 1])


def test_calls_and_distances_by_hand() -> None:
    latency = LatencyTest(3.0)
    latency.take([3.0, 3.1, 1.0, 0.0], [1.0, 1.0, 3.1, 0.0])
    assert (latency.shares.new.tolist(), latency.shares.control.tolist()) == ([4, 1], [4, 1])
    assert latency.log_ratio == pytest.approx(math.log(3.0) + math.log(3.1) - math.log(3.1))
    assert latency.measured == pytest.approx(3.0 ** (1 / 4))
    distance = DistanceTest(0.1)
    distance.take([0.1, 0.55], [0.3, 0.35])
    assert distance.counts.astype(int).tolist() == [[1, 1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0, 0]]
    assert (distance.rows, distance.measured) == (2, 0.5)


def test_failures_of_a_unit_or_a_row_are_the_first_once_and_the_newest_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guardrails, "FAILURES_KEPT", 2)
    seen = SeenFailures()
    assert [seen.is_first(unit, b"") for unit in ("a", "b", "a", "c", "a")] == [True, True, False, True, True]
    rows = SeenFailures()
    assert [rows.is_first(f"u{n}", row) for n, row in enumerate((b"1", b"2", b"1", b"3", b"1"))] == [
        True,
        True,
        False,
        True,
        True,
    ]
    again = SeenFailures.restored(rows.state())
    assert (again.state(), [again.is_first("new", row) for row in (b"3", b"1")]) == (rows.state(), [False, False])
    assert SeenFailures.restored(None).state() == {"units": [], "rows": []}


# arms


def decision(answer: Any, **more: Any) -> DecisionMade:
    return DecisionMade("r", "d", more.pop("unit", "u"), 5.0, answer, 0, more.pop("row", b""), **more)


ONE, TWO = Score(1, "", 0.1), Score(2, "", 0.2)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(Raised("r"), BAD), (Hung("h"), BAD), (InvalidScore("i"), Kind.INVALID), (None, UNASKED)]
    + [(kind("x"), UNASKED) for kind in (NotLoaded, Busy, NoTime, Shed, RowUnfit)],
)
def test_only_own_failures_are_bad(failure: Any, kind: Kind) -> None:
    assert kind_of(None, failure) is kind
    assert kind_of(ONE, failure) is GOOD


def test_what_a_version_returned_stands_in_the_answer_in_the_shadows_or_in_the_failures() -> None:
    made = decision(Served(ONE), shadows=(TWO,), failures={"3": InvalidScore("i")}, took_ms={"1": 4.0, "3": 5.0})
    assert [result_of(made, version) for version in (1, 2, 3, 4)] == [
        Result(ONE, GOOD, 4.0),
        Result(TWO, GOOD, None),
        Result(None, Kind.INVALID, 5.0),
        None,
    ]
    fell = decision(FellBack("previous", "why", TWO))
    assert (score_of(fell, 2), score_of(fell, 1), score_of(decision(Expired(1)), 1)) == (TWO, None, None)
    assert late_result_of(ShadowScored("r", "d", "u", 2, 5.0, TWO, None, 3.0)) == Result(TWO, GOOD, 3.0)
    assert late_result_of(ShadowScored("r", "d", "u", 2, 5.0, None, Raised("r"))) == Result(None, BAD, None)


def test_a_unit_is_in_the_arm_that_the_route_gave_it() -> None:
    assert assigned(decision(Served(ONE), assigned=2)) == 2
    assert [assigned(decision(answer)) for answer in (Served(ONE), FellBack("previous", "why", TWO), Expired(1))] == [
        1,
        None,
        None,
    ]


def pending(block: int = 0, **changes: Any) -> PendingRequest:
    fields: dict[str, Any] = {
        "unit": "u",
        "at_s": 5.0,
        "row": b"r",
        "share": 0.0,
        "is_drawn": True,
        "new": None,
        "control": None,
        "new_due": True,
        "control_due": False,
    }
    return PendingRequest(block=block, **(fields | changes))


def test_requests_that_wait_are_given_up_oldest_first_or_with_their_block() -> None:
    waiting = PendingRequests(2)
    first, second, third, again = pending(3), pending(1), pending(2), pending(4)
    assert [waiting.put(*given) for given in (("a", first), ("b", second), ("c", third))] == [[], [], [first]]
    assert waiting.put("b", again) == [second]
    assert (len(waiting), waiting.get("a"), waiting.get("b"), waiting.oldest_block) == (2, None, again, 2)
    assert (waiting.pop_before(2), waiting.pop_before(3), waiting.oldest_block) == ([], [third], 4)
    waiting.remove("b")
    waiting.remove("never")
    assert (len(waiting), waiting.oldest_block) == (0, None)


def test_scores_of_every_kind_lie_between_0_and_1() -> None:
    scored = [
        scaled_score(score)
        for score in (
            None,
            ONE,
            Score(1, "", 0.0),
            Score(1, "", 1.0),
            Score(1, "", 1.1),
            Score(1, "", -0.1),
            Score(1, "", None, (0.2, 0.8)),
            Score(1, "", None),
        )
    ]
    assert scored == [None, 0.1, 0.0, 1.0, None, None, 0.8, None]
    assert [scaled_score(Score(1, "", value), (10.0, 30.0)) for value in (5.0, 10.0, 15.0, 99.0)] == [
        0.0,
        0.0,
        0.25,
        1.0,
    ]
    number = LabelDefinition("y", "number", 60.0, low=1.0, high=3.0)
    assert range_of(number) == (1.0, 3.0)
    assert [
        range_of(found)
        for found in (
            None,
            LabelDefinition("y", "number", 60.0, low=1.0),
            LabelDefinition("y", "number", 60.0, high=1.0),
            LabelDefinition("y", "binary", 60.0, low=0.0, high=1.0),
        )
    ] == [None] * 4
    pairs = [
        (Result(ONE, GOOD, 1.0), Result(TWO, GOOD, 2.0)),
        (Result(None, BAD, 1.0), Result(TWO, GOOD, 2.0)),
        (Result(ONE, GOOD, 1.0), Result(None, BAD, 2.0)),
    ]
    assert scaled_scores(pairs) == ([0.1], [0.2])


def test_rows_of_one_call_are_one_measurement() -> None:
    def timed(*times: tuple[float | None, float | None]) -> list[tuple[Result, Result]]:
        return [(Result(ONE, GOOD, ours), Result(TWO, GOOD, theirs)) for ours, theirs in times]

    assert calls(timed((1, 2), (1, 2), (1, 3), (None, 3), (2, None), (1, 3), (1, 2)), None) == (
        [1, 1, 1],
        [2, 3, 2],
        (1, 2),
    )
    assert calls(timed((1, 2)), (1, 2)) == ([], [], (1, 2))
    assert calls([], (1, 2)) == ([], [], (1, 2))


# what counts as a case

EVERY = {metric: GuardrailDefinition(metric, 0.1) for metric in ("errors", "invalid_scores", "degraded")}


class Counted:
    """The cases and the bad cases of both arms, and the streak, per guardrail that counts shares."""

    def __init__(self, *, has_control: bool = True) -> None:
        self.cases = GuardrailCases(EVERY, {}, has_control=has_control)

    def add(self, *rows: int) -> dict[str, tuple[list[float], list[float], int]]:
        self.cases.add(rows, [])
        return {
            metric: (test.new.tolist(), test.control.tolist(), test.streak.length)
            for metric, test in self.cases.tests.items()
        }  # type: ignore[union-attr]


BOTH_OWN, NEW_OWN, CONTROL_OWN, NOBODY = (True, True), (True, False), (False, True), (False, False)


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
    row = counted.cases.row(decision(Served(ONE)), share_, owners, kinds, waits=False)
    assert counted.add(row) == {"errors": errors_, "invalid_scores": invalid, "degraded": degraded}


def test_a_failure_of_a_unit_counts_once_per_arm_and_in_the_streak() -> None:
    counted = Counted()
    rows = [counted.cases.row(decision(Served(ONE), unit=unit), 0.5, owners, kinds, waits=False) for unit, owners, kinds in (("a", NEW_OWN, (BAD, GOOD)), ("a", NEW_OWN, (BAD, GOOD)), ("a", CONTROL_OWN, (GOOD, BAD)), ("a", CONTROL_OWN, (GOOD, BAD)), ("b", NEW_OWN, (BAD, GOOD)))]  # fmt: skip
    assert counted.add(*rows)["errors"] == ([2, 2], [1, 1], 2)
    again = GuardrailCases(EVERY, counted.cases.numbers(), has_control=True)
    assert again.numbers() == counted.cases.numbers()


def test_the_last_call_is_remembered_so_that_it_counts_once() -> None:
    latency = {"latency": GuardrailDefinition("latency", 2.0)}
    first = GuardrailCases(latency, {}, has_control=True)
    assert "call" not in first.numbers()
    call = [(Result(ONE, GOOD, 4.0), Result(TWO, GOOD, 1.0))]
    first.add([], call)
    again = GuardrailCases(latency, first.numbers(), has_control=True)
    again.add([], call)
    test: Any = again.tests["latency"]
    assert (again.numbers(), test.shares.new.tolist()) == (first.numbers(), [1, 1])


def test_a_failure_that_waits_for_the_control_counts_when_it_came_and_without_one_at_once() -> None:
    counted = Counted()
    waits = counted.cases.row(decision(Served(ONE)), 0.5, NEW_OWN, (BAD, UNASKED), waits=True)
    assert counted.add(waits)["errors"] == ([1, 1], [0, 0], 0)
    late = counted.cases.row_of_late_control(pending(share=0.5, in_streak=BAD), Result(TWO, GOOD, 1.0))
    assert counted.add(late)["errors"] == ([1, 1], [0, 0], 1)
    alone = Counted(has_control=False)
    assert alone.add(alone.cases.row(decision(Served(ONE)), 0.5, NEW_OWN, (BAD, UNASKED), waits=False))["errors"] == (
        [1, 1],
        [0, 0],
        1,
    )
    silent = Counted()
    silent.add(silent.cases.row(decision(Served(ONE)), 0.5, NEW_OWN, (BAD, UNASKED), waits=False))
    assert silent.cases.tests["errors"].streak.waiting == 1  # type: ignore[union-attr]


def test_a_late_result_of_a_shadow_is_a_case_only_while_it_has_no_traffic_of_its_own() -> None:
    good, bad, unasked = Result(ONE, GOOD, 1.0), Result(None, BAD, None), Result(None, UNASKED, None)
    assert [
        is_late_case(pending(share=share_), result) for share_, result in ((0.0, good), (0.1, good), (0.0, unasked))
    ] == [True, False, False]
    counted = Counted()
    healthy = pending(control=good)
    assert counted.add(counted.cases.row_of_late_new(healthy, bad))["errors"] == ([1, 1], [0, 0], 1)
    assert counted.add(counted.cases.row_of_late_new(healthy, bad))["errors"] == ([1, 1], [0, 0], 1)
    waiting = pending(control_due=True, unit="b", row=b"other")
    assert counted.add(counted.cases.row_of_late_new(waiting, bad))["errors"] == ([2, 2], [0, 0], 1)
    assert counted.add(counted.cases.row_of_late_new(pending(share=0.5, unit="c", row=b"x"), bad))["errors"] == (
        [2, 2],
        [0, 0],
        1,
    )


def test_a_late_result_of_the_control_is_a_case_only_while_the_version_has_all_traffic() -> None:
    counted = Counted()
    bad = Result(None, BAD, None)
    assert counted.add(counted.cases.row_of_late_control(pending(share=1.0), bad))["errors"] == ([0, 0], [1, 1], 0)
    assert counted.add(counted.cases.row_of_late_control(pending(share=1.0), bad))["errors"] == ([0, 0], [1, 1], 0)
    assert counted.add(counted.cases.row_of_late_control(pending(share=0.9), bad))["errors"] == ([0, 0], [1, 1], 0)
