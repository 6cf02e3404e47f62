"""What stands before every handler: who asks (401), how often (429), how much (413) and how slowly (408).

A handler finds the caller and the whole, uncompressed body in the scope: `knock_of(scope)`.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.clock import Clock
from headrace.hosting.health import Health
from headrace_gateway.core.admission import refuse_body
from headrace_gateway.core.answers import Reply, turned_away
from headrace_gateway.core.bodies import PLAIN, Broken, TooLarge, accepted, packed, unpacked
from headrace_gateway.core.callers import ANYONE, Bucket, Caller, Nobody, find_caller, password, presented
from headrace_gateway.settings import Limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("headrace.gateway")

OPEN = ("/v2/health/live", "/v2/health/ready")
# What a browser opens: it asks its user for a name and a password, which is the key. Only there: a browser sends what it was
# once told along with every page's requests, also with those of strangers.
PAGES = ("/docs", "/openapi.json")
BEARER, BASIC = b"Bearer", b'Basic realm="Headrace: any name, and an API key as the password", charset="UTF-8"'
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
        health: Health | None = None,
    ) -> None:
        self._app, self._callers, self._clock, self._limits = app, tuple(callers), clock, limits
        self._shortcuts, self._health = tuple(shortcuts), health
        self._buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        watched = _Watched(send)
        try:
            await self._let_in(scope, receive, watched)
        except Exception:
            # One call's fault is that call's; there is none that we know of, so each is worth a traceback and a count.
            _log.exception("%s %s failed", scope["method"], scope["path"][:200])
            if self._health is not None:
                self._health.unforeseen += 1
            if not watched.has_begun:
                await respond(watched, turned_away(500, "this call failed; it is logged"), {}, close=True)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        is_page = scope["path"].startswith(PAGES)
        caller = self._caller(headers, is_page)
        if isinstance(caller, Nobody):
            if not (scope["path"] == "/" or scope["path"] in OPEN):
                wanted = BASIC if is_page else BEARER
                await respond(send, turned_away(401, caller.value), headers, challenge=wanted)
                return
            caller = ANYONE
        refusal = self._too_often(caller)
        body = refusal or (await self._body(headers, receive) if scope["method"] in _WITH_BODY else b"")
        if isinstance(body, Reply):
            # NB: only who is slow is hung up on; others must be able to read the answer while they still send.
            await respond(send, body, headers, close=body.status == 408)
            return
        scope[_KNOCK] = Knock(caller, headers, body)
        await self._endpoint(scope)(scope, receive, send)

    def _endpoint(self, scope: Scope) -> App:
        if scope["method"] == "POST":
            for pattern, endpoint in self._shortcuts:
                found = pattern.fullmatch(scope["path"])
                if found is not None:
                    scope["path_params"] = found.groupdict()
                    return endpoint
        return self._app

    def _caller(self, headers: dict[bytes, bytes], is_page: bool) -> Caller | Nobody:
        """Who asks. Anyone is known where there are no keys."""
        if not self._callers:
            return ANYONE
        authorization, api_key = headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")
        key = presented(authorization, api_key) or (password(authorization) if is_page else "")
        return find_caller(key, self._callers, self._clock.now_s())

    def _too_often(self, caller: Caller) -> Reply | None:
        if caller.per_s is None:
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
        size = int(announced) if announced.isdigit() and len(announced) < 20 else 0
        refusal = refuse_body(size, encoding, self._limits)
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


class _Watched:
    """A `send` that knows whether an answer has begun."""

    __slots__ = ("_send", "has_begun")

    def __init__(self, send: Send) -> None:
        self._send, self.has_begun = send, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        self.has_begun = True
        await self._send(message)


async def respond(
    send: Send, reply: Reply, asked: dict[bytes, bytes], *, close: bool = False, challenge: bytes | None = None
) -> None:
    """Send a reply, compressed where the client takes that and it is worth it. `challenge`: how to say who one is (401)."""
    body = reply.body
    encoding = accepted(asked.get(b"accept-encoding", b"").decode("latin-1"), len(body))
    headers = [(b"content-type", reply.content_type.encode())]
    if encoding is not None:
        body = packed(body, encoding)
        headers += [(b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding")]
    headers.append((b"content-length", b"%d" % len(body)))
    headers += [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
    if challenge is not None:
        headers.append((b"www-authenticate", challenge))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
