"""Requests over HTTP, through a gateway: POST /v1/deployments/{name}/predict, and /outcomes.

A request that may have arrived is repeated under the same Idempotency-Key, with the same bytes, until the deadline: the
same decision answers it. A decided refusal (`refused`, `expired`) is not repeated: under its id it would stay a refusal.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from headrace.asking.outcomes import Observed
from headrace.asking.prediction import Prediction
from headrace.asking.requests import LONGEST_WAIT_MS
from headrace.clock import SystemClock
from headrace.log.backoff import delays_s
from headrace_cli.client.errors import Rejected, Unreachable
from headrace_cli.client.outcomes import cut, row
from headrace_cli.client.rows import Batch, Plain

SLACK_S = 0.25


class _Rows(msgspec.Struct):
    rows: list[Prediction]


class HttpTransport:
    """A gateway at `url`. `retries`: how often at most a call is repeated. `transport`: replaces sockets in tests."""

    def __init__(
        self, url: str, key: str | None, retries: int, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url, self._retries = url, retries
        try:
            self._http = httpx.AsyncClient(base_url=url, headers=headers, transport=transport, timeout=None)
        except (httpx.InvalidURL, ValueError) as error:
            raise Rejected(f"{url} is not an address: {error}") from None

    async def start(self) -> None:
        """Do nothing: the first call connects."""

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, deployment: str, batch: Batch, version: int | None, deadline_s: float) -> list[Prediction]:
        """A prediction per row; see `Transport.ask`."""
        preview = "" if version is None else f"/versions/{version}"
        name = quote(deployment, safe="")
        path, body = f"/v1/deployments/{name}{preview}/predict", _body(batch.plain(SystemClock().now_s()), deadline_s)
        return _read(await self._asked(path, body, batch.request_id, deadline_s), batch)

    async def observe(self, deployment: str, outcomes: Sequence[Observed], deadline_s: float) -> None:
        """Return when all are on the log; see `Transport.observe`."""
        path = f"/v1/deployments/{quote(deployment, safe='')}/outcomes"
        for part in cut(outcomes):
            rows = [row(one) for one in part]
            body = msgspec.json.encode(rows[0] if len(outcomes) == 1 else {"outcomes": rows})
            response = await self._asked(path, body, part[0].id, deadline_s)
            if response.status_code != 202:
                raise Rejected(f"{_error(response)} (HTTP {response.status_code})")

    async def _asked(self, path: str, body: bytes, ident: str, deadline_s: float) -> httpx.Response:
        """The answer to a call, which is repeated until the deadline if a repeat can help."""
        give_up_s = time.monotonic() + deadline_s
        why = "no answer"
        for pause_s in self._pauses():
            left_s = give_up_s - time.monotonic()
            if left_s <= 0:
                break
            try:
                async with asyncio.timeout(left_s + SLACK_S):
                    response = await self._post(path, body, ident)
            except TimeoutError:
                why, pause = "it does not respond", pause_s
            except (httpx.HTTPError, OSError) as error:
                why, pause = str(error) or type(error).__name__, pause_s
            except (httpx.InvalidURL, ValueError, OverflowError) as error:
                raise Rejected(f"{self._url} is not an address: {error}") from None
            else:
                if not _is_worth_repeating(response):
                    return response
                why, pause = _error(response), _retry_after_s(response, pause_s)
            await asyncio.sleep(min(pause, max(give_up_s - time.monotonic(), 0)))
        raise Unreachable(f"{self._url} gave no answer (deadline {deadline_s:g} s): {why}", ident)

    async def _post(self, path: str, body: bytes, ident: str) -> httpx.Response:
        headers = {"Idempotency-Key": ident, "Content-Type": "application/json"}
        return await self._http.post(path, content=body, headers=headers)

    def _pauses(self) -> Iterator[float]:
        return islice(delays_s(0.05, 1.0), self._retries + 1)


def _body(rows: list[Plain], deadline_s: float) -> bytes:
    deadline = {"deadline_ms": min(LONGEST_WAIT_MS, max(1, int(deadline_s * 1000)))}
    if len(rows) == 1:
        return msgspec.json.encode(_row(rows[0]) | deadline)
    return msgspec.json.encode({"rows": [_row(row) for row in rows]} | deadline)


def _row(row: Plain) -> dict[str, Any]:
    optional = {"unit": row.unit, "at": row.at_s}
    return {"inputs": row.inputs} | {name: value for name, value in optional.items() if value is not None}


def _is_worth_repeating(response: httpx.Response) -> bool:
    """Whether the request was not asked at all (busy, not ready), or asked without an answer. One with an outcome was decided."""
    return response.status_code in (429, 502, 503) and b'"outcome"' not in response.content


def _retry_after_s(response: httpx.Response, otherwise_s: float) -> float:
    given = response.headers.get("Retry-After", "")
    return float(given) if given.isdecimal() and len(given) < 10 else otherwise_s


def _read(response: httpx.Response, batch: Batch) -> list[Prediction]:
    """The predictions of an answer, including refusals with an outcome."""
    if b'"outcome"' not in response.content:
        raise Rejected(f"{_error(response)} (HTTP {response.status_code})")
    try:
        if len(batch.rows) == 1:
            return [msgspec.json.decode(response.content, type=Prediction)]
        found = msgspec.json.decode(response.content, type=_Rows).rows
    except (msgspec.DecodeError, ValueError) as error:
        raise Unreachable(f"the server that answered is not a Headrace gateway: {error}", batch.request_id) from None
    if len(found) != len(batch.rows):
        raise Unreachable(f"{len(batch.rows)} rows were sent, {len(found)} were answered", batch.request_id)
    return found


def _error(response: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(response.content)["error"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError):
        return response.reason_phrase
