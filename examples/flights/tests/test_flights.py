"""The data, the schedule, the transforms, and the player's pacing and resuming."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.asking.feeding import Applied
from headrace.events.ops import HealthReported
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.partition import partition_of
from headrace.log.port import Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import Outcome
from headrace.project.compile import compile_project
from headrace_cli.replay.spool import Spool, StreamRecord
from headrace_cli.replay.streams import Events, streams_of
from headrace_flights.events import Departure, Landing, Weather
from headrace_flights.files import write_files
from headrace_flights.pipelines import follow_flights, read_weather
from headrace_flights.player import Player
from headrace_flights.project import project
from headrace_flights.schedule import EPOCH_S, Schedule

DEFINITION = compile_project(project)
DAY = 86_400.0
FROM_S = EPOCH_S + DAY


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return Schedule()


def test_flight_ids_are_unique_and_a_quarter_of_flights_is_late(schedule: Schedule) -> None:
    assert len(set(schedule.flight_ids)) == 336_776
    late = schedule.flights["arrival_delay_min"].fill_null(999).to_numpy() > 15
    assert late.mean() == pytest.approx(0.2585, abs=1e-4)


def test_the_first_flight_leaves_newark_at_a_quarter_past_five_new_york_time(schedule: Schedule) -> None:
    place = schedule.flight_ids.index("2013-01-01/UA/1545/EWR")
    assert datetime.fromtimestamp(schedule.departs_s[place], UTC) == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert schedule.asked(place).inputs["hour"] == 5


def test_block_times_cross_time_zones(schedule: Schedule) -> None:
    rows = schedule.flights.filter(schedule.flights["dest"] == "HNL")["block_min"]
    assert 600 < rows.min() <= rows.max() <= 700  # ten hours to Honolulu, not five


def test_a_request_is_asked_an_hour_before_departure_and_never_contains_the_outcome(schedule: Schedule) -> None:
    asked = schedule.asked(1000)
    assert asked.at_s == schedule.departs_s[1000] - 3600
    assert set(asked.inputs) == {field.name for field in DEFINITION.deployments[0].inputs}


def test_messages_come_in_order_of_availability(schedule: Schedule) -> None:
    assert (np.diff(schedule.movements[0]) >= 0).all()
    assert (np.diff(schedule.weather_s) >= 0).all()


def test_the_files_are_what_the_player_sends(schedule: Schedule, tmp_path: Path) -> None:
    from_s = EPOCH_S + 5 * DAY
    write_files(schedule, from_s, from_s + DAY, tmp_path)
    at, places, kinds = schedule.movements
    low, high = np.searchsorted(at, (from_s, from_s + 1.5 * DAY))
    sent = [(at[n], *schedule.movement(at[n], int(places[n]), int(kinds[n]))) for n in range(low, high)]
    assert same_messages(read_file(tmp_path, "movements", ":at:flight"), sent, ())
    low, high = np.searchsorted(schedule.weather_s, (from_s, from_s + 1.5 * DAY))
    sent = [(schedule.weather_s[n], *schedule.weather_row(n)) for n in range(low, high)]
    assert same_messages(read_file(tmp_path, "weather", ":published_at:origin"), sent, ("published_at",))


def read_file(folder: Path, stream: str, columns: str) -> list[StreamRecord]:
    """A file's records in the order in which they are sent."""
    (found,) = streams_of([f"{stream}={folder}/{stream}.parquet{columns}"], DEFINITION, Topics.load())
    spool = Spool[StreamRecord]()
    assert Events(found, 0, EPOCH_S + 10**9).fill(spool, print).bad == 0
    return list(spool.events())


def same_messages(records: list[StreamRecord], sent: list[tuple[float, str, bytes]], extra: tuple[str, ...]) -> bool:
    """Both the same, in the same order; instants may be written differently."""

    def plain(body: bytes) -> dict[str, Any]:
        fields = {name: value for name, value in json.loads(body).items() if name not in extra}
        return {n: v.replace("+00:00", "Z") if isinstance(v, str) else v for n, v in fields.items()}

    mine = [(event.time_s, event.key, plain(event.value)) for event in records]
    return len(sent) > 10 and mine == [(at_s, key, plain(body)) for at_s, key, body in sent]


async def transformed(transform, *messages: dict) -> list:
    async def feed() -> AsyncIterator[dict]:
        for message in messages:
            yield message

    return [out async for out in transform(feed())]


def movement(kind: str, at: str, scheduled: str = "2013-04-01T12:00:00+00:00") -> dict:
    return {
        "kind": kind,
        "flight": "f",
        "carrier": "AA",
        "origin": "JFK",
        "dest": "LAX",
        "tail": "N1",
        "scheduled": scheduled,
        "at": at,
    }


@pytest.mark.parametrize(("at", "label"), [("2013-04-01T12:15:00+00:00", 0.0), ("2013-04-01T12:16:00+00:00", 1.0)])
async def test_a_flight_is_late_from_the_sixteenth_minute(at: str, label: float) -> None:
    landing, outcome = await transformed(follow_flights.transform, movement("landed", at))
    assert isinstance(landing, Landing)
    assert isinstance(outcome, Outcome)
    assert outcome.label == label


async def test_a_cancelled_flight_is_late_and_has_no_delay() -> None:
    departure, outcome = await transformed(follow_flights.transform, movement("cancelled", "2013-04-01T12:00:00+00:00"))
    assert isinstance(departure, Departure)
    assert (departure.cancelled, departure.delay_min, outcome.label) == (True, None, 1.0)


async def test_an_unknown_kind_is_refused_with_what_is_known() -> None:
    with pytest.raises(ValueError, match="kind must be departed, cancelled, landed or diverted, got 'beamed'"):
        await transformed(follow_flights.transform, movement("beamed", "2013-04-01T12:00:00+00:00"))


async def test_weather_becomes_an_event_as_it_is(schedule: Schedule) -> None:
    key, body = schedule.weather_row(0)
    (event,) = await transformed(read_weather.transform, json.loads(body))
    assert isinstance(event, Weather)
    assert event.origin == key


class Bench:
    def __init__(self, log: MemoryLog, schedule: Schedule) -> None:
        self.log, self.topics, self.schedule = log, Topics.load(), schedule
        self.applied = Applied()

    def player(self) -> Player:
        go = asyncio.Event()
        go.set()
        return Player(
            self.log, self.topics, self.schedule, self.applied, partitions=2, feature_delay_s=900.0, hold=go.wait
        )

    def report(self, offset: int, at_ms: int = 0, instance: str = "i") -> None:
        requests = [TopicPartition(self.topics.name("inference.requests"), p) for p in (0, 1)]
        self.log.commit_offsets(self.topics.group("inference"), dict.fromkeys(requests, offset))
        applied = {f"{self.topics.of_raw(raw)}/{p}": offset for raw in ("movements", "weather") for p in (0, 1)}
        event = HealthReported("inference", instance, ready=True, applied=applied)
        self.applied.take(Message(Record("t", 0, 0, None, None, (), at_ms), Envelope("", "", "", 0.0), event))

    async def requests(self) -> list[float]:
        found = await read_all(self.log, Codec(self.topics), [self.topics.name("inference.requests")])
        return [message.envelope.time_s for message in found]


@pytest.fixture
async def bench(memory_log: MemoryLog, schedule: Schedule) -> Bench:
    found = Bench(memory_log, schedule)
    await ensure_topics(memory_log, found.topics.specs(DEFINITION))
    return found


async def play(player: Player, from_s: float, to_s: float) -> None:
    await player.play(from_s, to_s, step_s=900.0, ahead_s=2700.0)


async def test_no_request_goes_out_before_what_it_may_see_is_applied(bench: Bench) -> None:
    player = bench.player()
    task = asyncio.create_task(play(player, FROM_S, FROM_S + 6 * 3600))
    async with asyncio.timeout(20):
        while player.messages_sent == 0:
            await asyncio.sleep(0.01)
    before = await bench.requests()
    bench.report(10**9)
    await task
    after = await bench.requests()
    assert len(before) < len(after) == player.requests_sent > 0


async def test_a_dead_instance_does_not_delay_the_replay(bench: Bench) -> None:
    bench.report(5, at_ms=1_000, instance="dead")
    bench.report(100, at_ms=9_000, instance="alive")
    assert bench.applied.reached(f"{bench.topics.of_raw('movements')}/0") == 100


async def test_an_interrupted_player_continues_without_repeating_or_omitting_anything(bench: Bench) -> None:
    bench.report(10**9)
    first = bench.player()
    await play(first, FROM_S, FROM_S + 6 * 3600)
    second = bench.player()
    await play(second, max(FROM_S, await second.resume(EPOCH_S)), FROM_S + 12 * 3600)
    asked = await bench.requests()
    low, high = np.searchsorted(bench.schedule.asked_s, (FROM_S, FROM_S + 12 * 3600))
    assert len(asked) == high - low
    ends = await bench.log.end_offsets(await bench.log.partitions(bench.topics.of_raw("movements")))
    assert sum(ends.values()) == int(np.searchsorted(bench.schedule.movements[0], FROM_S + 12 * 3600 + 2700))


async def test_a_player_that_was_killed_amid_a_step_sends_what_is_missing_of_it(bench: Bench) -> None:
    bench.report(10**9)
    due = list(bench.schedule.requests(FROM_S + 3 * 3600, FROM_S + 9 * 3600))
    other = bench.player()
    sent = [out for out in other._requests(FROM_S + 3 * 3600, FROM_S + 9 * 3600) if partition_of(out.key or b"", 2)]
    producer = await bench.log.producer()
    await producer.send(sent)
    player = bench.player()
    assert await player.resume(FROM_S) <= due[0].at_s
    await play(player, FROM_S + 3 * 3600, FROM_S + 9 * 3600)
    assert 0 < len(sent) < len(due)
    assert sorted(await bench.requests()) == [asked.at_s for asked in due]
