"""One HTTP connection: uvicorn's protocol, with the limits that uvicorn has not.

uvicorn limits neither how many connections there are, nor how long or how large the head of a request may be, nor how many
requests may be sent before the first is answered, nor whether an answer is read at all: `LimitedConnection` does. It overrides and
reads public names of `HttpToolsProtocol` only. No connection is ever without a timer: one for a head that is awaited, the deadline
of the app that answers, one for a client that reads, or uvicorn's own of an idle connection. An answer may last for ever (a stream of
events) while its client reads: what is counted is time in which nothing was read.

uvicorn's parser takes what follows a head that offers an upgrade (`Upgrade: h2c`, `websocket`) for another protocol, and
drops the body. No offer is accepted: we answer such a request as if there were none (RFC 9110, 7.8).
"""

import asyncio
import contextlib
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headrace_edge.rules.limits import EdgeLimits

LINGER_S = 2.0
PIPELINED = 32
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class _Ended(Exception):
    """The connection was answered and is being closed: the parser must not go on."""


class LimitedConnection(HttpToolsProtocol):
    """One connection, with limits on what comes before a request is handed to the app."""

    parser: Any  # uvicorn sets None after the end, when nothing is parsed any more

    def __init__(self, limits: EdgeLimits, **given: Any) -> None:
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
        """Refuse a connection beyond the limit; of others a head is awaited."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._end(503, f"{self._limits.connections} connections are open already", "Retry-After: 1\r\n")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all timers; nothing that waits is answered any more."""
        self._head_is_there()
        self._end_linger()
        self._is_read()
        # Nobody is left to answer.
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes, and count them while they belong to a head."""
        if self._is_ended:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._feed(data)
        if self._head_bytes is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.header_bytes:
                self._too_large()
        # NB: bytes between requests (line ends) have just ended uvicorn's idle timer, and begin no request.
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete) and not self._is_ended:
            self._await_head()

    def _feed(self, data: bytes) -> None:
        """Feed the parser. A head that offers an upgrade is fed again without the offer, and then what follows it."""
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
        """Answer bytes that the parser refuses. `msg` is uvicorn's own text, which is not sent."""
        self._end(400, "this is no HTTP/1.1 request")

    def on_message_begin(self) -> None:
        """A request begins: refused where too many of this connection wait already."""
        if len(self.pipeline) >= PIPELINED:
            self._end(503, f"{PIPELINED} requests of this connection wait already: read their answers first")
            raise _Ended
        super().on_message_begin()
        self._parsed_bytes = 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        """Count a part of the URL as part of the head."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header as part of the head."""
        # NB: a head that comes in one piece is complete before anybody has counted the piece.
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: the request goes to the app, or is read again without its offer of an upgrade."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
            line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
            self._plain_head = b"\r\n".join([line, *kept, b"", b""])
            return
        self._head_is_there()
        super().on_headers_complete()
        if not self.pipeline:  # else the request waits there until those before it are answered
            self._answering = self.cycle

    def _count(self, size_bytes: int) -> None:
        self._parsed_bytes += size_bytes
        if self._parsed_bytes > self._limits.header_bytes:
            self._too_large()
            raise _Ended

    def _too_large(self) -> None:
        self._end(431, f"the head of a request may have {self._limits.header_bytes} bytes at most")

    def pause_writing(self) -> None:
        """The client does not read as fast as we write: it has `read_within_s` to read some of it."""
        super().pause_writing()
        if self._reading_timer is None:
            self._await_reading()

    def _await_reading(self) -> None:
        unread_bytes = self.transport.get_write_buffer_size()
        self._reading_timer = self.loop.call_later(self._limits.read_within_s, self._on_read_limit, unread_bytes)

    def _on_read_limit(self, unread_bytes: int) -> None:
        """Hang up on a client that has read nothing; one that is merely slow has as long again."""
        # NB: the app writes nothing while writing is paused, so what waits shrinks only because it is read.
        if self.transport.get_write_buffer_size() < unread_bytes:
            self._await_reading()
        else:
            self.transport.abort()

    def resume_writing(self) -> None:
        """The client has read."""
        self._is_read()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
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
        """The request is complete, unless it is read again without its offer of an upgrade."""
        if self._plain_head:
            return
        self._end_linger()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is sent: the next request is begun, or the rest of this one is awaited."""
        if self.pipeline:
            self._answering = self.pipeline[-1][0]  # uvicorn begins it now
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
        """Answer and close the connection; no request was handed to the app."""
        self._head_is_there()
        if self.transport.is_closing() or self._is_ended:
            return
        self._is_ended = True
        self.pipeline.clear()
        if self._answering is not None:
            # NB: nothing may be written after this last answer.
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
