"""An `apply` makes the monitor read nothing, or only a new source. Reads are counted on the log."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import pytest

from headrace.clock import ManualClock, SystemClock
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import WindowClosed
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog, MemoryReader
from headrace.log.port import TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import Binary, Count, Deployment, FeatureView, Key, Mean, Number, Project, Source
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.service import Context
from headrace_monitor.app import Monitor

DAY = 86_400.0
OWN_TOPICS = ("project.definitions", "ops.", "monitor.", "alerts")


class Tick(msgspec.Struct):
    at: float
    who: str


class Other(msgspec.Struct):
    at: float
    who: str
    size: float | None = None


TICKS = Source("ticks", event=Tick, event_time="at", key="who")
LABEL = Binary("y", horizon="2d")
VIEW = FeatureView("v", source=TICKS, entity="who", features={"n": Count("3h")})
PLAIN = Deployment("d", "u", [Number("x")], label=LABEL)
SEEING = Deployment("e", "u", [Key("who")], [VIEW.by("who")], label=LABEL)
P, Q = Project("p", [PLAIN]), Project("q", [SEEING], sources=[TICKS], views=[VIEW])


class CountingReader(MemoryReader):
    async def fetch(self, timeout_s: float, max_records: int = 1000) -> Any:
        found = await super().fetch(timeout_s, max_records)
        for record in found:
            if not record.topic.startswith(OWN_TOPICS):
                self._log.fetched.append((record.topic, record.partition, record.offset))  # type: ignore[attr-defined]
        return found


class CountingLog(MemoryLog):
    """Counts which records were read, except those of the monitor's own topics."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.fetched: list[tuple[str, int, int]] = []

    async def reader(self, partitions: Iterable[TopicPartition], start: Any, *, committed: bool = True) -> Any:
        reader = CountingReader(self, committed)
        await reader.assign(partitions, start)
        return reader


class Place:
    """A monitor on a log in memory. Records are appended at the instant that they describe."""

    def __init__(self) -> None:
        self.wall = ManualClock(0.0)
        self.log, self.topics, self.stop = CountingLog(self.wall), Topics.load(), asyncio.Event()
        self.codec, self.count = Codec(self.topics), 0

    async def begin(self) -> None:
        await ensure_topics(self.log, self.topics.specs(compile_project(Q)))
        await self.apply(P)
        projects = Projects(self.log, self.codec, self.topics)
        await projects.start()
        context = Context("monitor", "m", Settings(), self.log, self.topics, self.codec, projects,
                          Health("monitor", "m"), SystemClock(), self.stop)  # fmt: skip
        self.monitor = Monitor(context)
        self.running = [asyncio.create_task(projects.run(self.stop)), asyncio.create_task(self.monitor.run(self.stop))]

    async def put(
        self, topic: str, key: str, event: msgspec.Struct, at_s: float = 0.0, partition: int | None = None
    ) -> None:
        self.count += 1
        self.log.append(out(topic, key, event, Envelope(f"i{self.count}", "", "t", at_s), partition))

    async def apply(self, project: Project) -> None:
        definition = compile_project(project)
        event = ProjectApplied(project.name, project.name, "test", definition, 0.0)
        await self.put(self.topics.name("project.definitions"), project.name, event)

    async def live(self, first: int, last: int, name: str = "d") -> None:
        """Twelve requests a day with their labels, and as many events."""
        name_of = self.topics.name
        for n in range(first, last):
            at_s = (n + 0.5) * DAY / 12
            self.wall.advance(at_s + 60 - self.wall.now_s())
            await self.put(self.topics.of_source("ticks"), f"w{n % 3}", Tick(at_s - 3600, f"w{n % 3}"), at_s)
            made = DecisionMade(f"{name}{n}", name, f"u{n}", at_s, Served(Score(1, "m", 0.4)), n)
            await self.put(name_of("inference.decisions"), f"u{n}", made, at_s, n % 2)
            await self.put(name_of("inference.outcomes"), f"u{n}", OutcomeObserved(name, f"u{n}", float(n % 2)), at_s)

    async def windows(self, name: str, at_least: int) -> list[WindowClosed]:
        async with asyncio.timeout(40):
            while True:
                found = [m.event for m in await read_all(self.log, self.codec, [self.topics.name("monitor.windows")])]
                mine = [window for window in found if window.deployment == name]
                if len(mine) >= at_least:
                    return mine
                await asyncio.sleep(0.05)

    async def ends(self) -> dict[tuple[str, int], int]:
        """The end offsets of the inputs, by topic and partition."""
        names = [*map(self.topics.name, ("inference.decisions", "inference.outcomes")), self.topics.of_source("ticks")]
        found = await self.log.end_offsets([tp for name in names for tp in await self.log.partitions(name)])
        return {(tp.topic, tp.partition): end for tp, end in found.items()}

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(40):
            while not holds():
                await asyncio.sleep(0.02)

    @property
    def watched(self) -> dict[str, Any]:
        return self.monitor._shard.core.deployments.watched if self.monitor._shard is not None else {}

    def taken(self) -> dict[str, int]:
        """How often records were read since the last call, by topic."""
        found: dict[str, int] = {}
        for topic, *_ in self.log.fetched:
            found[topic] = found.get(topic, 0) + 1
        self.log.fetched.clear()
        return found


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    found = Place()
    await found.begin()
    yield found
    found.stop.set()
    await asyncio.gather(*found.running)


async def test_an_apply_that_changes_nothing_or_other_deployments_makes_nothing_be_read_again(place: Place) -> None:
    await place.live(0, 60)
    await place.windows("d", 2)
    place.taken()
    shard = place.monitor._shard
    await place.apply(P)
    await place.apply(Project("other", [Deployment("f", "u", [Number("x")])]))
    await place.until(lambda: "f" in place.watched)
    await place.apply(Project("p", [Deployment("d", "u", [Number("x", -9, 9)], label=LABEL)]))
    await place.live(60, 96)
    found = await place.windows("d", 5)
    decisions, outcomes = map(place.topics.name, ("inference.decisions", "inference.outcomes"))
    # The number of each decision, by where it lies: a window that closes has its own read again, and what follows them.
    read = {2 * offset + partition for topic, partition, offset in place.log.fetched if topic == decisions}
    assert place.monitor._shard is shard
    assert 24 <= min(read) <= 60
    assert max(read) == 95
    taken = place.taken()
    assert taken.keys() == {decisions, outcomes}
    assert taken[outcomes] == 36
    assert [(w.from_s, w.requests, w.labelled) for w in found] == [(n * DAY, 12, 12) for n in range(len(found))]


async def test_of_a_source_that_is_new_only_what_open_windows_look_back_at_is_read(place: Place) -> None:
    await place.live(0, 240)
    before = await place.windows("d", 15)
    place.taken()
    shard, began = place.monitor._shard, dict(await place.ends())
    await place.apply(Q)
    await place.until(lambda: "e" in place.watched and place.monitor._shard._sources_read)  # type: ignore[union-attr]
    await place.live(240, 276, "e")
    found = await place.windows("e", 1)
    again = [(topic, offset) for topic, partition, offset in place.log.fetched if offset < began[topic, partition]]
    assert place.monitor._shard is shard
    assert {topic for topic, _ in again} == {place.topics.of_source("ticks")}
    # NB: of twenty days it reads the open windows and a day and some hours before them, with twelve events a day.
    assert 12 <= len(again) <= 12 * 5
    assert [(w.requests, w.labelled) for w in found[:1]] == [(12, 12)]
    assert math.isclose(before[-1].to_s % DAY, 0.0)


async def test_a_source_whose_fields_change_is_read_anew_and_nothing_else_is(place: Place) -> None:
    await place.apply(Q)
    await place.live(0, 48, "e")
    await place.windows("e", 1)
    place.taken()
    shard = place.monitor._shard
    source = Source("ticks", event=Other, event_time="at", key="who")
    view = FeatureView("v", source=source, entity="who", features={"n": Count("3h"), "m": Mean("size", "3h")})
    changed = Project(
        "q", [Deployment("e", "u", [Key("who")], [view.by("who")], label=LABEL)], sources=[source], views=[view]
    )
    await place.apply(changed)
    tables = lambda: shard.core.intake.sources._tables  # type: ignore[union-attr]  # noqa: E731
    await place.until(lambda: len(tables()["ticks"].source.fields) == 3 and len(tables()["ticks"]) >= 20)
    seen = place.taken()
    assert set(seen) == {place.topics.of_source("ticks")}
    assert place.monitor._shard is shard
    offsets = tables()["ticks"].offsets
    pairs = list(zip(tables()["ticks"].partitions.tolist(), offsets.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) <= 48


async def test_a_source_that_nobody_reads_any_more_is_read_no_more_and_holds_nobody_up(place: Place) -> None:
    await place.apply(Q)
    await place.until(lambda: "e" in place.watched)
    await place.live(0, 24, "d")
    await place.apply(Project("q", [Deployment("e", "u", [Number("x")])]))
    await place.until(lambda: not place.monitor._shard._sources_read)  # type: ignore[union-attr]
    place.taken()
    await place.live(24, 84, "d")
    found = await place.windows("d", 4)
    assert place.topics.of_source("ticks") not in place.taken()
    assert [(w.from_s, w.requests) for w in found[:4]] == [(n * DAY, 12) for n in range(4)]
