"""Which harm the labels of a deployment would find, and in how long, drawn from its own record."""

import math

import numpy as np
import pytest

from headrace.stats.planning import (
    AUC,
    LEVEL,
    Harm,
    Judging,
    Outlook,
    Record,
    judged,
    labels_to_broken,
    labels_to_fail,
    labels_to_pass,
    margin_of,
    outlooks,
)
from headrace.stats.scores import constant_score
from headrace.stats.trials import draw_cycles

JUDGING = Judging(cycle_s=4.0, block_s=1.0, limit=0.4, margin=0.01, min_cycles=5, alpha=0.025, cycles=20)


def record(cycles: int = 20, a_block: int = 50, skill: float = 1.5) -> Record:
    """A calibrated champion. `skill`: the spread of its log-odds."""
    dice = np.random.default_rng(1)
    count = cycles * 4 * a_block
    inner = dice.normal(-0.5, skill, count)
    scores = 1 / (1 + np.exp(-inner))
    return Record("binary", np.arange(count) / a_block, (dice.random(count) < scores).astype(float), scores, cycles)


def outlook(measure: str, size: float, found: Record, judging: Judging = JUDGING) -> Outlook:
    return outlooks(found, judging, [Harm(measure, size)], runs=50)[0]


@pytest.mark.parametrize(("measure", "sizes"), [(LEVEL, (0.02, 0.05)), (AUC, (0.1, 0.2))])
def test_a_greater_harm_is_found_with_fewer_labels(measure: str, sizes: tuple[float, float]) -> None:
    small, great = (outlook(measure, size, record()) for size in sizes)
    assert great.share == 1.0
    assert great.labels < small.labels or great.cycles < small.cycles
    assert great.labels <= 4 * 50 * 20


def test_a_harm_within_the_margin_is_found_never_because_it_counts_as_no_worse() -> None:
    found = outlook(LEVEL, 0.01, record())
    assert (found.share, found.cycles, found.labels) == (0.0, math.inf, math.inf)
    assert found.why_not == "it is within the margin 0.01: it counts as no worse"


def test_no_more_auc_can_be_lost_than_there_is() -> None:
    assert "the champion's whole AUC is 0.5" in outlook(AUC, 0.1, record(skill=0.1)).why_not


def test_a_score_without_a_bound_has_no_level_and_is_judged_by_its_ranking_alone() -> None:
    unbounded = Judging(4.0, 1.0, 0.4, math.inf, 5, 0.05, 20)
    assert "has no bound" in outlook(LEVEL, 0.02, record(), unbounded).why_not
    found = record()
    table = found.table(1 - found.control, unbounded)
    trials = judged(table, np.arange(20)[None, :], unbounded)
    assert np.isinf([*trials.passed, *trials.level_failed, *trials.gross_failed]).all()
    assert trials.is_failed().all()


def test_a_ranking_by_chance_is_found_with_fewer_labels_than_there_are_in_a_cycle_or_two() -> None:
    assert 100 <= labels_to_broken(record(), JUDGING, runs=50) <= 2 * 4 * 50
    assert math.isinf(labels_to_broken(record(skill=0.05, a_block=2), JUDGING, runs=20))


def test_the_same_record_always_gives_the_same_answer() -> None:
    assert outlook(LEVEL, 0.05, record()) == outlook(LEVEL, 0.05, record())


def test_labels_to_a_decision_are_those_of_the_run_up_to_it() -> None:
    found = record()
    drawn = draw_cycles(np.random.default_rng(0), 10, 20, 20)
    broken, twin = (found.table(scores, JUDGING) for scores in (1 - found.control, found.control))
    failed = judged(broken, drawn, JUDGING)
    assert labels_to_fail(broken, drawn, failed).tolist() == (failed.failed * 200).tolist()
    assert np.isinf(labels_to_pass(broken, drawn, failed)).all()
    passed = judged(twin, drawn, JUDGING)
    assert labels_to_pass(twin, drawn, passed).tolist() == (passed.passed * 200).tolist()
    assert np.isinf(labels_to_fail(twin, drawn, passed)).all()


def test_the_default_margin_is_a_tenth_of_what_the_champion_gains_over_a_constant() -> None:
    weak = record(skill=0.5)
    rate = weak.labels.mean()
    gain = constant_score("binary", [1 - rate, rate]) - float(((weak.control - weak.labels) ** 2).mean())
    assert 0 < gain < 0.1
    assert margin_of(weak, None) == pytest.approx(gain / 10)
    assert margin_of(record(skill=3.0), None) == 0.01
    assert margin_of(weak, 0.02) == 0.02


def test_the_margin_of_numbers_is_by_their_absolute_error() -> None:
    labels = np.linspace(0, 1, 400)
    found = Record("number", np.arange(400) / 10, labels, np.clip(labels + 0.2, 0, 1), 10)
    assert margin_of(found, None) == pytest.approx((0.25 - 0.18) / 10, abs=0.002)
