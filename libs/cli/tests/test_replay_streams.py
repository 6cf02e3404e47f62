"""Files of streams: what their rows become, what is refused, and that events go out before the requests that may see them, once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from headrace.asking.feeding import AHEAD_S, Applied
from headrace.asking.playback import Pace
from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.ops import HealthReported
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import (
    Binary,
    Count,
    Deployment,
    FeatureView,
    Key,
    Number,
    Outcome,
    Project,
    RawStream,
    Source,
    outcomes,
    pipeline,
    prior,
)
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.replay.fed import Fed, read_file
from headrace_cli.replay.fed import Source as File
from headrace_cli.replay.spool import Spool, StreamRecord
from headrace_cli.replay.streams import Events, feeding, streams_of
from headrace_cli.session import Session

NOW_S, DAY_S = 2e9, 86_400.0
TOPICS = Topics.load()


class Ride(msgspec.Struct):
    ended: datetime
    city: str
    fare: float | None = None


class Click(msgspec.Struct):
    at: datetime
    city: str


feed, noise, unread = RawStream("feed"), RawStream("noise", format="msgpack"), RawStream("unread")
rides = Source("rides", event=Ride, event_time="ended", key="city", available_after="1h")
clicks = Source("clicks", event=Click, event_time="at", key="city")


@pipeline(feed, to=[clicks])
async def click(messages: AsyncIterator[Any]) -> AsyncIterator[Click]:
    async for message in messages:
        yield msgspec.convert(message, Click)


@pipeline(noise, to=[outcomes("d")])
async def know(messages: AsyncIterator[Any]) -> AsyncIterator[Outcome]:
    async for message in messages:
        yield Outcome(message["u"], 1.0, message["at"])


by_ride = FeatureView("by_ride", source=rides, entity="city", features={"n": Count("1h")})
by_click = FeatureView("by_click", source=clicks, entity="city", features={"n": Count("1h")})
PROJECT = compile_project(
    Project(
        "p",
        raw=[feed, noise, unread],
        sources=[rides, clicks],
        pipelines=[click, know],
        views=[by_ride, by_click],
        deployments=[
            Deployment(
                "d",
                unit="u",
                inputs=[Number("x"), Key("city")],
                features=[by_ride.by("city"), by_click.by("city")],
                label=Binary("late", "1h"),
                fallback=[prior(0.5)],
            )
        ],
    )
)


def read(given: str) -> tuple[list[StreamRecord], Any, list[str]]:
    """The records of one file, the counts, and the messages."""
    messages: list[str] = []
    with closing(Spool[StreamRecord]()) as spool:
        counted = Events(streams_of([given], PROJECT, TOPICS)[0], 0, NOW_S).fill(spool, messages.append)
        return list(spool.events()), counted, messages


def test_a_row_of_a_csv_is_an_object_of_numbers_flags_and_texts(tmp_path: Path) -> None:
    file = tmp_path / "feed: one.csv"
    file.write_text("at,city,n,code,ok,none\n200,Rome,1.5,007,true,\n100,Oslo,2,7,false,\n")
    told, counted, messages = read(f"feed={file}:at:city")
    assert [(event.time_s, event.number, event.key) for event in told] == [(100.0, 2, "Oslo"), (200.0, 1, "Rome")]
    assert [json.loads(event.value) for event in told] == [
        {"at": 100, "city": "Oslo", "n": 2, "code": "7", "ok": False, "none": None},
        {"at": 200, "city": "Rome", "n": 1.5, "code": "007", "ok": True, "none": None},
    ]
    assert (counted.rows, counted.bad) == (2, 0)
    assert messages == ["feed: one.csv: numbers are at, n, none, the others are texts or booleans"]


def test_parquet_keeps_its_types_and_the_stream_its_format(tmp_path: Path) -> None:
    at = [datetime(2013, 4, 1, tzinfo=UTC), None]
    frame = pl.DataFrame({"at": at, "u": ["7", "8"], "n": [1.0, float("nan")], "tags": [["a"], []]})
    frame.write_parquet(tmp_path / "noise.parquet")
    (event,), counted, messages = read(f"noise={tmp_path}/noise.parquet:at")
    assert (event.time_s, event.key, messages) == (1364774400.0, None, [])
    found = msgspec.msgpack.decode(event.value)
    assert (found["u"], found["n"], found["tags"]) == ("7", 1.0, ["a"])
    assert counted.reasons == [f"{tmp_path}/noise.parquet, row 2: at is missing: a message needs an instant"]


def test_events_of_a_source_are_held_to_its_contract_and_come_when_they_may_be_used(tmp_path: Path) -> None:
    file = tmp_path / "rides.csv"
    rows = [
        "2013-04-01,Rome,12.5",
        "2013-04-01T00:00:00+02:00,Rome,",
        "soon,Rome,1",
        "2013-04-01,,1",
        "2990-01-01,Rome,1",
    ]
    file.write_text("ended,city,fare\n" + "\n".join(rows))
    told, counted, _ = read(f"rides={file}")
    assert [(event.time_s - 1364774400.0, event.at_s - 1364774400.0, event.key) for event in told] == [
        (-3600.0, -7200.0, "Rome"),
        (3600.0, 0.0, "Rome"),
    ]
    assert msgspec.msgpack.decode(told[1].value, type=Ride).fare == 12.5
    assert [line.partition(", line ")[2][0] for line in counted.reasons] == ["4", "5", "6"]
    assert counted.reasons[0].endswith(
        "line 4: ended must be an instant such as 2013-04-01T12:00:00Z, or seconds since the epoch, got 'soon'"
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("feed", "--events takes STREAM=FILE:AT[:KEY]"),
        ("feed=no.csv:at", "there is no file no.csv"),
        ("feed={file}", "must name the column of the instant at which a message came: feed={file}:COLUMN"),
        ("feed={file}:when", "has no column when"),
        ("fed={file}:at", "p has no such raw stream or source (it has: feed, noise, unread, rides, clicks)"),
        ("unread={file}:at", "no pipeline reads it, so it would have no effect"),
        ("clicks={file}", "pipelines write it from feed (by click): give the file of that stream"),
        ("rides={file}:at", "a source's own fields hold the key and the instants of its events: omit :at"),
        ("rides={file}", "has no column ended"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_sentence(tmp_path: Path, given: str, why: str) -> None:
    file = tmp_path / "f.csv"
    file.write_text("at,city\n1,Rome\n")
    with pytest.raises(Misconfigured) as caught:
        streams_of([given.format(file=file)], PROJECT, TOPICS)
    assert why.format(file=file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_features_of_a_deployment_come_out_of_is_known() -> None:
    assert feeding(PROJECT, PROJECT.deployment("d")) == ["feed", "rides"]


class Bench:
    """Two files, a log, and the offsets that inference and the pipeline report."""

    def __init__(self, log: MemoryLog, folder: Path) -> None:
        self.log, self.folder, self.spool = log, folder, Spool[StreamRecord]()
        codec = Codec(TOPICS)
        self.session = Session(log, TOPICS, codec, Projects(log, codec, TOPICS), ManualClock())  # type: ignore[arg-type]  # a log in memory
        self.applied, self.pace = Applied(), Pace(log, TOPICS)
        rows = [f"{hour * 3600},Rome" for hour in range(48)]
        (folder / "feed.csv").write_text("at,city\n" + "\n".join([*rows, rows[-1]]))
        (folder / "rides.csv").write_text("ended,city\n" + "\n".join(rows))

    async def fed(self, at: str = "at") -> Fed:
        self.spool = Spool[StreamRecord]()
        streams = streams_of([f"feed={self.folder}/feed.csv:{at}", f"rides={self.folder}/rides.csv"], PROJECT, TOPICS)
        files: list[File] = [read_file(s, n, self.spool, NOW_S, lambda line: None) for n, s in enumerate(streams)]
        found = Fed(self.session, files, self.spool, self.applied)
        await found.find(lambda done, total: None)
        found.begin()
        return found

    def read_all(self) -> None:
        """Inference has applied all that there is and will be, and the pipeline has read it."""
        places = [
            TopicPartition(topic, p) for topic in (TOPICS.of_raw("feed"), TOPICS.of_source("rides")) for p in (0, 1)
        ]
        self.log.commit_offsets(TOPICS.group("pipeline"), dict.fromkeys(places, 10**6))
        report = HealthReported(
            "inference", "i", ready=True, applied={f"{tp.topic}/{tp.partition}": 10**6 for tp in places}
        )
        self.applied.take(Message(Record("t", 0, 0, None, None), Envelope("", "", "", 0.0), report))

    async def counted(self) -> list[int]:
        """How many records each stream has."""
        topics = (TOPICS.of_raw("feed"), TOPICS.of_source("rides"))
        return [sum((await self.log.end_offsets(await self.log.partitions(topic))).values()) for topic in topics]


@pytest.fixture
async def bench(memory_log: MemoryLog, tmp_path: Path) -> Bench:
    await ensure_topics(memory_log, TOPICS.specs(PROJECT))
    return Bench(memory_log, tmp_path)


async def test_events_go_out_ahead_of_requests_and_requests_wait_until_they_are_applied(bench: Bench) -> None:
    fed = await bench.fed()
    advancing = asyncio.create_task(fed.advance(10 * 3600.0, 900.0, bench.pace))
    async with asyncio.timeout(20):
        # NB: what comes within AHEAD_S; a ride may be used an hour after its end.
        while await bench.counted() != [1 + int((10 * 3600 + AHEAD_S) // 3600), int((10 * 3600 + AHEAD_S) // 3600)]:
            await asyncio.sleep(0.001)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert not advancing.done()
    bench.read_all()
    await advancing
    await fed.finish(bench.pace)
    assert await bench.counted() == [49, 48]


async def test_records_on_the_log_are_not_sent_again_whichever_replay_sent_them(bench: Bench) -> None:
    bench.read_all()
    first = await bench.fed()
    await first.advance(10 * 3600.0, 0.0, bench.pace)
    again = await bench.fed()
    assert again.left == 97 - sum(await bench.counted())
    again.refuse_gone(10 * 3600.0)
    with pytest.raises(Misconfigured, match=r"a request of 1969-12-30 00:00 would find none of them"):
        again.refuse_gone(-2 * DAY_S)
    await again.finish(bench.pace)
    assert (again.feed.sent, await bench.counted()) == (97 - first.feed.sent, [49, 48])
    await again.find(lambda done, total: None)
    assert [(file.report()["events"], file.report()["duplicated"]) for file in again.sources] == [(49, 0), (48, 0)]


async def test_a_duplicate_is_reported_and_other_columns_are_refused(bench: Bench) -> None:
    bench.read_all()
    fed = await bench.fed()
    await fed.finish(bench.pace)
    reader = await bench.log.reader(await bench.log.partitions(TOPICS.of_raw("feed")), "beginning")
    copied = (await reader.fetch(0.1))[0]
    producer = await bench.log.producer()
    await producer.send([Out(copied.topic, copied.key, copied.value, copied.headers, copied.partition)])
    await fed.find(lambda done, total: None)
    assert fed.sources[0].report()["duplicated"] == 1
    with pytest.raises(Misconfigured, match=r"feed\.csv was replayed to feed with other columns"):
        await bench.fed("at:city")
