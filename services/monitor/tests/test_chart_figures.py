"""What charts are fed: the champion's own rows, also where others answer beside it, and segments with enough rows."""

import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.test_charts import CHARTED
from services.monitor.tests.watched import DAY, decision, window
from sklearn.metrics import roc_auc_score

from headrace.events.charts import ChartPoint, ChartsDefinition
from headrace.events.definition import LabelDefinition
from headrace_monitor.core.chart_figures import seen_of, segments_of, span_of
from headrace_monitor.core.drift import figure_of
from headrace_monitor.core.scored import Scored
from headrace_monitor.core.slices import Slice
from headrace_monitor.core.windows import Rows, Windows

LABEL = LabelDefinition("late", "binary", DAY)
RNG = np.random.default_rng(6)
SCORES = RNG.uniform(0.05, 0.95, 400)
LABELS = (RNG.random(400) < SCORES).astype(float)
EVEN, ODD = np.arange(0, 400, 2), np.arange(1, 400, 2)


def scored(version: int, role: str, rows: np.ndarray, scores: np.ndarray = SCORES) -> Scored:
    return Scored(version, role, scores[rows], LABELS[rows], rows)


def test_in_an_ab_test_the_champion_is_judged_by_its_own_half() -> None:
    seen = seen_of(LABEL, [scored(1, "champion", EVEN), scored(2, "champion", ODD, 1 - SCORES)], 1)
    assert seen.rows == {"": 200}
    assert seen.figures["ranking"].value == pytest.approx(roc_auc_score(LABELS[EVEN], SCORES[EVEN]))


def test_what_the_champion_scored_in_shadow_counts_too() -> None:
    seen = seen_of(LABEL, [scored(2, "champion", EVEN), scored(1, "shadow", EVEN), scored(1, "champion", ODD)], 1)
    assert seen.rows == {"": 400}
    assert seen.figures["ranking"].value == pytest.approx(roc_auc_score(LABELS, SCORES))


def test_answers_of_the_fallback_chain_are_not_the_champions() -> None:
    assert seen_of(LABEL, [scored(1, "previous", EVEN), scored(2, "champion", ODD)], 1).figures == {}
    assert seen_of(LABEL, [scored(2, "champion", ODD)], None).figures == {}


def test_a_segment_has_ranking_calibration_and_level_of_its_rows_beside_those_of_all() -> None:
    part = Slice("carrier=AA", np.arange(400) < 100)
    seen = seen_of(LABEL, [scored(1, "champion", np.arange(400))], 1, [part])
    own = {key.partition("@")[0] for key in seen.figures if key.endswith("@carrier=AA")}
    assert own == {"ranking", "calibration", "level"}
    assert seen.rows["carrier=AA"] == 100
    assert seen.figures["ranking@carrier=AA"].value == pytest.approx(roc_auc_score(LABELS[:100], SCORES[:100]))
    assert seen.figures["ranking"].value == pytest.approx(roc_auc_score(LABELS, SCORES))


def test_the_segments_of_a_window_come_from_what_was_read_again() -> None:
    waiting = Windows(CHARTED)
    decisions = []
    for number in range(80):
        carrier = "AA" if number < 45 else "B6"
        made = decision(f"u{number}", number * 60.0, entities={"carrier": carrier})
        waiting.add_decision(made, 0, number)
        decisions.append(made)
    rows: Rows = waiting.rows_of(0.0, 2 * DAY)
    charted = replace(CHARTED, charts=ChartsDefinition(1.0, 30 * DAY, ("carrier",)))
    found = segments_of(charted, rows, decisions, {})
    assert [(part.name, int(part.rows.sum())) for part in found] == [("carrier=AA", 45), ("carrier=B6", 35)]
    assert segments_of(CHARTED, rows, decisions, {}) == ()
    assert [part.name for part in segments_of(charted, rows, decisions, {}, ("carrier=B6",))] == ["carrier=B6"]
    # Of so many windows the memory of one segment fits into a record, and that is the more frequent one.
    many = replace(charted, charts=ChartsDefinition(1.0, 30 * DAY, ("carrier",), windows=800))
    assert [part.name for part in segments_of(many, rows, decisions, {})] == ["carrier=AA"]


def test_numbers_are_measured_in_their_range() -> None:
    assert span_of(LabelDefinition("price", "number", DAY, low=10.0, high=60.0)) == 50.0
    assert span_of(LABEL) == 1.0


def test_a_point_of_another_version_does_not_feed_a_detector() -> None:
    closed = replace(window(0, 0.5), charts=(ChartPoint("ranking", 2, 0.6, 0.01, 50),))
    assert figure_of(closed, closed.qualities[0], "ranking") is None
