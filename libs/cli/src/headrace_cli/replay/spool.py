"""Sorts events by time: sorted runs on disk (files without a name), which are merged as they are read.

Memory holds one run while it is written, and one event per run while they are merged.
"""

import heapq
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Generic, TypeVar

import msgspec

from headrace.events.inference import Scalar

RUN_EVENTS = 50_000
_LENGTH_BYTES = 4


class Asked(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """A request. `shard`, `number`: which row of the history it is (see `ids`)."""

    time_s: float
    shard: int
    number: int
    unit: str
    inputs: dict[str, Scalar]


class Known(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """An outcome, and when it became known. `of`: shard and number of its request; `corrects`: of the outcome that it corrects."""

    time_s: float
    shard: int
    number: int
    unit: str
    label: float | str | bool
    of: tuple[int, int] | None = None
    corrects: tuple[int, int] | None = None


class StreamRecord(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """A record for a raw stream or source. `time_s`: when it may be used; `shard`: of which file; `at_s`: its domain time."""

    time_s: float
    shard: int
    number: int
    at_s: float
    key: str | None
    value: bytes


Event = Asked | Known
E = TypeVar("E", Asked | Known, StreamRecord)


def order(event: Event | StreamRecord) -> tuple[float, bool, int, int]:
    """The sort key: by time; requests come first within an instant."""
    return event.time_s, isinstance(event, Known), event.shard, event.number


class Spool(Generic[E]):
    """Takes events in any order and returns them in order. `count`: how many; `first_s`, `last_s`: their instants."""

    def __init__(self, run_events: int = RUN_EVENTS) -> None:
        self._run_events = run_events
        self._run: list[E] = []
        self._files: list[IO[bytes]] = []
        self._encoder = msgspec.msgpack.Encoder()
        self.count = 0
        self.first_s, self.last_s = float("inf"), float("-inf")

    def add(self, event: E) -> None:
        """Add an event."""
        self._run.append(event)
        self.count += 1
        self.first_s, self.last_s = min(self.first_s, event.time_s), max(self.last_s, event.time_s)
        if len(self._run) >= self._run_events:
            self._write()

    def events(self) -> Iterator[E]:
        """All events, in order; each call starts from the beginning, and ends the former iteration."""
        self._run.sort(key=order)
        yield from heapq.merge(*map(_read, self._files), self._run, key=order)

    def close(self) -> None:
        """Free the disk."""
        for file in self._files:
            file.close()
        self._files, self._run = [], []

    def _write(self) -> None:
        # NB: a file without a name disappears with this process, however that ends.
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the spool
        for event in sorted(self._run, key=order):
            encoded = self._encoder.encode(event)
            file.write(len(encoded).to_bytes(_LENGTH_BYTES, "little"))
            file.write(encoded)
        file.flush()
        self._files.append(file)
        self._run = []


def _read(file: IO[bytes]) -> Iterator[Any]:
    decoder = msgspec.msgpack.Decoder(Event | StreamRecord)
    reading = open(file.fileno(), "rb", closefd=False)  # noqa: SIM115 - a buffer of its own on the same file
    reading.seek(0)
    while length := reading.read(_LENGTH_BYTES):
        yield decoder.decode(reading.read(int.from_bytes(length, "little")))
