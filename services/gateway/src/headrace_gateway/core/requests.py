"""Which questions a body asks, in three dialects: V2 (tensors), KServe's V1 (instances), and named inputs for people.

Every row becomes one question. In V2, tensors are named by the deployment's inputs, shape [n] or [n, 1]; or one matrix
[n, k] under any name holds all k numbers in the order of the inputs. The unit is a tensor (or a value) of the unit's name, else
`parameters.unit`, else the request's own id. The instant is `parameters.at` (RFC 3339, or seconds since the epoch), else
now. A NaN in a binary tensor stands for a missing value, where the input may be missing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from headrace.asking.requests import Unfit, instant_of, shown, unit_of, value_of
from headrace.events.definition import DeploymentDefinition, InputDefinition
from headrace.events.inference import Scalar
from headrace.log.undecoded import no_number
from headrace_gateway.core.calls import Asked, Call, CallRow, Unclear, choose_deadline, questions_of, refuse_count
from headrace_gateway.core.tensors import Tensor, Wrong, values_of

MAX_OUTPUTS = 16


class WantedOutput(msgspec.Struct, frozen=True):
    """An output that a V2 client asks for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct, frozen=True):
    """The body of POST /v2/models/{m}/infer."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[WantedOutput] | None = None


class InstancesRequest(msgspec.Struct, frozen=True):
    """The body of POST /v1/models/{m}:predict: per instance its values by name, or in the order of the inputs."""

    instances: list[dict[str, Any] | list[Any]]
    parameters: dict[str, Any] | None = None


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to predict.

    `inputs`: values by name. `unit`: what it is about. `at`: the instant of the prediction, RFC 3339 or seconds since the epoch, now
    when not given.
    """

    inputs: dict[str, Any]
    unit: str | int | float | None = None
    at: str | float | None = None


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/deployments/{name}/predict: one thing, or a list of them under `rows`.

    `deadline_ms`: how long the client waits for the answer. `unit` and `at` hold for rows that have none of their own.
    """

    inputs: dict[str, Any] | None = None
    unit: str | int | float | None = None
    at: str | float | None = None
    rows: list[Row] | None = None
    deadline_ms: int | None = None


_V2 = msgspec.json.Decoder(InferRequest)
_V1 = msgspec.json.Decoder(InstancesRequest)
_NAMED = msgspec.json.Decoder(PredictRequest)


def read_v2(body: bytes, call: Call) -> Asked | Unclear:
    """The questions of a V2 body."""
    return _read(_v2, body, call, "a V2 inference request")


def read_v1(body: bytes, call: Call) -> Asked | Unclear:
    """The questions of KServe's V1."""
    return _read(_v1, body, call, 'a V1 request ({"instances": [...]})')


def read_named(body: bytes, call: Call) -> Asked | Unclear:
    """The questions of a body for people."""
    return _read(_named, body, call, 'a prediction request ({"inputs": {...}} or {"rows": [{"inputs": {...}}]})')


def _read(reader: Callable[[bytes, Call], Asked], body: bytes, call: Call, what: str) -> Asked | Unclear:
    try:
        return reader(body, call)
    except Unfit as error:
        return Unclear(str(error))
    except RecursionError:
        return Unclear(f"not {what}: it is nested too deep")
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        return Unclear(no_number(body) or f"not {what}: {_shortened(str(error))}")


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}[...]"


def _v2(body: bytes, call: Call) -> Asked:
    head = len(body) if call.json_bytes is None else call.json_bytes
    if not 0 < head <= len(body):
        raise Wrong(f"Inference-Header-Content-Length must lie in 1..{len(body)}, got {head}")
    asked = _V2.decode(body[:head])
    parameters = asked.parameters or {}
    at_s, unit = _instant_and_unit(parameters, call)
    rows, units = _columns_to_rows(asked.inputs, _parts(asked.inputs, memoryview(body)[head:]), call)
    is_binary = parameters.get("binary_data_output") is True
    wanted = _wanted(asked.outputs, is_binary) if asked.outputs else ()
    call_rows = [CallRow(row, own or unit, at_s) for row, own in zip(rows, units, strict=True)]
    deadline_ms = choose_deadline(parameters.get("deadline_ms"), call.limits)
    return Asked(questions_of(call_rows, call, deadline_ms), deadline_ms, asked.id, wanted, is_binary)


def _instant_and_unit(parameters: Mapping[str, Any], call: Call) -> tuple[float, str | None]:
    """What holds for all rows that have neither of their own."""
    at_s = instant_of(parameters.get("at"), call.now_s, "parameters.at")
    return at_s, unit_of(parameters.get("unit"), "parameters.unit")


def _wanted(outputs: Sequence[WantedOutput], is_binary: bool) -> tuple[tuple[str, bool], ...]:
    """The wanted outputs, each once: one that is named a thousand times would make a huge answer of a small body."""
    names = {output.name for output in outputs}
    if len(names) < len(outputs) or len(names) > MAX_OUTPUTS:
        raise Wrong(f"outputs must name each output once, {MAX_OUTPUTS} at most; got {len(outputs)}")
    return tuple((o.name, (o.parameters or {}).get("binary_data", is_binary) is True) for o in outputs)


def _parts(tensors: Sequence[Tensor], tail: memoryview) -> list[memoryview | None]:
    """The binary part, cut by the `binary_data_size` of each tensor; None for a tensor without it."""
    parts: list[memoryview | None] = []
    at = 0
    for tensor in tensors:
        size = tensor.parameters.get("binary_data_size") if tensor.parameters else None
        if size is None:
            parts.append(None)
            continue
        if type(size) is not int or size < 0 or at + size > len(tail):
            raise Wrong(f"input {shown(tensor.name)}: binary_data_size {shown(size)} goes past the body")
        parts.append(tail[at : at + size])
        at += size
    if at != len(tail):
        raise Wrong(f"{len(tail) - at} bytes follow the tensors that binary_data_size speaks of")
    return parts


def _columns_to_rows(
    tensors: Sequence[Tensor], parts: Sequence[memoryview | None], call: Call
) -> tuple[list[dict[str, Scalar]], list[str | None]]:
    fields = {field.name: field for field in call.deployment.inputs}
    columns: dict[str, list[Scalar]] = {}
    for tensor, part in zip(tensors, parts, strict=True):
        for name, values in _columns(tensor, part, call.deployment, fields):
            if name in columns:
                raise Wrong(f"input {name} is given twice")
            columns[name] = values
    return _transposed(columns, call)


def _transposed(columns: dict[str, list[Scalar]], call: Call) -> tuple[list[dict[str, Scalar]], list[str | None]]:
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        raise Wrong(f"all inputs must have the same number of rows, got {sorted(counts)}")
    count = counts.pop() if counts else 1
    refuse_count(count, call)
    units = columns.get(call.deployment.unit) or [None] * count
    if all(field.name != call.deployment.unit for field in call.deployment.inputs):
        columns.pop(call.deployment.unit, None)
    names = list(columns)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)] or [{}] * count
    return rows, [None if unit is None else unit_of(unit) for unit in units]


def _columns(
    tensor: Tensor, part: memoryview | None, deployment: DeploymentDefinition, fields: Mapping[str, InputDefinition]
) -> list[tuple[str, list[Scalar]]]:
    """A tensor's values by input: one column, or a matrix of all inputs in their order."""
    values, field = values_of(tensor, part), fields.get(tensor.name)
    if field is not None or tensor.name == deployment.unit:
        if len(tensor.shape) > 2 or tensor.shape[1:] not in ([], [1]):
            raise Wrong(f"input {tensor.name}: shape must be [n] or [n, 1], got {shown(tensor.shape)}")
        return [(tensor.name, _gaps(values) if field is not None and field.nullable and part is not None else values)]
    width = len(fields)
    if len(tensor.shape) != 2 or tensor.shape[1] != width:
        known = ", ".join(sorted({*fields, deployment.unit}))
        raise Wrong(
            f"{deployment.name} takes no input {shown(tensor.name)}; it takes {known}, or one matrix [n, {width}]"
        )
    return [
        (field.name, _gaps(values[index::width]) if field.nullable else values[index::width])
        for index, field in enumerate(deployment.inputs)
    ]


def _gaps(values: list[Scalar]) -> list[Scalar]:
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def _v1(body: bytes, call: Call) -> Asked:
    asked = _V1.decode(body)
    parameters = asked.parameters or {}
    at_s, unit = _instant_and_unit(parameters, call)
    refuse_count(len(asked.instances), call)
    rows = [_instance(given, call.deployment) for given in asked.instances]
    call_rows = [CallRow(inputs, own or unit, at_s) for inputs, own in rows]
    deadline_ms = choose_deadline(parameters.get("deadline_ms"), call.limits)
    return Asked(questions_of(call_rows, call, deadline_ms), deadline_ms)


def _instance(
    given: dict[str, Any] | list[Any], deployment: DeploymentDefinition
) -> tuple[dict[str, Scalar], str | None]:
    names = [field.name for field in deployment.inputs]
    if isinstance(given, list):
        if len(given) != len(names):
            raise Wrong(f"an instance has {len(names)} values ({', '.join(names)}), got {len(given)}")
        given = dict(zip(names, given, strict=True))
    unit = unit_of(given.get(deployment.unit), deployment.unit)
    return _values({name: v for name, v in given.items() if name in names or name != deployment.unit}), unit


def _named(body: bytes, call: Call) -> Asked:
    asked = _NAMED.decode(body)
    rows = _rows(asked)
    refuse_count(len(rows), call)
    at_s, unit = instant_of(asked.at, call.now_s), unit_of(asked.unit)
    call_rows = [
        CallRow(_values(row.inputs), unit_of(row.unit) or unit, instant_of(row.at, at_s, "at")) for row in rows
    ]
    deadline_ms = choose_deadline(asked.deadline_ms, call.limits)
    return Asked(questions_of(call_rows, call, deadline_ms), deadline_ms, is_list=asked.rows is not None)


def _rows(asked: PredictRequest) -> Sequence[Row]:
    if asked.inputs is None and asked.rows is None:
        raise Wrong("`inputs` (one thing) or `rows` (a list of them) is missing")
    if asked.inputs is not None and asked.rows is not None:
        raise Wrong("give `inputs` (one thing) or `rows` (a list), not both")
    return asked.rows if asked.rows is not None else [Row(asked.inputs or {})]


_PLAIN = {float, bool, type(None)}


def _values(given: dict[str, Any]) -> dict[str, Scalar]:
    """The values of one row, each checked; numbers of JSON are finite already."""
    return {name: v if type(v) in _PLAIN else _value(name, v) for name, v in given.items()}


def _value(name: str, given: Any) -> Scalar:
    return value_of(f"input {name if len(name) <= 80 else shown(name)}", given)
