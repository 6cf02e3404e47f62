"""Figures of evaluation windows, calculated by hand for each kind of label."""

import math

import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import decision
from services.monitor.tests.windows_scene import BINARY, figured, qualities, rows

from headrace.events.definition import LabelDefinition
from headrace.events.inference import FellBack, Score, Served
from headrace.events.monitor import VersionQuality
from headrace_monitor.core.late_scores import SHADOW_DTYPE
from headrace_monitor.core.quality import Figures, error_of, log_losses, quality, skew_of
from headrace_monitor.core.windows import ROW_DTYPE, Rows


def entropy(p: float) -> float:
    return -(p * math.log(p) + (1 - p) * math.log(1 - p))


def test_the_quality_of_a_version_by_hand() -> None:
    scores, labels = np.array([0.2, 0.8, 0.6]), np.array([0.0, 1.0, 0.0])
    row_losses = np.array([-math.log(0.8), -math.log(0.8), -math.log(0.4)])
    excess = row_losses - np.array([entropy(p) for p in scores])
    over = row_losses - np.array([-math.log(0.7), -math.log(0.3), -math.log(0.7)])
    found = quality(4, "shadow", scores, labels, 0.3)
    assert found == VersionQuality(
        4, "shadow", 3, pytest.approx(row_losses.mean()), pytest.approx(np.mean([entropy(p) for p in scores])), 1.0, pytest.approx(8 / 15),
        loss_error=pytest.approx(row_losses.std(ddof=1) / math.sqrt(3)), excess_error=pytest.approx(excess.std(ddof=1) / math.sqrt(3)),
        loss_skew=pytest.approx((((row_losses - row_losses.mean()) / row_losses.std()) ** 3).mean() / math.sqrt(3)), over_prior=pytest.approx(over.mean()),
        over_prior_error=pytest.approx(over.std(ddof=1) / math.sqrt(3)), score=pytest.approx((0.04 + 0.04 + 0.36) / 3),
    )  # fmt: skip
    plain = quality(4, "shadow", scores[:1], labels[:1])
    assert (plain.auc, plain.over_prior, plain.over_prior_error, plain.loss_error) == (None, None, 0.0, 0.0)
    assert quality(4, "shadow", np.array([0.5]), np.array([1.0])).auc is None
    assert log_losses(np.array([0.0, 1.0]), np.array([1.0, 1.0])) == pytest.approx([-math.log(1e-15), 0.0], abs=1e-9)
    assert (error_of(np.array([1.0])), skew_of(np.array([1.0, 1.0]))) == (0.0, 0.0)


def test_figures_of_two_classes_say_who_did_how_well_or_why_nothing_is_known() -> None:
    found = figured(BINARY, rows([0.2, 0.8], [0.0, 1.0]), (), 0.3)
    assert (found.positive_share, found.unmeasured, found.class_shares, found.mean_label) == (0.5, "", None, None)
    assert found.qualities == qualities(rows([0.2, 0.8], [0.0, 1.0]), 0.3)
    assert [one.over_prior is None for one in figured(BINARY, rows([0.2], [0.0]), (), (0.2, 0.8)).qualities] == [True]
    assert figured(None, rows([0.2], [0.0]), ()) == Figures(unmeasured="no label is declared")
    assert figured(BINARY, rows([0.2], [math.nan]), ()) == Figures(unmeasured="no label has come")
    assert figured(BINARY, Rows(np.empty(0, ROW_DTYPE), np.empty(0), np.empty(0, SHADOW_DTYPE)), ()) == Figures(
        unmeasured="nothing was asked"
    )
    lost = figured(BINARY, rows([math.nan], [1.0]), ())
    assert lost == Figures((), 1.0, unmeasured="no labelled request has a score of the label's kind")


def test_figures_of_numbers_are_in_quarters_of_the_declared_range() -> None:
    label = LabelDefinition("y", "number", 60.0, low=0.0, high=8.0)
    (found,) = figured(label, rows([1.0, 5.0], [3.0, 4.0]), (), 3.0).qualities
    over = np.array([1.0, 0.25]) - np.array([0.0, 0.25])
    assert found == VersionQuality(
        1, "champion", 2, None, None, None, 3.0, rmse=pytest.approx(math.sqrt(2.5)), mae=1.5, squared_error=pytest.approx(0.625),
        loss_error=pytest.approx(np.std([1.0, 0.25], ddof=1) / math.sqrt(2)), excess_error=pytest.approx(np.std([1.0, 0.25], ddof=1) / math.sqrt(2)),
        loss_skew=0.0, over_prior=pytest.approx(over.mean()), over_prior_error=pytest.approx(over.std(ddof=1) / math.sqrt(2)),
        score=pytest.approx(1.5 / 8),
    )  # fmt: skip
    assert figured(label, rows([1.0, 5.0], [3.0, 4.0]), ()).mean_label == 3.5
    (bare,) = figured(replace(label, high=None), rows([1.0, 5.0], [3.0, 4.0]), (), 3.0).qualities
    assert (bare.squared_error, bare.over_prior, bare.loss_error, bare.mae) == (None, None, 0.0, 1.5)


def test_figures_of_several_classes_come_from_the_decisions_that_are_read_again() -> None:
    label = LabelDefinition("y", "classes", 60.0, classes=("a", "b", "c"))
    table = rows([math.nan] * 4, [0.0, 1.0, math.nan, 2.0])
    good, short = Score(1, "", None, (0.7, 0.2, 0.1)), Score(1, "", None, (0.5, 0.5))
    sample = [
        replace(decision("u0", 0.0), answer=Served(good), shadows=(Score(2, "", None, (0.1, 0.1, 0.8)),)),
        replace(decision("u1", 1.0), answer=FellBack("odd", "r", good)),
        replace(decision("u2", 2.0), answer=Served(good)),
        replace(decision("u3", 3.0), answer=Served(short)),
        replace(decision("never", 3.0), answer=Served(good)),
    ]
    found = figured(label, table, sample, (0.5, 0.25, 0.25))
    assert found.class_shares == {"a": pytest.approx(1 / 3), "b": pytest.approx(1 / 3), "c": pytest.approx(1 / 3)}
    assert [(one.version, one.role, one.rows, one.accuracy) for one in found.qualities] == [
        (1, "champion", 1, 1.0),
        (1, "fallback", 1, 0.0),
        (2, "shadow", 1, 0.0),
    ]
    champion = found.qualities[0]
    assert champion.log_loss == pytest.approx(-math.log(0.7))
    assert champion.expected_log_loss == pytest.approx(-sum(p * math.log(p) for p in (0.7, 0.2, 0.1)))
    assert champion.over_prior == pytest.approx(-math.log(0.7) + math.log(0.5))
    assert figured(label, table, sample, 0.5).qualities[0].over_prior is None
    unnamed = figured(replace(label, classes=()), table, [sample[3], sample[0]])
    assert [(one.version, one.rows) for one in unnamed.qualities] == [(1, 1), (2, 1)]
    assert unnamed.class_shares == {"0": pytest.approx(1 / 3), "1": pytest.approx(1 / 3), "2": pytest.approx(1 / 3)}
