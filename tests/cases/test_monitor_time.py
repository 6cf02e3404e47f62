"""No single record moves the clock of a deployment, and windows are the same in whatever order their records are read."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.clock import ManualClock
from headrace.events.definition import ProjectDefinition
from headrace.events.inference import DecisionMade, Invalid, OutcomeObserved, Score, Served
from headrace.events.monitor import WindowClosed
from headrace.hosting.health import Health
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.core.clock import Clocks, Reading, level
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.shell import MonitorShard

DAY = 86_400.0
TODAY = 1_780_000_000.0
TOPICS = Topics.load()
CODEC = Codec(TOPICS)
DECISIONS, OUTCOMES = TOPICS.name("inference.decisions"), TOPICS.name("inference.outcomes")
PARTITIONS = 2
PLACES = [f"{DECISIONS}/{p}" for p in range(PARTITIONS)]
ALL_READ = Reading(frozenset(), quiet_before_s=1.0)


@cache
def project(label: bool = True) -> ProjectDefinition:
    declared = Binary("y", horizon="24h") if label else None
    return compile_project(Project("p", [Deployment("d", "u", [Number("x")], label=declared, evaluation_window="24h")]))


# the clock


def clocks(*requests: tuple[str, float, str], append_s: float = TODAY) -> Clocks:
    found = Clocks()
    for place, at_s, unit in requests:
        found.note("d", place, at_s, hash(unit), append_s, 0.0)
    return found


def replay(count: int, units: int = 10**9) -> list[tuple[str, float, str]]:
    return [(PLACES[n % PARTITIONS], n * 3600.0, f"u{n % units}") for n in range(count)]


def time_of(found: Clocks, reading: Reading = ALL_READ) -> float:
    return found.time_s("d", PLACES, [], reading)


def test_a_request_of_today_amid_a_replay_moves_nothing() -> None:
    asked = replay(100)
    for place in PLACES:
        with_today = clocks(*asked, (place, TODAY, "now"))
        assert asked[-1][1] - 15 * 3600 <= time_of(with_today) <= asked[-1][1]


def test_a_client_that_repeats_itself_moves_nothing_either() -> None:
    asked = replay(100)
    repeated = clocks(*asked, *[(PLACES[0], TODAY + n, "now") for n in range(50)])
    assert time_of(repeated) <= asked[-1][1]


def test_fewer_than_a_tenth_of_the_units_cannot_move_it() -> None:
    asked = replay(200)
    moved = clocks(*asked, *[(PLACES[n % 2], TODAY, f"n{n}") for n in range(15)])
    assert time_of(moved) <= asked[-1][1]


def test_a_partition_with_unread_records_holds_the_clock_back_and_one_read_to_its_end_does_not() -> None:
    ahead = [(PLACES[0], n * DAY, f"u{n}") for n in range(100)]
    behind = [(PLACES[1], n * 3600.0, f"v{n}") for n in range(30)]
    found = clocks(*ahead, *behind)
    clock_s = time_of(found, Reading(frozenset({PLACES[1]})))
    assert 20 * 3600 <= clock_s <= 29 * 3600
    assert time_of(found) > 80 * DAY
    assert time_of(found, Reading(frozenset({PLACES[1]}), frozenset({PLACES[1]}), 1.0)) > 80 * DAY


def test_a_partition_that_was_read_just_now_holds_it_back_too() -> None:
    found = clocks(*[(PLACES[0], n * DAY, f"u{n}") for n in range(100)])
    for n in range(10):
        found.note("d", PLACES[1], n * 3600.0, n, TODAY, 100.0)
    assert time_of(found, Reading(frozenset(), quiet_before_s=99.0)) == 7 * 3600.0
    assert time_of(found, Reading(frozenset(), quiet_before_s=101.0)) > 80 * DAY


def test_a_partition_full_of_others_does_not_wait_for_a_deployment_that_is_not_seen_there_any_more() -> None:
    found = clocks(*[(PLACES[0], n * 3600.0, f"u{n}") for n in range(100)], (PLACES[1], 0.0, "once"))
    for n in range(40_000):
        found.note("other", PLACES[1], float(n), n, TODAY, 0.0)
    assert time_of(found, Reading(frozenset({PLACES[1]}), quiet_before_s=1.0)) > 50 * 3600.0


@pytest.mark.parametrize("units", [1, 2])
def test_a_deployment_of_one_or_two_units_has_a_clock_all_the_same(units: int) -> None:
    """One unit with one request a day. The clock is its third newest instant, so a day is over two days later."""
    asked = replay(50, units)
    last_s = asked[-1][1]
    assert time_of(clocks(*asked)) == last_s - 2 * 3600.0
    assert time_of(clocks(*asked, (PLACES[0], TODAY, "u0"))) == last_s - 3600.0


def test_before_the_third_request_there_is_no_clock() -> None:
    assert time_of(clocks(*replay(2))) == -math.inf
    assert time_of(clocks(*replay(3))) == 0.0


def test_only_what_was_appended_within_a_day_of_the_newest_counts() -> None:
    found = clocks(*replay(200), append_s=TODAY - 3 * DAY)
    for n in range(5):
        found.note("d", PLACES[0], TODAY + n, n, TODAY, 0.0)
    assert time_of(found) == TODAY + 2


# Drawing 200 tuples takes long on a busy machine, which is no fault.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.integers(0, 30)), max_size=200), st.integers(0, 199))
def test_one_record_more_moves_a_level_no_further_than_the_next_unit(seen: list[tuple[float, int]], drop: int) -> None:
    whole = [(at_s, unit, TODAY) for at_s, unit in seen]
    before, after = level(whole), level([*whole, (1e12, 99, TODAY)])
    highest: dict[int, float] = {}
    for at_s, unit in seen:
        highest[unit] = max(at_s, highest.get(unit, -math.inf))
    if len(highest) >= 3:
        above = [at_s for at_s in highest.values() if at_s > before]
        assert after <= min(above, default=before)


# windows, however their records were read


@dataclass
class Replay:
    """Topics that are written completely, and a monitor that reads them in any order and any batches."""

    requests: int = 60
    per_day: int = 12
    stray: bool = False
    log: dict[TopicPartition, list[Message]] = field(default_factory=dict)
    read: dict[TopicPartition, int] = field(default_factory=dict)
    decided: dict[int, int] = field(default_factory=dict)
    clock: ManualClock = field(default_factory=lambda: ManualClock(TODAY))
    health: Health = field(default_factory=lambda: Health("monitor", "m"))

    def __post_init__(self) -> None:
        self.log = {TopicPartition(t, p): [] for t in (DECISIONS, OUTCOMES) for p in range(PARTITIONS)}
        self.read = dict.fromkeys(self.log, 0)
        self.decided = dict.fromkeys(range(PARTITIONS), 0)
        if self.stray:
            self.ask("today", TODAY, 0)
        for n in range(self.requests):
            at_s = (n + 0.5) * DAY / self.per_day
            self.ask(f"u{n}", at_s, n % PARTITIONS)
            self.put(OUTCOMES, n % PARTITIONS, OutcomeObserved("d", f"u{n}", float(n % 3 == 0)), at_s + 3600)

    def ask(self, unit: str, at_s: float, partition: int) -> None:
        answer = Served(Score(1, "m", 0.4))
        self.put(DECISIONS, partition, DecisionMade(f"r{unit}", "d", unit, at_s, answer, 0), at_s)

    def put(self, topic: str, partition: int, event: object, time_s: float) -> None:
        records = self.log[TopicPartition(topic, partition)]
        record = Record(topic, partition, len(records), b"k", None, (), int(TODAY * 1000))
        records.append(Message(record, Envelope(f"{topic}{partition}{len(records)}", "", "t", time_s), event))

    async def shard(self) -> MonitorShard:
        async def behind() -> Mapping[TopicPartition, int]:
            return {tp: self.end(tp) - self.read[tp] for tp in self.log}

        async def undecided() -> Mapping[int, int]:
            return {p: len(self.log[TopicPartition(DECISIONS, p)]) - self.decided[p] for p in range(PARTITIONS)}

        outside = Outside(behind, undecided=undecided)
        shard = MonitorShard(TOPICS, [project()], self.clock, Liveness(), outside, self.health)
        await shard.on_start({})
        return shard

    def end(self, tp: TopicPartition) -> int:
        return self.decided[tp.partition] if tp.topic == DECISIONS else len(self.log[tp])

    def decide_all(self) -> None:
        self.decided = {p: len(self.log[TopicPartition(DECISIONS, p)]) for p in range(PARTITIONS)}

    def take(self, tp: TopicPartition, count: int) -> list[Message]:
        begin = self.read[tp]
        self.read[tp] = min(begin + count, self.end(tp))
        return self.log[tp][begin : self.read[tp]]


def closed(outs: Sequence[Out]) -> list[WindowClosed]:
    events = [CODEC.decode(Record(o.topic, 0, 0, o.key, o.value, o.headers)).event for o in outs]
    return [event for event in events if isinstance(event, WindowClosed)]


Step = tuple[int, int, int, bool]
STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=40)


async def windows_of(replay: Replay, steps: Sequence[Step]) -> list[WindowClosed]:
    """A step is: which input is read, how many of its records, how many requests are decided before, whether a tick follows."""
    shard, outs, places = await replay.shard(), [], list(replay.log)
    whole = [(n, 10_000, 10_000, True) for n in range(len(places))]
    for place, count, decided, ticks in [*steps, *whole]:
        tp = places[place]
        top = len(replay.log[TopicPartition(DECISIONS, tp.partition)])
        replay.decided[tp.partition] = min(replay.decided[tp.partition] + decided, top)
        batch = replay.take(tp, count)
        if batch:
            outs += (await shard.on_batch(batch)).outs
        if ticks:
            replay.clock.advance(3.0)
            outs += (await shard.on_tick()).outs
    for tp in places:
        outs += (await shard.on_batch(replay.take(tp, 10_000))).outs
    replay.clock.advance(3.0)
    outs += (await shard.on_tick()).outs
    return closed(outs)


def facts_of(window: WindowClosed) -> tuple:
    return (window.from_s, window.requests, window.labelled, window.verdict, window.positive_share, window.qualities)


@given(STEPS, st.booleans())
@settings(max_examples=20, deadline=None)
def test_windows_are_the_same_however_their_records_were_read(steps: list[Step], stray: bool) -> None:
    """A plain producer at full speed, partitions that are read one after the other, ticks at any place, and a request of today before all others."""
    found = asyncio.run(windows_of(Replay(stray=stray), steps))
    wanted = asyncio.run(windows_of(Replay(), []))
    assert [facts_of(w) for w in found] == [facts_of(w) for w in wanted]
    assert [w.requests for w in found] == [12] * len(found)
    assert len(found) >= 3
    assert all(w.labelled == 12 and w.late_requests == 0 and w.late_outcomes == 0 for w in found)


async def test_a_request_of_today_and_a_refused_one_of_2500_close_no_window() -> None:
    replay = Replay()
    replay.ask("today", TODAY, 0)
    refused = DecisionMade("far", "d", "far", 16_725_225_600.0, Invalid("too far ahead", "ce_time"), 0)
    replay.put(DECISIONS, 1, refused, TODAY)
    found = await windows_of(replay, [])
    assert [w.requests for w in found] == [12] * len(found)
    assert max(w.to_s for w in found) < 10 * DAY


async def test_what_came_too_late_stands_in_the_next_window_and_in_health() -> None:
    replay = Replay(requests=60)
    shard = await replay.shard()
    outs: list[Out] = []
    replay.decide_all()
    for tp in replay.log:
        outs += (await shard.on_batch(replay.take(tp, 10_000))).outs
    replay.clock.advance(3.0)
    outs += (await shard.on_tick()).outs
    before = closed(outs)
    assert before
    assert all(w.late_requests == 0 for w in before)
    replay.ask("late", 5.0, 0)
    replay.put(OUTCOMES, 0, OutcomeObserved("d", "late", 1.0), 10.0)
    for n in range(60, 120):
        replay.ask(f"u{n}", (n + 0.5) * DAY / 12, n % 2)
        replay.put(OUTCOMES, n % 2, OutcomeObserved("d", f"u{n}", 1.0), (n + 1) * DAY / 12)
    replay.decide_all()
    outs = []
    for tp in replay.log:
        outs += (await shard.on_batch(list(replay.log[tp][replay.read[tp] :]))).outs
        replay.read[tp] = len(replay.log[tp])
    replay.clock.advance(3.0)
    outs += (await shard.on_tick()).outs
    after = closed(outs)
    assert (after[0].late_requests, after[0].late_outcomes) == (1, 1)
    assert all((w.late_requests, w.late_outcomes) == (0, 0) for w in after[1:])
    assert (replay.health.late_requests, replay.health.late_outcomes) == ({"d": 1}, {"d": 1})


@pytest.mark.parametrize("at_s", [-62_135_596_800.0, -1.0, 0.0, 1e9])
async def test_no_instant_however_far_away_makes_a_loop_long(at_s: float) -> None:
    replay = Replay(requests=0)
    for n in range(40):
        replay.ask(f"u{n}", at_s + n * 7200.0, n % 2)
    replay.ask("far", TODAY, 0)
    found = await windows_of(replay, [])
    assert 0 < len(found) <= 3


async def test_requests_of_more_days_than_there_may_be_windows_close_the_oldest_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace_monitor.core.windows.MOST_WINDOWS", 50)
    replay = Replay(requests=0)
    for n in range(200):
        replay.ask(f"u{n}", n * 10 * DAY, n % 2)
    shard = await replay.shard()
    replay.decide_all()
    outs = []
    for tp in list(replay.log)[:2]:
        outs += (await shard.on_batch(replay.log[tp])).outs
    outs += (await shard.on_tick()).outs
    assert len(shard.core.deployments.watched["d"].windows.open) <= 50
    assert {w.verdict for w in closed(outs)} == {"UNMEASURED"}
