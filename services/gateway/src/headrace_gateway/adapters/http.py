"""Open Inference V2 over HTTP: JSON in, JSON out, errors as `{"error": ...}`. Bodies are read raw, whatever their Content-Type."""

import asyncio
import secrets
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from headrace.clock import Clock
from headrace.obs.health import Health
from headrace_gateway.adapters.catalogue import Catalogue, example
from headrace_gateway.core.admission import refuse_body, refuse_rows
from headrace_gateway.core.answers import Reply, reply_to, turned_away
from headrace_gateway.core.questions import Unclear, read_body
from headrace_gateway.settings import Limits
from headrace_gateway.shell import Asker


class Doors:
    """The handlers of all paths."""

    def __init__(self, asker: Asker, catalogue: Catalogue, health: Health, clock: Clock, limits: Limits) -> None:
        self._asker, self._catalogue, self._health = asker, catalogue, health
        self._clock, self._limits = clock, limits

    async def infer(self, deployment: str, request: Request) -> JSONResponse:
        """Ask a deployment; one prediction per row."""
        found = await self._catalogue.find(deployment)
        if found is None:
            return _json(turned_away(404, f"no model is called {deployment!r}"))
        body = await self._body(request)
        if isinstance(body, Reply):
            return _json(body)
        key = request.headers.get("idempotency-key")
        asked = read_body(body, found, self._limits, self._clock.now_s(), key, lambda: secrets.token_hex(16))
        if isinstance(asked, Unclear):
            return _json(turned_away(400, asked.reason))
        refusal = refuse_rows(len(asked.questions), self._asker.waiting, self._asker.is_ready, self._limits)
        if refusal is not None:
            return _json(refusal)
        answers = await self._asker.ask(asked.questions, asked.deadline_ms)
        return _json(reply_to(deployment, asked.echo, [q.request_id for q in asked.questions], answers))

    async def server(self) -> dict[str, Any]:
        """What answers here."""
        return {"name": "headrace", "version": version("headrace"), "extensions": []}

    async def live(self) -> dict[str, bool]:
        """The process runs."""
        return {"live": True}

    async def ready(self) -> JSONResponse:
        """The gateway can ask and hear."""
        is_ready = self._asker.is_ready and self._health.is_ready
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def model(self, deployment: str) -> JSONResponse:
        """A deployment's inputs and outputs."""
        found = await self._catalogue.find(deployment)
        if found is None:
            return _json(turned_away(404, f"no model is called {deployment!r}"))
        return JSONResponse(self._catalogue.metadata(found))

    async def model_ready(self, deployment: str) -> JSONResponse:
        """Whether a deployment has anything to answer with."""
        found = await self._catalogue.find(deployment)
        if found is None:
            return _json(turned_away(404, f"no model is called {deployment!r}"))
        is_ready = self._asker.is_ready and self._catalogue.can_answer(found)
        return JSONResponse({"name": deployment, "ready": is_ready}, 200 if is_ready else 503)

    async def _body(self, request: Request) -> bytes | Reply:
        announced = request.headers.get("content-length", "")
        size = int(announced) if announced.isdigit() else 0
        refusal = refuse_body(size, request.headers.get("content-encoding", "").lower(), self._limits)
        if refusal is not None:
            return refusal
        try:
            async with asyncio.timeout(self._limits.body_within_s):
                return await self._collect(request)
        except TimeoutError:
            return turned_away(408, f"the body did not come within {self._limits.body_within_s:g} s")
        except ClientDisconnect:
            return turned_away(400, "the client went away")

    async def _collect(self, request: Request) -> bytes | Reply:
        collected = bytearray()
        async for chunk in request.stream():
            collected += chunk
            refusal = refuse_body(len(collected), "", self._limits)
            if refusal is not None:
                return refusal
        return bytes(collected)


def make_app(doors: Doors, catalogue: Catalogue) -> FastAPI:
    """The ASGI app; its page at /docs shows a call that works for the first deployment there is."""
    app = FastAPI(title="Headrace", description="Predictions over the Open Inference Protocol V2.")
    app.add_api_route("/v2", doors.server, methods=["GET"])
    app.add_api_route("/v2/health/live", doors.live, methods=["GET"])
    app.add_api_route("/v2/health/ready", doors.ready, methods=["GET"])
    app.add_api_route("/v2/models/{deployment}", doors.model, methods=["GET"])
    app.add_api_route("/v2/models/{deployment}/ready", doors.model_ready, methods=["GET"])
    app.add_api_route("/v2/models/{deployment}/infer", doors.infer, methods=["POST"])
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _refused)
    app.openapi = lambda: _openapi(app, catalogue)  # ty: ignore[invalid-assignment]  FastAPI's own way to extend it
    return app


def _openapi(app: FastAPI, catalogue: Catalogue) -> dict[str, Any]:
    page = get_openapi(title=app.title, version=version("headrace"), description=app.description, routes=app.routes)
    infer = page["paths"]["/v2/models/{deployment}/infer"]["post"]
    bodies = {d.name: {"summary": d.name, "value": example(d)} for d in catalogue.deployments}
    infer["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "examples": bodies}},
    }
    for parameter in infer["parameters"]:
        if parameter["name"] == "deployment" and bodies:
            parameter["example"] = next(iter(bodies))
    return page


async def _refused(_: Request, error: Exception) -> JSONResponse:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "failed")
    return _json(turned_away(status, str(detail)))


def _json(reply: Reply) -> JSONResponse:
    return JSONResponse(reply.body, reply.status, reply.headers)
