"""Many events at once give the same tiles as one after the other, to the last bit."""

import math

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
from headrace.features.partials import AGGREGATIONS
from headrace.features.plan import plan_view
from headrace.features.tiles import TileState
from headrace_feature.core import batches
from headrace_feature.core.batches import Batch, fold_batch

HOUR, DAY = 3600, 86_400
START = 1_364_774_400.0
SOURCE = SourceDefinition("s", (FieldSpec("at", "number"), FieldSpec("x", "number", True)), "at", "who", 1)
FEATURES = tuple(
    FeatureDefinition(f"{kind}_{window}", kind, None if kind == "count" else "x", window)
    for window in (HOUR, DAY)
    for kind in AGGREGATIONS
)
PLAN = plan_view(
    ProjectDefinition("p", (), (SOURCE,), (ViewDefinition("v", "s", ("who",), FEATURES, ""),), (), ()), "v"
)


class Event:
    def __init__(self, who: int, at: float, x: float | None) -> None:
        self.who, self.at, self.x = who, at, x


EVENTS = st.builds(
    Event,
    st.integers(0, 3),
    st.one_of(st.integers(0, 6 * HOUR), st.integers(0, 40 * DAY)).map(lambda s: START + s),
    st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False)),
)


def encoded(states: list[TileState]) -> list[bytes]:
    tiles = [state.encode(PLAN, "e", 0) for state in states]
    return [part for tile in tiles for p in tile.panes for part in (p.index, p.count, *p.columns.values())]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(EVENTS, max_size=30), min_size=1, max_size=4))
def test_batches_and_single_events_make_the_same_tiles(found: list[list[Event]]) -> None:
    one, many = ([TileState(2) for _ in range(4)] for _ in range(2))
    fewest, batches.FEWEST = batches.FEWEST, 0
    try:
        for events in found:
            kept = [one[e.who].fold(PLAN, e, e.at) for e in events]
            if not events:
                continue
            batch = Batch(events, [e.at for e in events])
            codes, places = np.array([e.who for e in events]), np.arange(len(events))
            assert fold_batch(PLAN, batch, codes, places, many).tolist() == kept
    finally:
        batches.FEWEST = fewest
    assert encoded(one) == encoded(many)


def test_an_event_that_is_too_late_within_its_batch_is_refused_as_it_would_be_alone() -> None:
    state = TileState(2)
    events = [Event(0, START + 40 * DAY, 1.0)] * batches.FEWEST + [
        Event(0, START, 1.0),
        Event(0, START + 40 * DAY, 2.0),
    ]
    batch = Batch(events, [e.at for e in events])
    kept = fold_batch(PLAN, batch, np.zeros(len(events), dtype=np.int64), np.arange(len(events)), [state])
    assert kept.sum() == len(events) - 1
    assert not kept[batches.FEWEST]
    assert math.floor(START / HOUR) not in state.panes[1]
