"""The page at /docs: every path, and bodies that the applied deployments answer. Its scripts are served here, not by a CDN."""

from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from headrace.asking.prediction import Prediction
from headrace.events.definition import DeploymentDefinition, InputDefinition
from headrace_edge.edge import request_of
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.core.metadata import datatype
from headrace_gateway.core.outcomes import OutcomeAccepted, OutcomeList, OutcomeReport
from headrace_gateway.core.requests import InferRequest, InstancesRequest, PredictRequest, Row

_REF = "#/components/schemas/{name}"
_PEOPLE, _V2, _V1 = "For people", "Open Inference Protocol V2", "KServe V1"
INTRODUCTION = (
    "Predictions over HTTP. Every answer says which version and which step of the fallback chain gave it, and what it lacked. "
    "An `Idempotency-Key` makes a call safe to repeat: the same decision answers."
)


def add_docs(app: FastAPI, catalogue: Catalogue, *, has_keys: bool) -> None:
    """Add /docs and /openapi.json, with examples for the deployments that the caller may ask."""

    async def openapi(request: Request) -> JSONResponse:
        caller = request_of(request.scope).caller
        shown = [found for found in catalogue.deployments if caller.may_ask(found.name)]
        return JSONResponse(page(app, shown, has_keys=has_keys))

    async def docs(_: Request) -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Headrace",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon.png",
            swagger_ui_parameters={"defaultModelsExpandDepth": 0, "tryItOutEnabled": True},
        )

    assets = StaticFiles(directory=Path(str(resources.files("fastapi_offline") / "static")))
    app.router.routes += [
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Mount("/docs/assets", assets),
    ]


def page(app: FastAPI, deployments: list[DeploymentDefinition], *, has_keys: bool) -> dict[str, Any]:
    """The OpenAPI document."""
    types = [
        Row,
        PredictRequest,
        InferRequest,
        InstancesRequest,
        Prediction,
        OutcomeReport,
        OutcomeList,
        OutcomeAccepted,
    ]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": app.title, "version": app.version, "description": INTRODUCTION},
        "paths": _paths(deployments),
        "components": {"schemas": components},
    }
    if has_keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _paths(deployments: list[DeploymentDefinition]) -> dict[str, Any]:
    named = {d.name: named_example(d) for d in deployments}
    lists = {f"{d.name}, a list": {"rows": [named_example(d)]} for d in deployments}
    v2, v1 = {d.name: example(d) for d in deployments}, {d.name: v1_example(d) for d in deployments}
    first = deployments[0].name if deployments else None
    predicting = {
        "/v1/deployments/{deployment}/predict": (
            _PEOPLE,
            "Predict, with named inputs",
            "PredictRequest",
            named | lists,
        ),
        "/v2/models/{deployment}/infer": (_V2, "Infer", "InferRequest", v2),
        "/v1/models/{deployment}:predict": (_V1, "Predict", "InstancesRequest", v1),
    }
    paths = {path: {"post": _predicting(path, first, *described)} for path, described in predicting.items()}
    paths["/v1/deployments/{deployment}/outcomes"] = {"post": _observing(first, deployments)}
    for path, tag, summary in _READS:
        paths[path] = {"get": _operation(tag, summary, path, first)}
    paths["/v2/repository/index"] = {"post": _operation(_V2, "All models and versions", "", None)}
    return paths


_READS = [
    ("/v2", _V2, "The name and the extensions of this server"),
    ("/v2/health/live", _V2, "Whether the process runs"),
    ("/v2/health/ready", _V2, "Whether the gateway can ask and receive answers"),
    ("/v2/models/{deployment}", _V2, "Inputs and outputs of a model"),
    ("/v2/models/{deployment}/ready", _V2, "Whether a model has anything to answer with"),
    ("/v2/models/{deployment}/config", _V2, "Inputs and outputs of a model in Triton's words"),
    ("/v1/models", _V1, "All models"),
    ("/v1/models/{deployment}", _V1, "Whether a model has anything to answer with"),
]
_REFUSALS = {
    "400": "the body asks nothing that can be answered",
    "401": "an API key is needed, or it is unknown or has expired",
    "403": "the key is not for this deployment",
    "404": "no such deployment",
    "413": "the body is too large",
    "422": "the Idempotency-Key was used for another body",
    "429": "too many calls under this key",
    "503": "not answered now; Retry-After says when to ask again",
    "504": "no answer in time; the same Idempotency-Key asks for the same decision",
}


def _predicting(
    path: str, first: str | None, tag: str, summary: str, schema: str, bodies: dict[str, Any]
) -> dict[str, Any]:
    operation = _operation(tag, summary, path, first)
    operation["parameters"].append(
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}, "description": "one per prediction"}
    )
    examples = {name.replace(", ", "-").replace(" ", "-"): {"summary": name, "value": v} for name, v in bodies.items()}
    content: dict[str, Any] = {"schema": {"$ref": _REF.format(name=schema)}}
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": content | ({"examples": examples} if examples else {})},
    }
    if tag == _PEOPLE:
        answer = {"schema": {"$ref": _REF.format(name="Prediction")}}
        operation["responses"]["200"]["content"] = {"application/json": answer}
    operation["responses"] |= {status: {"description": text} for status, text in _REFUSALS.items()}
    return operation


def _observing(first: str | None, deployments: list[DeploymentDefinition]) -> dict[str, Any]:
    """The path of outcomes."""
    path = "/v1/deployments/{deployment}/outcomes"
    operation = _operation(_PEOPLE, "Report what became of earlier requests", path, first)
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}, "description": "one per call"}
    operation["parameters"].append(key)
    bodies = {d.name: outcome_example(d) for d in deployments if d.label is not None}
    examples = {name.replace(" ", "-"): {"summary": name, "value": value} for name, value in bodies.items()}
    schema = {"anyOf": [{"$ref": _REF.format(name=name)} for name in ("OutcomeReport", "OutcomeList")]}
    content: dict[str, Any] = {"schema": schema}
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": content | ({"examples": examples} if examples else {})},
    }
    taken = {"application/json": {"schema": {"$ref": _REF.format(name="OutcomeAccepted")}}}
    refused = {status: _REFUSALS[status] for status in ("401", "403", "404", "413", "429")}
    refused |= {
        "400": "an outcome that cannot be taken, with the field that is to blame; none of the call was taken",
        "503": "not known whether it is on the log: sent again under the same ids, it changes nothing",
    }
    operation["responses"] = {"202": {"description": "all of them are on the log", "content": taken}}
    operation["responses"] |= {status: {"description": text} for status, text in sorted(refused.items())}
    return operation


def outcome_example(deployment: DeploymentDefinition) -> dict[str, Any]:
    """An outcome that this deployment takes."""
    label = deployment.label
    if label is None:
        return {}
    value: Any = label.classes[0] if label.classes else 1
    if label.kind == "number":
        value = label.low if label.low is not None else label.high if label.high is not None else 1.0
    return {"unit": "example-1", "label": value}


def _operation(tag: str, summary: str, path: str, first: str | None) -> dict[str, Any]:
    parameter = {"name": "deployment", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "tags": [tag],
        "summary": summary,
        "parameters": [parameter | ({"example": first} if first else {})] if "{deployment}" in path else [],
        "responses": {
            "200": {"description": "an answer", "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    }


def example(deployment: DeploymentDefinition) -> dict[str, Any]:
    """A V2 body that this deployment answers."""
    inputs = [{"name": f.name, "datatype": datatype(f), "shape": [1], "data": [_value(f)]} for f in deployment.inputs]
    return {"id": "my-first", "inputs": inputs, "parameters": {"unit": "example-1"}}


def v1_example(deployment: DeploymentDefinition) -> dict[str, Any]:
    """A V1 body that this deployment answers."""
    return {"instances": [{f.name: _value(f) for f in deployment.inputs}]}


def named_example(deployment: DeploymentDefinition) -> dict[str, Any]:
    """A body for people that this deployment answers."""
    return {"inputs": {f.name: _value(f) for f in deployment.inputs}, "unit": "example-1"}


def _value(field: InputDefinition) -> float | str:
    if field.kind != "number":
        return "AA"
    low, high = field.low, field.high
    if low is not None and high is not None:
        return (low + high) / 2
    return low if low is not None else high if high is not None else 1.0
