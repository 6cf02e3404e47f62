"""The way to an answer, as the clients see it: over HTTP (`http_way`) or over the log (`kafka_way`)."""

from typing import Protocol

from headrace.policy.prediction import Prediction
from headrace_cli.client.rows import Batch


class Way(Protocol):
    """Asks one batch; may be used for many at once."""

    async def start(self) -> None: ...

    async def ask(self, deployment: str, batch: Batch, version: int | None, deadline_s: float) -> list[Prediction]:
        """A prediction per row, whatever its outcome. Raises `Rejected` or `Unreachable`."""
        ...

    async def close(self) -> None: ...
