"""The rows of a request, by one rule for both transports: rows in plain values, and how a long list of them becomes calls
whose ids are the same when they are repeated.

None, NaN, `pandas.NA` and `NaT` are a missing value; numpy's scalars and arrays without dimensions are their Python values; an
integer beyond 64 bits becomes a float; an instant (datetime, `Timestamp`) is its RFC 3339 text in UTC; 5, 5.0 and
"5" are one unit. A row that cannot be sent is `Rejected` before anything is sent.
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
# Below the gateway's limit of 64 KiB: the estimate of a size is never too low by as much as a quarter.
MOST_BYTES = 48_000
LONGEST_DEADLINE_S = 3600.0
Instant = datetime | str | float


@dataclass(frozen=True, slots=True)
class Row:
    """One request. `unit`: what it is about, and what traffic is split by. `at`: the instant of the request, now if None."""

    inputs: Mapping[str, Any]
    unit: Any = None
    at: Any = None


@dataclass(frozen=True, slots=True)
class Plain:
    """A row in values that JSON and MessagePack can hold. `at_s`: since the epoch, None for now."""

    inputs: dict[str, Scalar]
    unit: str | None
    at_s: float | None

    @property
    def size_bytes(self) -> int:
        """Its estimated size in JSON."""
        return 80 + sum(
            len(name) + 8 + (2 * len(value) if isinstance(value, str) else 20) for name, value in self.inputs.items()
        )


def plain(row: Row | Plain | Mapping[str, Any], now_s: float) -> Plain:
    """The row in plain values. Raises `Rejected` for a row that cannot be sent.

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
            raise Unfit(f"the name of an input is text of {MAX_TEXT_CHARS} characters at most, got {shown(name)}")
    return {str(name): value_of(f"input {shown(name)[1:-1]}", value) for name, value in given.items()}


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a call. `version`: a preview, None for the version of the route."""

    request_id: str
    deadline_s: float
    version: int | None = None


def terms(request_id: Any, deadline_s: Any, version: Any = None) -> Terms:
    """The terms of a call, checked. Raises `Rejected` for invalid ones.

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
    """Rows that are sent in one call, under one id."""

    request_id: str
    rows: tuple[Row | Plain, ...]

    @property
    def ids(self) -> list[str]:
        """The id of each row, as the gateway derives them from an Idempotency-Key.

        >>> Batch("a", (Row({}), Row({}))).ids
        ['a/0', 'a/1']
        """
        if len(self.rows) == 1:
            return [self.request_id]
        return [f"{self.request_id}/{n}" for n in range(len(self.rows))]

    def plain(self, now_s: float) -> list[Plain]:
        """The rows in plain values."""
        return [plain(row, now_s) for row in self.rows]


def batches_of(rows: Sequence[Plain], request_id: str, most: int, most_bytes: int = MOST_BYTES) -> Iterator[Batch]:
    """Split rows into calls of at most `most` rows and about `most_bytes`; the same rows are always split the same way.

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
