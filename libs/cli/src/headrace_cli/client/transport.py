"""The way to an answer, and for outcomes, as the clients see it: over HTTP (`http_transport`) or over the log (`kafka_transport`)."""

from collections.abc import Sequence
from typing import Protocol

from headrace.asking.outcomes import Observed
from headrace.asking.prediction import Prediction
from headrace_cli.client.rows import Batch


class Transport(Protocol):
    """Asks one batch; may be used for many at once."""

    async def start(self) -> None:
        """Connect. Waits for the other end; raises `Unreachable`."""
        ...

    async def ask(self, deployment: str, batch: Batch, version: int | None, deadline_s: float) -> list[Prediction]:
        """A prediction per row, whatever its outcome. Raises `Rejected` or `Unreachable`."""
        ...

    async def observe(self, deployment: str, outcomes: Sequence[Observed], deadline_s: float) -> None:
        """Return when all are on the log. Raises `Rejected` or `Unreachable`."""
        ...

    async def close(self) -> None:
        """Give the connections back. Raises nothing."""
        ...
