"""The events of sources that open windows look back at: kept no longer than needed, and never beyond a bound in bytes.

Events become columns as they come (an event as an object takes four times as much). Over the bound the oldest events are
dropped: rows that would look further back than what is kept are then not compared, and a source is not profiled for a window
that begins before it. The same holds for what was dropped, or not read again at a start, while views looked back less far than
today's do.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from headrace.events.definition import SourceDefinition
from headrace.features.events import EventTable
from headrace.log.envelope import Origin
from headrace.log.port import Record

COMPACT_AFTER = 2000
# Events are kept for so long before what open windows look back at.
SLACK_S = 86_400.0
# By estimate: a number in its column; a text with its pointer; an event that is no column yet.
_NUMBER_BYTES, _TEXT_BYTES, _OBJECT_BYTES = 8, 64, 400


class Sources:
    """Tables of the sources that views of deployments read, by source name. `limit_bytes`: of all of them together."""

    def __init__(self, limit_bytes: int = 256 * 1024 * 1024) -> None:
        self._limit_bytes = limit_bytes
        self._tables: dict[str, EventTable] = {}
        self._sizes: dict[str, int] = {}
        self._loose: dict[str, int] = {}
        self._from_s: dict[str, float] = {}
        self._newest_s: dict[str, float] = {}

    def keep(self, wanted: Mapping[str, SourceDefinition]) -> list[str]:
        """Hold these sources and no others; one whose fields changed begins anew. Returns those that hold nothing yet."""
        begun = []
        for name in [name for name in self._tables if name not in wanted]:
            self._remove(name)
        for name, source in wanted.items():
            if name in self._tables and self._tables[name].source != source:
                self._remove(name)
            if name not in self._tables:
                begun.append(name)
                self._tables[name] = EventTable(source)
                texts = sum(field.kind not in ("number", "instant") for field in source.fields)
                self._sizes[name] = 24 + _TEXT_BYTES * texts + _NUMBER_BYTES * (len(source.fields) - texts)
                self._loose[name] = 0
        return begun

    def add(self, name: str, event: Any, origin: Origin | None, record: Record) -> float | None:
        """Take an event of a source. Raises `Poison` when it breaks the contract of its source.

        Returns the instant from which it may be used; None for what adds nothing (a progress marker, a repeat).
        """
        table = self._tables[name]
        at_s = table.take_event(event, origin, record.partition, record.offset, record.timestamp_ms)
        if at_s is not None:
            self._loose[name] += 1
            self._newest_s[name] = max(at_s, self._newest_s.get(name, at_s))
        return at_s

    def newest_s(self, name: str) -> float:
        """The highest instant from which an event of a source may be used; -inf before the first."""
        return self._newest_s.get(name, -math.inf)

    def tables(self, names: list[str]) -> dict[str, EventTable]:
        """The tables of these sources."""
        return {name: self._tables[name] for name in names}

    def begin(self, names: Collection[str], at_s: float) -> None:
        """These sources are read again, from where the events of this instant lie."""
        self._from_s |= dict.fromkeys(names, at_s)

    def whole_from_s(self, names: list[str]) -> float:
        """The instant from which on nothing of these sources was dropped or left unread; -inf when nothing was."""
        return max((self._from_s.get(name, -math.inf) for name in names), default=-math.inf)

    @property
    def held_bytes(self) -> int:
        """How many bytes the tables take, by estimate."""
        return sum(
            (len(table) - self._loose[name]) * self._sizes[name] + self._loose[name] * _OBJECT_BYTES
            for name, table in self._tables.items()
        )

    @property
    def limit_bytes(self) -> int:
        """The bound of `held_bytes`."""
        return self._limit_bytes

    @property
    def is_loose(self) -> bool:
        """Whether enough has come for `tidy` to have something to do."""
        return any(loose > COMPACT_AFTER for loose in self._loose.values())

    def tidy(self, needed_from_s: float) -> None:
        """Make columns of what has come, and drop what is older than any open window looks back at."""
        for name, table in self._tables.items():
            if self._loose[name] > max(COMPACT_AFTER, len(table) // 8):
                self._drop(name, needed_from_s - SLACK_S)
        while self.held_bytes > self._limit_bytes and (largest := max(self._tables, key=self._bytes_of, default="")):
            available = sorted(self._tables[largest].available.tolist())
            if len(available) < 2:
                break
            at_s = available[len(available) // 4 + 1]
            self._drop(largest, at_s)
            if len(self._tables[largest]) == len(available):
                break

    def _bytes_of(self, name: str) -> int:
        return len(self._tables[name]) * self._sizes[name]

    def _drop(self, name: str, before_s: float) -> None:
        # NB: what no view looks back at today is missing when a changed view does.
        self._from_s[name] = max(before_s, self._from_s.get(name, -math.inf))
        self._tables[name].drop_before(before_s)
        self._loose[name] = 0

    def _remove(self, name: str) -> None:
        for held in (self._tables, self._sizes, self._loose, self._from_s, self._newest_s):
            held.pop(name, None)
