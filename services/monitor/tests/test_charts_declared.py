"""What becomes of charts and their findings when what is declared changes, and how much of a record their memory takes."""

from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.test_charts import PLAN, USUAL, Charted, figures, reference
from services.monitor.tests.watched import DAY

from headrace.events.charts import ChartPoint, ChartsMemory
from headrace.events.monitor import FindingResolved, MonitorState
from headrace.events.references import ChartFigure, ReferenceWindow
from headrace.stats.charts import SIDES
from headrace.stats.e_detector import LONGEST_RUN
from headrace_monitor.core import findings as found_by
from headrace_monitor.core.chart_figures import MEMORY_BYTES, SEGMENT_CHARTS, Seen, _fitting
from headrace_monitor.core.findings import findings_of, memory_of
from headrace_monitor.core.slices import Slice

SIGNS = {chart: ["+" if side > 0 else "-" for side in sides] for chart, sides in SIDES.items()}
BY_CARRIER = replace(PLAN, segments=("carrier",), windows=10)


def redeclared(charted: Charted, **changed: Any) -> None:
    """The deployment is declared with other charts, and goes on from what it remembers."""
    memory = msgspec.msgpack.encode(memory_of(charted.state, {}, charted.day * DAY))
    charted.deployment = replace(charted.deployment, charts=replace(charted.deployment.charts, **changed))
    charted.state = findings_of(charted.deployment, msgspec.msgpack.decode(memory, type=MonitorState))


def seen_of(charted: Charted, segments: tuple[str, ...], **moved: float) -> Seen:
    """Usual figures of all requests, and of each segment figures that have moved."""
    found = figures(charted.rng)
    for segment in segments:
        own = figures(charted.rng, **moved)
        found |= {f"{chart}@{segment}": own[chart] for chart in SEGMENT_CHARTS}
    return Seen(found, {"": 900, **dict.fromkeys(segments, 100)}, segments)


def with_open_segment(*segments: str) -> Charted:
    """A finding stands of a segment."""
    charted = Charted(reference(), BY_CARRIER)
    for day in range(16):
        charted.see(seen_of(charted, segments, ranking=-20.0 if day > 11 else 0.0))
    assert charted.state.open["drift"].about.startswith("ranking@carrier=")
    return charted


def resolved_in(charted: Charted, segments: tuple[str, ...], days: int) -> list[tuple[int, str]]:
    """In which of the next windows a finding is resolved, and why."""
    found = []
    for day in range(days):
        facts = charted.see(seen_of(charted, segments))
        found += [(day, fact.reason) for fact in facts if isinstance(fact, FindingResolved)]
    return found


def test_a_finding_is_over_when_no_charts_are_declared_any_more() -> None:
    charted = Charted(reference())
    charted.live(10)
    (opened,) = charted.live(2, ranking=-8.0)
    memory = memory_of(charted.state, {}, charted.day * DAY)
    charted.deployment = replace(charted.deployment, charts=None)
    charted.state = findings_of(charted.deployment, memory)
    assert [(fact.finding, fact.reason) for fact in charted.live(5)] == [
        (opened.finding, "the deployment declares no charts any more")
    ]


def test_a_finding_of_a_segment_that_is_not_followed_any_more_is_over() -> None:
    charted = with_open_segment("carrier=AA")
    redeclared(charted, segments=())
    assert resolved_in(charted, (), 6) == [(2, "its charts are as usual again")]


def test_a_new_champion_follows_other_segments_and_the_finding_of_the_old_one_is_over() -> None:
    charted = with_open_segment("carrier=AA")
    charted.state = found_by.on_champion(charted.state, 2).state
    assert resolved_in(charted, ("carrier=B6",), 6) == [(2, "its charts are as usual again")]


def test_a_segment_that_is_followed_and_rests_for_a_while_leaves_its_finding_open() -> None:
    charted = with_open_segment("carrier=AA")
    assert resolved_in(charted, (), 6) == []


def test_columns_that_are_declared_later_have_segments() -> None:
    charted = Charted(reference(), BY_CARRIER)
    for _ in range(12):
        charted.see(seen_of(charted, ("carrier=AA",)))
    redeclared(charted, segments=("carrier", "origin"))
    for _ in range(12):
        charted.see(seen_of(charted, ("carrier=AA", "origin=JFK")))
    assert charted.state.charts.segments == ("carrier=AA", "origin=JFK")
    expected = {point.segment for point in charted.points if point.expected is not None}
    assert expected == {"", "carrier=AA", "origin=JFK"}


def test_what_was_remembered_before_columns_were_goes_on() -> None:
    charted = Charted(reference(), BY_CARRIER)
    charted.see(seen_of(charted, ("carrier=AA",)))
    before = charted.state.charts
    memory = memory_of(charted.state, {}, DAY)
    old = replace(memory, charts=replace(before, columns=None))
    assert findings_of(charted.deployment, old).charts == before


def test_the_runs_of_a_finding_that_stands_are_kept_once() -> None:
    """Its sides crossed: when they began to move is asked of its own windows only."""
    charted = with_open_segment("carrier=AA")
    for _ in range(6):
        charted.see(seen_of(charted, ("carrier=AA",), ranking=-20.0))
    memory = charted.state.charts
    assert len(memory.runs["ranking@carrier=AA-"]) == 1
    assert memory.standing is not None
    assert not any(key.startswith("base_rate") for window in memory.standing.live for key in window.charts)


@pytest.mark.parametrize("windows", [14, 60, 400])
def test_the_memory_of_charts_stays_within_its_part_of_a_record(windows: int) -> None:
    """Five columns of twenty values; a finding stands, and all sides move again."""
    names = [f"origin_airport=A{n:03}" for n in range(100)]
    kept = sorted(_fitting([Slice(name, np.ones(1, bool)) for name in names], None, windows))
    assert 2 <= len(kept) < 100
    parts = [f"{chart}@{name}" for name in kept for chart in SEGMENT_CHARTS]
    own = {name: ChartFigure(0.1, 0.1) for name in (*USUAL, *parts, *(f"rows@{name}" for name in kept))}
    live = tuple(ReferenceWindow(day * DAY, (day + 1) * DAY, 900, own) for day in range(windows))
    names = [key + sign for key in (*USUAL, *parts) for sign in SIGNS[key.partition("@")[0]]]
    run = tuple((day * DAY, 0.1) for day in range(LONGEST_RUN))
    points = tuple(ChartPoint(key.partition("@")[0], 1, 0.1, 0.1, 900, key.partition("@")[2]) for key in parts)
    memory = ChartsMemory(1, dict.fromkeys(names, 0.1), dict.fromkeys(names, run), live, tuple(kept))
    whole = replace(memory, runs=dict.fromkeys(names, run[-1:]), standing=replace(memory, points=points))
    assert MEMORY_BYTES / 2 < len(msgspec.msgpack.encode(whole)) <= MEMORY_BYTES
