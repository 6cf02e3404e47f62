"""What a deployment looks like to clients: model metadata and configuration of V2, and the entries of its repository index."""

from collections.abc import Collection, Sequence
from typing import Any

from headrace.asking.prediction import OutputKind
from headrace.events.definition import DeploymentDefinition, InputDefinition
from headrace_gateway.core.answers import described_outputs

Entry = dict[str, str]


def metadata(deployment: DeploymentDefinition, versions: Sequence[int], kind: OutputKind) -> dict[str, Any]:
    """The body of GET /v2/models/{m}. `versions`: those that are loaded; `kind`: what the scores mean."""
    return {
        "name": deployment.name,
        "versions": [str(version) for version in versions],
        "platform": "headrace",
        "inputs": _inputs(deployment),
        "outputs": described_outputs(kind),
    }


def configuration(deployment: DeploymentDefinition, kind: OutputKind) -> dict[str, Any]:
    """The body of GET /v2/models/{m}/config: the metadata in Triton's words."""
    described = metadata(deployment, (), kind)
    return {
        "name": deployment.name,
        "platform": "headrace",
        "backend": "headrace",
        "max_batch_size": 0,
        "input": [_configured(found) for found in described["inputs"]],
        "output": [_configured(found) for found in described["outputs"]],
    }


def index_entries(
    name: str,
    routed: Sequence[int],
    registered: Collection[int],
    loaded: Collection[int],
    why_not_ready: str | None,
    *,
    only_ready: bool,
) -> list[Entry]:
    """The entries of a deployment in the body of POST /v2/repository/index.

    `routed`: versions that its route names; `loaded`: those on an inference instance that lives; `why_not_ready`: of the whole
    deployment. `only_ready`: leave out what cannot be asked.
    """
    if not routed and not registered:
        state = "UNAVAILABLE" if why_not_ready else "READY"
        reason = why_not_ready or "no version yet: the prior answers"
        entries = [{"name": name, "version": "0", "state": state, "reason": reason}]
    else:
        versions = sorted({*routed, *registered})
        entries = [_entry(name, version, version in routed, version in loaded) for version in versions]
    return [entry for entry in entries if entry["state"] == "READY" or not only_ready]


def _entry(name: str, version: int, is_routed: bool, is_loaded: bool) -> Entry:
    if is_routed and is_loaded:
        state, reason = "READY", ""
    else:
        state, reason = "UNAVAILABLE", "routed, not loaded" if is_routed else "registered, not routed"
    return {"name": name, "version": str(version), "state": state, "reason": reason}


def _inputs(deployment: DeploymentDefinition) -> list[dict[str, Any]]:
    inputs = [{"name": f.name, "datatype": datatype(f), "shape": [-1]} for f in deployment.inputs]
    if any(field.name == deployment.unit for field in deployment.inputs):
        return inputs
    return [
        *inputs,
        {"name": deployment.unit, "datatype": "BYTES", "shape": [-1], "parameters": {"optional": True}},
    ]


def _configured(found: dict[str, Any]) -> dict[str, Any]:
    kind = "TYPE_STRING" if found["datatype"] == "BYTES" else f"TYPE_{found['datatype']}"
    optional = {"optional": True} if found.get("parameters", {}).get("optional") else {}
    return {"name": found["name"], "data_type": kind, "dims": found["shape"]} | optional


def datatype(field: InputDefinition) -> str:
    """V2's datatype of an input."""
    return "FP64" if field.kind == "number" else "BYTES"
