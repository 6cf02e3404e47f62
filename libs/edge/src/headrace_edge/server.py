"""uvicorn inside a service: the socket is opened here (a taken port is a clear error), and signals stay with the service's runtime."""

import asyncio
import contextlib
import functools
import resource
import socket
from collections.abc import Generator
from typing import Any

import uvicorn

from headrace.errors import Fatal, Misconfigured
from headrace_edge.connection import LimitedConnection
from headrace_edge.rules.limits import EdgeLimits

# Files that are open for other reasons than connections: sockets to the broker, the log, libraries.
_OTHER_FILES = 100


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none: the service's runtime handles signals."""
        yield


class HttpServer:
    """Serves an ASGI app on `host:port`; `port=0` takes a free one.

    Raises `Misconfigured` where the address cannot be used; the error names the `setting` of the port.
    """

    def __init__(self, app: Any, host: str, port: int, limits: EdgeLimits, setting: str) -> None:
        _allow_files(limits.connections + _OTHER_FILES)
        self._socket = _bound(host, port, setting)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=functools.partial(LimitedConnection, limits),  # ty: ignore[invalid-argument-type]  called like a class
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
        """Give the port back; for a server that was never run."""
        self._socket.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then finish what is being answered. Raises `Fatal` when the server ends by itself."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._server.should_exit = True
        await serving
        if not stop.is_set():
            raise Fatal("the HTTP server ended by itself")


def _allow_files(wanted: int) -> None:
    """Let this process have so many files open, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _bound(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # NB: without the explicit protocol asyncio does not know TCP and leaves Nagle's algorithm on: 40 ms per answer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(2048)
    except OSError as error:
        bound.close()
        raise Misconfigured(f"{host}:{port} cannot be used ({error.strerror}): set {setting}") from None
    return bound
