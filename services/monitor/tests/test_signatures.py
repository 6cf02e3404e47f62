"""Served rows are compared with what today's views make only where today's views made them."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.clock import ManualClock
from headrace.events.definition import ProjectDefinition
from headrace.events.inference import DecisionMade, FellBack, Score
from headrace.events.monitor import FindingOpened, MonitorState, WindowClosed
from headrace.events.registry import ModelVersion, Signature
from headrace.features.as_of import as_of
from headrace.features.events import EventTable
from headrace.features.plan import plan_view
from headrace.features.rows import bare_signature, pin_signature
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import Binary, Category, Count, Deployment, FeatureView, Mean, Project, Source
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace.testing.registry import version_of
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.signatures import Signatures
from headrace_monitor.core.skew import skew_of
from headrace_monitor.core.windows import Late, Windows
from headrace_monitor.shell import MonitorShard

HOUR, NOW_S = 3600.0, 1_780_000_000.0
TOPICS = Topics.load()
CODEC = Codec(TOPICS)


class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")


def project_of(window: str) -> ProjectDefinition:
    """One view of two columns, over `window`: another one makes other numbers, as many."""
    view = FeatureView("carrier", LANDINGS, "carrier", {"mean": Mean("delay", window), "count": Count(window)})
    deployment = Deployment(
        "d", "u", [Category("carrier")], features=[view.by("carrier")], label=Binary("y", "1h"), feature_delay="0s"
    )
    return compile_project(Project("p", [deployment], sources=[LANDINGS], views=[view]))


OLD, NEW = project_of("1h"), project_of("3h")
WORDS = {"carrier": ("AA",)}


@cache
def landed(count: int = 60) -> EventTable:
    found, struct = EventTable(NEW.sources[0]), event_struct(NEW.sources[0])
    for offset in range(count):
        found.add(struct(at=300.0 * offset, carrier="AA", delay=float(offset)), 0, offset)
    return found


def served(
    project: ProjectDefinition, signature: Signature, n: int, at_s: float | None = None, events: int = 60
) -> DecisionMade:
    """A row as a project's views make it."""
    at_s = 4 * HOUR + n if at_s is None else at_s
    plan = plan_view(project, "carrier")
    values = as_of(plan, landed(events), ["AA"], np.array([at_s]), 0.0).values[0]
    row = np.array([np.nan, *values], "<f4").tobytes()
    answer, applied = FellBack("prior", "", Score(0, "", 0.5)), {"events.landings.v1/0": events}
    return DecisionMade(f"r{n}", "d", f"u{n}", at_s, answer, n, row, signature.digest, {"carrier": "AA"}, applied)


def closed(signatures: Signatures, decisions: list[DecisionMade]) -> WindowClosed:
    deployment = NEW.deployments[0]
    windows = Windows(deployment)
    for n, decision in enumerate(decisions):
        windows.add_decision(decision, 0, n)
    rows = windows.rows_of(0.0, 30 * HOUR)
    tables, topics = {"landings": landed()}, {"landings": "events.landings.v1"}
    inputs = WindowInputs(NEW, deployment, rows, decisions, tables, topics, 0.0, signatures.comparable(NEW, deployment))
    return evaluate(inputs, 0.0, Late(), None)


def test_rows_of_a_view_that_had_as_many_columns_are_not_compared_with_todays() -> None:
    old, new = (bare_signature(project, project.deployments[0]) for project in (OLD, NEW))
    window = closed(
        Signatures(), [*(served(OLD, old, n) for n in range(5)), *(served(NEW, new, n) for n in range(5, 8))]
    )
    assert (window.requests, window.parity_rows, window.parity_tiles, window.parity_as_of) == (8, 3, 1.0, 1.0)
    assert skew_of("d", window) is None


def test_a_window_of_rows_that_other_views_made_shows_nothing_about_skew() -> None:
    old = bare_signature(OLD, OLD.deployments[0])
    window = closed(Signatures(), [served(OLD, old, n) for n in range(5)])
    assert (window.parity_rows, window.parity_tiles, window.parity_as_of) == (0, None, None)


@pytest.mark.parametrize(("project", "rows"), [(OLD, 0), (NEW, 2)])
def test_rows_of_a_version_are_compared_where_its_views_are_todays(project: ProjectDefinition, rows: int) -> None:
    pinned = pin_signature(project, project.deployments[0], WORDS)
    signatures = Signatures()
    signatures.add(version_of(1, deployment="d", signature=pinned))
    assert closed(signatures, [served(project, pinned, n) for n in range(2)]).parity_rows == rows


def test_true_skew_of_todays_views_is_still_found() -> None:
    new = bare_signature(NEW, NEW.deployments[0])
    found = skew_of("d", closed(Signatures(), [served(OLD, new, 0)]))
    assert found is not None
    assert found.about in ("carrier.mean", "carrier.count")


class Inputs:
    """A shard's inputs, as records; decisions are read again as they were put."""

    def __init__(self) -> None:
        self.decisions: list[DecisionMade] = []
        self.ends: dict[str, int] = {}

    def message(self, noun: str, event: object, time_s: float) -> Message:
        offset = self.ends[noun] = self.ends.get(noun, -1) + 1
        topic = TOPICS.of_source("landings") if noun == "landings" else TOPICS.name(noun)
        if isinstance(event, DecisionMade):
            self.decisions.append(event)
        return Message(
            Record(topic, 0, offset, b"k", None, (), int(NOW_S * 1000)),
            Envelope(f"{noun}{offset}", "", "t", time_s),
            event,
        )

    async def reread(self, wanted: Mapping[TopicPartition, Sequence[int]]) -> list[DecisionMade]:
        return [self.decisions[offset] for offsets in wanted.values() for offset in offsets]

    async def behind(self) -> Mapping[TopicPartition, int]:
        nouns = ("inference.decisions", "inference.outcomes")
        return {TopicPartition(TOPICS.name(noun), 0): 0 for noun in nouns}


@pytest.mark.parametrize("is_before", [True, False])
async def test_a_version_is_known_from_before_a_start_and_from_its_registration(is_before: bool) -> None:
    inputs, clock = Inputs(), ManualClock(NOW_S)
    shard = MonitorShard(TOPICS, [NEW], clock, Liveness(), Outside(inputs.behind, reread=inputs.reread))
    pinned = pin_signature(NEW, NEW.deployments[0], WORDS)
    version = version_of(1, deployment="d", signature=pinned)
    if is_before:
        await shard.on_history(inputs.message("registry.models", ModelVersion(version, "champion"), 0.0))
    await shard.on_start({})
    batch = [] if is_before else [inputs.message("registry.facts", version, 0.0)]
    struct = event_struct(NEW.sources[0])
    batch += [
        inputs.message("landings", struct(at=300.0 * n, carrier="AA", delay=float(n)), 300.0 * n) for n in range(60)
    ]
    # NB: the first windows are not compared: what lies before their sources were read may be missing.
    days = [
        msgspec.structs.replace(served(NEW, pinned, 0), request_id=f"r{n}", unit=f"u{n}", at_s=n * 8640.0)
        for n in range(40)
    ]
    batch += [inputs.message("inference.decisions", decision, decision.at_s) for decision in days]
    outs = (await shard.on_batch(batch)).outs
    clock.advance(10)
    outs += (await shard.on_tick()).outs
    events = [CODEC.decode(Record(o.topic, 0, 0, o.key, o.value, o.headers)).event for o in outs]
    assert [event.parity_rows > 0 for event in events if isinstance(event, WindowClosed)][1:3] == [True, True]


DAY, A_DAY = 86_400.0, 288


class Days:
    """Ten days of a view over an hour, then of one over seven; four requests a day."""

    def __init__(self) -> None:
        self.inputs, self.clock = Inputs(), ManualClock(NOW_S)
        self.short, self.long = project_of("1h"), project_of("168h")
        self.messages: list[Message] = []
        self.events: list[Any] = []
        self.shard = self.make(self.short)

    def make(self, project: ProjectDefinition) -> MonitorShard:
        return MonitorShard(
            TOPICS, [project], self.clock, Liveness(), Outside(self.inputs.behind, reread=self.inputs.reread)
        )

    def day(self, project: ProjectDefinition, day: int) -> list[Message]:
        struct, bare = event_struct(project.sources[0]), bare_signature(project, project.deployments[0])
        instants = [300.0 * n for n in range(day * A_DAY, (day + 1) * A_DAY)]
        found = [
            self.inputs.message("landings", struct(at=at_s, carrier="AA", delay=at_s / 300), at_s) for at_s in instants
        ]
        for n in range(4):
            at_s = day * DAY + (n + 1) * 4 * HOUR
            decision = served(project, bare, 4 * day + n, at_s, (day + 1) * A_DAY)
            found.append(self.inputs.message("inference.decisions", decision, at_s))
        self.messages += found
        return found

    async def read(self, batch: Sequence[Message]) -> None:
        outs = (await self.shard.on_batch(batch)).outs
        self.clock.advance(10)
        outs += (await self.shard.on_tick()).outs
        self.events += [CODEC.decode(Record(o.topic, 0, 0, o.key, o.value, o.headers)).event for o in outs]

    def compared(self) -> dict[int, tuple[bool, float | None]]:
        """Per day whether rows were compared, and which of them were equal."""
        windows = [event for event in self.events if isinstance(event, WindowClosed)]
        return {round(window.from_s / DAY): (window.parity_rows > 0, window.parity_tiles) for window in windows}


async def begun() -> Days:
    days = Days()
    await days.shard.on_start({})
    for day in range(10):
        await days.read(days.day(days.short, day))
    return days


def nothing_false(days: Days) -> None:
    assert [event for event in days.events if isinstance(event, FindingOpened) and event.kind == "skew"] == []
    compared = days.compared()
    assert compared[8] == (True, 1.0)
    assert compared[10] == (False, None)
    assert compared[16] == (True, 1.0)


async def test_a_view_that_looks_back_further_is_compared_from_when_all_that_it_looks_at_is_kept() -> None:
    days = await begun()
    days.shard.apply([days.long])
    for day in range(10, 19):
        await days.read(days.day(days.long, day))
    nothing_false(days)


async def test_so_is_one_that_is_applied_while_the_monitor_is_away() -> None:
    days = await begun()
    state = [event for event in days.events if isinstance(event, MonitorState)][-1]
    days.shard = days.make(days.long)
    await days.shard.on_history(Message(days.messages[0].record, Envelope("s", "", "t", 0.0), state))
    ends = {
        TopicPartition(TOPICS.of_source("landings"), 0): 10 * A_DAY,
        TopicPartition(TOPICS.name("inference.decisions"), 0): 40,
    }
    starts = await days.shard.on_start(ends)
    assert 0 < starts[TopicPartition(TOPICS.of_source("landings"), 0)] < 10 * A_DAY
    await days.read([m for m in days.messages if m.record.offset >= starts[TopicPartition(m.record.topic, 0)]])
    for day in range(10, 19):
        await days.read(days.day(days.long, day))
    nothing_false(days)
