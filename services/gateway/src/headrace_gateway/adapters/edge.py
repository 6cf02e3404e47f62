"""What stands before every handler: who asks (401), how often (429), how much (413) and how slowly (408).

A handler finds the caller and the whole, uncompressed body in the scope: `knock_of(scope)`.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.clock import Clock
from headrace_gateway.core.admission import refuse_body
from headrace_gateway.core.answers import Reply, turned_away
from headrace_gateway.core.bodies import PLAIN, Broken, TooLarge, accepted, packed, unpacked
from headrace_gateway.core.callers import ANYONE, Bucket, Caller, find_caller, presented
from headrace_gateway.settings import Limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/v2/health/", "/docs", "/openapi.json")
_WITH_BODY = ("POST", "PUT", "PATCH")
_KNOCK = "headrace.knock"


@dataclass(frozen=True, slots=True)
class Knock:
    """One HTTP call that was let in."""

    caller: Caller
    headers: dict[bytes, bytes]
    body: bytes

    def header(self, name: bytes) -> str:
        """One header, "" when it is not there."""
        return self.headers.get(name, b"").decode("latin-1")


def knock_of(scope: Scope) -> Knock:
    """What the edge found out of a call."""
    return scope[_KNOCK]


class Edge:
    """ASGI around the app. `callers`: () lets anyone in.

    `shortcuts`: paths that are asked for all day, and their endpoints; past the app's own routing and middleware, which
    would cost a quarter of such a call (measured).
    """

    def __init__(
        self,
        app: App,
        callers: Sequence[Caller],
        clock: Clock,
        limits: Limits,
        shortcuts: Sequence[tuple[re.Pattern[str], App]] = (),
    ) -> None:
        self._app, self._callers, self._clock, self._limits = app, tuple(callers), clock, limits
        self._shortcuts = tuple(shortcuts)
        self._buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        caller = self._caller(headers)
        if caller is None and not (scope["path"] == "/" or scope["path"].startswith(OPEN)):
            error = (
                "an API key is needed: Authorization: Bearer KEY" if b"authorization" not in headers else "unknown key"
            )
            await respond(send, turned_away(401, error), headers)
            return
        refusal = self._too_often(caller)
        body = refusal or (await self._body(headers, receive) if scope["method"] in _WITH_BODY else b"")
        if isinstance(body, Reply):
            # NB: only who is slow is hung up on; others must be able to read the answer while they still send.
            await respond(send, body, headers, close=body.status == 408)
            return
        scope[_KNOCK] = Knock(caller or ANYONE, headers, body)
        await self._endpoint(scope)(scope, receive, send)

    def _endpoint(self, scope: Scope) -> App:
        if scope["method"] == "POST":
            for pattern, endpoint in self._shortcuts:
                found = pattern.fullmatch(scope["path"])
                if found is not None:
                    scope["path_params"] = found.groupdict()
                    return endpoint
        return self._app

    def _caller(self, headers: dict[bytes, bytes]) -> Caller | None:
        """Who asks; None for nobody known. Anyone is known where there are no keys."""
        if not self._callers:
            return ANYONE
        key = presented(*(headers.get(name, b"").decode("latin-1") for name in (b"authorization", b"x-api-key")))
        return find_caller(key, self._callers, self._clock.now_s())

    def _too_often(self, caller: Caller | None) -> Reply | None:
        if caller is None or caller.per_s is None:
            return None
        now_s = self._clock.monotonic_s()
        bucket = self._buckets.setdefault(caller.digest, Bucket(caller.burst, now_s))
        wait_s = bucket.take(caller.per_s, caller.burst, now_s)
        if wait_s is None:
            return None
        return turned_away(429, f"{caller.name} may call {caller.per_s:g} times a second", wait_s)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | Reply:
        announced = headers.get(b"content-length", b"")
        encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        refusal = refuse_body(int(announced) if announced.isdigit() else 0, encoding, self._limits)
        if refusal is not None:
            return refusal
        try:
            async with asyncio.timeout(self._limits.body_within_s):
                body = await self._collect(receive)
        except TimeoutError:
            return turned_away(408, f"the body did not come within {self._limits.body_within_s:g} s")
        return body if isinstance(body, Reply) or encoding in PLAIN else self._unpacked(body, encoding)

    async def _collect(self, receive: Receive) -> bytes | Reply:
        collected = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return turned_away(400, "the client went away")
            collected += message.get("body", b"")
            refusal = refuse_body(len(collected), "", self._limits)
            if refusal is not None:
                return refusal
            if not message.get("more_body", False):
                return collected

    def _unpacked(self, body: bytes, encoding: str) -> bytes | Reply:
        match unpacked(body, encoding, self._limits.body_bytes):
            case TooLarge():
                return refuse_body(self._limits.body_bytes + 1, "", self._limits) or turned_away(413, "too large")
            case Broken(reason):
                return turned_away(400, reason)
            case found:
                return found


async def respond(send: Send, reply: Reply, asked: dict[bytes, bytes], *, close: bool = False) -> None:
    """Send a reply, compressed where the client takes that and it is worth it."""
    body = reply.body
    encoding = accepted(asked.get(b"accept-encoding", b"").decode("latin-1"), len(body))
    headers = [(b"content-type", reply.content_type.encode())]
    if encoding is not None:
        body = packed(body, encoding)
        headers += [(b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding")]
    headers.append((b"content-length", b"%d" % len(body)))
    headers += [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
    if reply.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
