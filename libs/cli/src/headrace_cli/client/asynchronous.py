"""The client that does not block."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from headrace.asking.prediction import Prediction
from headrace.asking.requests import shown
from headrace.clock import SystemClock
from headrace_cli.client.errors import NotAnswered, Rejected
from headrace_cli.client.kafka_transport import KafkaTransport
from headrace_cli.client.outcomes import checked
from headrace_cli.client.rows import MOST_ROWS, Batch, Instant, Row, Terms, batches_of, plain, terms
from headrace_cli.client.transport import Transport

AT_ONCE = 4


class AsyncClient:
    """Asks deployments at `address`: `http://host:port` of a gateway, or `kafka://host:port` of a broker.

    `key`: the API key, over HTTP. `deadline_s`: how long a call waits for its answer, including repeats; each call may override
    it. `retries`: how often a call over HTTP is repeated, under the same id. `transport`: used instead of an address.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        deadline_s: float = 2.0,
        retries: int = 3,
        transport: Transport | None = None,
    ) -> None:
        self._transport = transport or _transport_to(address, key, retries)
        self._deadline_s = deadline_s
        self._clock = SystemClock()
        self._starting: asyncio.Task[None] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        await self._started()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        await self._transport.close()

    async def predict(
        self,
        deployment: str,
        inputs: Mapping[str, Any],
        *,
        unit: str | float | None = None,
        at: Instant | None = None,
        version: int | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
    ) -> Prediction:
        """The prediction for one request. Raises `NotAnswered`, `Rejected`, `Unreachable`, and no other error.

        A value is a number, text, bool or None, of Python, numpy or pandas; NaN, `pandas.NA` and `NaT` are a missing value, as
        None is; an instant is sent as its RFC 3339 text in UTC. `at`: a datetime (UTC when it has no zone), such a text, or
        seconds since the epoch.

        `version`: let this loaded version answer, whatever the route says. `request_id`: a repeat under the same id gets
        the same decision.
        """
        agreed = self._terms(request_id, version, deadline_s)
        batch = Batch(agreed.request_id, (plain(Row(inputs, unit, at), self._clock.now_s()),))
        (found,) = await self._ask(deployment, batch, agreed)
        if not found.is_answered:
            raise NotAnswered(found)
        return found

    async def predict_many(
        self,
        deployment: str,
        rows: Iterable[Row | Mapping[str, Any]],
        *,
        version: int | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
        batch_rows: int = MOST_ROWS,
    ) -> list[Prediction]:
        """A prediction per row, in their order, whatever their outcome: check `is_answered`.

        Rows are sent in calls of at most `batch_rows` (fewer if they are long), four at once; `deadline_s` applies to each call.
        """
        if not isinstance(batch_rows, int) or not 0 < batch_rows <= MOST_ROWS:
            raise Rejected(f"batch_rows must lie in 1..{MOST_ROWS}, got {shown(batch_rows)}")
        agreed, now_s = self._terms(request_id, version, deadline_s), self._clock.now_s()
        asked = [plain(row, now_s) for row in rows]
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(batch: Batch) -> list[Prediction]:
            async with slots:
                return await self._ask(deployment, batch, agreed)

        batches = batches_of(asked, agreed.request_id, batch_rows)
        found: Sequence[list[Prediction]] = await asyncio.gather(*map(ask, batches))
        return [prediction for part in found for prediction in part]

    async def observe(
        self,
        deployment: str,
        unit: Any,
        label: Any,
        *,
        at: Instant | None = None,
        request_id: str | None = None,
        corrects: str | None = None,
        id: str | None = None,
        deadline_s: float | None = None,
    ) -> str:
        """Send the outcome of an earlier request; returns the outcome's id when it is on the log. Raises `Rejected`, `Unreachable`.

        `unit`: what the request was about. `label`: 0 or 1, False or True, the name of a class, or a number. `at`: when it
        became known, now if None. `request_id`: of the request, if it is known: the outcome then belongs to that one.
        `corrects`: the id of the outcome that this one corrects. `id`: its own, created if None; a repeat under the same id
        changes nothing.
        """
        given = {"unit": unit, "label": label, "at": at, "request_id": request_id, "corrects": corrects, "id": id}
        (found,) = await self._observe(deployment, [given], None, deadline_s, is_one=True)
        return found

    async def observe_many(
        self,
        deployment: str,
        outcomes: Iterable[Mapping[str, Any]],
        *,
        call_id: str | None = None,
        deadline_s: float | None = None,
    ) -> list[str]:
        """Send many outcomes, each a mapping with the arguments of `observe`; returns their ids. `call_id`: ids are derived from it
        for outcomes without one, so that repeating the call under it changes nothing. All are checked before any is sent.
        """
        return await self._observe(deployment, outcomes, call_id, deadline_s)

    async def _observe(
        self,
        deployment: str,
        outcomes: Iterable[Mapping[str, Any]],
        call_id: str | None,
        deadline_s: float | None,
        *,
        is_one: bool = False,
    ) -> list[str]:
        agreed = self._terms(call_id, None, deadline_s)
        found = checked(outcomes, agreed.request_id, self._clock.now_s(), is_one=is_one)
        if found:
            await self._ready(deployment)
            await self._transport.observe(deployment, found, agreed.deadline_s)
        return [one.id for one in found]

    def _terms(self, request_id: str | None, version: int | None, deadline_s: float | None) -> Terms:
        waits_s = self._deadline_s if deadline_s is None else deadline_s
        return terms(secrets.token_hex(16) if request_id is None else request_id, waits_s, version)

    async def _ask(self, deployment: str, batch: Batch, agreed: Terms) -> list[Prediction]:
        await self._ready(deployment)
        return await self._transport.ask(deployment, batch, agreed.version, agreed.deadline_s)

    async def _ready(self, deployment: str) -> None:
        if not isinstance(deployment, str) or not deployment:
            raise Rejected(f"the name of a deployment is text, got {shown(deployment)}")
        await self._started()

    async def _started(self) -> None:
        if self._is_closed:
            raise Rejected("this client is closed")
        if self._starting is None or (self._starting.done() and self._starting.exception() is not None):
            self._starting = asyncio.create_task(self._transport.start())
        await asyncio.shield(self._starting)


def _transport_to(address: str, key: str | None, retries: int) -> Transport:
    scheme, _, rest = address.partition("://") if isinstance(address, str) else ("", "", "")
    if not isinstance(retries, int) or retries < 0:
        raise Rejected(f"retries must be a whole number from 0, got {shown(retries)}")
    if key is not None and not (isinstance(key, str) and key.isprintable() and key.isascii()):
        raise Rejected("an API key is printable ASCII text")
    if scheme in ("http", "https") and rest:
        # NB: late: httpx alone takes a fifth of a second, and the commands ask over Kafka.
        from headrace_cli.client.http_transport import HttpTransport

        return HttpTransport(address, key, retries)
    if scheme == "kafka" and rest:
        return KafkaTransport.at(rest)
    raise Rejected(f"an address is http://host:port, https://host:port or kafka://host:port, got {shown(address)}")
