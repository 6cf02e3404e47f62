"""What a recall says of each decision, and of all: values."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec


class Recalled(msgspec.Struct, frozen=True):
    """A decision by the version, and what the other one says. `value`: the probability of the positive class (of the
    label, where there are several), or the number. `outcome`: None if there is none yet. `flips`: whether the labels
    differ, None for numbers and where the other version says nothing; `why_not`: why it says nothing.
    """

    request_id: str
    unit: str
    at: str
    answer: str
    value: float | None
    label: str | None
    outcome: str | None
    topic: str
    partition: int
    offset: int
    new_version: int
    new_value: float | None = None
    new_label: str | None = None
    flips: bool | None = None
    why_not: str = ""


@dataclass
class Summary:
    """What was recalled. `first_at`, `last_at`: instants of requests; `why_not`: how many decisions were not decided
    again, by reason.
    """

    decisions: int = 0
    first_at: str = ""
    last_at: str = ""
    flips: int = 0
    why_not: dict[str, int] = field(default_factory=dict)

    def take(self, rows: Sequence[Recalled]) -> None:
        """Add a batch."""
        self.decisions += len(rows)
        for row in rows:
            self.first_at = min(self.first_at or row.at, row.at)
            self.last_at = max(self.last_at, row.at)
            self.flips += bool(row.flips)
            if row.why_not:
                self.why_not[row.why_not] = self.why_not.get(row.why_not, 0) + 1
