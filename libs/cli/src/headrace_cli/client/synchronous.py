"""The client that blocks: an `AsyncClient` on its own event loop, in a thread. Several threads may use it at once."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from headrace.asking.prediction import Prediction
from headrace_cli.client.asynchronous import AsyncClient
from headrace_cli.client.errors import Rejected
from headrace_cli.client.rows import MOST_ROWS, Instant, Row

T = TypeVar("T")


class Client:
    """Asks deployments at `address`; the arguments are those of `AsyncClient`."""

    def __init__(
        self,
        address: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        deadline_s: float = 2.0,
        retries: int = 3,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._run(_made(address, key, deadline_s, retries))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._client.close())
        finally:
            self._end()

    def predict(
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
        """The prediction for one request; see `AsyncClient.predict`."""
        asked = self._client.predict(
            deployment, inputs, unit=unit, at=at, version=version, request_id=request_id, deadline_s=deadline_s
        )
        return self._run(asked)

    def predict_many(
        self,
        deployment: str,
        rows: Iterable[Row | Mapping[str, Any]],
        *,
        version: int | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
        batch_rows: int = MOST_ROWS,
    ) -> list[Prediction]:
        """A prediction per row; see `AsyncClient.predict_many`."""
        asked = self._client.predict_many(
            deployment, rows, version=version, request_id=request_id, deadline_s=deadline_s, batch_rows=batch_rows
        )
        return self._run(asked)

    def observe(
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
        """Send the outcome of an earlier request; see `AsyncClient.observe`."""
        observing = self._client.observe(
            deployment, unit, label, at=at, request_id=request_id, corrects=corrects, id=id, deadline_s=deadline_s
        )
        return self._run(observing)

    def observe_many(
        self,
        deployment: str,
        outcomes: Iterable[Mapping[str, Any]],
        *,
        call_id: str | None = None,
        deadline_s: float | None = None,
    ) -> list[str]:
        """Send many outcomes; see `AsyncClient.observe_many`."""
        return self._run(self._client.observe_many(deployment, outcomes, call_id=call_id, deadline_s=deadline_s))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise Rejected("this client is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _made(address: str, key: str | None, deadline_s: float, retries: int) -> AsyncClient:
    """Create the client on the loop that will use it."""
    return AsyncClient(address, key=key, deadline_s=deadline_s, retries=retries)
