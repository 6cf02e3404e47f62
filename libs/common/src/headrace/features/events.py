"""A source's events as columns: what the offline fold reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.codec import Message
from headrace.events.features import PipelineAdvanced
from headrace.features.origins import Origins
from headrace.features.plan import available_s
from headrace.features.repeats import Repeats
from headrace.project.definition import SourceDefinition


@dataclass
class EventTable:
    """Events of one source in the order read; `compact` drops old ones."""

    source: SourceDefinition
    events: list[Any] = field(default_factory=list)
    available: list[float] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    _origins: dict[int, Origins] = field(default_factory=dict)
    _repeats: dict[int, Repeats] = field(default_factory=dict)

    def take(self, message: Message) -> float | None:
        """Take a record of the source's topic: an event once per origin and identity, a pipeline's marker, or nothing readable.

        Returns the instant from which a new event may be used; None when nothing was added.
        """
        event, record = message.event, message.record
        origins = self._origins.setdefault(record.partition, Origins())
        if isinstance(event, PipelineAdvanced):
            origins.advance(f"{event.topic}/{event.partition}", event.offset)
            return None
        if event is None or origins.is_repeat(message.envelope.origin):
            return None
        repeats = self._repeats.setdefault(record.partition, Repeats(self.source))
        if repeats.is_repeat(event, available_s(self.source, event)):
            return None
        return self.add(event, record.partition, record.offset)

    def add(self, event: Any, partition: int, offset: int) -> float:
        """Append one event; returns the instant from which it may be used."""
        at_s = available_s(self.source, event)
        self.events.append(event)
        self.available.append(at_s)
        self.partitions.append(partition)
        self.offsets.append(offset)
        return at_s

    def drop_before(self, at_s: float) -> None:
        """Forget events that became available before `at_s`."""
        kept = [place for place, available in enumerate(self.available) if available >= at_s]
        for name in ("events", "available", "partitions", "offsets"):
            values = getattr(self, name)
            setattr(self, name, [values[place] for place in kept])

    def column(self, name: str) -> NDArray[np.float64]:
        """A numeric or flag field, NaN where null."""
        values: Sequence[Any] = [getattr(event, name) for event in self.events]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
