"""How the clients send requests and outcomes: over HTTP (`http_transport`) or over the log (`kafka_transport`)."""

from collections.abc import Sequence
from typing import Protocol

from headrace.asking.outcomes import Observed
from headrace.asking.prediction import Prediction
from headrace_cli.client.rows import Batch


class Transport(Protocol):
    """Sends batches; several may be sent at once."""

    async def start(self) -> None:
        """Connect. Blocks until the other end answers; raises `Unreachable`."""
        ...

    async def ask(self, deployment: str, batch: Batch, version: int | None, deadline_s: float) -> list[Prediction]:
        """A prediction per row, whatever its outcome. Waits for the answers; raises `Rejected` or `Unreachable`."""
        ...

    async def observe(self, deployment: str, outcomes: Sequence[Observed], deadline_s: float) -> None:
        """Wait until all are on the log. Raises `Rejected` or `Unreachable`."""
        ...

    async def close(self) -> None:
        """Close the connections. Raises nothing."""
        ...
