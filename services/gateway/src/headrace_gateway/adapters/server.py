"""uvicorn inside a service: the socket is ours (a taken port is a clear error), signals stay with the service.

uvicorn limits neither how many connections there are, nor how long or how large the head of a request may be, nor how many
requests may be sent before the first is answered, nor how slowly an answer may be read: `_Guarded` does. No connection is
ever without a timer: one that waits for a head, an app that answers within its deadline, one that waits for the reader, or
the one of an idle connection.

Its parser believes that what follows a head which offers an upgrade (`Upgrade: h2c`, `websocket`) is another protocol, and
throws the body away. We take no offer: such a request is answered as if it had made none (RFC 9110, 7.8).
"""

import asyncio
import contextlib
import functools
import resource
import socket
from collections.abc import Iterator
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headrace.errors import Fatal, Misconfigured
from headrace_gateway.settings import Limits

# Files that are open for other reasons than connections: sockets to the broker, the log, libraries.
_OTHER_FILES = 100
LINGER_S = 2.0
PIPELINED = 32
READ_WITHIN_S = 30.0
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The service's runtime handles signals."""
        yield


class _Ended(Exception):
    """The connection was answered and hung up already: the parser must not go on."""


class _Guarded(HttpToolsProtocol):
    """One connection, with limits on what comes before a request is handed to the app."""

    parser: Any  # uvicorn says None after the end, when nothing is parsed any more

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._head_bytes: int | None = 0
        self._parsed_bytes = 0
        self._reading_timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._is_ended = False
        # The head of a request that offers an upgrade, without the offer.
        self._plain_head = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._end(503, f"{self._limits.connections} connections are open already", "Retry-After: 1\r\n")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        self._end_linger()
        self._is_read()
        # Nobody is there to be told.
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_ended:
            return
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._head_bytes is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.header_bytes:
                self._too_large()
        # Bytes between requests (line ends) end uvicorn's idle timer, and begin no request.
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete) and not self._is_ended:
            self._await_head()

    def _feed(self, data: bytes) -> None:
        """To the parser; a head that offers an upgrade is read again without it, and then what follows it."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError:
                self.send_400_response("")
            except httptools.HttpParserUpgrade as upgrade:
                self.parser = httptools.HttpRequestParser(self)
                with contextlib.suppress(AttributeError):  # httptools before 0.6.3
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                head, self._plain_head = self._plain_head, b""
                data = head + data[upgrade.args[0] :]
                continue
            return

    def send_400_response(self, msg: str) -> None:
        self._end(400, "this is no HTTP/1.1 request")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            self._end(503, f"{PIPELINED} requests of this connection wait already: read their answers first")
            raise _Ended
        super().on_message_begin()
        self._parsed_bytes = 0
        self._await_head()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # NB: a head that comes in one piece is complete before anybody has counted the piece.
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
            line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
            self._plain_head = b"\r\n".join([line, *kept, b"", b""])
            return
        self._head_is_there()
        super().on_headers_complete()

    def _count(self, size_bytes: int) -> None:
        self._parsed_bytes += size_bytes
        if self._parsed_bytes > self._limits.header_bytes:
            self._too_large()
            raise _Ended

    def _too_large(self) -> None:
        self._end(431, f"the head of a request may have {self._limits.header_bytes} bytes at most")

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reading_timer is None:
            self._reading_timer = self.loop.call_later(READ_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        # NB: `close` waits until all is read, for ever if nobody does.
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _is_read(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def on_message_complete(self) -> None:
        if self._plain_head:
            return
        self._end_linger()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The answer came before the end of the body (413, 401): it is read to its end and thrown away, but not for ever.
        if self.cycle.more_body and self._linger_timer is None and not self.transport.is_closing():
            self._linger_timer = self.loop.call_later(LINGER_S, self._hang_up)

    def _end_linger(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(self._limits.head_within_s, self._too_slow)

    def _head_is_there(self) -> None:
        self._head_bytes = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._end(408, f"the head of the request did not come within {self._limits.head_within_s:g} s")

    def _end(self, status: int, error: str, more: str = "") -> None:
        """Answer and hang up; no request was handed to the app."""
        self._head_is_there()
        if self.transport.is_closing() or self._is_ended:
            return
        self._is_ended = True
        self.pipeline.clear()
        if self._answering is not None:
            # NB: nothing may be written after our last word.
            self._answering.disconnected = True
            self._answering.waiting_for_100_continue = False
            self._answering.message_event.set()
        body = f'{{"error": "{error}"}}'
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n{more}"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        # NB: to close while the client still sends would take the answer from it; only our half is closed at once.
        with contextlib.suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self._end_linger()
        self._linger_timer = self.loop.call_later(LINGER_S, self._hang_up)

    def _hang_up(self) -> None:
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        else:
            self.transport.close()


class HttpServer:
    """Serves an ASGI app on `host:port`; `port=0` takes a free one."""

    def __init__(self, app: Any, host: str, port: int, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        _open_files(limits.connections + _OTHER_FILES)
        self._socket = _bound(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=functools.partial(_Guarded, limits),  # ty: ignore[invalid-argument-type]  called like a class
            ws="none",
            log_config=None,
            log_level="error",  # a line for each bad request would let whoever sends them fill the disk
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            backlog=2048,
        )
        self._server = _Server(config)

    def close(self) -> None:
        """Give the port back; for one that was never run."""
        self._socket.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then finish what is being answered."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._server.should_exit = True
        await serving
        if not stop.is_set():
            raise Fatal("the HTTP server ended by itself")


def _open_files(wanted: int) -> None:
    """Let this process have so many files open, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # NB: without the explicit protocol asyncio does not know TCP and leaves Nagle's algorithm on: 40 ms per answer.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(2048)
    except OSError as error:
        made.close()
        raise Misconfigured(f"{host}:{port} cannot be used ({error.strerror}): set HEADRACE_GATEWAY_PORT") from None
    return made
