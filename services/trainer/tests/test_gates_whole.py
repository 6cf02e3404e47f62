"""Whole results of gates."""

import math
from typing import Any

import numpy as np
import pytest

from headrace.events.definition import GateDefinition
from headrace.events.monitor import SkewSeen
from headrace.events.registry import (
    GateResult,
    Waiver,
)
from headrace.stats.losses import Yardstick, yardstick_of
from headrace_trainer.core.gates import (
    PARITY_ROWS,
    blocking,
    fair_rows,
    gates_of,
    judge,
    judge_onnx,
    judge_parity,
    undecided,
    used,
)
from headrace_trainer.core.intervals import Estimate, estimate
from headrace_trainer.core.target import Target

DAY = 86_400.0
AT_S = np.arange(100) * DAY / 10
LABELS = np.array([0.0, 20.0] * 50)
NUMBERS: Yardstick = yardstick_of("number", np.array([0.0, 20.0]))
PRIOR, CHAMPION = "beats_prior", "not_worse_than_champion"
BLOCKS = "(100 rows, error 0.0000 by 10 blocks of a day; between {0} and {0})"


def judged(
    gate: GateDefinition, error: Any, champion: Any = None, rows: int = 100, at_s: Any = AT_S
) -> GateResult | None:
    scores, beside = LABELS + error, None if champion is None else LABELS + champion
    return judge(
        gate, "m", LABELS[:rows], at_s[:rows], scores[:rows], beside if beside is None else beside[:rows], NUMBERS
    )


def test_a_gate_says_what_was_measured_how_and_on_how_many_rows() -> None:
    squares = "squared error in label variances"
    assert judged(GateDefinition(PRIOR, 0.1), 5.0) == GateResult(
        PRIOR, "PASS", pytest.approx(0.75), 0.1, "m", f"{squares} 0.2500, the prior's 1.0000 {BLOCKS.format('+0.7500')}"
    )
    assert judged(GateDefinition(CHAMPION, 0.1), 5.0, 4.0) == GateResult(
        CHAMPION,
        "PASS",
        pytest.approx(0.09),
        0.1,
        "m",
        f"{squares} minus the champion's: +0.0900 {BLOCKS.format('+0.0900')}",
    )
    assert judged(GateDefinition(CHAMPION, 0.1), 5.0) is None
    assert judged(GateDefinition("another", 0.1), 5.0) == GateResult(
        "another", "FAIL", None, None, "m", "no gate is called 'another'"
    )


def test_too_few_rows_are_not_measured() -> None:
    few = "squared error in label variances 0.2500, the prior's 1.0000 on 29 rows: too few to say how sure that is, 30 are wanted"
    assert judged(GateDefinition(PRIOR, 0.1), 5.0, None, 29, np.zeros(100)) == GateResult(
        PRIOR, "UNMEASURED", 0.75, 0.1, "m", few
    )
    unknown = np.where(np.arange(100) < 71, math.nan, 0.0)
    fair = "29 labelled rows are newer than what the champion was trained on, 30 are wanted"
    assert judged(GateDefinition(CHAMPION, 0.1), 5.0, unknown) == GateResult(
        CHAMPION, "UNMEASURED", None, 0.1, "m", fair
    )
    at_thirty = judged(
        GateDefinition(CHAMPION, 0.3), 5.0, np.where(np.arange(100) < 70, math.nan, 0.0), at_s=np.zeros(100)
    )
    assert at_thirty is not None
    assert (at_thirty.verdict, at_thirty.measured) == ("PASS", 0.25)


def test_what_the_interval_leaves_open_says_what_would_decide() -> None:
    error = np.repeat([4.0, 6.0], 10).tolist() * 5
    found = judged(GateDefinition(PRIOR, 0.74), np.array(error))
    assert found is not None
    assert (found.verdict, found.measured) == ("INCONCLUSIVE", pytest.approx(0.74))
    assert found.detail.endswith("; no number of rows at hand would decide")
    about = judged(GateDefinition(PRIOR, 0.72), np.array(error))
    assert about is not None
    interval = estimate(NUMBERS.prior_losses(LABELS) - NUMBERS.losses(LABELS + np.array(error), LABELS), AT_S)
    assert about.detail.endswith(f"; about {interval.rows_to_decide(0.72):,} rows would decide")


def test_after_a_change_a_champion_no_better_than_the_prior_asks_for_the_prior_too() -> None:
    gates = (GateDefinition(CHAMPION, 0.01),)
    lost = LABELS + 11.0
    assert gates_of(gates, 1.0, LABELS, lost, NUMBERS) == [*gates, GateDefinition(PRIOR)]
    both = (*gates, GateDefinition(PRIOR, 0.5))
    assert gates_of(both, 1.0, LABELS, lost, NUMBERS) == list(both)
    for changed, champion in (
        (None, lost),
        (1.0, None),
        (1.0, np.full(100, math.nan)),
        (1.0, LABELS + 10.0),
        (1.0, np.where(np.arange(100) < 99, math.nan, LABELS)),
    ):
        assert gates_of(gates, changed, LABELS, champion, NUMBERS) == list(gates)
    assert fair_rows(np.array([[0.5, math.nan], [0.5, 0.5]])).tolist() == [False, True]


def test_the_parity_of_served_rows_names_the_worst_feature() -> None:
    skew = SkewSeen("carrier.mean", 0.125, "another unit")
    assert judge_parity(1_234, None, 1.0, skew) is judge_parity(1_234, 1.0, None, skew) is None
    fine = "1,234 served rows, 99.50% equal to all that was available at their instants"
    assert judge_parity(1_234, 1.0, 0.995, skew) == GateResult("parity_with_serving", "PASS", 1.0, 1.0, "", fine)
    assert judge_parity(1_234, 0.9, 0.995, None) == GateResult("parity_with_serving", "FAIL", 0.9, 1.0, "", fine)
    worst = "carrier.mean differs in 12.5% of 1,234 rows: another unit"
    assert judge_parity(1_234, 0.9, 0.995, skew) == GateResult("parity_with_serving", "FAIL", 0.9, 1.0, "", worst)


BINARY = Target("binary")


def onnx(rows: int, apart: list[float], *, of: float = 0.3, different: str | None = None) -> GateResult:
    scores = np.full(rows, of)
    return judge_onnx("m", BINARY, scores, scores + np.array(apart + [0.0] * (rows - len(apart))), different)


def test_a_converted_model_serves_where_its_scores_are_the_same() -> None:
    assert onnx(PARITY_ROWS - 1, []) == GateResult(
        "onnx_parity", "UNMEASURED", None, 0.999, "m", "only 999 rows to replay; skops serves"
    )
    same = "100.0000% of 1000 rows within 0.0001 (largest 5e-05), 0 labels flipped"
    assert onnx(1_000, [5e-5]) == GateResult("onnx_parity", "PASS", 1.0, 0.999, "m", f"{same}; ONNX serves")
    one = onnx(1_000, [0.001])
    assert (one.verdict, one.measured, one.detail) == (
        "PASS",
        0.999,
        "99.9000% of 1000 rows within 0.0001 (largest 0.001), 0 labels flipped; ONNX serves",
    )
    assert (onnx(1_000, [0.001] * 2).verdict, onnx(1_000, [5e-5], of=0.49999).verdict) == (
        "INCONCLUSIVE",
        "INCONCLUSIVE",
    )
    golden = onnx(1_000, [5e-5], different="golden row 3 scores 0.1")
    assert (golden.verdict, golden.detail) == ("INCONCLUSIVE", f"{same}; golden row 3 scores 0.1; skops serves")
    assert judge_onnx("m", BINARY, np.empty(0), np.empty(0)).verdict == "UNMEASURED"


def result(gate: str, verdict: str) -> GateResult:
    return GateResult(gate, verdict, 0.1, 0.0, "m", "why")


def test_which_results_block_and_which_keep_a_version_from_traffic() -> None:
    passed, failed, unmeasured, open_ = (
        result("a", "PASS"),
        result(PRIOR, "FAIL"),
        result("b", "UNMEASURED"),
        result(CHAMPION, "INCONCLUSIVE"),
    )
    every = [passed, failed, unmeasured, open_, result("c", "INCONCLUSIVE")]
    assert blocking(every) == [failed, unmeasured, every[-1]]
    assert blocking(
        every, [Waiver(PRIOR, "ann", "r")], [GateDefinition("b", 0.0, "passes"), GateDefinition("c", 0.0, "passes")]
    ) == [every[-1]]
    assert blocking([failed], (), [GateDefinition(PRIOR, 0.0, "passes")]) == [failed]
    assert [undecided(every, (), policy) for policy in ("canary", "ab_test", "shadow", "blue_green")] == [
        None,
        None,
        None,
        open_,
    ]
    assert undecided([failed, result(CHAMPION, "FAIL")], (), "blue_green") is None
    assert undecided(every, [Waiver(CHAMPION, "ann", "r")], "blue_green") is None
    waivers = tuple(Waiver(gate, "ann", "r") for gate in ("a", PRIOR, CHAMPION, "onnx_parity"))
    assert used([*every, result("onnx_parity", "INCONCLUSIVE")], waivers) == waivers[1:3]


@pytest.mark.parametrize(
    ("width_s", "name"),
    [(DAY, "blocks of a day"), (6 * 3_600.0, "blocks of 6 h"), (3_600.0, "blocks of an hour"), (0.0, "rows")],
)
def test_an_estimate_is_described_in_words(width_s: float, name: str) -> None:
    assert Estimate(1.0, 0.25, 1_234, 7, width_s).described == f"1,234 rows, error 0.2500 by 7 {name}"
