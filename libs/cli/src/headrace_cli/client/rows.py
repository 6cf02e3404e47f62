"""What is asked: rows, and how a long list of them becomes calls whose ids a repeated call repeats."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.envelope import parse_instant
from headrace.events.inference import Scalar

MOST_ROWS = 256
Instant = datetime | str | float


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to predict. `unit`: what it is about, and what traffic is split by. `at`: the instant asked for, now if None."""

    inputs: Mapping[str, Scalar]
    unit: str | None = None
    at: Instant | None = None

    @property
    def at_s(self) -> float | None:
        """The instant in seconds since the epoch.

        >>> Row({}, at="2013-04-01T00:00:00Z").at_s == Row({}, at=datetime(2013, 4, 1)).at_s == 1364774400.0
        True
        """
        if isinstance(self.at, datetime):
            return (self.at if self.at.tzinfo else self.at.replace(tzinfo=UTC)).timestamp()
        return parse_instant(self.at) if isinstance(self.at, str) else self.at


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are asked in one call, under one id."""

    request_id: str
    rows: tuple[Row, ...]

    @property
    def ids(self) -> list[str]:
        """The id of each row, as the gateway makes them of an Idempotency-Key.

        >>> Batch("a", (Row({}), Row({}))).ids
        ['a/0', 'a/1']
        """
        if len(self.rows) == 1:
            return [self.request_id]
        return [f"{self.request_id}/{n}" for n in range(len(self.rows))]


def batches_of(rows: Sequence[Row], request_id: str, most: int) -> Iterator[Batch]:
    """Cut rows into calls of `most` rows.

    >>> [batch.request_id for batch in batches_of([Row({})] * 3, "a", 2)]
    ['a.0', 'a.1']
    """
    starts = range(0, len(rows), most)
    for number, start in enumerate(starts):
        name = request_id if len(starts) == 1 else f"{request_id}.{number}"
        yield Batch(name, tuple(rows[start : start + most]))
