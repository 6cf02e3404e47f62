"""Whole results of a fit: the twin and the version, slices of the held-out rows, and until when windows have closed."""

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from services.trainer.tests.test_gates_whole import CHAMPION, DAY, PRIOR
from services.trainer.tests.test_training_set import DEPLOYMENT

from headrace.events.definition import GateDefinition
from headrace.events.registry import (
    ColumnPin,
    Signature,
)
from headrace_trainer.core.closed_windows import closed_until
from headrace_trainer.core.fitting import fit_gated, refit
from headrace_trainer.core.profiles import slices_of
from headrace_trainer.core.splits import Span
from headrace_trainer.core.target import Target


class Mean:
    """Scores each row with what it was fitted on: the mean label, more by the row's own value."""

    def fit(self, matrix: Any, labels: Any) -> "Mean":
        self.mean_, self.rows_ = float(labels.mean()), len(labels)
        return self

    def predict(self, matrix: Any) -> Any:
        return self.mean_ + matrix[:, 0].astype(np.float64)


NUMBER = Target("number")
SPAN = Span(0.0, 6.0, 7.0, 10.0)
TIMES = np.arange(12.0)
VALUES = np.arange(12.0)
MATRIX = np.zeros((12, 1), np.float32)
GATED_BY = replace(DEPLOYMENT, gates=(GateDefinition(PRIOR, 0.0), GateDefinition(CHAMPION, 0.0)))


def test_the_twin_is_fitted_on_the_older_rows_and_the_version_on_all_of_the_span() -> None:
    gated = fit_gated(GATED_BY, NUMBER, SPAN, Mean, MATRIX, VALUES, TIMES, None)
    assert (gated.twin.mean_, gated.twin.rows_, gated.scores.tolist(), gated.span, gated.changed_at_s) == (
        2.5,
        6,
        [2.5] * 3,
        SPAN,
        None,
    )
    assert [found.gate for found in gated.results] == [PRIOR]
    errors = [4.5, 5.5, 6.5]
    assert {name: round(value, 6) for name, value in gated.metrics.items()} == {
        "holdout_rmse": round(math.sqrt(sum(e * e for e in errors) / 3), 6),
        "holdout_mae": 5.5,
        "holdout_r2": round(1 - sum(e * e for e in errors) / 2, 6),
        "holdout_rows": 3.0,
        "fit_rows": 6.0,
    }
    fitted = refit(NUMBER, Mean, MATRIX, VALUES, TIMES, gated)
    assert (fitted.model.mean_, fitted.rows) == (4.5, 10)
    assert fitted.metrics == gated.metrics | {"refit_mean_difference": 2.0, "refit_max_difference": 2.0}


def test_a_champion_is_compared_on_the_rows_of_the_holdout_alone() -> None:
    champion = VALUES.copy()
    gated = fit_gated(GATED_BY, NUMBER, SPAN, Mean, MATRIX, VALUES, TIMES, champion)
    assert [(found.gate, found.verdict) for found in gated.results] == [(PRIOR, "UNMEASURED"), (CHAMPION, "UNMEASURED")]


def test_after_a_change_the_prior_is_that_of_the_rows_beyond_it() -> None:
    at_s = np.arange(400.0)
    labels = np.where(at_s < 200, 0.0, 10.0) + np.arange(400) % 2
    gated = fit_gated(
        replace(GATED_BY, gates=(GateDefinition(PRIOR, 0.0),)), NUMBER, Span(0.0, 350.0, 360.0, 400.0, 200.0), Mean,
        np.zeros((400, 1), np.float32), labels, at_s, None,
    )  # fmt: skip
    (found,) = gated.results
    assert (gated.span.from_s, gated.changed_at_s) == (200.0, 200.0)
    assert "the prior's 1.0000" in found.detail
    assert {"loss_with_older_rows", "loss_without_older_rows", "loss_with_newer_half"} <= gated.metrics.keys()


def test_slices_are_of_the_first_three_categories_and_their_eight_most_frequent_values() -> None:
    signature = Signature(tuple(ColumnPin(name, ("v",)) for name in "abcd"), "s")
    inputs: list[dict[str, Any]] = [
        {"a": f"v{n // 100}", "b": None if n < 100 else "w", "c": n % 9, "d": "v"} for n in range(1_000)
    ]
    found = slices_of(signature, NUMBER, inputs, np.full(1_000, 0.5), np.arange(1_000.0))
    assert [name for name in found if name[0] == "a"] == [f"a=v{n}" for n in range(8)]
    assert [name for name in found if name[0] == "b"] == ["b=w", "b=None"]
    assert [name for name in found if name[0] in "cd"] == [f"c={n}" for n in range(8)]
    assert {name: found["a=v0"][name] for name in ("rows", "mean_label", "mean_score")} == {
        "rows": 100.0,
        "mean_label": 49.5,
        "mean_score": 0.5,
    }
    assert "positive_share" not in found["a=v0"]


def test_a_window_has_closed_with_enough_labels_and_the_ones_after_it_wait() -> None:
    at_s = np.repeat(np.arange(100, 110) * DAY, 10)
    labels = np.zeros(100)
    clock_s = 110 * DAY
    assert closed_until(DEPLOYMENT, at_s, labels, clock_s) == 110 * DAY
    assert closed_until(DEPLOYMENT, at_s, labels, clock_s + 1.0) == 110 * DAY
    assert closed_until(DEPLOYMENT, at_s, np.where(at_s == 109 * DAY, math.nan, 0.0), clock_s) == 109 * DAY
    week = replace(DEPLOYMENT, label=replace(DEPLOYMENT.label, horizon_s=7 * DAY))
    assert closed_until(week, at_s, np.where(at_s == 105 * DAY, math.nan, 0.0), clock_s) == 105 * DAY
    assert closed_until(week, at_s, np.where(at_s == 102 * DAY, math.nan, 0.0), clock_s) == 110 * DAY
    gap = at_s != 106 * DAY
    assert closed_until(week, at_s[gap], labels[gap], clock_s) == 110 * DAY
    early = at_s < 105 * DAY
    assert closed_until(week, at_s[early], labels[early], clock_s) == 110 * DAY
    with pytest.raises(ValueError, match="deployment d declares no label"):
        closed_until(replace(DEPLOYMENT, label=None), at_s, labels, clock_s)
