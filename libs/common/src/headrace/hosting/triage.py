"""What becomes of each record of a batch: the logic gets it, it is dead-lettered, or its partition stops at it.

A record that cannot be read is poison, and so is one that the logic says is, or that raised when it was handled alone. Only the
service that a topic's rule names as its reader writes its dead letters; how many, and when a partition stops, `poison` says.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from headrace.errors import Fatal, Poison, Retryable
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs
from headrace.hosting.stops import Stops
from headrace.log.dead_letters import dead_letter
from headrace.log.poison import PoisonLedger, Samples
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics

_log = logging.getLogger("headrace.hosting")

_MOST_CONDEMNED = 10_000
_NEVER, _STOP = 2**63, -1
_TOO_MANY = "too many records cannot be read"

Learn = Callable[[], Awaitable[None]]


class Read(NamedTuple):
    """A batch as read: what the logic gets, what is dead-lettered, the next offset per partition; how many of each were understood (since
    the last that was not), which records were not, and the partitions that are stopped."""

    messages: list[Any]
    dead_letters: list[Out]
    handled: dict[TopicPartition, int]
    good: dict[tuple[str, int], int]
    bad: set[tuple[str, int, int]]
    stopped: set[TopicPartition]

    @classmethod
    def nothing(cls) -> "Read":
        """No record at all."""
        return cls([], [], {}, {}, set(), set())


class Again(Retryable):
    """Rebuild the shard at once: what a batch raised is one record's, and must be found or left out."""


class Triage:
    """For all shards of a host: it outlives them. `condemned`: records that raised when they were handled alone. `decode`, `learn`:
    see `ShardGroup`."""

    def __init__(
        self,
        topics: Topics,
        service: str,
        decode: Callable[[Record], Any],
        learn: Learn | None,
        stops: Stops,
        health: Health,
    ) -> None:
        self.service, self.dlq = service, topics.dlq(service)
        self.ledger = PoisonLedger()
        self.condemned: dict[tuple[str, int, int], Poison] = {}
        self._topics, self._decode, self._learn, self._stops, self._health = topics, decode, learn, stops, health
        self._samples = Samples()

    async def decode_all(self, batch: list[Record]) -> list[Any]:
        """What each record is, or what was raised over it. NB: what could not be understood may be newer than what is known here."""
        decoded = [_decoded(self._decode, record) for record in batch]
        if self._learn is not None and any(isinstance(found, Poison) for found in decoded):
            await self._learn()
            return [
                _decoded(self._decode, batch[n]) if isinstance(found, Poison) else found
                for n, found in enumerate(decoded)
            ]
        return decoded

    def read(self, batch: list[Record], decoded: list[Any], committed: Mapping[TopicPartition, int]) -> Read:
        """The messages of a batch, its dead letters, and how far each partition is handled: not past its stop."""
        read = Read.nothing()
        condemned, good = self.condemned, read.good
        stopped = {(found.topic, found.partition): found.offset for found in self._stops.stopped}
        reached: dict[tuple[str, int], int] = {}
        for record, found in zip(batch, decoded, strict=True):
            place = (record.topic, record.partition)
            if stopped and record.offset >= stopped.get(place, _NEVER):
                read.stopped.add(TopicPartition(*place))
                continue
            known = condemned.get((*place, record.offset)) if condemned else None
            poison = known or (found if isinstance(found, Poison) else None)
            if poison is None:
                read.messages.append(found)
                good[place] = good.get(place, 0) + 1
            else:
                self.ledger.good(place, good.pop(place, 0))
                read.bad.add((*place, record.offset))
                what = self._judge(record, poison, committed)
                if what == _STOP:
                    read.dead_letters.append(self._stops.halt(*place, record.offset, f"{_TOO_MANY}: {poison}"))
                    stopped[place] = record.offset
                    read.stopped.add(TopicPartition(*place))
                    continue
                self._bury(record, poison, what, read)
            reached[place] = record.offset + 1
        read.handled.update({TopicPartition(*place): offset for place, offset in reached.items()})
        return read

    async def account(
        self, read: Read, outputs: Outputs, batch: list[Record], committed: Mapping[TopicPartition, int]
    ) -> None:
        """Count what was understood, and bury what turned out to be poison while it was handled."""
        dead = {(m.record.topic, m.record.partition, m.record.offset): poison for m, poison in outputs.dead}
        places = {found[:2] for found in dead}
        for place, count in read.good.items():
            if place not in places:
                self.ledger.good(place, count)
        if not dead:
            return
        before = self.ledger.copy()
        for record in batch:
            place = (record.topic, record.partition)
            poison = dead.get((*place, record.offset))
            if poison is not None:
                what = self._judge(record, poison, committed)
                if what == _STOP:
                    await self._stop_at(record, poison, batch, before)
                self._bury(record, poison, what, read)
            elif place in places and (*place, record.offset) not in read.bad:
                self.ledger.good(place)

    def condemn(self, record: Record, poison: Poison) -> None:
        """From now on this record is poison."""
        while len(self.condemned) >= _MOST_CONDEMNED:
            del self.condemned[next(iter(self.condemned))]
        self.condemned[record.topic, record.partition, record.offset] = poison

    def _judge(self, record: Record, poison: Poison, committed: Mapping[TopicPartition, int]) -> int:
        """How many records the dead letter of this one stands for; 0 when it gets none; `_STOP` when its partition stops at it."""
        rule, place = self._topics.rule(record.topic), (record.topic, record.partition)
        if rule.audience != "users":
            raise Fatal(f"{where(record)} cannot be read: {poison}")
        # NB: read again from further back, or read by the way: its letter was (or will be) written by who handles it.
        is_own = rule.reader == self.service or (*place, record.offset) in self.condemned
        if record.offset < committed.get(TopicPartition(*place), 0) or not is_own:
            return 0
        is_beyond = self.ledger.bad(place)
        if is_beyond and rule.poison == "stop":
            return _STOP
        self._health.dead_lettered += 1
        return self._samples.take(place, is_beyond=is_beyond)

    def _bury(self, record: Record, poison: Poison, stands_for: int, read: Read) -> None:
        if stands_for:
            _log.warning("dead-lettered %s: %s", where(record), poison)
            read.dead_letters.append(dead_letter(self.dlq, record, poison, self.service, stands_for=stands_for))

    async def _stop_at(self, record: Record, poison: Poison, batch: list[Record], before: PoisonLedger) -> None:
        """Stop a partition at a record whose batch is handled already; always raises.

        NB: effects of the records behind it are among the outputs: so all of the batch is dropped and done again one record
        at a time, and the one that stops its partition is then alone, and dropped.
        """
        if len(batch) > 1:
            self.ledger.restore(before)
            raise Poison(f"{record.topic}/{record.partition} must stop at {record.offset}: {poison}")
        await self._stops.stop(record.topic, record.partition, record.offset, f"{_TOO_MANY}: {poison}")
        raise Again(f"{record.topic}/{record.partition} stops at {record.offset}: {poison}")


def where(record: Record) -> str:
    """A record's place, for people."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def _decoded(decode: Callable[[Record], Any], record: Record) -> Any:
    """A message, or the `Poison` that its record is. NB: as soon as one says that the loop must hold or end, no other is asked."""
    try:
        return decode(record)
    except Exception as error:
        poison = Poison.of(error)
        if not isinstance(poison, Poison):
            raise
        return poison
