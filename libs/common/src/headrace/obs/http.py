"""Health and metrics over HTTP, on a thread and an event loop of its own: it answers even when the service's loop does not.

One request per connection, no body, five seconds and 8 KiB for its head. Whoever keeps more than `CONNECTIONS` open loses
the oldest: a probe is always answered.
"""

import asyncio
import contextlib
import json
import socket
import threading

from headrace.errors import Misconfigured
from headrace.hosting.forks import in_each_child
from headrace.hosting.health import Health
from headrace.hosting.metrics import page

CONNECTIONS = 64
HEAD_WITHIN_S = 5.0
HEAD_BYTES = 8_192
_JSON = "application/json"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
Answer = tuple[int, str, bytes]


class HealthServer:
    """GET /live, /ready, /metrics. `port=0` takes a free one; the chosen port lands in `health.http_port`."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        self._health = health
        self._socket = _bound(host, port)
        in_each_child(self._socket, socket.socket.close)
        health.http_port = self._socket.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: dict[asyncio.StreamWriter, None] = {}
        self._serves = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="health")

    def start(self) -> None:
        """Serve until the process ends or `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        if self._thread.ident is None:
            self._socket.close()
            return
        self._serves.wait(5.0)
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(5.0)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._on_connection, sock=self._socket, limit=HEAD_BYTES)
        self._serves.set()
        await self._ended.wait()
        server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > CONNECTIONS:
            next(iter(self._open)).transport.abort()
        try:
            # NB: a peer that goes away in the middle, or never reads, is nobody's error.
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2 * HEAD_WITHIN_S):
                    method, answer = await self._asked(reader)
                    writer.write(_written(method, answer))
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _asked(self, reader: asyncio.StreamReader) -> tuple[str, Answer]:
        try:
            async with asyncio.timeout(HEAD_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return "GET", _error(408, f"the head of the request did not come within {HEAD_WITHIN_S:g} s")
        except asyncio.LimitOverrunError:
            return "GET", _error(431, f"the head of a request may have {HEAD_BYTES} bytes at most")
        except asyncio.IncompleteReadError:
            return "GET", _error(400, "the request has no end")
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "GET", _error(400, "this is no HTTP/1 request")
        if words[0] not in ("GET", "HEAD"):
            return "GET", _error(405, "GET and HEAD are answered")
        return words[0], self._route(words[1].partition("?")[0])

    def _route(self, path: str) -> Answer:
        health = self._health
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4", page(health)
        if path == "/live":
            return 200, _JSON, b'{"live": true}'
        if path == "/ready":
            reasons = list(health.failures.values()) + ["stopping"] * health.stopping
            body = {"ready": health.is_ready, "reasons": reasons, "degraded": dict(health.degraded)}
            return (200 if health.is_ready else 503), _JSON, json.dumps(body).encode()
        return _error(404, "there are /live, /ready and /metrics")


def _error(status: int, text: str) -> Answer:
    return status, _JSON, json.dumps({"error": text}).encode()


def _written(method: str, answer: Answer) -> bytes:
    status, kind, body = answer
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(128)
    except OSError as error:
        made.close()
        raise Misconfigured(
            f"health port {host}:{port} cannot be used ({error.strerror}): set HEADRACE_HTTP_PORT (HEADRACE_HTTP_PORT_BASE"
            " under `headrace up`) to a free one"
        ) from None
    return made
