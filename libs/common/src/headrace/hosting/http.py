"""Health and metrics over HTTP: /live, /ready and /metrics, on threads that answer even while the event loop hangs.

The server is the threaded one of `prometheus_client`. A connection is closed after `TIMEOUT_S` without data. When more
than `CONNECTIONS` are open, the oldest is closed, so that a probe is always answered.
"""

import contextlib
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client.exposition import ThreadingWSGIServer

from headrace.errors import Misconfigured
from headrace.hosting.forks import in_each_child
from headrace.hosting.health import Health
from headrace.hosting.metrics import page

CONNECTIONS = 64
TIMEOUT_S = 5.0
_JSON = "application/json"
_STATUS = {
    200: "200 OK",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    503: "503 Service Unavailable",
}
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class HealthServer:
    """GET /live, /ready, /metrics. `port=0` takes a free port; the port is written to `health.http_port`.

    Raises `Misconfigured` when the port cannot be used.
    """

    def __init__(self, health: Health, host: str, port: int) -> None:
        self._health = health
        self._server = _bound(host, port)
        self._server.set_app(self._answer)
        in_each_child(self._server.socket, socket.socket.close)
        health.http_port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="health")

    def start(self) -> None:
        """Serve until the process ends or `stop` is called."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and all connections. Blocks for a moment."""
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join(5.0)
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, kind, body = self._route(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        start_response(_STATUS[status], [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _route(self, method: str, path: str) -> tuple[int, str, bytes]:
        health = self._health
        if method not in ("GET", "HEAD"):
            return 405, _JSON, b'{"error": "GET and HEAD are answered"}'
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4", page(health)
        if path == "/live":
            return 200, _JSON, b'{"live": true}'
        if path == "/ready":
            reasons = list(health.failures.values()) + ["stopping"] * health.stopping
            body = {"ready": health.is_ready, "reasons": reasons, "degraded": dict(health.degraded)}
            return (200 if health.is_ready else 503), _JSON, json.dumps(body).encode()
        return 404, _JSON, b'{"error": "there are /live, /ready and /metrics"}'


class _Server(ThreadingWSGIServer):
    """The threaded server with a limit of open connections."""

    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int]) -> None:
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without the name lookup of the base class."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a new thread. When too many connections are open, the oldest is closed."""
        with self._lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > CONNECTIONS else None
        if oldest is not None:
            _hang_up(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the port and every open connection."""
        super().server_close()
        for request in list(self._open):
            _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error; a peer that disconnects is not one."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _hang_up(request: socket.socket) -> None:
    """End a connection of another thread. That thread wakes up and closes it."""
    with contextlib.suppress(OSError):  # it has ended already
        request.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    """One request per connection, without a log line for each."""

    timeout = TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def _bound(host: str, port: int) -> _Server:
    try:
        return _Server((host, port))
    except OSError as error:
        raise Misconfigured(
            f"health port {host}:{port} cannot be used ({error.strerror}): set HEADRACE_HTTP_PORT (HEADRACE_HTTP_PORT_BASE"
            " under `headrace up`) to a free one"
        ) from None
