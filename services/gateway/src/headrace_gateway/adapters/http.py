"""The handlers of all paths: Open Inference V2, KServe V1, and named inputs and outcomes for people."""

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route, compile_path

from headrace.asking.asker import Asker
from headrace.asking.outcome_writer import Observer
from headrace.asking.prediction import Prediction, predicted
from headrace.asking.requests import shown
from headrace.clock import Clock
from headrace.errors import Misconfigured, Retryable
from headrace.events.definition import DeploymentDefinition
from headrace.hosting.health import Health
from headrace.log.envelope import format_instant
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.adapters.docs import add_docs
from headrace_gateway.adapters.edge import App, Edge, Knock, Receive, Scope, Send, knock_of, respond
from headrace_gateway.core.admission import RETRY_AFTER_S, refuse_rows
from headrace_gateway.core.answers import Reply, as_json, named_reply, turned_away, v1_reply, v2_reply
from headrace_gateway.core.callers import Caller
from headrace_gateway.core.outcomes import OutcomeTaken, read_outcomes
from headrace_gateway.core.questions import Asked, Call, Unclear, read_named, read_v1, read_v2
from headrace_gateway.settings import Limits
from headrace_gateway.shell import Joining

# NB: `str.isdigit` would let in digits that `int` refuses.
_VERSION = re.compile(r"[0-9]{1,9}")
EXTENSIONS = ["binary_tensor_data", "model_configuration", "parameters"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one path reads a body and writes an answer."""

    read: Callable[[bytes, Call], Asked | Unclear]
    write: Callable[[Asked, Sequence[Prediction]], Reply]


V2 = Dialect(read_v2, v2_reply)
V1 = Dialect(read_v1, lambda _, predictions: v1_reply(predictions))
NAMED = Dialect(read_named, named_reply)


class Doors:
    """Everything that can be asked over HTTP."""

    def __init__(
        self, asker: Asker, observer: Observer, catalogue: Catalogue, health: Health, clock: Clock, limits: Limits
    ) -> None:
        self._asker, self._observer, self._catalogue, self._health = asker, observer, catalogue, health
        self._clock, self._limits = clock, limits
        self._joining = Joining(limits.remembered_keys)

    def asking(self, dialect: Dialect) -> App:
        """A raw ASGI endpoint: FastAPI's own would cost more than all the rest of a call."""
        return _Endpoint(lambda knock, path: self._predict(dialect, knock, path))

    async def _predict(self, dialect: Dialect, knock: Knock, path: dict[str, str]) -> Reply:
        found = await self._found(knock, path)
        if isinstance(found, Reply):
            return found
        call = self._call(knock, *found)
        if isinstance(call, Reply):
            return call
        asked = dialect.read(knock.body, call)
        if isinstance(asked, Unclear):
            return turned_away(400, asked.reason)
        refusal = refuse_rows(len(asked.questions), self._asker.waiting, self._why_deaf(), self._limits)
        if refusal is not None:
            return refusal
        if call.key is None:
            return await self._answer(dialect, asked, call)
        key = "/".join((found[0].name, asked.questions[0].request_id))
        body = b"\0".join((str(call.version).encode(), knock.body))
        self._joining.tell(self._health)
        return await self._joining.once(key, body, lambda: self._answer(dialect, asked, call))

    async def _answer(self, dialect: Dialect, asked: Asked, call: Call) -> Reply:
        try:
            answers = await self._asker.ask(asked.questions, asked.deadline_ms)
        except Retryable as error:
            return turned_away(503, str(error), RETRY_AFTER_S)
        kind_of = partial(self._catalogue.kind, call.deployment)
        told = [
            predicted(call.deployment.name, question.request_id, answered, kind_of, asked.deadline_ms)
            for question, answered in zip(asked.questions, answers, strict=True)
        ]
        return dialect.write(asked, told)

    def _call(self, knock: Knock, deployment: DeploymentDefinition, preview: int | None) -> Call | Reply:
        head = knock.headers.get(b"inference-header-content-length")
        if head is not None and not (head.isdigit() and len(head) < 10):
            return turned_away(400, f"Inference-Header-Content-Length must be a number, got {head[:40]!r}")
        return Call(
            deployment,
            self._limits,
            self._clock.now_s(),
            _new_id,
            knock.header(b"idempotency-key") or None,
            int(head) if head is not None else None,
            preview,
            knock.caller.tenant or None,
            knock.header(b"traceparent") or None,
        )

    async def _found(self, knock: Knock, path: dict[str, str]) -> tuple[DeploymentDefinition, int | None] | Reply:
        """The deployment that a path names, and the version of a preview."""
        name, preview = path["deployment"], path.get("version")
        # NB: before it is looked for: who may not ask need not know what there is.
        if not knock.caller.may_ask(name):
            return turned_away(403, f"the key of {knock.caller.name} is not allowed for {shown(name)}")
        found = await self._catalogue.find(name)
        if found is None:
            return turned_away(404, f"no model is called {shown(name)}")
        if preview is None:
            return found, None
        routed = self._catalogue.versions(name)
        if not _VERSION.fullmatch(preview) or int(preview) not in routed:
            known = ", ".join(map(str, routed)) or "none"
            return turned_away(404, f"version {shown(preview)} of {name} is not loaded (loaded: {known})")
        return found, int(preview)

    def _why_deaf(self) -> str | None:
        """Why nothing can be asked now; None when it can. Other troubles (a heartbeat that is not taken) keep nobody waiting."""
        return None if self._asker.is_ready else self._asker.trouble or "answers cannot be heard yet"

    def _why_not_ready(self) -> str | None:
        """Why the gateway does not do its work; None when it does."""
        if self._asker.is_ready and self._health.is_ready:
            return None
        reasons = [self._why_deaf(), *self._health.failures.values()]
        return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or "it is stopping"

    async def observe(self, knock: Knock, path: dict[str, str]) -> Reply:
        """Outcomes of a deployment; 202 when they are on the log, all of them."""
        found = await self._found(knock, path)
        if isinstance(found, Reply):
            return found
        deployment, key = found[0], knock.header(b"idempotency-key") or None
        told = read_outcomes(knock.body, deployment, self._clock.now_s(), key, _new_id)
        if isinstance(told, Unclear):
            return turned_away(400, told.reason)
        try:
            await self._observer.send(deployment.name, told.outcomes)
        except (Retryable, Misconfigured) as error:
            return turned_away(503, f"{error}; sent again under the same ids they change nothing", RETRY_AFTER_S)
        taken = [OutcomeTaken(one.id, one.unit, format_instant(one.at_s)) for one in told.outcomes]
        return as_json(202, {"outcomes": taken} if told.is_list else taken[0])

    # What there is, and whether it is well

    async def server(self, _: Knock, __: dict[str, str]) -> Reply:
        """What answers here."""
        return as_json(200, {"name": "headrace", "version": version("headrace"), "extensions": EXTENSIONS})

    async def live(self, _: Knock, __: dict[str, str]) -> Reply:
        """The process runs."""
        return as_json(200, {"live": True})

    async def ready(self, _: Knock, __: dict[str, str]) -> Reply:
        """The gateway can ask and hear."""
        return _readiness({}, self._why_not_ready())

    async def model(self, knock: Knock, path: dict[str, str]) -> Reply:
        """A deployment's inputs and outputs."""
        found = await self._found(knock, path)
        return found if isinstance(found, Reply) else as_json(200, self._catalogue.metadata(*found))

    async def config(self, knock: Knock, path: dict[str, str]) -> Reply:
        """The same, in Triton's words."""
        found = await self._found(knock, path)
        return found if isinstance(found, Reply) else as_json(200, self._catalogue.config(*found))

    async def model_ready(self, knock: Knock, path: dict[str, str]) -> Reply:
        """Whether a deployment's champion answers; 503 with the reason while a fallback has to."""
        found = await self._found(knock, path)
        if isinstance(found, Reply):
            return found
        why = self._why_not_ready() or self._catalogue.why_not_ready(*found)
        return _readiness({"name": found[0].name}, why)

    async def index(self, knock: Knock, _: dict[str, str]) -> Reply:
        """All deployments with their versions."""
        try:
            asked = msgspec.json.decode(knock.body or b"{}")
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return turned_away(400, f"not JSON: {error}")
        only_ready = isinstance(asked, dict) and asked.get("ready") is True
        return as_json(200, self._catalogue.index(only_ready, knock.caller.may_ask))

    async def alive(self, _: Knock, __: dict[str, str]) -> Reply:
        """KServe's V1 liveness."""
        return as_json(200, {"status": "alive"})

    async def models(self, knock: Knock, _: dict[str, str]) -> Reply:
        """KServe's V1 list of models."""
        names = [found.name for found in self._catalogue.deployments]
        return as_json(200, {"models": [name for name in names if knock.caller.may_ask(name)]})


class _Endpoint:
    """A handler as ASGI (an instance, so that Starlette does not wrap it)."""

    def __init__(self, handler: Callable[[Knock, dict[str, str]], Awaitable[Reply]]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        knock = knock_of(scope)
        await respond(send, await self._handler(knock, scope["path_params"]), knock.headers)


def _readiness(told: dict[str, Any], why: str | None) -> Reply:
    return as_json(503, told | {"ready": False, "reason": why}) if why else as_json(200, told | {"ready": True})


def make_app(
    doors: Doors,
    catalogue: Catalogue,
    callers: Sequence[Caller],
    clock: Clock,
    limits: Limits,
    health: Health | None = None,
) -> FastAPI:
    """The ASGI app; its page at /docs shows calls that work for the deployments there are."""
    app = FastAPI(
        title="Headrace",
        version=version("headrace"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    asking = _asking(doors)
    # NB: a redirect would be made of the Host header, which may hold anything.
    app.router.redirect_slashes = False
    app.router.routes[:] = [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in asking),
        Route("/v1/deployments/{deployment}/outcomes", _Endpoint(doors.observe), methods=["POST"]),
        *(Route(path, _Endpoint(handler), methods=[method]) for method, path, handler in _looking(doors)),
    ]
    add_docs(app, catalogue, has_keys=bool(callers))
    shortcuts = [(compile_path(path)[0], endpoint) for path, endpoint in asking]
    app.add_middleware(Edge, callers=callers, clock=clock, limits=limits, shortcuts=shortcuts, health=health)
    app.add_exception_handler(HTTPException, _refused)
    return app


_VERSIONED = "/v2/models/{deployment}/versions/{version}"


def _asking(doors: Doors) -> list[tuple[str, App]]:
    """Paths that ask for predictions."""
    v2, v1, named = (doors.asking(dialect) for dialect in (V2, V1, NAMED))
    return [
        ("/v2/models/{deployment}/infer", v2),
        ("/v1/deployments/{deployment}/predict", named),
        ("/v1/models/{deployment}:predict", v1),
        (f"{_VERSIONED}/infer", v2),
        ("/v1/deployments/{deployment}/versions/{version}/predict", named),
    ]


def _looking(doors: Doors) -> list[tuple[str, str, Any]]:
    """Paths that tell what there is."""
    return [
        ("GET", "/v2/health/live", doors.live),
        ("GET", "/v2/health/ready", doors.ready),
        ("GET", "/v2", doors.server),
        ("GET", "/v2/models/{deployment}/ready", doors.model_ready),
        ("GET", f"{_VERSIONED}/ready", doors.model_ready),
        ("GET", "/v2/models/{deployment}/config", doors.config),
        ("GET", f"{_VERSIONED}/config", doors.config),
        ("GET", "/v2/models/{deployment}", doors.model),
        ("GET", _VERSIONED, doors.model),
        ("POST", "/v2/repository/index", doors.index),
        ("GET", "/", doors.alive),
        ("GET", "/v1/models", doors.models),
        ("GET", "/v1/models/{deployment}", doors.model_ready),
    ]


def _new_id() -> str:
    return secrets.token_hex(16)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Paths and methods that there are not."""
    assert isinstance(error, HTTPException)
    told = error.detail
    if error.status_code == 404:
        told = f"there is no path {shown(request.scope['path'])}; /docs shows those that there are"
    elif error.status_code == 405:
        takes = (error.headers or {}).get("Allow", "another method")
        told = f"{shown(request.method)} is not taken here; {takes} is"
    return JSONResponse({"error": told}, error.status_code, error.headers)
