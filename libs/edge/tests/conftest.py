"""An app behind the edge, on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from headrace.hosting.health import Health
from headrace_edge.edge import App, Edge, Receive, Scope, Send, request_of, respond
from headrace_edge.rules.callers import ANYONE
from headrace_edge.rules.limits import EdgeLimits
from headrace_edge.rules.replies import Reply, as_json
from headrace_edge.server import HttpServer

Serving = Callable[..., AbstractAsyncContextManager[int]]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path and the body; `/large` with two megabytes that nothing makes smaller, and `/broken` raises."""
    request = request_of(scope)
    if scope["path"] == "/broken":
        raise ZeroDivisionError
    if scope["path"] == "/large":
        await respond(send, Reply(200, bytes(2_000_000), {"Content-Encoding": "identity"}, "text/plain"), {})
        return
    await respond(send, as_json(200, {"path": scope["path"], "body": request.body.decode()}), request.headers)


@pytest.fixture
def health() -> Health:
    return Health("edge", "edge-1", failures={})


@pytest.fixture
def serving(health: Health) -> Serving:
    """Serves an app behind the edge for anyone; gives the port."""

    @asynccontextmanager
    async def served(limits: EdgeLimits = EdgeLimits(), app: App = echo, **given: Any) -> AsyncIterator[int]:  # noqa: B008 - frozen
        admit = given.pop("admit", lambda scope, headers: ANYONE)
        server = HttpServer(Edge(app, admit, limits, health=health), "127.0.0.1", 0, limits, "THE_PORT")
        stop = asyncio.Event()
        running = asyncio.create_task(server.run(stop))
        yield server.port
        stop.set()
        await running

    return served
