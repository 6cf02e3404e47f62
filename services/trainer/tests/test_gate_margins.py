"""Where the margin of a gate lies: a bound below it, or above it, by a hair decides."""

import numpy as np
import pytest

from headrace.events.definition import GateDefinition
from headrace.events.registry import GateResult
from headrace.stats.losses import Yardstick, yardstick_of
from headrace_trainer.core.gates import judge

DAY = 86_400.0
AT_S = np.arange(100) * DAY / 10
LABELS = np.array([0.0, 20.0] * 50)
# Squared errors are divided by the labels' variance, 100: an error of d costs d * d / 100 on every row alike.
NUMBERS: Yardstick = yardstick_of("number", np.array([0.0, 20.0]))


def judged(gate: str, margin: float, error: float, champion_error: float | None = None) -> GateResult:
    """A gate on rows that all cost the same, so that its interval is a point."""
    champion = None if champion_error is None else LABELS + champion_error
    found = judge(GateDefinition(gate, margin), "m", LABELS, AT_S, LABELS + error, champion, NUMBERS)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("margin", "verdict"), [(0.0, "FAIL"), (0.11, "FAIL"), (0.15, "FAIL"), (0.22, "PASS"), (0.3, "PASS")]
)
def test_worse_than_the_champion_by_0_21_passes_a_margin_above_that_and_none_below(margin: float, verdict: str) -> None:
    result = judged("not_worse_than_champion", margin, 5.0, 2.0)
    assert (result.verdict, result.measured, result.limit) == (verdict, pytest.approx(0.21), margin)


@pytest.mark.parametrize(
    ("margin", "verdict"), [(0.0, "PASS"), (0.38, "PASS"), (0.74, "PASS"), (0.76, "FAIL"), (0.9, "FAIL")]
)
def test_better_than_the_prior_by_0_75_passes_a_margin_below_that_and_none_above(margin: float, verdict: str) -> None:
    result = judged("beats_prior", margin, 5.0)
    assert (result.verdict, result.measured, result.limit) == (verdict, pytest.approx(0.75), margin)


def test_exactly_as_good_as_the_prior_does_not_beat_it_and_as_the_champion_is_not_worse() -> None:
    assert judged("beats_prior", 0.0, 10.0).verdict == "FAIL"
    assert judged("not_worse_than_champion", 0.0, 3.0, 3.0).verdict == "PASS"
