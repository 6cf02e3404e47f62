"""A training run reads and decodes only what is new since the last run, and its rows equal those of a run that reads everything, to the bit."""

import asyncio
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from headrace.clock import ManualClock
from headrace.events.definition import TrainingDefinition, digest_of
from headrace.events.features import PipelineAdvanced
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.project import ProjectApplied
from headrace.events.training import RetrainAccepted
from headrace.features.dataset import Rows
from headrace.features.row_cache.cache import bound
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope, Origin
from headrace.log.memory import MemoryLog, MemoryReader
from headrace.log.port import Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import Category, Count, Deployment, FeatureView, Last, Mean, Multiclass, Number, Project, Source
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.service import Context
from headrace_trainer.adapters.gathering import Gatherer

DAY, HOUR = 86_400.0, 3600.0
START = 1_364_774_400.0
NAMES = ("own", "own2", "other", "one.more")


class Seen(msgspec.Struct):
    """A person was seen."""

    at: float
    place: str
    who: str
    size: float | None = None


SEEN = Source("seen", event=Seen, event_time="at", key="place", dedupe="who", dedupe_within="2h")
VIEW = FeatureView("v", SEEN, "place", {"n": Count("3h"), "size": Mean("size", "24h"), "who": Last("size", "24h")})
LABEL = Multiclass("kind", ("cat", "dog", "owl"), horizon="6h")


def deployment(name: str) -> Deployment:
    return Deployment(name, "u", [Number("x", nullable=True), Category("place")], [VIEW.by("place")], label=LABEL)


PROJECT = compile_project(Project("p", [deployment(name) for name in NAMES], sources=[SEEN], views=[VIEW]))


class CountingReader(MemoryReader):
    """Counts what is fetched, by topic."""

    async def fetch(self, timeout_s: float, max_records: int = 1000) -> Any:
        found = await super().fetch(timeout_s, max_records)
        for record in found:
            self._log.fetched[record.topic] = self._log.fetched.get(record.topic, 0) + 1  # type: ignore[attr-defined]
        return found


class CountingLog(MemoryLog):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.fetched: dict[str, int] = {}

    async def reader(self, partitions: Iterable[TopicPartition], start: Any, *, committed: bool = True) -> Any:
        reader = CountingReader(self, committed)
        await reader.assign(partitions, start)
        return reader


class CountingCodec(Codec):
    """Counts the requests and outcomes that are decoded."""

    decoded = 0

    def decode(self, record: Record) -> Message:
        self.decoded += record.topic.startswith(("inference.requests", "inference.outcomes"))
        return super().decode(record)


class World:
    """Requests and outcomes of four deployments, and events of their source. Each record is appended at its own instant."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = ManualClock(START)
        self.log, self.topics, self.rng = CountingLog(self.clock), Topics.load(), random.Random(seed)
        self.codec = CountingCodec(self.topics)
        self.now_s, self.count = START, 0

    async def begin(self) -> "World":
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, 0.0)
        self.put("project.definitions", "p", applied, START)
        return self

    def put(self, topic: str, key: str, event: msgspec.Struct, at_s: float, ident: str = "", **more: Any) -> None:
        self.count += 1
        name = self.topics.of_source("seen") if topic == "seen" else self.topics.name(topic)
        envelope = Envelope(ident or f"e{self.count}", "", "t", at_s, origin=more.get("origin"))
        made = out(name, key, event, envelope)
        if more.get("json"):
            headers = tuple(pair for pair in made.headers if pair[0] != "content-type")
            made = replace(made, value=msgspec.json.encode(event), headers=headers)
        self.log.append(made)

    def mark(self) -> None:
        """Write a progress marker of the pipeline to every partition."""
        event = PipelineAdvanced("x", "raw.x.v1", 0, self.count - 40)
        for partition in range(self.log._topics[self.topics.of_source("seen")].partitions):
            self.count += 1
            made = out(
                self.topics.of_source("seen"), None, event, Envelope(f"m{self.count}", "", "t", self.now_s), partition
            )
            self.log.append(made)

    def live(self, hours: int) -> None:
        """Hours with everything that may happen: repeats, corrections, JSON, labels of another kind, late labels, gaps."""
        rng = self.rng
        for _ in range(hours):
            self.clock.advance(HOUR)
            self.now_s += HOUR
            self.mark()
            for n in range(3):
                name, unit = rng.choice(NAMES), f"u{rng.randrange(20)}"
                at_s = self.now_s - rng.choice((0, 9 * HOUR, 9 * HOUR, 30 * HOUR))
                inputs = {"x": rng.choice((None, 1, 2.5, rng.random())), "place": f"p{rng.randrange(4)}"}
                ident, is_json = f"r{rng.randrange(10**6)}", rng.random() < 0.2
                self.put("inference.requests", unit, PredictionRequested(name, inputs, unit), at_s, ident, json=is_json)
                label = rng.choice(("cat", "dog", "owl", "owl", "cow"))
                named = ident if rng.random() < 0.4 else None
                known_s = min(at_s + rng.choice((-60.0, HOUR, 5 * HOUR, 9 * HOUR)), self.now_s)
                own = f"o{rng.randrange(10**6)}"
                self.put(
                    "inference.outcomes", unit, OutcomeObserved(name, unit, label, named), known_s, own, json=is_json
                )
                if rng.random() < 0.2:
                    fixed = OutcomeObserved(name, unit, "dog", None, own)
                    self.put("inference.outcomes", unit, fixed, min(known_s + HOUR, self.now_s))
                    self.put("inference.outcomes", unit, OutcomeObserved(name, unit, "owl"), known_s, own)
                seen = Seen(
                    self.now_s - 600 * n,
                    f"p{rng.randrange(4)}",
                    f"w{rng.randrange(9)}",
                    rng.choice((None, 1.5, 4.0)),
                )
                origin = Origin("raw.x.v1", 0, self.count, 0)
                for _ in range(rng.choice((1, 1, 2))):
                    self.put("seen", seen.place, seen, seen.at, origin=origin)

    async def rows(self, kept: Path | None, history_s: float = 10 * DAY, clock_s: float | None = None) -> Rows:
        """The rows of one run of `own`, with a codec and projects of its own, as in a separate process."""
        self.codec = CountingCodec(self.topics)
        projects = Projects(self.log, self.codec, self.topics)
        await projects.start()
        await projects.stop()
        context = Context("trainer", "t", Settings(), self.log, self.topics, self.codec, projects,
                          Health("trainer", "t", failures={}), self.clock, asyncio.Event())  # fmt: skip
        accepted = RetrainAccepted("own", "r", "q", "manual", "t", self.now_s if clock_s is None else clock_s)
        found = projects.deployment("own")
        assert found is not None
        declared = replace(found[1], training=TrainingDefinition("b", history_s, 0.0, 0.0, 0.0, 0))

        async def patiently(work: Any) -> Any:
            return await work()

        gatherer = Gatherer(context, accepted, found[0], declared, patiently, lambda *_: None, kept)
        self.log.fetched.clear()
        self.codec.decoded = 0
        gathered, ends = await gatherer._read()
        return gathered.rows({f"{tp.topic}/{tp.partition}": end for tp, end in ends.items()})

    def fetched(self) -> int:
        """The records of requests, outcomes and events that the last run read from the log."""
        return sum(self.log.fetched.values())


def bits(rows: Rows) -> tuple[Any, ...]:
    columns = [list(rows.inputs.column(name)) for name in ("x", "place")]
    found = [array.tobytes() for array in (rows.features, rows.labels, rows.at_s)]
    return rows.ids, rows.units, columns, *found, rows.offsets


@pytest.fixture
async def world() -> World:
    return await World().begin()


async def test_a_run_is_given_what_is_new_since_the_last_run_and_decodes_its_own_of_it(
    world: World, tmp_path: Path
) -> None:
    world.live(24 * 4)
    everything = world.count - 1
    first = await world.rows(tmp_path)
    assert world.fetched() == everything
    # NB: a quarter of requests and outcomes are its own. Events are read without an envelope, and no other deployment's record is decoded.
    own = sum(name == "own" for name in _names(world))
    assert world.codec.decoded == own
    again = await world.rows(tmp_path)
    assert (world.fetched(), world.codec.decoded) == (0, 0)
    assert bits(again) == bits(first)
    before, own_before = world.count, own
    world.live(3)
    grown = await world.rows(tmp_path)
    assert world.fetched() == world.count - before
    assert world.codec.decoded == sum(name == "own" for name in _names(world)) - own_before
    assert bits(grown) == bits(await world.rows(None))
    assert len(grown) > len(first) > 50


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _names(world: World) -> list[str]:
    """The deployment of each request and outcome on the log."""
    plain, found = Codec(world.topics), []
    for tp, partition in world.log._partitions.items():
        if tp.topic in (world.topics.name("inference.requests"), world.topics.name("inference.outcomes")):
            found += [plain.decode(e.record).event.deployment for e in partition.entries if e.record is not None]
    return found


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 30))])
async def test_rows_are_the_same_bits_with_and_without_what_was_kept_however_time_goes(
    seed: int, tmp_path: Path
) -> None:
    world = await World(seed).begin()
    history_s, back_s = 3 * DAY, 0.0
    for _ in range(10):
        world.live(world.rng.choice((0, 1, 20, 40)))
        match world.rng.randrange(6):
            case 0:
                history_s = world.rng.choice((1, 3, 6)) * DAY
            case 1:
                back_s = world.rng.choice((0, 2)) * DAY
        clock_s = world.now_s - back_s
        kept = await world.rows(tmp_path, history_s, clock_s)
        assert bits(kept) == bits(await world.rows(None, history_s, clock_s))
    assert len(kept) > 5


async def test_what_lies_before_the_history_is_not_read_again_and_leaves_the_disk(world: World, tmp_path: Path) -> None:
    sizes = []
    for _ in range(28):
        world.live(12)
        rows = await world.rows(tmp_path, 1 * DAY)
        sizes.append(_size(tmp_path))
    assert bits(rows) == bits(await world.rows(None, 1 * DAY))
    # NB: three days of events are needed. Older ones are removed once they are half of the file.
    assert max(sizes[20:]) <= 1.2 * max(sizes[:20])
    # NB: a run without anything kept does not read requests and outcomes from before its history either.
    asked = world.log.fetched[world.topics.name("inference.requests")]
    assert asked < 12 * 28 * 3 * 0.2


@pytest.mark.parametrize("topic", ["inference.requests", "inference.outcomes", "seen"])
async def test_of_a_topic_that_was_made_again_nothing_that_was_kept_is_used(
    world: World, tmp_path: Path, topic: str
) -> None:
    world.live(50)
    await world.rows(tmp_path)
    name = world.topics.of_source("seen") if topic == "seen" else world.topics.name(topic)
    spec = next(found for found in world.topics.specs(PROJECT) if found.name == name)
    world.log.delete_topic(name)
    await world.log.create_topics([spec])
    world.live(100)
    kept = await world.rows(tmp_path)
    assert bits(kept) == bits(await world.rows(None))
    assert len(kept) > 10 or topic == "inference.requests"


@pytest.mark.parametrize("topic", ["inference.requests", "inference.outcomes", "seen"])
async def test_what_the_log_has_let_go_of_is_in_no_row(world: World, tmp_path: Path, topic: str) -> None:
    world.live(80)
    before = await world.rows(tmp_path)
    name = world.topics.of_source("seen") if topic == "seen" else world.topics.name(topic)
    for tp in await world.log.partitions(name):
        partition = world.log._partitions[tp]
        partition.entries = partition.entries[len(partition.entries) // 2 :]
    world.live(2)
    kept = await world.rows(tmp_path)
    assert bits(kept) == bits(await world.rows(None))
    assert bits(kept)[:6] != bits(before)[:6]


async def test_of_two_runs_at_once_one_reads_without_the_folder(world: World, tmp_path: Path) -> None:
    world.live(60)
    found = await asyncio.gather(*(world.rows(tmp_path) for _ in range(3)))
    alone = bits(await world.rows(None))
    assert [bits(rows) for rows in found] == [alone] * 3
    assert bits(await world.rows(tmp_path)) == alone
    assert world.fetched() == 0


async def test_a_run_that_was_killed_while_it_kept_leaves_what_was_kept_before(world: World, tmp_path: Path) -> None:
    world.live(40)
    await world.rows(tmp_path)
    folder = tmp_path / "own.kept"
    state = (folder / "state").read_bytes()
    world.live(40)
    await world.rows(tmp_path)
    # NB: its parts were written and the state was not, so everything behind the size in the state is ignored.
    (folder / "state").write_bytes(state)
    assert bits(await world.rows(tmp_path)) == bits(await world.rows(None))
    assert bits(await world.rows(tmp_path)) == bits(await world.rows(None))


async def test_no_disk_costs_a_reading_of_the_log_and_no_run(world: World, tmp_path: Path) -> None:
    world.live(20)
    (tmp_path / "file").write_text("no folder can be made in here")
    assert bits(await world.rows(tmp_path / "file")) == bits(await world.rows(None))


def test_of_many_deployments_the_longest_unused_go(tmp_path: Path) -> None:
    for n in range(4):
        folder = tmp_path / f"d{n}.kept"
        folder.mkdir()
        (folder / "lock").touch()
        (folder / "parts-0").write_bytes(bytes(100))
        os.utime(folder, (n, n))
    bound(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d2.kept", "d3.kept"]
