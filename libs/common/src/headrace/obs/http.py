"""Health and metrics over HTTP, on a thread of its own: it answers even when the event loop does not."""

import json
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from headrace.errors import Misconfigured
from headrace.obs.health import Health
from headrace.obs.metrics import page


class HealthServer:
    """GET /live, /ready, /metrics. `port=0` takes a free one; the chosen port lands in `health.http_port`."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        self._health = health
        try:
            self._server = make_server(host, port, self._answer, WSGIServer, _Silent)
        except OSError as error:
            raise Misconfigured(
                f"health port {host}:{port} cannot be used ({error.strerror}): set HEADRACE_HTTP_PORT"
            ) from None
        health.http_port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)

    def start(self) -> None:
        """Serve until the process ends or `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        status, kind, body = self._route(environ.get("PATH_INFO", "/"))
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def _route(self, path: str) -> tuple[str, str, bytes]:
        if path == "/metrics":
            return "200 OK", "text/plain; version=0.0.4", page(self._health)
        if path == "/live":
            return "200 OK", "application/json", b'{"live": true}'
        if path == "/ready":
            body = {"ready": self._health.is_ready, "reasons": list(self._health.failures.values())}
            return (
                ("200 OK" if self._health.is_ready else "503 Service Unavailable"),
                "application/json",
                json.dumps(body).encode(),
            )
        return "404 Not Found", "application/json", b'{"error": "there are /live, /ready and /metrics"}'


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A probe every second is not worth a line."""
