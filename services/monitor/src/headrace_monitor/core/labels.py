"""Outcomes: which labels a deployment takes, and which label belongs to which request.

A label is that of every request of its unit whose instant lies before it, by at most the horizon; a later one corrects
an earlier one. So a unit may be asked about again: what was known before the request is no label of it.

Labels wait as 24 bytes each, in buckets by the day on which they became known. What is older than every open window can
label nothing any more and is dropped; over the bound in bytes the oldest bucket goes, and is counted.
"""

import math
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.project.definition import LabelDefinition

Floats = NDArray[np.float64]

DAY_S = 86_400.0
LABEL_BYTES = 24
MOST_DAYS = 4096

_ROW = struct.Struct("<Qdd")
_DTYPE: Any = np.dtype([("unit", "<u8"), ("known_s", "<f8"), ("value", "<f8")])
MASK = 2**64 - 1


@dataclass
class Labels:
    """The labels of one deployment that an open window, or one to come, may need."""

    label: LabelDefinition
    limit_bytes: int
    dropped: int = 0
    observed: int = 0
    _days: dict[int, bytearray] = field(default_factory=dict)
    _bytes: int = 0

    def __len__(self) -> int:
        return self._bytes // LABEL_BYTES

    @property
    def held_bytes(self) -> int:
        """What the labels take."""
        return self._bytes

    def observe(self, unit: int, value: float, known_s: float) -> None:
        """Take an outcome of a unit (a hash)."""
        day = math.floor(known_s / DAY_S)
        bucket = self._days.get(day)
        if bucket is None:
            bucket = self._days[day] = bytearray()
        bucket += _ROW.pack(unit & MASK, known_s, value)
        self._bytes += LABEL_BYTES
        self.observed += 1
        while self._bytes > self.limit_bytes or len(self._days) > MOST_DAYS:
            self._drop(min(self._days), is_lost=True)

    def forget_before(self, at_s: float) -> None:
        """Labels that became known before this instant are needed no more."""
        for day in [day for day in self._days if (day + 1) * DAY_S <= at_s]:
            self._drop(day, is_lost=False)

    def between(self, from_s: float, to_s: float) -> NDArray[np.void]:
        """Those known in [from_s, to_s], a day more at either end, in the order read."""
        low, high = from_s / DAY_S - 1, to_s / DAY_S
        found = [_table(bucket) for day, bucket in self._days.items() if low <= day <= high]
        return np.concatenate(found) if found else np.empty(0, dtype=_DTYPE)

    def adopt(self, other: "Labels") -> None:
        """Take over what another definition's labels hold, if they are of the same kind."""
        if (self.label.kind, self.label.classes) == (other.label.kind, other.label.classes):
            self._days, self._bytes, self.dropped = other._days, other._bytes, other.dropped

    def _drop(self, day: int, *, is_lost: bool) -> None:
        bucket = self._days.pop(day)
        self._bytes -= len(bucket)
        self.dropped += len(bucket) // LABEL_BYTES if is_lost else 0


def _table(bucket: bytearray) -> NDArray[np.void]:
    # NB: a copy: a bytearray that is looked into cannot grow.
    return np.frombuffer(bytes(bucket), dtype=_DTYPE)


def match(
    units: NDArray[np.uint64], at_s: Floats, labels: NDArray[np.void], horizon_s: float, clock_s: float
) -> tuple[Floats, Floats]:
    """Per request its label as known at `clock_s` (NaN: none), and when its first label became known (inf: none)."""
    values, first_s = np.full(len(units), np.nan), np.full(len(units), np.inf)
    if not len(labels) or not len(units):
        return values, first_s
    codes, row_code = np.unique(units, return_inverse=True)
    place = np.searchsorted(codes, labels["unit"])
    is_ours = codes[np.minimum(place, len(codes) - 1)] == labels["unit"]
    labels, place = labels[is_ours], place[is_ours]
    if not len(labels):
        return values, first_s
    order = np.lexsort((labels["known_s"], place))
    labels, place = labels[order], place[order]
    # One sorted key of (unit, instant): instants as their rank among all that occur.
    instants, rank = np.unique(labels["known_s"], return_inverse=True)
    keys = place * (len(instants) + 1) + rank
    begin = row_code * (len(instants) + 1)
    low = np.searchsorted(keys, begin + np.searchsorted(instants, at_s, side="left"), side="left")
    over_s = at_s + horizon_s
    end = np.searchsorted(keys, begin + np.searchsorted(instants, over_s, side="right"), side="left")
    known = np.searchsorted(
        keys, begin + np.searchsorted(instants, np.minimum(over_s, clock_s), side="right"), side="left"
    )
    has_value, has_first = known > low, end > low
    values[has_value] = labels["value"][known[has_value] - 1]
    first_s[has_first] = labels["known_s"][low[has_first]]
    return values, first_s
