"""What is asked, by one rule for both ways: rows in plain values, and how a long list of them becomes calls whose ids a
repeated call repeats.

None, NaN, `pandas.NA` and `NaT` are a missing value; numpy's scalars and arrays without dimensions are their Python values; an
integer beyond 64 bits is the number that it means; an instant (datetime, `Timestamp`) is its RFC 3339 text in UTC; 5, 5.0 and
"5" are one unit. What cannot be asked is `Rejected` before anything is sent.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from headrace.asking.requests import MAX_ROWS, MAX_TEXT_CHARS, Unfit, id_of, instant_of, shown, unit_of, value_of
from headrace.events.inference import Scalar
from headrace_cli.client.errors import Rejected

MOST_ROWS = MAX_ROWS
# Below the 64 KiB that a gateway takes, by an estimate that is never too low by a quarter.
MOST_BYTES = 48_000
LONGEST_DEADLINE_S = 3600.0
Instant = datetime | str | float


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to predict. `unit`: what it is about, and what traffic is split by. `at`: the instant asked for, now if None."""

    inputs: Mapping[str, Any]
    unit: Any = None
    at: Any = None


@dataclass(frozen=True, slots=True)
class Plain:
    """A row in values that JSON and MessagePack know. `at_s`: since the epoch, None for now."""

    inputs: dict[str, Scalar]
    unit: str | None
    at_s: float | None

    @property
    def size_bytes(self) -> int:
        """About what it takes in JSON."""
        return 80 + sum(
            len(name) + 8 + (2 * len(value) if isinstance(value, str) else 20) for name, value in self.inputs.items()
        )


def plain(row: Row | Plain | Mapping[str, Any], now_s: float) -> Plain:
    """The row as it is asked. Raises `Rejected` for what cannot be.

    >>> plain(Row({"miles": np.float32(5)}, unit=7.0, at="2013-04-01T00:00:00Z"), 2e9)
    Plain(inputs={'miles': 5.0}, unit='7', at_s=1364774400.0)
    """
    if isinstance(row, Plain):
        return row
    given = row if isinstance(row, Row) else Row(row)
    try:
        at_s = None if given.at is None else instant_of(given.at, now_s)
        return Plain(_inputs(given.inputs), unit_of(given.unit), at_s)
    except Unfit as error:
        raise Rejected(str(error)) from None


def _inputs(given: Any) -> dict[str, Scalar]:
    if not isinstance(given, Mapping):
        raise Unfit(f"inputs must be a mapping of names to values, got {type(given).__name__}")
    for name in given:
        if not isinstance(name, str) or len(name) > MAX_TEXT_CHARS:
            raise Unfit(f"an input is named by text of {MAX_TEXT_CHARS} characters at most, got {shown(name)}")
    return {str(name): value_of(f"input {shown(name)[1:-1]}", value) for name, value in given.items()}


@dataclass(frozen=True, slots=True)
class Terms:
    """How a call is asked. `version`: a preview, None for what the route says."""

    request_id: str
    deadline_s: float
    version: int | None = None


def terms(request_id: Any, deadline_s: Any, version: Any = None) -> Terms:
    """Terms that can be kept. Raises `Rejected` for others.

    >>> terms("r1", 2, np.int64(3))
    Terms(request_id='r1', deadline_s=2.0, version=3)
    """
    if not _is_number(deadline_s) or not 0 < deadline_s <= LONGEST_DEADLINE_S:
        raise Rejected(f"deadline_s must lie in 0..{LONGEST_DEADLINE_S:.0f} seconds, got {shown(deadline_s)}")
    if version is not None and not (_is_number(version) and 0 < version < 10**9 and int(version) == version):
        raise Rejected(f"a version is a whole number above 0, got {shown(version)}")
    try:
        return Terms(id_of(request_id), float(deadline_s), None if version is None else int(version))
    except Unfit as error:
        raise Rejected(str(error)) from None


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float | np.number) and not isinstance(given, bool) and math.isfinite(float(given))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are asked in one call, under one id."""

    request_id: str
    rows: tuple[Row | Plain, ...]

    @property
    def ids(self) -> list[str]:
        """The id of each row, as the gateway makes them of an Idempotency-Key.

        >>> Batch("a", (Row({}), Row({}))).ids
        ['a/0', 'a/1']
        """
        if len(self.rows) == 1:
            return [self.request_id]
        return [f"{self.request_id}/{n}" for n in range(len(self.rows))]

    def plain(self, now_s: float) -> list[Plain]:
        """The rows as they are asked."""
        return [plain(row, now_s) for row in self.rows]


def batches_of(rows: Sequence[Plain], request_id: str, most: int, most_bytes: int = MOST_BYTES) -> Iterator[Batch]:
    """Cut rows into calls of `most` rows and about `most_bytes` at most; the same rows are always cut alike.

    >>> [batch.request_id for batch in batches_of([plain({}, 0.0)] * 3, "a", 2)]
    ['a.0', 'a.1']
    """
    parts = list(_parts(rows, most, most_bytes))
    for number, part in enumerate(parts):
        yield Batch(request_id if len(parts) == 1 else f"{request_id}.{number}", tuple(part))


def _parts(rows: Iterable[Plain], most: int, most_bytes: int) -> Iterator[list[Plain]]:
    part: list[Plain] = []
    size_bytes = 0
    for row in rows:
        if part and (len(part) >= most or size_bytes + row.size_bytes > most_bytes):
            yield part
            part, size_bytes = [], 0
        part.append(row)
        size_bytes += row.size_bytes
    if part:
        yield part
