"""Whole evidence of rollouts by hand: what each test has found, and in which words."""

import math
from typing import Any

import numpy as np
import pytest

from headrace.events.definition import GuardrailDefinition
from headrace.events.verdicts import Evidence
from headrace.stats.sequential import BETS, log_e_of_counts
from headrace_monitor.core.guardrail_evidence import of_guardrail, of_split, of_unasked
from headrace_monitor.core.guardrails import LatencyTest, ShareTest, Streak
from headrace_monitor.core.score_tests import DistanceTest, RankTest


def share(
    new: tuple[int, int], control: tuple[int, int], log_e: float = 0.0, longest: int = 0, limit: float = 0.1
) -> ShareTest:
    return ShareTest(
        limit, np.full(len(BETS), log_e), np.array(new, float), np.array(control, float), streak=Streak(longest=longest)
    )


def errors(
    limit: float = 0.1, consecutive: int = 0, *, dry_run: bool = False, metric: str = "errors"
) -> GuardrailDefinition:
    return GuardrailDefinition(metric, limit, dry_run=dry_run, consecutive=consecutive)


def found(guardrail: GuardrailDefinition, test: Any, alpha: float = 0.01) -> tuple[str, float | None, str, int, str]:
    made = of_guardrail(guardrail, test, alpha)
    assert (made.metric, made.kind, made.limit, made.alpha) == (guardrail.metric, "guardrail", guardrail.limit, alpha)
    assert made.e_value == pytest.approx(math.exp(min(test.log_e, 700.0)))
    return made.verdict, made.measured, made.detail, made.rows, made.bound


SURE = -math.log(0.01)


def test_a_share_passes_within_its_limit_and_fails_by_its_test() -> None:
    inside = share((100, 15), (100, 5))
    assert found(errors(), inside) == ("PASS", pytest.approx(0.1), "15 of 100; control 5 of 100", 100, "")
    assert found(errors(0.09), inside)[0] == "INCONCLUSIVE"
    over = "its share is over 0.1 above its control's, 99 % sure"
    assert found(errors(), share((100, 5), (0, 0), SURE + 1e-9)) == (
        "FAIL",
        0.05,
        "5 of 100; control 0 of 0",
        100,
        over,
    )
    assert found(errors(), share((100, 5), (0, 0), SURE - 1e-9))[0] == "PASS"
    assert found(errors(), share((0, 0), (5, 1))) == ("UNMEASURED", None, "0 of 0; control 1 of 5", 0, "")
    assert found(errors(), share((100, 5), (0, 0), 800.0))[0] == "FAIL"
    assert found(errors(consecutive=3), share((0, 0), (0, 0), longest=3))[:2] == ("FAIL", None)


def test_failures_in_a_row_fail_it_by_count() -> None:
    row = share((100, 5), (100, 5), longest=3)
    why = "3 in a row failed beside a healthy control, 3 end it"
    assert found(errors(consecutive=3), row) == ("FAIL", 0.0, "5 of 100; control 5 of 100; 3 in a row", 100, why)
    assert [found(errors(consecutive=count), row)[0] for count in (0, 4)] == ["PASS", "PASS"]
    assert found(errors(consecutive=2), row)[4] == "3 in a row failed beside a healthy control, 2 end it"


def test_a_dry_run_fails_nothing_and_says_so() -> None:
    dry = found(errors(dry_run=True), share((100, 5), (0, 0), SURE + 1))
    assert (dry[0], dry[2]) == ("INCONCLUSIVE", "5 of 100; control 0 of 0; dry run: would be FAIL")
    assert found(errors(dry_run=True), share((100, 5), (0, 0)))[0] == "PASS"


def test_latency_and_distribution_say_what_was_measured() -> None:
    latency = LatencyTest(2.0)
    latency.take([40.0, 20.0, 10.0], [10.0, 10.0, 40.0])
    detail = "1.26 times its control's in the geometric mean, over 3 calls; over 2 times as long in 1 of them, its control in 1"
    assert found(errors(2.0, metric="latency"), latency)[:4] == ("PASS", pytest.approx(2 ** (1 / 3)), detail, 3)
    none = "over 0 calls; over 2 times as long in 0 of them, its control in 0"
    assert found(errors(2.0, metric="latency"), LatencyTest(2.0)) == ("UNMEASURED", None, none, 0, "")
    slow = LatencyTest(2.0, share((100, 90), (100, 0), SURE + 1))
    bound = "it takes over 2 times as long as its control in over 10% of calls, less those the other way, 99 % sure"
    assert found(errors(2.0, metric="latency"), slow)[4] == bound
    apart = DistanceTest(0.2)
    apart.take([0.05] * 150, [0.95] * 150)
    far = "its scores' distribution lies over 0.2 from its control's, 99 % sure"
    assert found(errors(0.2, metric="distribution"), apart) == (
        "FAIL",
        1.0,
        "over 100 requests scored by both, after 50 from which the control's deciles were learned",
        100,
        far,
    )


def test_a_rank_correlation_passes_from_its_limit_on() -> None:
    rails, order = errors(0.2, metric="rank_correlation"), np.arange(10.0)
    same, turned = RankTest(0.2), RankTest(0.2)
    same.take([((value,), (value,)) for value in order])
    detail = "mean of 1 groups of 10 requests scored by both"
    assert found(rails, same) == ("PASS", 1.0, detail, 10, "")
    assert found(rails, RankTest(0.2)) == ("UNMEASURED", None, detail.replace("1 groups", "0 groups"), 0, "")
    turned.take([((-value,), (value,)) for value in order])
    assert found(rails, turned)[:2] == ("INCONCLUSIVE", pytest.approx(-1.0))
    turned.take([((-value,), (value,)) for value in [*order] * 9])
    bound = "its scores' rank correlation with its control's is below 0.2, 99 % sure"
    assert found(rails, turned)[0::4] == ("FAIL", bound)


def test_a_control_without_any_order_keeps_no_version_waiting() -> None:
    flat = RankTest(0.2)
    flat.take([((value,), (0.3,)) for value in np.arange(20.0)])
    detail = "mean of 0 groups of 10 requests scored by both; in 2 more its control scores all alike"
    assert found(errors(0.2, metric="rank_correlation"), flat) == ("PASS", None, detail, 0, "")


def test_a_split_that_the_route_does_not_explain_holds_the_share() -> None:
    equal = Evidence(
        "sample_ratio",
        "guardrail",
        "PASS",
        0.5,
        0.5,
        "50 of 100 units",
        100,
        e_value=math.exp(log_e_of_counts(50, 50, 0.5)),
        alpha=0.001,
    )
    assert of_split((50, 50), 0.5) == equal
    broken = of_split((90, 10), 0.5)
    assert broken is not None
    assert (broken.verdict, broken.measured, broken.detail) == (
        "INCONCLUSIVE",
        0.9,
        "90 of 100 units are not what the route says",
    )
    assert [of_split(*given) for given in (((50, 50), 0.0), ((50, 50), 1.0), ((0, 0), 0.5))] == [None] * 3
    assert of_split((1, 0), 0.5) is not None


@pytest.mark.parametrize(
    ("counts", "limit", "verdict", "measured", "used"),
    [
        ((2, 20, 0, 100), None, "INCONCLUSIVE", 0.1, 0.05),
        ((2, 19, 0, 100), None, "PASS", 2 / 19, 0.05),
        ((1, 20, 0, 100), None, "PASS", 0.05, 0.05),
        ((2, 20, 5, 100), None, "PASS", 0.05, 0.05),
        ((2, 20, 0, 0), 0.1, "PASS", 0.1, 0.1),
        ((3, 20, 0, 0), 0.1, "INCONCLUSIVE", 0.15, 0.1),
    ],
)
def test_a_version_that_is_left_unasked_more_often_than_its_control_holds_the_share(
    counts: Any, limit: float | None, verdict: str, measured: float, used: float
) -> None:
    detail = f"{counts[0]} of {counts[1]} not asked, by no fault of its own; control {counts[2]} of {counts[3]}"
    assert of_unasked(counts, limit) == Evidence(
        "not_asked", "guardrail", verdict, pytest.approx(measured), used, detail, counts[1]
    )
    assert of_unasked((0, *counts[1:]), limit) is None
