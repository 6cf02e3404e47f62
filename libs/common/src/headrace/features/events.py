"""A source's events as columns: what the offline fold reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.features.plan import available_s
from headrace.project.definition import SourceDefinition


@dataclass
class EventTable:
    """Events of one source in the order read; `compact` drops old ones."""

    source: SourceDefinition
    events: list[Any] = field(default_factory=list)
    available: list[float] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

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
