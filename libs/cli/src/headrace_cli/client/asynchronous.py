"""The client that does not block."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from headrace.events.inference import Scalar
from headrace.policy.prediction import Prediction
from headrace_cli.client.errors import NotAnswered, Rejected
from headrace_cli.client.http_way import HttpWay
from headrace_cli.client.kafka_way import KafkaWay
from headrace_cli.client.rows import MOST_ROWS, Batch, Instant, Row, batches_of
from headrace_cli.client.ways import Way

AT_ONCE = 4


class AsyncClient:
    """Asks deployments at `address`: `http://host:port` of a gateway, or `kafka://host:port` of a broker.

    `key`: the API key, over HTTP. `deadline_s`: how long an answer is waited for, repeats included, unless a call says
    otherwise. `retries`: how often a call over HTTP is repeated, under the same id. `way`: instead of an address.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        deadline_s: float = 2.0,
        retries: int = 3,
        way: Way | None = None,
    ) -> None:
        self._way = way or _way_to(address, key, retries)
        self._deadline_s = deadline_s
        self._starting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._started()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give all connections back."""
        await self._way.close()

    async def predict(
        self,
        deployment: str,
        inputs: Mapping[str, Scalar],
        *,
        unit: str | None = None,
        at: Instant | None = None,
        version: int | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
    ) -> Prediction:
        """The prediction for one thing. Raises `NotAnswered`, `Rejected`, `Unreachable`.

        `version`: let this loaded version answer, whatever the route says. `request_id`: asked again under the same id,
        the same decision answers.
        """
        batch = Batch(request_id or secrets.token_hex(16), (Row(inputs, unit, at),))
        (found,) = await self._ask(deployment, batch, version, deadline_s)
        if not found.is_answered:
            raise NotAnswered(found)
        return found

    async def predict_many(
        self,
        deployment: str,
        rows: Iterable[Row | Mapping[str, Scalar]],
        *,
        version: int | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
        batch_rows: int = MOST_ROWS,
    ) -> list[Prediction]:
        """A prediction per row, in their order, whatever their outcome: look at `is_answered`.

        Rows go out in calls of `batch_rows`, four at once; `deadline_s` holds for each call.
        """
        asked = [row if isinstance(row, Row) else Row(row) for row in rows]
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(batch: Batch) -> list[Prediction]:
            async with slots:
                return await self._ask(deployment, batch, version, deadline_s)

        batches = batches_of(asked, request_id or secrets.token_hex(16), batch_rows)
        found: Sequence[list[Prediction]] = await asyncio.gather(*map(ask, batches))
        return [prediction for part in found for prediction in part]

    async def _ask(
        self, deployment: str, batch: Batch, version: int | None, deadline_s: float | None
    ) -> list[Prediction]:
        await self._started()
        return await self._way.ask(deployment, batch, version, self._deadline_s if deadline_s is None else deadline_s)

    async def _started(self) -> None:
        if self._starting is None:
            self._starting = asyncio.create_task(self._way.start())
        await self._starting


def _way_to(address: str, key: str | None, retries: int) -> Way:
    scheme, _, rest = address.partition("://")
    if scheme in ("http", "https") and rest:
        return HttpWay(address, key, retries)
    if scheme == "kafka" and rest:
        return KafkaWay.at(rest)
    raise Rejected(f"an address is http://host:port, https://host:port or kafka://host:port, got {address!r}")
