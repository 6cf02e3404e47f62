"""uvicorn inside a service: the socket is ours (a taken port is a clear error), signals stay with the service."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from headrace.errors import Fatal, Misconfigured


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The service's runtime handles signals."""
        yield


class HttpServer:
    """Serves an ASGI app on `host:port`; `port=0` takes a free one."""

    def __init__(self, app: Any, host: str, port: int) -> None:
        self._socket = _bound(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=30, timeout_graceful_shutdown=5
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
