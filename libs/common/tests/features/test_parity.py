"""finalise over tiles, the vectorised fold and brute force agree to the last bit."""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.definition import (
    FeatureDefinition,
    FieldSpec,
    ProjectDefinition,
    SourceDefinition,
    ViewDefinition,
)
from headrace.features import finalise as reads
from headrace.features.as_of import as_of
from headrace.features.events import EventTable
from headrace.features.finalise import finalise, finalise_many, merge_tiles
from headrace.features.partials import AGGREGATIONS
from headrace.features.plan import ViewPlan, plan_view
from headrace.features.tiles import TileState
from headrace.project.rules.views import AGGREGATIONS as DECLARABLE

HOUR = 3600
DAY = 86_400
START = 1_364_774_400.0

SOURCE = SourceDefinition(
    "landings", (FieldSpec("at", "number"), FieldSpec("who", "text"), FieldSpec("x", "number", True)), "at", "who", 2
)
FEATURES = tuple(
    FeatureDefinition(f"{kind}_{window}", kind, None if kind == "count" else "x", window)
    for window in (HOUR, 3 * HOUR, DAY, 7 * DAY)
    for kind in AGGREGATIONS
)
VIEW = ViewDefinition("v", "landings", ("who",), FEATURES, "")
PLAN = plan_view(ProjectDefinition("p", (), (SOURCE,), (VIEW,), (), ()), "v")


@dataclass(frozen=True)
class Event:
    at: float
    who: str
    x: float | None


def brute(
    plan: ViewPlan, cells: list[tuple[int, int, Event]], who: str, at_s: float, feature_delay_s: float
) -> list[float]:
    """Computed directly from the definition; events are (partition, offset, event)."""
    values = []
    for feature in plan.view.features:
        width = 300 if feature.window_s <= 3 * HOUR else HOUR if feature.window_s <= 3 * DAY else DAY
        end = math.floor((at_s - feature_delay_s) / width)
        inside = [
            (math.floor(e.at / width), p, o, e)
            for p, o, e in cells
            if e.who == who and end - feature.window_s // width <= math.floor(e.at / width) < end
        ]
        values.append(_brute_value(feature.aggregation, sorted(inside, key=lambda c: c[:3])))
    return values


def _brute_value(kind: str, inside: list[tuple[int, int, int, Event]]) -> float:
    if kind == "count":
        return float(len(inside))
    if kind == "last":
        newest = max(inside, key=lambda c: (c[3].at, c[0], c[1], c[2]), default=None)
        return math.nan if newest is None or newest[3].x is None else newest[3].x
    known = [c for c in inside if c[3].x is not None]
    total, squares = _sum(known, lambda x: x), _sum(known, lambda x: x * x)
    if kind == "sum":
        return total
    if not known:
        return math.nan
    if kind in ("mean", "share"):
        return total / len(known)
    if kind == "std":
        mean = total / len(known)
        # Two products, as defined: the C library's pow, behind `mean ** 2`, may round another way.
        return math.sqrt(max(squares / len(known) - mean * mean, 0.0))
    return {"min": min, "max": max}[kind](c[3].x for c in known)


def _sum(known, of) -> float:
    cells: dict[tuple[int, int], float] = {}
    for pane, partition, _, event in known:
        cells[pane, partition] = cells.get((pane, partition), 0.0) + of(event.x)
    total = 0.0
    for key in sorted(cells):
        total = total + cells[key]
    return total


events = st.builds(
    Event,
    at=st.one_of(st.integers(0, 9 * DAY).map(lambda s: START + s), st.integers(0, 216).map(lambda h: START + h * HOUR)),
    who=st.sampled_from("ab"),
    x=st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from([0.0, -0.0])),
)


def folded(cells: list[tuple[int, int, Event]], who: str) -> dict:
    tiles = []
    for partition in sorted({p for p, _, e in cells if e.who == who}):
        state = TileState(len(PLAN.widths))
        for _, _, event in sorted((c for c in cells if c[0] == partition and c[2].who == who), key=lambda c: c[1]):
            state.fold(PLAN, event, event.at)
        tiles.append(TileState.decode(PLAN, state.encode(PLAN, who, partition)).encode(PLAN, who, partition))
    return merge_tiles(tiles) if tiles else {}


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 2), events), max_size=40), st.integers(0, 12 * DAY), st.sampled_from([0.0, 900.0])
)
def test_tiles_the_vectorised_fold_and_brute_force_agree_to_the_bit(
    found: list, after: int, feature_delay_s: float
) -> None:
    cells = [(partition, offset, event) for offset, (partition, event) in enumerate(found)]
    # Rings keep window + 1 day: ask no later than that after the newest event, and about nothing older than the ring.
    at_s = max([e.at for _, _, e in cells], default=START) + after % DAY
    table = EventTable(SOURCE)
    for partition, offset, event in cells:
        table.add(event, partition, offset)
    for who in "ab":
        wanted = np.array(brute(PLAN, cells, who, at_s, feature_delay_s))
        tiles = finalise(PLAN, folded(cells, who), at_s, feature_delay_s)
        vectors = as_of(PLAN, table, [who], np.array([at_s]), feature_delay_s).values[0]
        assert tiles.tobytes() == vectors.tobytes(), (tiles, vectors)
        # Others beside it, with fewer, more and no panes, change nothing.
        beside = [folded(cells, other) for other in "abc"] * reads.FEWEST
        many = finalise_many(PLAN, [*beside, folded(cells, who)], [at_s] * (len(beside) + 1), feature_delay_s)
        assert many[-1].tobytes() == tiles.tobytes(), (tiles, many[-1])
        np.testing.assert_array_equal(tiles, wanted + 0.0)


def test_an_event_of_the_running_pane_is_not_seen_before_the_pane_is_complete() -> None:
    cells = [(0, 0, Event(START + 299, "a", 1.0))]
    assert finalise(PLAN, folded(cells, "a"), START + 299, 0.0)[0] == 0
    assert finalise(PLAN, folded(cells, "a"), START + 300, 0.0)[0] == 1


def test_a_feature_delay_moves_the_edge_back_in_training_and_serving_alike() -> None:
    cells = [(0, 0, Event(START, "a", 1.0))]
    assert finalise(PLAN, folded(cells, "a"), START + 900, 900.0)[0] == 0
    assert finalise(PLAN, folded(cells, "a"), START + 1200, 900.0)[0] == 1


def test_an_instant_whose_panes_were_dropped_has_no_value_rather_than_a_wrong_one() -> None:
    cells = [(0, 0, Event(START, "a", 1.0)), (0, 1, Event(START + 30 * DAY, "a", 1.0))]
    assert np.isnan(finalise(PLAN, folded(cells, "a"), START + HOUR, 0.0)).all()


def test_an_event_whose_panes_were_dropped_is_counted_and_not_added() -> None:
    state = TileState(len(PLAN.widths))
    assert state.fold(PLAN, Event(START + 30 * DAY, "a", 1.0), START + 30 * DAY)
    assert not state.fold(PLAN, Event(START, "a", 1.0), START)


def test_rows_with_events_past_their_offsets_are_marked() -> None:
    table = EventTable(SOURCE)
    table.add(Event(START, "a", 1.0), 0, 10)
    at = np.array([START + 600, START + 600])
    found = as_of(PLAN, table, ["a", "a"], at, 0.0, {0: np.array([10, 11])})
    assert found.beyond.tolist() == [True, False]


def test_a_project_may_declare_exactly_the_aggregations_that_can_be_folded_and_read() -> None:
    assert set(DECLARABLE) == set(AGGREGATIONS)
