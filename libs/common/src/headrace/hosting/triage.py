"""What happens to each record of a batch: the logic gets it, it is dead-lettered, or its partition stops at it.

A record that cannot be read is poison, and so is one that the logic declares to be, or that raised when it was handled
alone. Only the service that a topic's rule names as its reader writes its dead letters. `poison` decides how many, and
when a partition stops.
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
    """A batch as read.

    `messages`: for the logic. `dead_letters`: to be written. `handled`: the next offset per partition. `good`: the
    number of readable records since the last unreadable one. `bad`: the unreadable records. `stopped`: the partitions
    that are stopped.
    """

    messages: list[Any]
    dead_letters: list[Out]
    handled: dict[TopicPartition, int]
    good: dict[tuple[str, int], int]
    bad: set[tuple[str, int, int]]
    stopped: set[TopicPartition]

    @classmethod
    def nothing(cls) -> "Read":
        """A batch without records."""
        return cls([], [], {}, {}, set(), set())


class Again(Retryable):
    """Rebuild the shard at once: a batch raised because of one record, which must be found or skipped."""


class Triage:
    """The triage of all shards of a host, which it outlives. `condemned`: records that raised when they were handled
    alone.

    `decode`, `learn`: see `ShardGroup`.
    """

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
        """Each record's message, or the `Poison` raised for it.

        NB: an unreadable record may be newer than what is known here, so `learn` is awaited before the second attempt.
        """
        decoded = [_decoded(self._decode, record) for record in batch]
        if self._learn is not None and any(isinstance(found, Poison) for found in decoded):
            await self._learn()
            return [
                _decoded(self._decode, batch[n]) if isinstance(found, Poison) else found
                for n, found in enumerate(decoded)
            ]
        return decoded

    def read(self, batch: list[Record], decoded: list[Any], committed: Mapping[TopicPartition, int]) -> Read:
        """The messages of a batch, its dead letters, and the next offset of each partition, not past its stop."""
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
        """Count the readable records, and dead-letter those that turned out to be poison when they were handled."""
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
        """Treat this record as poison from now on."""
        while len(self.condemned) >= _MOST_CONDEMNED:
            del self.condemned[next(iter(self.condemned))]
        self.condemned[record.topic, record.partition, record.offset] = poison

    def _judge(self, record: Record, poison: Poison, committed: Mapping[TopicPartition, int]) -> int:
        """How many records this record's dead letter stands for; 0 for no letter; `_STOP` when its partition stops at
        it.
        """
        rule, place = self._topics.rule(record.topic), (record.topic, record.partition)
        if rule.audience != "users":
            raise Fatal(f"{record.place} cannot be read: {poison}")
        # NB: for a record that is read again, or by another service, the letter is written by the service that handles
        # it.
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
            _log.warning("dead-lettered %s: %s", record.place, poison)
            read.dead_letters.append(dead_letter(self.dlq, record, poison, self.service, stands_for=stands_for))

    async def _stop_at(self, record: Record, poison: Poison, batch: list[Record], before: PoisonLedger) -> None:
        """Stop a partition at a record whose batch is handled already. Always raises.

        NB: the outputs contain effects of the records behind it. So the whole batch is dropped and repeated one record
        at a time; the record that stops its partition is then alone, and is dropped.
        """
        if len(batch) > 1:
            self.ledger.restore(before)
            raise Poison(f"{record.topic}/{record.partition} must stop at {record.offset}: {poison}")
        await self._stops.stop(record.topic, record.partition, record.offset, f"{_TOO_MANY}: {poison}")
        raise Again(f"{record.topic}/{record.partition} stops at {record.offset}: {poison}")


def _decoded(decode: Callable[[Record], Any], record: Record) -> Any:
    """A message, or the `Poison` of its record. NB: an error that makes the loop wait or end is raised at once."""
    try:
        return decode(record)
    except Exception as error:
        poison = Poison.of(error)
        if not isinstance(poison, Poison):
            raise
        return poison
