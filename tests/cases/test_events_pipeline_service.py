"""The pipeline service on a real broker: one transform hangs, one cannot start, one stream is poison; nobody else notices."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from headrace.bus.admin import ensure_topics
from headrace.bus.kafka import KafkaLog
from headrace.bus.port import Out, Record, TopicPartition
from headrace.bus.projects import Projects
from headrace.bus.stops import Stops, read_stops, stop_record
from headrace.codec import Codec
from headrace.events.features import PipelineAdvanced
from headrace.events.ops import HealthReported, PartitionResumed
from headrace.features.origins import Origins
from headrace.project.definition import ProjectDefinition
from headrace.settings import Settings
from headrace.topics import Topics
from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(300)]

CODE = """
import asyncio, ctypes, os, re, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
import msgspec
from headrace.project import *

class Seen(msgspec.Struct):
    at: float
    name: str

class Noted(msgspec.Struct):
    at: float
    name: str

seen = Source("seen", event=Seen, event_time="at", key="name")
noted = Source("noted", event=Noted, event_time="at", key="name")
good, bad, third = RawStream("good", partitions=1), RawStream("bad"), RawStream("third", partitions=1)
fourth, fifth = RawStream("fourth", partitions=1), RawStream("fifth", partitions=1)

@pipeline(good, to=[seen])
async def fine(messages):
    async for message in messages:
        yield Seen(message["at"], message["name"])

@pipeline(bad, to=[noted], limit="2s")
async def naughty(messages):
    async for message in messages:
        while message["do"] == "spin":
            pass
        if message["do"] == "raise":
            raise ValueError("no")
        if message["do"] == "sleep":
            time.sleep(1000)
        if message["do"] == "exit":
            os._exit(9)
        if message["do"] == "crash":
            ctypes.string_at(0)
        if message["do"] == "wild":
            re.match("(a+)+$", "a" * 64 + "b")
        yield Noted(message["at"], message["name"])

@pipeline(third, to=[])
async def never(messages):
    raise RuntimeError("no such table")
    yield

@pipeline(fourth, to=[noted], limit="60s")
async def patient(messages):
    home = Path(os.environ["HEADRACE_HOME"])
    async for message in messages:
        (home / "begun").touch()
        while not (home / "go").exists():
            await asyncio.sleep(0.05)
        yield Noted(message["at"], message["name"])

@pipeline(fifth, to=[noted])
async def pooled(messages):
    pool = ProcessPoolExecutor(2, mp_context=get_context("fork"))
    async for message in messages:
        if message["do"] == "crash":
            ctypes.string_at(0)
        yield Noted(message["at"], pool.submit(str.upper, message["name"]).result())

project = Project("mischief", [Deployment("d", "u", [Key("k")])], raw=[good, bad, third, fourth, fifth],
                  sources=[seen, noted], pipelines=[fine, naughty, never, patient, pooled])
"""

TWIN = """
import msgspec
from headrace.project import *

class Seen(msgspec.Struct):
    at: float
    name: str

seen, twins = Source("twins-seen", event=Seen, event_time="at", key="name"), RawStream("twins", partitions=1)

@pipeline(twins, to=[seen])
async def fine(messages):
    async for message in messages:
        yield Seen(message["at"], message["name"] + " of twin")

project = Project("twin", [Deployment("e", "v", [Key("k")])], raw=[twins], sources=[seen], pipelines=[fine])
"""


class Place:
    def __init__(self, settings: Settings, log: KafkaLog, folder: Path) -> None:
        self.settings, self.log, self.folder = settings, log, folder
        self.topics = Topics.load(settings.namespace)
        self.codec = Codec(self.topics)
        self.service: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "HEADRACE_NAMESPACE": self.settings.namespace,
            "HEADRACE_HOME": str(self.folder / "home"),
            "HEADRACE_APPLIED_FILE": str(self.folder / "home" / "applied.json"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, **environ: str) -> None:
        with (self.folder / "pipeline.log").open("ab") as log:
            self.service = subprocess.Popen(
                [sys.executable, "-m", "headrace_pipeline"], env=self.environ | environ, stdout=log, stderr=log
            )

    def end(self) -> int:
        assert self.service is not None
        self.service.send_signal(signal.SIGTERM)
        return self.service.wait(20)

    def apply(self, folder: Path | None = None, code: str = CODE, name: str = "mischief.py") -> None:
        folder = folder or self.folder
        (folder / name).write_text(code)
        command = [sys.executable, "-c", "from headrace_cli.main import app; app()", "apply", name]
        done = subprocess.run(
            command, env=self.environ, cwd=folder, capture_output=True, timeout=120, check=False, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    async def send(self, stream: str, *messages: dict[str, Any] | bytes, partition: int = 0) -> None:
        producer = await self.log.producer()
        values = [m if isinstance(m, bytes) else json.dumps({"at": 1.0} | m).encode() for m in messages]
        await producer.send([Out(self.topics.of_raw(stream), None, value, partition=partition) for value in values])
        await producer.close()

    async def records(self, topic: str) -> list[Record]:
        partitions = await self.log.partitions(topic)
        ends = await self.log.end_offsets(partitions)
        reader = await self.log.reader(partitions, "beginning")
        found: list[Record] = []
        try:
            while any([await reader.position(tp) < end for tp, end in ends.items()]):
                found += await reader.fetch(0.5, 5000)
        finally:
            await reader.close()
        return found

    async def names(self, source: str) -> list[str]:
        records = [
            r
            for r in await self.records(self.topics.of_source(source))
            if ("ce_type", b"pipeline.advanced") not in r.headers
        ]
        return [msgspec.msgpack.decode(r.value)["name"] for r in records]

    async def buried(self) -> list[str]:
        found = await self.records(self.topics.dlq("pipeline"))
        return [dict(r.headers)["__connect.errors.exception.message"].decode() for r in found]

    async def health(self) -> HealthReported | None:
        beats = [self.codec.decode(r).event for r in await self.records(self.topics.name("ops.health"))]
        return beats[-1] if beats else None

    async def until(self, holds: Callable[[], Any], within_s: float = 90.0) -> float:
        """Wait until an awaitable holds; returns the seconds waited."""
        begun_s = time.monotonic()
        async with asyncio.timeout(within_s):
            while not await holds():
                await asyncio.sleep(0.2)
        return time.monotonic() - begun_s


@pytest.fixture
async def place(settings: Settings, kafka_log: KafkaLog, tmp_path: Path) -> AsyncIterator[Place]:
    found = Place(settings, kafka_log, tmp_path)
    await ensure_topics(kafka_log, found.topics.specs())
    found.apply()
    found.start()
    yield found
    if found.service is not None and found.service.poll() is None:
        found.service.kill()
        found.service.wait(10)
    print((tmp_path / "pipeline.log").read_text()[-8000:])


async def test_a_hung_a_broken_and_a_poisoned_pipeline_harm_neither_the_service_nor_another(place: Place) -> None:
    # A pipeline that cannot start is told, and holds its record.
    await place.send("third", {"name": "x"})
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))

    async def is_told() -> bool:
        beat = await place.health()
        return beat is not None and "cannot start: RuntimeError: no such table" in beat.reason

    await place.until(is_told)
    # One hangs: its message alone is parked, and the other pipeline answers meanwhile.
    await place.send("bad", {"do": "ok", "name": "n0"}, {"do": "spin", "name": "-"}, {"do": "ok", "name": "n1"})
    await place.until(lambda: has(place.names("noted"), "n0"))
    await place.send("good", *[{"name": f"g{n}"} for n in range(20_000)])
    await place.until(lambda: has(place.names("seen"), "g19999"))
    await place.until(lambda: has(place.names("noted"), "n1"))
    assert [reason for reason in await place.buried() if "hung" in reason] == [
        "pipeline naughty failed: hung: it made no step for 2 s"
    ]

    # Poison: partition 0 stops at the record that is one too many, partition 1 goes on.
    await place.send("bad", *[{"do": "raise"}] * 150, {"do": "ok", "name": "n2"})
    await place.send("bad", {"do": "ok", "name": "m0"}, partition=1)
    stops = Stops(place.log, place.codec, place.topics, "pipeline")
    await stops.start()
    following = asyncio.create_task(stops.follow())
    bad = place.topics.of_raw("bad")

    async def is_stopped() -> bool:
        return stops.at(bad, 0) is not None

    await place.until(is_stopped)
    assert stops.at(bad, 0) == 3 + 100
    await place.send("bad", {"do": "ok", "name": "m1"}, partition=1)
    await place.until(lambda: has(place.names("noted"), "m1"))
    assert len(await place.buried()) == 101
    assert "n2" not in await place.names("noted")

    # It stays stopped over a restart, and nothing past the stop is committed.
    assert place.end() == 0
    committed = await place.log.committed(place.topics.group("pipeline"), [TopicPartition(bad, 0)])
    assert committed[TopicPartition(bad, 0)] == 103
    place.start()
    await place.send("bad", {"do": "ok", "name": "m2"}, partition=1)
    await place.until(lambda: has(place.names("noted"), "m2"))

    async def names_the_stop() -> bool:
        beat = await place.health()
        return beat is not None and "too many of its messages" in beat.reason

    await place.until(names_the_stop)
    assert len(await place.buried()) == 101

    # An operator skips what is bad: it goes on behind it.
    resumed = PartitionResumed("pipeline", bad, 0, 153, "skip", "ann")
    producer = await place.log.producer()
    await producer.send([stop_record(place.topics, resumed)])
    await producer.close()
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75  # the supervisor starts it anew
    place.start()
    await place.until(lambda: has(place.names("noted"), "n2"))
    assert len(await place.buried()) == 101
    assert sorted(await place.names("noted")) == ["m0", "m1", "m2", "n0", "n1", "n2"]
    following.cancel()
    await stops.close()


@pytest.mark.parametrize("do", ["exit", "crash", "wild"])
async def test_a_message_that_ends_the_process_or_holds_the_interpreter_is_parked_after_the_second_time(
    place: Place, do: str
) -> None:
    await place.send("good", {"name": "a"})
    await place.send("bad", {"do": "ok", "name": "n0"}, {"do": do, "name": "-"}, {"do": "ok", "name": "n1"})
    for _ in range(2):
        await asyncio.to_thread(ended, place.service)
        place.start()
    await place.send("good", {"name": "b"})
    await place.until(lambda: has(place.names("noted"), "n1"))
    await place.until(lambda: has(place.names("seen"), "b"))
    assert place.service is not None
    assert place.service.poll() is None
    assert set(await place.buried()) == {"pipeline naughty ended its process on it, 2 times"}
    assert set(await place.names("noted")) == {"n0", "n1"}
    assert set(await place.names("seen")) == {"a", "b"}


def ended(service: subprocess.Popen[bytes]) -> None:
    """Waits until it ended by itself; one of which a thread has taken a core for long is killed, as the supervisor does."""
    process, deadline_s = psutil.Process(service.pid), time.monotonic() + 90
    while service.poll() is None:
        assert time.monotonic() < deadline_s
        with contextlib.suppress(psutil.Error):
            if any(thread.user_time > 15.0 for thread in process.threads()):
                service.kill()
        time.sleep(0.1)


async def test_a_pipeline_with_a_process_pool_comes_back_at_the_same_port_however_it_ends(place: Place) -> None:
    assert place.service is not None
    place.service.kill()
    place.service.wait(10)
    port = str(free_port())
    for name, how in (("a", "kill"), ("b", "crash"), ("c", "ask")):
        place.start(HEADRACE_HTTP_PORT=port)
        await place.send("fifth", {"do": "ok", "name": name})
        await place.until(lambda name=name: has(place.names("noted"), name.upper()))
        forked = psutil.Process(place.service.pid).children(recursive=True)
        assert len(forked) >= 2
        if how == "kill":
            place.service.kill()
            await asyncio.to_thread(place.service.wait, 10)
        elif how == "crash":
            await place.send("fifth", {"do": "crash", "name": "-"})
            await asyncio.to_thread(ended, place.service)
            place.start(HEADRACE_HTTP_PORT=port)  # it comes back, to the same message, which is parked the next time
            await asyncio.to_thread(ended, place.service)
        else:
            assert await asyncio.to_thread(place.end) == 0
        assert not psutil.wait_procs(forked, 10)[1]
    assert set(await place.buried()) == {"pipeline pooled ended its process on it, 2 times"}


async def test_what_is_in_hand_when_the_service_is_asked_to_end_is_not_acknowledged_and_is_done_after_the_restart(
    place: Place,
) -> None:
    names = [f"h{n}" for n in range(20)]
    await place.send("fourth", *[{"name": name} for name in names])
    home = place.folder / "home"

    async def has_begun() -> bool:
        return (home / "begun").exists()

    await place.until(has_begun)
    assert place.end() == 0
    fourth = TopicPartition(place.topics.of_raw("fourth"), 0)
    assert (await place.log.committed(place.topics.group("pipeline"), [fourth])).get(fourth) in (None, 0)
    (home / "go").touch()
    place.start()
    await place.until(lambda: has(place.names("noted"), names[-1]))
    assert sorted(await place.names("noted")) == sorted(names)


@pytest.mark.parametrize("more", [1, 60])
async def test_raw_topics_made_again_are_read_whole_their_events_are_no_repeats_and_their_stops_are_gone(
    place: Place, more: int
) -> None:
    old, new = [f"o{n}" for n in range(30)], [f"n{n}" for n in range(30 * more)]
    await place.send("good", *[{"name": name} for name in old])
    await place.send("bad", *[{"do": "raise"}] * 150)
    await place.until(lambda: has(place.names("seen"), old[-1]))

    async def stopped() -> set[str]:
        return set(await read_stops(place.log, place.codec, place.topics))

    bad = place.topics.of_raw("bad")
    await place.until(lambda: has(stopped(), f"pipeline/{bad}/0"))
    raw = [spec for spec in place.topics.specs(await applied(place)) if spec.name in (place.topics.of_raw("good"), bad)]
    assert len(raw) == 2
    await place.log.admin.delete_topics([spec.name for spec in raw])

    async def are_gone() -> bool:
        return not await place.log.topic_ids([spec.name for spec in raw])

    await place.until(are_gone)
    await ensure_topics(place.log, raw)
    await place.send("good", *[{"name": name} for name in new])
    await place.send("bad", *[{"do": "ok", "name": f"b{n}"} for n in range(200)])
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75
    place.start()
    await place.until(lambda: has(place.names("noted"), "b199"))
    await place.until(lambda: has(counted(place, "seen"), new[-1]))
    assert await counted(place, "seen") == old + new
    assert set(await place.names("noted")) == {f"b{n}" for n in range(200)}
    assert await stopped() == set()


async def test_partitions_added_to_a_raw_topic_are_read_and_another_retention_stops_nobody(place: Place) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    good = place.topics.of_raw("good")
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.bootstrap_servers)
    await admin.start()
    await admin.create_partitions({good: NewPartitions(3)})
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, good, {"retention.ms": "3600000"})])
    await admin.close()
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75
    place.start()
    before, place.log = place.log, KafkaLog(place.settings)  # one that does not remember how many there were
    await place.log.start()
    for partition in range(3):
        await place.send("good", {"name": f"p{partition}"}, partition=partition)
    for partition in range(3):
        await place.until(lambda name=f"p{partition}": has(place.names("seen"), name))
    await place.log.stop()
    place.log = before


async def test_a_project_that_lacks_a_topic_is_left_out_until_it_is_there(place: Place) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    third = place.topics.of_raw("third")
    specs = [spec for spec in place.topics.specs(await applied(place)) if spec.name == third]
    assert place.end() == 0
    await place.log.admin.delete_topics([third])

    async def is_gone() -> bool:
        return not await place.log.topic_ids([third])

    await place.until(is_gone)
    place.start()

    async def is_told() -> bool:
        beat = await place.health()
        return beat is not None and f"project mischief: topics are missing: {third}" in beat.reason

    await place.until(is_told)
    await ensure_topics(place.log, specs)
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75
    place.start()
    await place.send("good", {"name": "b"})
    await place.until(lambda: has(place.names("seen"), "b"))


WILD = """
import ctypes, sys
import msgspec
from headrace.project import *

if "headrace_pipeline.app" in sys.modules:
    ctypes.string_at(0)

class Wild(msgspec.Struct):
    at: float
    name: str

wild, feed = Source("wild", event=Wild, event_time="at", key="name"), RawStream("wild", partitions=1)

@pipeline(feed, to=[wild])
async def wildly(messages):
    async for message in messages:
        yield Wild(message["at"], message["name"])

project = Project("wild", [Deployment("w", "u", [Key("k")])], raw=[feed], sources=[wild], pipelines=[wildly])
"""


async def test_a_project_that_ends_the_process_when_it_is_imported_is_left_out_after_the_second_time(
    place: Place,
) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    place.apply(code=WILD, name="wild.py")
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75
    for _ in range(2):
        place.start()
        assert await asyncio.to_thread(place.service.wait, 60) == -signal.SIGSEGV
    place.start()
    await place.send("good", {"name": "b"})
    await place.until(lambda: has(place.names("seen"), "b"))

    async def is_told() -> bool:
        beat = await place.health()
        return beat is not None and "project wild, pipeline wildly: its import ended the process 2 times" in beat.reason

    await place.until(is_told)
    assert place.end() == 0
    (place.folder / "wild.py").write_text(WILD.replace("ctypes.string_at(0)", "pass"))
    place.start()
    await place.send("wild", {"name": "mended"})
    await place.until(lambda: has(place.names("wild"), "mended"))


async def applied(place: Place) -> ProjectDefinition:
    projects = Projects(place.log, place.codec, place.topics)
    await projects.start()
    await projects.stop()
    return projects.applied["mischief"].definition


async def counted(place: Place, source: str) -> list[str]:
    """Of the events of a source, those that whoever keeps state takes."""
    origins = dict[int, Origins]()
    found: list[str] = []
    for record in await place.records(place.topics.of_source(source)):
        mine = origins.setdefault(record.partition, Origins())
        message = place.codec.decode(record)
        if isinstance(message.event, PipelineAdvanced):
            mine.advance(
                f"{message.event.topic}/{message.event.partition}", message.event.offset, message.event.topic_id
            )
        elif not mine.is_repeat(message.envelope.origin):
            found.append(msgspec.msgpack.decode(record.value)["name"])
    return sorted(found, key=lambda name: (name[0] == "n", int(name[1:])))


async def test_a_project_that_this_host_does_not_allow_is_not_imported_and_the_others_are_hosted(place: Place) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    assert place.end() == 0
    place.start(HEADRACE_ALLOWED_PROJECTS="flights")

    async def is_told() -> bool:
        beat = await place.health()
        return beat is not None and "project mischief is not allowed here" in beat.reason

    await place.until(is_told)
    assert place.service is not None
    assert place.service.poll() is None


async def test_a_project_whose_module_has_the_name_of_another_ones_does_not_run_the_other_ones_code(
    place: Place,
) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    assert place.end() == 0
    twin = place.folder / "twin"
    twin.mkdir()
    place.apply(twin, TWIN)
    await place.send("twins", {"name": "t"})
    await place.send("good", {"name": "b"})
    place.start()
    told = "module 'mischief' of "

    async def is_told() -> bool:
        beat = await place.health()
        return beat is not None and told in beat.reason and "has this name in this process" in beat.reason

    await place.until(is_told)
    # Whichever of the two came first is hosted, and neither runs the other's code.
    beat = await place.health()
    assert beat is not None
    hosted = "twins-seen" if f"{told}{place.folder} " in beat.reason else "seen"
    await place.until(lambda: has(place.names(hosted), "t of twin" if hosted == "twins-seen" else "b"))
    assert await place.buried() == []


async def has(names: Any, wanted: str) -> bool:
    return wanted in await names
