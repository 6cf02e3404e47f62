"""The control plane of a demo that has ended, as one file (`python -m tests.console.recording FOLDER`, the folder of its
broker), and how it is read.

A record is `[topic, key, value, headers, appended_s]`, in the order of append time; topics have one partition and no
namespace here. Left out are what the console does not read (requests, decisions, features, artifacts, sketches of columns), and of the
reports of health all but one in `HEALTH_EVERY_S` of each instance. The name of the machine is replaced.
"""

import asyncio
import lzma
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace.hosting.settings import Settings
from headrace.log.kafka import KafkaLog
from headrace.log.port import Headers, Record
from headrace.log.topics import Topics
from headrace_broker import Broker
from headrace_console.core.world import CONTROL, HEALTH, MEASURED

FILE = Path(__file__).with_name("flights.msgpack.xz")
TOPICS = ("project.definitions", *CONTROL, *MEASURED, HEALTH)
HEALTH_EVERY_S = 5.0
MACHINE = "demo"
# Fields that are half of a megabyte, and empty where they are left out.
SKETCHES = ("sketch", "distinct_sketch")
_pack, _unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


class Recorded(NamedTuple):
    """A record of the demo. `topic`: without namespace and version; `appended_s`: wall clock of the demo."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    appended_s: float


def read(path: Path = FILE) -> list[Recorded]:
    """The recording, in order."""
    return [
        Recorded(topic, key, value, tuple((name, content) for name, content in headers), appended_s)
        for topic, key, value, headers, appended_s in _unpack(lzma.decompress(path.read_bytes()))
    ]


async def record(folder: Path) -> list[Recorded]:
    """What the log in `folder` (of a broker that has ended) holds of the control plane."""
    topics, found = Topics.load(), list[Recorded]()
    with Broker(folder) as broker:
        log = KafkaLog(Settings(bootstrap_servers=broker.bootstrap_servers))
        await log.start()
        for base in TOPICS:
            found += [_recorded(base, one) for one in await _whole(log, topics.name(base))]
        await log.stop()
    return list(_thinned(sorted(found, key=lambda one: one.appended_s)))


async def _whole(log: KafkaLog, topic: str) -> list[Record]:
    reader, found = await log.reader(await log.partitions(topic), "beginning"), list[Record]()
    ends = await reader.end_offsets()
    while any([await reader.position(tp) < end for tp, end in ends.items()]):
        found += await reader.fetch(0.2)
    await reader.close()
    return found


def _recorded(base: str, one: Record) -> Recorded:
    value = None if one.value is None else _pack(_renamed(_unpack(one.value)))
    headers = tuple((name, _renamed(content)) for name, content in one.headers)
    return Recorded(base, _renamed(one.key), value, headers, one.timestamp_ms / 1000)


def _renamed(value: Any) -> Any:
    """A value without the name of this machine and without sketches, in any depth."""
    match value:
        case str():
            return value.replace(socket.gethostname(), MACHINE)
        case bytes():
            return value.replace(socket.gethostname().encode(), MACHINE.encode())
        case dict():
            return {_renamed(name): _renamed(one) for name, one in value.items() if name not in SKETCHES}
        case list():
            return [_renamed(one) for one in value]
        case _:
            return value


def _thinned(records: list[Recorded]) -> Iterator[Recorded]:
    """All records but those of health that come too soon after the one before of the same instance."""
    kept: dict[bytes | None, float] = {}
    for one in records:
        if one.topic != HEALTH or one.appended_s - kept.get(one.key, 0.0) >= HEALTH_EVERY_S:
            if one.topic == HEALTH:
                kept[one.key] = one.appended_s
            yield one


def main() -> None:
    """Record the log in the folder that is given, into the file of the tests."""
    found = asyncio.run(record(Path(sys.argv[1])))
    FILE.write_bytes(lzma.compress(_pack(found), preset=9))
    print(f"{len(found):,} records, {FILE.stat().st_size / 1000:,.0f} kB: {FILE}")


if __name__ == "__main__":
    main()
