"""What every request passes before its handler: whether it is admitted (401, 429), how large its body is (413) and how slow (408).

A handler finds the caller and the whole, uncompressed body in the scope: `request_of(scope)`.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from headrace.hosting.health import Health
from headrace_edge.http_counts import note_answer
from headrace_edge.rules.admission import refuse_body
from headrace_edge.rules.compression import PLAIN, Broken, TooLarge, choose_encoding, packed, unpacked
from headrace_edge.rules.events import EVENT_HEADERS
from headrace_edge.rules.limits import EdgeLimits
from headrace_edge.rules.replies import Reply, error_reply
from headrace_edge.rules.requests import AdmittedRequest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[bytes, bytes]

_log = logging.getLogger("headrace.edge")

_WITH_BODY = ("POST", "PUT", "PATCH")
_REQUEST = "headrace.request"


def request_of(scope: Scope) -> AdmittedRequest[Any]:
    """The request that the edge admitted."""
    return scope[_REQUEST]


def peer_of(scope: Scope) -> str:
    """The address of who is connected: a client's, or that of a proxy in front; "" where it is not known."""
    client = scope.get("client")
    return client[0] if client else ""


class Edge:
    """ASGI around the app. `admit`: the caller of a call with these headers, or the refusal.

    `shortcuts`: the paths that are called all day, and their endpoints. They skip the app's own routing and middleware, which
    would cost a quarter of such a call (measured). `health`: where answers are counted; None where nobody looks.
    """

    def __init__(
        self,
        app: App,
        admit: Callable[[Scope, Headers], Any | Reply],
        limits: EdgeLimits,
        shortcuts: Sequence[tuple[re.Pattern[str], App]] = (),
        health: Health | None = None,
    ) -> None:
        self._app, self._admit, self._limits = app, admit, limits
        self._shortcuts, self._health = tuple(shortcuts), health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one call in, or answer it here."""
        if scope["type"] != "http":
            return
        watched, began_s = _Watched(send), time.perf_counter()
        try:
            await self._handle(scope, receive, watched)
        except Exception:
            # The error of one call ends that call only. We know of none, so each is worth a traceback and a count.
            _log.exception("%s %s failed", scope["method"], scope["path"][:200])
            if self._health is not None:
                self._health.unforeseen += 1
            if not watched.status:
                await respond(watched, error_reply(500, "this call failed; it is logged"), {}, close=True)
        finally:
            if self._health is not None and watched.status:
                took_s = None if watched.is_stream else time.perf_counter() - began_s
                note_answer(self._health, watched.status, took_s)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        caller = self._admit(scope, headers)
        if isinstance(caller, Reply):
            await respond(send, caller, headers)
            return
        body = await self._body(headers, receive) if scope["method"] in _WITH_BODY else b""
        if isinstance(body, Reply):
            # NB: only a slow client is hung up on; others must be able to read the answer while they still send.
            await respond(send, body, headers, close=body.status == 408)
            return
        scope[_REQUEST] = AdmittedRequest(caller, headers, body, peer_of(scope))
        await self._endpoint(scope)(scope, receive, send)

    def _endpoint(self, scope: Scope) -> App:
        if scope["method"] == "POST":
            for pattern, endpoint in self._shortcuts:
                found = pattern.fullmatch(scope["path"])
                if found is not None:
                    scope["path_params"] = found.groupdict()
                    return endpoint
        return self._app

    async def _body(self, headers: Headers, receive: Receive) -> bytes | Reply:
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
            return error_reply(408, f"the body did not come within {self._limits.body_within_s:g} s")
        return body if isinstance(body, Reply) or encoding in PLAIN else self._unpacked(body, encoding)

    async def _collect(self, receive: Receive) -> bytes | Reply:
        collected = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return error_reply(400, "the client went away")
            collected += message.get("body", b"")
            refusal = refuse_body(len(collected), "", self._limits)
            if refusal is not None:
                return refusal
            if not message.get("more_body", False):
                return collected

    def _unpacked(self, body: bytes, encoding: str) -> bytes | Reply:
        match unpacked(body, encoding, self._limits.body_bytes):
            case TooLarge():
                return refuse_body(self._limits.body_bytes + 1, "", self._limits) or error_reply(413, "too large")
            case Broken(reason):
                return error_reply(400, reason)
            case found:
                return found


class _Watched:
    """A `send` that knows the status of the answer, 0 before it has begun, and whether it is a stream of events."""

    __slots__ = ("_send", "is_stream", "status")

    def __init__(self, send: Send) -> None:
        self._send, self.status, self.is_stream = send, 0, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if not self.status:
            self.status, self.is_stream = message["status"], EVENT_HEADERS[0] in message.get("headers", ())
        await self._send(message)


async def respond(send: Send, reply: Reply, request_headers: Headers, *, close: bool = False) -> None:
    """Send a reply, compressed where the client accepts that and the size is worth it. `close`: end the connection after it.

    A reply that names its `Content-Encoding` itself is sent as it is (a file that was compressed once, for all).
    """
    body, encoding = reply.body, None
    if "Content-Encoding" not in reply.headers:
        encoding = choose_encoding(request_headers.get(b"accept-encoding", b"").decode("latin-1"), len(body))
    headers = [(b"content-type", reply.content_type.encode())]
    if encoding is not None:
        body = packed(body, encoding)
        headers += [(b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding")]
    headers.append((b"content-length", b"%d" % len(body)))
    headers += [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
