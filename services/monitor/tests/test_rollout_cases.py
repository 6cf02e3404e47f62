"""What counts of each request of a rollout, by hand: streaks, intervals, arms and cases."""

import math
from typing import Any

import numpy as np
import pytest

from headrace.events.failures import BreakerOpen, Busy, Hung, InvalidScore, NoTime, NotLoaded, Raised, RowUnfit, Shed
from headrace.events.inference import DecisionMade, Expired, FellBack, Score, Served, ShadowScored
from headrace.stats.sequential import log_mean_exp, staked
from headrace_monitor.core import counted_once
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
    ranked_scores,
    result_of,
    score_of,
    scores_to_rank,
)
from headrace_monitor.core.counted_once import PASSED_OVER, FirstOfBlock, SeenFailures, key_of
from headrace_monitor.core.guardrails import LatencyTest, ShareTest, Streak, intervals
from headrace_monitor.core.score_tests import DistanceTest


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
    columns = [*map(bools, (in_new, bad_new, in_control, bad_control)), np.zeros(len(in_new), dtype=np.int64)]
    whole, single = Streak(), Streak()
    whole.take(*columns)
    for place in range(len(in_new)):
        single.take(*(column[place : place + 1] for column in columns))
    assert (whole.length, whole.longest, whole.waiting) == (single.length, single.longest, single.waiting) == left


@pytest.mark.parametrize(("bad", "left"), [(".", (2, 2, 0)), ("x", (0, 0, 0))])
def test_what_waits_is_decided_by_the_next_case_of_the_control_in_a_later_batch(
    bad: str, left: tuple[int, int, int]
) -> None:
    streak, same = Streak(), np.zeros(3, dtype=np.int64)
    streak.take(bools("xx"), bools("xx"), bools(".."), bools(".."), same[:2])
    streak.take(bools("..x"), bools("..."), bools(".xx"), bools("." + bad + "x"), same)
    assert (streak.length, streak.longest, streak.waiting) == (0, left[1], 0)
    later = Streak(2, 2, 3, block=0)
    later.take(bools(".."), bools(".."), bools(".x"), bools("." + bad), same[:2])
    assert (later.length, later.waiting) == ((5, 0) if bad == "." else (2, 0))


def test_failures_that_wait_are_dropped_with_their_block() -> None:
    streak = Streak()
    streak.take(bools("xx."), bools("xx."), bools("..x"), bools("..."), np.array([7, 7, 8]))
    assert (streak.length, streak.waiting, streak.block, streak.good) == (0, 0, 8, 1)


def test_nothing_counts_in_a_block_in_which_the_control_has_failed_as_often_as_not() -> None:
    sick, hour = Streak(), np.zeros(5, dtype=np.int64)
    sick.take(bools("xxxxx"), bools("xxxxx"), bools("xxxxx"), bools("xx..."), hour)
    assert (sick.length, sick.good, sick.bad) == (1, 3, 2)
    sick.take(bools("x"), bools("x"), bools("x"), bools("."), np.array([1]))
    assert (sick.length, sick.good, sick.bad) == (2, 1, 0)
    late = Streak(block=5, bad=3)
    late.take(bools("x"), bools("x"), bools("x"), bools("."), np.array([4]))
    assert (late.length, late.block, late.good, late.bad) == (0, 5, 0, 3)


def test_the_health_of_the_control_is_the_same_however_the_requests_are_cut() -> None:
    rng = np.random.default_rng(2)
    columns = [rng.random(300) < share for share in (0.6, 0.03, 0.7, 0.3)]
    blocks = np.sort(rng.integers(0, 9, 300)) - (rng.random(300) < 0.1)
    whole, parts = Streak(), Streak()
    whole.take(*columns, blocks)
    for some in np.array_split(np.arange(300), 40):
        parts.take(*(column[some] for column in columns), blocks[some])
    assert whole == parts == Streak.restored(whole.state())


def test_intervals_end_as_soon_as_both_arms_have_had_a_case() -> None:
    new = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [1, 1], [1, 0]], float)
    control = np.array([[0, 0], [0, 0], [1, 1], [1, 0], [0, 0], [0, 0]], float)
    ends, differences = intervals(new, control)
    assert (ends.tolist(), differences.tolist()) == ([2, 4], [0.5 - 1.0, 1.0 - 0.0])
    assert intervals(new[:2], control[:2])[0].tolist() == []


def test_a_share_is_bet_on_by_interval_and_the_rest_waits() -> None:
    test = ShareTest(0.1)
    test.bet_on_arms(bools("xx..xx"), bools(".x..x."), bools("..xx.."), bools("..x..."))
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
    test.bet_on_arms(bools(".."), bools("xx"), bools("xx"), bools(".x"))
    assert (test.open_new.tolist(), test.open_control.tolist()) == ([0, 0], [1, 1])


def test_a_pair_is_bet_on_by_itself() -> None:
    test = ShareTest(0.1)
    test.bet_on_pairs(bools("xx..."), bools("x.x.."))
    wealth = staked((np.array([0.0, 1.0, -1.0, 0.0, 0.0]) - 0.1) / 1.1).sum(axis=0)
    assert test.wealth.tolist() == pytest.approx(wealth.tolist())
    assert (test.new.tolist(), test.control.tolist(), test.measured) == ([5, 2], [5, 2], 0.0)


def test_the_evidence_is_what_remains_without_the_unit_that_failed_most_often() -> None:
    test, bad = ShareTest(0.1), staked(0.9 / 1.1)
    test.bet_on_pairs(bools("xxxx"), bools("...."), np.array([7, 7, 8, 7]))
    assert test.failures == {7: 3, 8: 1}
    assert test.log_e == pytest.approx(float(log_mean_exp(bad)))
    arms = ShareTest(0.1)
    units = np.array([1, 2, 3, 4, 5, 6])
    arms.bet_on_arms(bools("xx..x."), bools("xx..x."), bools("..xx.."), bools("...x.."), units)
    assert (arms.failures, arms.open_units) == ({1: 1, 2: 1}, [])  # what both arms fail is nobody's
    arms.bet_on_arms(bools("x."), bools("x."), bools(".."), bools(".."), np.array([9, 0]))
    assert arms.open_units == [9]
    arms.bet_on_arms(bools("."), bools("."), bools("x"), bools("."), np.array([0]))
    assert (arms.failures, arms.open_units) == ({1: 1, 2: 1, 9: 1}, [])
    assert ShareTest.restored(0.1, arms.state()).state() == arms.state()


def test_units_that_failed_most_often_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_monitor.core.guardrails._UNITS_KEPT", 2)
    test = ShareTest(0.1)
    test.bet_on_pairs(bools("xxxxx"), bools("....."), np.array([1, 1, 2, 3, 3]))
    assert test.failures == {1: 2, 3: 2}


def test_each_unit_counts_with_its_first_request_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted_once, "UNITS_KEPT", 2)
    first = FirstOfBlock()
    asked = [("a", 1, "r1"), ("a", 1, "r2"), ("a", 2, "r3"), ("a", 1, "r4"), ("b", 2, "r5"), ("a", 1, "r6")]
    found = [first.take(*one) != PASSED_OVER for one in asked]
    assert found == [True, False, True, False, True, True]  # the first one was forgotten when b came
    again = FirstOfBlock.restored(first.state())
    assert again.state() == first.state()
    for kept in (first, again):
        assert [kept.taken(*one) for one in asked] == [PASSED_OVER] * 4 + [key_of("b"), key_of("a")]


def test_calls_and_distances_by_hand() -> None:
    latency = LatencyTest(3.0)
    latency.take([30.0, 31.0, 10.0, 0.0], [10.0, 10.0, 31.0, 0.0])
    assert (latency.shares.new.tolist(), latency.shares.control.tolist()) == ([4, 1], [4, 1])
    assert latency.log_ratio == pytest.approx(math.log(3.0) + math.log(3.1) - math.log(3.1))
    assert latency.measured == pytest.approx(3.0 ** (1 / 4))
    short = LatencyTest(3.0)
    short.take([4.9, 15.0, 15.1], [0.1, 5.0, 0.2])  # less than 5 ms counts as 5 ms
    assert (short.shares.new.tolist(), short.measured) == ([3, 1], pytest.approx((3.0 * 3.02) ** (1 / 3)))
    distance = DistanceTest(0.1, np.arange(1, 10) / 10, counts=np.zeros((2, 9)))
    distance.take([0.1, 0.55], [0.3, 0.35])
    assert distance.counts.astype(int).tolist() == [[1, 1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0, 0]]
    assert (distance.rows, distance.measured) == (2, 0.5)


def test_failures_of_a_unit_or_a_row_are_the_first_once_and_the_newest_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counted_once, "FAILURES_KEPT", 2)
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
    + [(kind("x"), UNASKED) for kind in (NotLoaded, Busy, NoTime, Shed, RowUnfit)]
    + [(BreakerOpen("b", openings), kind) for openings, kind in ((0, UNASKED), (1, UNASKED), (2, BAD), (9, BAD))],
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


def test_what_is_ranked_of_a_score() -> None:
    several = Score(1, "", None, (0.2, 0.8))
    assert [scores_to_rank(score) for score in (None, ONE, Score(1, "", -7.5), several, Score(1, "", None))] == [
        None,
        (0.1,),
        (-7.5,),
        (0.2, 0.8),
        None,
    ]
    pairs = [
        (Result(ONE, GOOD, 1.0), Result(TWO, GOOD, 2.0)),
        (Result(None, BAD, 1.0), Result(TWO, GOOD, 2.0)),
        (Result(ONE, GOOD, 1.0), Result(None, BAD, 2.0)),
        (Result(several, GOOD, 1.0), Result(TWO, GOOD, 2.0)),
    ]
    assert ranked_scores(pairs) == [((0.1,), (0.2,))]


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
