"""What one message has become, and how much may come of it."""

from dataclasses import dataclass, field
from typing import Any

from headrace.errors import Poison

# One message may become so much: more is a loop without end, or a mistake.
MOST_OUTPUTS = 10_000
MOST_OUTPUT_BYTES = 8 * 1_048_576
# Outputs of a batch that are kept in memory before they are written.
MOST_HELD_BYTES = 16 * 1_048_576


@dataclass(slots=True)
class Handled:
    """What became of one message: the values yielded for it, or why it is poison. `held_bytes`: what the values take on the topic."""

    yielded: list[Any] = field(default_factory=list)
    poison: Poison | None = None
    held_bytes: int = 0

    def add(self, value: Any, size_bytes: int) -> None:
        """Take one more value. Raises `Poison` when too much has come of the message."""
        self.held_bytes += size_bytes
        if len(self.yielded) >= MOST_OUTPUTS or self.held_bytes > MOST_OUTPUT_BYTES:
            raise Poison(
                f"one message became {len(self.yielded) + 1:,} outputs of {self.held_bytes:,} bytes;"
                f" at most {MOST_OUTPUTS:,} of {MOST_OUTPUT_BYTES:,} bytes may come of one"
            )
        self.yielded.append(value)
