"""The HTTP app: which path and method lead to which call of the shell. Open Inference V2, KServe V1, and named inputs for people."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route, compile_path

from headrace.asking.requests import shown
from headrace.hosting.health import Health
from headrace_edge.edge import App, Edge, Receive, Scope, Send, request_of, respond
from headrace_edge.rules.callers import Caller
from headrace_edge.rules.replies import Reply, as_json
from headrace_edge.rules.requests import ApiRequest
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.adapters.docs import add_docs
from headrace_gateway.core.dialects import NAMED, V1, V2, Dialect
from headrace_gateway.settings import Limits

EXTENSIONS = ["binary_tensor_data", "model_configuration", "parameters"]
Path = Mapping[str, str]
Handler = Callable[[ApiRequest, Path], Awaitable[Reply]]
_VERSIONED = "/v2/models/{deployment}/versions/{version}"


class Calls(Protocol):
    """What can be called over HTTP: the shell. A `path` holds the parameters of a request's path.

    Every method but `admit` may wait a second for a definition that was just applied. None raises what a client can cause.
    """

    def admit(self, path: str, headers: Mapping[bytes, bytes]) -> Caller | Reply:
        """The caller of a request that may be made now, or the refusal. Does not block."""
        ...

    async def predict(self, dialect: Dialect, request: ApiRequest, path: Path) -> Reply:
        """Predictions for the rows of a body. Waits for their answers, by the deadline that the body names."""
        ...

    async def observe(self, request: ApiRequest, path: Path) -> Reply:
        """Outcomes of a deployment. Waits until all of them are on the log."""
        ...

    async def ready(self, request: ApiRequest, path: Path) -> Reply:
        """Whether the gateway can ask and receive answers."""
        ...

    async def model(self, request: ApiRequest, path: Path) -> Reply:
        """A deployment's inputs and outputs."""
        ...

    async def config(self, request: ApiRequest, path: Path) -> Reply:
        """A deployment's inputs and outputs in Triton's words."""
        ...

    async def model_ready(self, request: ApiRequest, path: Path) -> Reply:
        """Whether a deployment's champion answers."""
        ...

    async def index(self, request: ApiRequest, path: Path) -> Reply:
        """The deployments that the caller may ask, with their versions."""
        ...

    async def models(self, request: ApiRequest, path: Path) -> Reply:
        """KServe's V1 list of models."""
        ...


class _Endpoint:
    """A call of the shell as ASGI. It is an instance, so that Starlette does not wrap it; FastAPI's own endpoints would cost more than all
    the rest of a call.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        await respond(send, await self._handler(request, scope["path_params"]), request.headers)


def make_app(
    api: Calls, catalogue: Catalogue, limits: Limits, *, has_keys: bool, health: Health | None = None
) -> FastAPI:
    """The ASGI app; its page at /docs shows calls that work for the applied deployments.

    `has_keys`: whether a key is needed; `health` counts the errors that nobody foresaw.
    """
    app = FastAPI(
        title="Headrace",
        version=version("headrace"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    predicting = _predicting(api)
    # NB: a redirect would be made of the Host header, which may hold anything.
    app.router.redirect_slashes = False
    app.router.routes[:] = [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in predicting),
        Route("/v1/deployments/{deployment}/outcomes", _Endpoint(api.observe), methods=["POST"]),
        *(Route(path, _Endpoint(handler), methods=[method]) for method, path, handler in _describing(api)),
    ]
    add_docs(app, catalogue, has_keys=has_keys)
    shortcuts = [(compile_path(path)[0], endpoint) for path, endpoint in predicting]

    def admit(scope: Scope, headers: Mapping[bytes, bytes]) -> Caller | Reply:
        return api.admit(scope["path"], headers)

    app.add_middleware(Edge, admit=admit, limits=limits, shortcuts=shortcuts, health=health)
    app.add_exception_handler(HTTPException, _no_such_path)
    return app


def _predicting(api: Calls) -> Sequence[tuple[str, App]]:
    """The paths that ask for predictions."""

    def endpoint(dialect: Dialect) -> App:
        return _Endpoint(lambda request, path: api.predict(dialect, request, path))

    v2, v1, named = endpoint(V2), endpoint(V1), endpoint(NAMED)
    return [
        ("/v2/models/{deployment}/infer", v2),
        ("/v1/deployments/{deployment}/predict", named),
        ("/v1/models/{deployment}:predict", v1),
        (f"{_VERSIONED}/infer", v2),
        ("/v1/deployments/{deployment}/versions/{version}/predict", named),
    ]


def _describing(api: Calls) -> Sequence[tuple[str, str, Handler]]:
    """The paths that describe what there is, and whether it is well."""
    server = {"name": "headrace", "version": version("headrace"), "extensions": EXTENSIONS}
    return [
        ("GET", "/v2/health/live", _always({"live": True})),
        ("GET", "/v2/health/ready", api.ready),
        ("GET", "/v2", _always(server)),
        ("GET", "/v2/models/{deployment}/ready", api.model_ready),
        ("GET", f"{_VERSIONED}/ready", api.model_ready),
        ("GET", "/v2/models/{deployment}/config", api.config),
        ("GET", f"{_VERSIONED}/config", api.config),
        ("GET", "/v2/models/{deployment}", api.model),
        ("GET", _VERSIONED, api.model),
        ("POST", "/v2/repository/index", api.index),
        ("GET", "/", _always({"status": "alive"})),
        ("GET", "/v1/models", api.models),
        ("GET", "/v1/models/{deployment}", api.model_ready),
    ]


def _always(content: Any) -> Handler:
    """A handler whose answer depends on nothing."""

    async def handler(_: ApiRequest, __: Path) -> Reply:
        return as_json(200, content)

    return handler


async def _no_such_path(request: Request, error: Exception) -> JSONResponse:
    """The answer for a path or a method that there is not."""
    assert isinstance(error, HTTPException)
    reason = error.detail
    if error.status_code == 404:
        reason = f"there is no path {shown(request.scope['path'])}; /docs shows those that there are"
    elif error.status_code == 405:
        takes = (error.headers or {}).get("Allow", "another method")
        reason = f"{shown(request.method)} is not taken here; {takes} is"
    return JSONResponse({"error": reason}, error.status_code, error.headers)
