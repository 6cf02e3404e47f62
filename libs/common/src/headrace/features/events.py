"""A source's events as columns, which the offline fold reads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import SourceDefinition
from headrace.events.features import PipelineAdvanced
from headrace.features.entities import entity_key, part_of
from headrace.features.origins import Origins
from headrace.features.plan import available_s, entrance, kinds_of
from headrace.features.repeats import Repeats
from headrace.instants import instant_s
from headrace.log.codec import Message
from headrace.log.envelope import Origin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The offset and partition of an event and the instant from which it may be used, besides the source's own fields.
AVAILABLE, PARTITION, OFFSET = "_available", "_partition", "_offset"


class EventTable:
    """Events of one source, in the order taken. Columns are float64 for numbers and instants (NaN for null), else
    objects.

    Events stay as they were read. A column is made when it is first used, and later extended by the new events.
    """

    def __init__(self, source: SourceDefinition, columns: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.source = source
        self._enter, self._has_repeats = entrance(source), source.dedupe is not None
        self._kinds = {field.name: field.kind for field in source.fields}
        self._base = dict(columns) if columns is not None else self._empty()
        self._events: list[Any] = []
        self._places: tuple[list[float], list[int], list[int]] = ([], [], [])
        self._made: dict[str, NDArray[Any]] = {}
        self._codes: dict[tuple[str, ...], tuple[dict[str, int], Ints]] = {}
        self.origins: dict[int, Origins] = {}
        self.repeats: dict[int, Repeats] = {}

    def __len__(self) -> int:
        return len(self._base[AVAILABLE]) + len(self._events)

    def take(self, message: Message) -> float | None:
        """Take a record of the source's topic: an event once per origin and identity, a progress marker, or an
        unreadable record.

        Returns the instant from which a new event may be used; None when no event was added.
        """
        record = message.record
        return self.take_event(
            message.event, message.envelope.origin, record.partition, record.offset, record.timestamp_ms
        )

    def take_event(
        self, event: Any, origin: Origin | None, partition: int, offset: int, append_ms: int
    ) -> float | None:
        """The same for an event that was read without its envelope. `append_ms`: its record's append time."""
        origins = self.origins.get(partition)
        if origins is None:
            origins = self.origins[partition] = Origins()
        if type(event) is PipelineAdvanced:  # `isinstance` of a struct takes three times as long
            origins.advance(f"{event.topic}/{event.partition}", event.offset, event.topic_id)
            return None
        if event is None:
            return None
        at_s = self._enter(event, append_ms)
        # NB: `isinstance` of a float is the fast case.
        if not isinstance(at_s, float) or origins.is_repeat(origin):
            return None
        if self._has_repeats:
            repeats = self.repeats.setdefault(partition, Repeats(self.source))
            if repeats.is_repeat(event, at_s):
                return None
        return self.add(event, partition, offset, at_s)

    def add(self, event: Any, partition: int, offset: int, at_s: float | None = None) -> float:
        """Append one event. Returns the instant from which it may be used. `at_s`: that instant, where it is known."""
        if at_s is None:
            at_s = available_s(self.source, event)
        available, partitions, offsets = self._places
        self._events.append(event)
        available.append(at_s)
        partitions.append(partition)
        offsets.append(offset)
        return at_s

    @property
    def available(self) -> Floats:
        """The instant from which each event may be used."""
        return self._column(AVAILABLE)

    @property
    def partitions(self) -> Ints:
        """The source partition of each event."""
        return self._column(PARTITION)

    @property
    def offsets(self) -> Ints:
        """The offset of each event in its partition."""
        return self._column(OFFSET)

    def column(self, name: str) -> Floats:
        """A numeric, flag or instant field as float64, NaN where null."""
        values = self._column(name)
        return values if values.dtype == np.float64 else np.array([_number(v) for v in values], dtype=np.float64)

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """All columns by name, to be stored and passed to the constructor later."""
        return {name: self._column(name) for name in self._base}

    def extend(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Append stored columns. Call it before any event is added."""
        self._base = {
            name: np.concatenate([values, _typed(values, columns[name])]) for name, values in self._base.items()
        }

    def restore(self, origins: dict[int, Origins], repeats: dict[int, Repeats]) -> None:
        """Restore the known repeats that belong to the stored columns."""
        self.origins, self.repeats = origins, repeats

    def codes(self, fields: tuple[str, ...]) -> tuple[dict[str, int], Ints]:
        """The entity of each event as a number: the numbers by entity, and one number per event (-1 where a field is
        null).
        """
        found = self._codes.get(fields)
        if found is None or len(found[1]) < len(self):
            found = self._codes[fields] = self._extended(fields, found)
        return found

    def select(self, mask: NDArray[np.bool_]) -> "EventTable":
        """Only the events where `mask` holds."""
        return EventTable(self.source, {name: values[mask] for name, values in self.columns().items()})

    def regrouped(self, places: Ints, fields: tuple[str, ...], owners: Ints, count: int) -> "EventTable":
        """The events at `places` (repeats allowed) as if `fields` named their owner: `str(n)` for n below `count`."""
        found = EventTable(self.source, {name: values[places] for name, values in self.columns().items()})
        found._codes[fields] = {str(n): n for n in range(count)}, owners
        return found

    def drop_before(self, at_s: float) -> None:
        """Drop events that became available before `at_s`."""
        self.keep(self.available >= at_s)

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop the events where `kept` does not hold. Which origins were seen is still known."""
        self._base = {name: values[kept] for name, values in self.columns().items()}
        self._events, self._places = [], ([], [], [])
        self._made.clear()
        self._codes.clear()

    def _extended(
        self, fields: tuple[str, ...], known: tuple[dict[str, int], Ints] | None
    ) -> tuple[dict[str, int], Ints]:
        index, codes = known if known is not None else ({}, np.empty(0, dtype=np.int64))
        begin, count = len(codes), len(self) - len(codes)
        if not fields:
            fresh = [_code(index, "")] * count
        elif len(fields) == 1 and self._kinds[fields[0]] == "text":
            get = index.get
            values = self._column(fields[0])[begin:].tolist()
            fresh = [get(v) if v in index else _code(index, part_of("text", v)) for v in values]
        else:
            kinds = kinds_of(self.source, fields)
            columns = [self._column(name)[begin:].tolist() for name in fields]
            fresh = [_code(index, entity_key(kinds, values)) for values in zip(*columns, strict=True)]
        return index, np.concatenate([codes, np.array(fresh, dtype=np.int64)])

    def _empty(self) -> dict[str, NDArray[Any]]:
        own = {AVAILABLE: np.float64, PARTITION: np.int64, OFFSET: np.int64}
        fields = {name: _dtype(kind) for name, kind in self._kinds.items()}
        return {name: np.empty(0, dtype=dtype) for name, dtype in (own | fields).items()}

    def _column(self, name: str) -> NDArray[Any]:
        """A column, extended by the events that were added since its last use."""
        made = self._made.get(name)
        if made is None:
            made = self._base[name]
        if len(made) < len(self):
            made = np.concatenate([made, self._fresh(name, len(made) - len(self._base[AVAILABLE]))])
        self._made[name] = made
        return made

    def _fresh(self, name: str, begin: int) -> NDArray[Any]:
        """The column of the added events from place `begin` on."""
        for own, values, dtype in zip((AVAILABLE, PARTITION, OFFSET), self._places, (float, int, int), strict=True):
            if name == own:
                return np.array(values[begin:], dtype=dtype)
        return _as_column(self._kinds[name], [getattr(event, name) for event in self._events[begin:]])


def _dtype(kind: str) -> type:
    return np.float64 if kind in ("number", "instant") else np.object_


def _typed(like: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    return np.array(values, dtype=np.float64) if like.dtype == np.float64 else values.astype(like.dtype)


def _as_column(kind: str, values: list[Any]) -> NDArray[Any]:
    if kind == "number":
        return np.array(values, dtype=np.float64)  # None becomes NaN
    if kind == "instant":
        return np.array([np.nan if value is None else instant_s(value) for value in values], dtype=np.float64)
    column = np.empty(len(values), dtype=np.object_)
    column[:] = values
    return column


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _code(index: dict[str, int], entity: str | None) -> int:
    return -1 if entity is None else index.setdefault(entity, len(index))
