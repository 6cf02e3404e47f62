"""Where a change lies, on losses that make every number plain; and what scores are compared with, per kind of label."""

import math
from typing import Any

import numpy as np
import pytest

from headrace.events.definition import LabelDefinition
from headrace.events.inference import Score
from headrace.testing.registry import version_of
from headrace_trainer.core.change_point import LEAST_LOSSES, Change, history_of, locate
from headrace_trainer.core.splits import Span
from headrace_trainer.core.target import Target, target_of

TIMES = np.arange(200.0)


def stepped(*steps: tuple[float, float]) -> Any:
    """Losses that are 0 and then, from each instant on, another value."""
    found = np.zeros(200)
    for from_s, value in steps:
        found[from_s <= TIMES] = value
    return found


def test_the_step_is_the_change_unless_the_loss_had_risen_before_it() -> None:
    assert locate(100.0, 50.0, TIMES, stepped((120, 1.0))) == Change(120.0, 120.0)
    assert locate(100.0, 50.0, TIMES, stepped((100, 0.5), (120, 1.0))) == Change(100.0, 120.0)
    assert locate(100.0, 50.0, TIMES, stepped((100, 0.25), (120, 1.0))) == Change(120.0, 120.0)
    assert locate(100.0, 50.0, TIMES, stepped((100, 0.26), (120, 1.0))) == Change(100.0, 120.0)
    assert locate(100.0, 50.0, TIMES, stepped((80, 1.0))) == Change(80.0, 80.0)
    assert locate(100.0, 50.0, TIMES, stepped()) == Change(100.0, 100.0)


def test_the_search_begins_one_window_before_the_finding_and_needs_so_many_losses() -> None:
    losses = np.where(TIMES < 100.0, stepped((80, 1.0)), math.nan)
    assert locate(100.0, LEAST_LOSSES, TIMES, losses) == Change(80.0, 80.0)
    assert locate(100.0, LEAST_LOSSES - 1.0, TIMES, losses) == Change(100.0, 100.0)
    assert locate(100.0, 1_000.0, TIMES, np.where(TIMES < 50.0, losses, math.nan)) == Change(100.0, 100.0)


def test_a_step_down_is_no_change() -> None:
    assert locate(100.0, 50.0, TIMES, 1.0 - stepped((120, 1.0))) == Change(100.0, 100.0)


def test_a_loss_that_goes_on_rising_completes_the_change_at_its_next_step() -> None:
    times, losses = np.arange(400.0), np.concatenate([np.zeros(150), np.full(150, 3.0), np.full(100, 5.0)])
    assert locate(140.0, 100.0, times, losses) == Change(150.0, 300.0)
    little = np.concatenate([np.zeros(150), np.full(150, 3.0), np.full(100, 3.3)])
    assert locate(140.0, 100.0, times, little) == Change(150.0, 150.0)


def test_one_huge_loss_is_cut() -> None:
    losses = stepped((120, 1.0))
    losses[60] = 1e6
    assert locate(100.0, 50.0, TIMES, losses) == Change(120.0, 120.0)


def history(labels: Any, of: dict[str, float], **changes: Any) -> tuple[float, dict[str, float]]:
    """On 400 rows, one a second, of which the last 100 are the holdout and those from 100 on new."""
    span = Span(
        changes.get("from_s", 20.0), 300.0, 300.0, 400.0, changes.get("changed_at_s", 100.0), changes.get("begun_s")
    )
    at_s = np.arange(400.0)

    def losses_of(fits: Any, judges: Any) -> Any:
        assert np.flatnonzero(judges).tolist() == list(range(changes.get("judged", 233), 300))
        first = str(np.flatnonzero(fits)[0])
        return np.linspace(-0.1, 0.1, int(judges.sum())) + of[first]

    return history_of(span, at_s, labels, losses_of)


MIXED = np.arange(400) % 2.0


def test_the_candidates_are_fitted_on_what_they_say() -> None:
    of = {"20": 0.5, "60": 0.4, "100": 0.3, "166": 0.2}
    figures = {
        "loss_with_older_rows": 0.5,
        "loss_since_it_began": 0.4,
        "loss_without_older_rows": 0.3,
        "loss_with_newer_half": 0.2,
    }
    from_s, found = history(MIXED, of, begun_s=60.0)
    assert (from_s, {name: round(value, 6) for name, value in found.items()}) == (166.0, figures)
    assert history(MIXED, of | {"60": 0.1}, begun_s=60.0)[0] == 60.0
    assert history(MIXED, of | {"100": 0.1})[0] == 100.0
    assert history(MIXED, of | {"20": 0.1})[0] == 20.0
    assert history(MIXED, {"20": 0.1, "100": 0.3, "166": 0.2}, begun_s=7.0)[0] == 20.0


@pytest.mark.parametrize(
    "changes", [{"changed_at_s": None}, {"changed_at_s": 20.0}, {"changed_at_s": 201.0}, {"from_s": 100.0}]
)
def test_without_a_change_or_with_few_rows_on_either_side_all_rows_stay(changes: dict[str, Any]) -> None:
    assert history(MIXED, {}, **changes) == (changes.get("from_s", 20.0), {})


def test_a_hundred_new_rows_are_enough() -> None:
    of = {"20": 0.5, "200": 0.3, "233": 0.4}
    assert history(MIXED, of, changed_at_s=200.0, judged=266)[0] == 200.0


def test_a_candidate_whose_rows_have_one_label_is_none() -> None:
    labels = MIXED.copy()
    labels[166:233] = 1.0
    assert history(labels, {"20": 0.5, "100": 0.3, "166": 0.1})[0] == 100.0


# what scores are compared with


def test_a_version_answers_for_a_target_of_its_kind_and_classes() -> None:
    named = Target("classes", ("a", "b", "c"))
    assert named.is_answered_by(version_of(1, output="classes", classes=("a", "b", "c")))
    assert not named.is_answered_by(version_of(1, output="classes", classes=("a", "c", "b")))
    assert not named.is_answered_by(version_of(1, output="binary"))
    assert not Target("number").is_answered_by(version_of(1, output="binary"))


def test_the_yardstick_of_classes_has_a_place_for_each() -> None:
    assert Target("classes", ("a", "b", "c")).yardstick(np.array([0.0, 0.0, 1.0, 1.0])).prior.tolist() == [
        0.5,
        0.5,
        0.0,
    ]
    number = Target("number").yardstick(np.array([1.0, 3.0]))
    assert (number.kind, float(number.prior), number.scale) == ("number", 2.0, 1.0)


def test_a_logged_score_counts_only_if_it_is_of_the_kind() -> None:
    three = Target("classes", ("a", "b", "c"))
    assert three.score_of(Score(1, "", None, (0.2, 0.3, 0.5))) == (0.2, 0.3, 0.5)
    assert [three.score_of(score) for score in (Score(1, "", None, (0.2, 0.8)), Score(1, "", 0.5))] == [None, None]
    assert Target("binary").score_of(Score(1, "", 0.5)) == 0.5
    assert [
        Target(kind, ("a", "b", "c") if kind == "classes" else ()).unknown(2).shape for kind in ("classes", "binary")
    ] == [(2, 3), (2,)]


def test_classes_without_names_are_as_many_as_their_labels_imply() -> None:
    bare = LabelDefinition("y", "classes", 60.0)
    assert target_of(bare, [0.0, 3.0]) == Target("classes", ("0", "1", "2", "3"))
    assert target_of(bare, []).classes == ("0",)
    assert target_of(LabelDefinition("y", "number", 60.0), [7.0]) == Target("number")


def test_figures_of_each_kind() -> None:
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    binary = Target("binary").figures(np.array([0.2, 0.8, 0.4, 0.6]), labels)
    assert {name: round(value, 6) for name, value in binary.items()} == {
        "log_loss": round(-(2 * math.log(0.8) + 2 * math.log(0.4)) / 4, 6),
        "auc": 0.75,
    }
    assert list(Target("binary").figures(np.array([0.2]), np.array([1.0]))) == ["log_loss"]
    assert list(Target("binary").figures(np.array([0.2]), np.array([0.0]))) == ["log_loss"]
    classes = Target("classes", ("a", "b")).figures(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0.0, 1.0]))
    assert classes["accuracy"] == 0.5
    numbers = Target("number").figures(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    assert numbers == {"rmse": pytest.approx(math.sqrt(2)), "mae": 1.0, "r2": pytest.approx(1 - 2 / 2.25)}
    assert "r2" not in Target("number").figures(np.array([1.0, 2.0]), np.array([3.0, 3.0]))


def test_how_far_scores_lie_apart_and_how_many_labels_flip() -> None:
    two = Target("binary")
    assert two.apart(np.array([0.5, 0.25]), np.array([0.25, 0.5])).tolist() == [0.25, 0.25]
    assert two.flipped(np.array([0.5, 0.51, 0.2]), np.array([0.51, 0.5, 0.3])) == 2
    several = Target("classes", ("a", "b"))
    left, right = np.array([[0.5, 0.5], [0.4, 0.6]]), np.array([[0.25, 0.75], [0.45, 0.55]])
    assert several.apart(left, right).round(6).tolist() == [0.25, 0.05]
    assert several.flipped(left, right) == 1
    number = Target("number")
    assert number.apart(np.array([0.0, 4.0]), np.array([1.0, 4.0])).tolist() == [0.5, 0.0]
    assert number.flipped(np.array([0.0]), np.array([9.0])) == 0
