"""What a V2 body asks: tensors named by the deployment's inputs become one request per row.

Every tensor has shape [n] or [n, 1] with the same n. Numbers come in any numeric datatype, categories and keys as BYTES
(UTF-8 text). The unit is a tensor of the unit's name, else `parameters.unit`, else the request's own id. The instant is
`parameters.at` (RFC 3339, or seconds since the epoch), else now.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.envelope import parse_instant
from headrace.errors import Poison
from headrace.events.inference import PredictionRequested, Scalar
from headrace.project.definition import DeploymentDefinition
from headrace_gateway.settings import Limits

LATEST_S = 253_402_300_799.0
MAX_KEY_CHARS = 200
DATATYPES = frozenset(
    [
        "BOOL",
        "BYTES",
        "FP16",
        "FP32",
        "FP64",
        *(f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)),
    ]
)


class Tensor(msgspec.Struct, frozen=True):
    """One named input of a V2 request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The body of POST /v2/models/{m}/infer."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[dict[str, Any]] = []


@dataclass(frozen=True, slots=True)
class Question:
    """One row: its request under its id, for the instant `at_s`."""

    request_id: str
    request: PredictionRequested
    at_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """All rows of one HTTP request. `echo`: the client's own id; `deadline_ms`: how long it waits."""

    questions: tuple[Question, ...]
    echo: str | None
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Unclear:
    """A body that asks nothing that could be answered: HTTP 400 with this reason."""

    reason: str


_DECODER = msgspec.json.Decoder(InferRequest)


class _Wrong(Exception):
    """Ends the reading of a body; never leaves this module."""


def read_body(
    body: bytes,
    deployment: DeploymentDefinition,
    limits: Limits,
    now_s: float,
    key: str | None,
    make_id: Callable[[], str],
) -> Asked | Unclear:
    """The questions of a body. `key`: the Idempotency-Key, whose row ids are then repeated by a repeated call."""
    try:
        asked = _DECODER.decode(body)
        rows, units = _rows(asked.inputs, deployment, limits.rows)
        ids = _ids(len(rows), key, make_id)
        at_s = _instant(asked.parameters.get("at"), now_s)
        deadline_ms = _deadline(asked.parameters.get("deadline_ms"), limits)
        fixed = _unit(asked.parameters.get("unit"))
    except (msgspec.DecodeError, RecursionError) as error:
        return Unclear(f"not a V2 inference request: {error}")
    except _Wrong as error:
        return Unclear(str(error))
    questions = [
        Question(name, PredictionRequested(deployment.name, row, unit or fixed or name, deadline_ms), at_s)
        for name, row, unit in zip(ids, rows, units, strict=True)
    ]
    return Asked(tuple(questions), asked.id, deadline_ms)


def _rows(
    tensors: Sequence[Tensor], deployment: DeploymentDefinition, most: int
) -> tuple[list[dict[str, Scalar]], list[str | None]]:
    known = {field.name for field in deployment.inputs}
    columns = {tensor.name: _column(tensor, known | {deployment.unit}, deployment.name) for tensor in tensors}
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        raise _Wrong(f"all inputs must have the same number of rows, got {sorted(counts)}")
    count = counts.pop() if counts else 1
    if not 0 < count <= most:
        raise _Wrong(f"a request must have 1..{most} rows, got {count}")
    units = columns.get(deployment.unit, [None] * count)
    rows = [{name: values[n] for name, values in columns.items() if name in known} for n in range(count)]
    return rows, [None if unit is None else str(unit) for unit in units]


def _column(tensor: Tensor, known: set[str], deployment: str) -> list[Scalar]:
    if tensor.name not in known:
        raise _Wrong(f"{deployment} takes no input {tensor.name!r}; it takes {', '.join(sorted(known))}")
    if tensor.datatype not in DATATYPES:
        raise _Wrong(f"input {tensor.name}: datatype {tensor.datatype!r} is not one of V2's")
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
        raise _Wrong(f"input {tensor.name}: shape must be [n] or [n, 1], got {tensor.shape}")
    flat = [value for entry in tensor.data for value in (entry if isinstance(entry, list) else [entry])]
    if len(flat) != tensor.shape[0]:
        raise _Wrong(f"input {tensor.name}: shape {tensor.shape} wants {tensor.shape[0]} values, got {len(flat)}")
    return [_value(tensor, value) for value in flat]


def _value(tensor: Tensor, value: Any) -> Scalar:
    is_text = tensor.datatype == "BYTES"
    fits = isinstance(value, str) if is_text else isinstance(value, bool | int | float)
    if value is not None and not fits:
        raise _Wrong(f"input {tensor.name}: {value!r} is not {'text' if is_text else 'a number'} ({tensor.datatype})")
    return value


def _ids(count: int, key: str | None, make_id: Callable[[], str]) -> list[str]:
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARS and key.isprintable()):
        raise _Wrong(f"Idempotency-Key must be 1..{MAX_KEY_CHARS} printable characters")
    if key is None:
        return [make_id() for _ in range(count)]
    return [key] if count == 1 else [f"{key}/{n}" for n in range(count)]


def _unit(given: Any) -> str | None:
    if given is not None and not isinstance(given, str | int):
        raise _Wrong(f"parameters.unit must be text, got {given!r}")
    return None if given is None else str(given)


def _instant(given: Any, now_s: float) -> float:
    """Seconds since the epoch.

    >>> _instant("2013-04-01T00:00:00Z", 0.0)
    1364774400.0
    """
    if given is None:
        return now_s
    try:
        at_s = parse_instant(given) if isinstance(given, str) else float(given)
    except (Poison, TypeError, ValueError, OverflowError):
        raise _Wrong(f"parameters.at must be an RFC 3339 instant or seconds since the epoch, got {given!r}") from None
    if not (math.isfinite(at_s) and 0 <= at_s <= LATEST_S):
        raise _Wrong(f"parameters.at must lie between the years 1970 and 9999, got {given!r}")
    return at_s


def _deadline(given: Any, limits: Limits) -> int:
    if given is None:
        return limits.deadline_ms
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= limits.longest_deadline_ms:
        raise _Wrong(f"parameters.deadline_ms must be a whole number in 1..{limits.longest_deadline_ms}, got {given!r}")
    return given
