"""What one call over HTTP is, and which questions its rows become: their ids, their deadline, and how many there may be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.asking.pending import Question
from headrace.asking.requests import MAX_ID_BYTES, shown
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import PredictionRequested, Scalar
from headrace_gateway.core.tensors import Wrong
from headrace_gateway.settings import Limits


@dataclass(frozen=True, slots=True)
class Call:
    """What a request for predictions says beside its body.

    `key`: its Idempotency-Key; a repeated call has the same ids of rows. `make_id`: makes ids for a call without a key.
    `json_bytes`: length of the body's JSON part, None when there is no other part. `version`: of a preview, None for the route's.
    """

    deployment: DeploymentDefinition
    limits: Limits
    now_s: float
    make_id: Callable[[], str]
    key: str | None = None
    json_bytes: int | None = None
    version: int | None = None
    tenant: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions of one HTTP request, one per row.

    `echo`: the client's own id. `deadline_ms`: how long it waits. `outputs`: the wanted ones (empty: all) with whether each
    comes as binary; `is_binary`: what holds for the others. `is_list`: the body held a list of rows.
    """

    questions: tuple[Question, ...]
    deadline_ms: int
    echo: str | None = None
    outputs: tuple[tuple[str, bool], ...] = ()
    is_binary: bool = False
    is_list: bool = True


@dataclass(frozen=True, slots=True)
class Unclear:
    """A request that asks nothing that could be answered: HTTP 400 with this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class CallRow:
    """One row of a body: values by input, its unit (None for the id of its question), and its instant."""

    inputs: dict[str, Scalar]
    unit: str | None
    at_s: float


def read_json_length(header: bytes | None) -> int | Unclear | None:
    """The length of a body's JSON part by `Inference-Header-Content-Length`; None where that header is missing.

    >>> read_json_length(b"17"), read_json_length(None), read_json_length(b"x")
    (17, None, Unclear(reason="Inference-Header-Content-Length must be a number, got b'x'"))
    """
    if header is None:
        return None
    if header.isdigit() and len(header) < 10:
        return int(header)
    return Unclear(f"Inference-Header-Content-Length must be a number, got {header[:40]!r}")


def read_only_ready(body: bytes) -> bool | Unclear:
    """Whether a body of POST /v2/repository/index asks for what is ready only.

    >>> read_only_ready(b""), read_only_ready(b'{"ready": true}')
    (False, True)
    """
    try:
        wanted = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return Unclear(f"not JSON: {error}")
    return isinstance(wanted, dict) and wanted.get("ready") is True


def refuse_count(count: int, call: Call) -> None:
    """Raise `Wrong` for too many rows, and for none."""
    if not 0 < count <= call.limits.rows:
        raise Wrong(f"a request must have 1..{call.limits.rows} rows, got {count}")


def questions_of(rows: Sequence[CallRow], call: Call, deadline_ms: int) -> tuple[Question, ...]:
    """One question per row. Raises `Wrong` for a key of which no ids can be made."""
    ids = _ids(len(rows), call)
    name = call.deployment.name
    return tuple(
        Question(
            ident,
            PredictionRequested(name, row.inputs, row.unit or ident, deadline_ms),
            row.at_s,
            call.version,
            call.tenant,
            call.traceparent,
        )
        for ident, row in zip(ids, rows, strict=True)
    )


def _ids(count: int, call: Call) -> list[str]:
    if call.key is None:
        return [call.make_id() for _ in range(count)]
    # NB: without the tenant, one tenant's key would be answered with what another one asked.
    key = f"{call.tenant}/{call.key}" if call.tenant else call.key
    if not call.key.isprintable() or len(f"{key}/{call.limits.rows}".encode()) > MAX_ID_BYTES:
        raise Wrong(
            f"Idempotency-Key must be printable and make ids of {MAX_ID_BYTES} bytes at most, got {shown(call.key)}"
        )
    return [key] if count == 1 else [f"{key}/{n}" for n in range(count)]


def choose_deadline(given: Any, limits: Limits) -> int:
    """How long a call waits, in ms: as it asks, else the default. Raises `Wrong` for what is no such number."""
    if given is None:
        return limits.deadline_ms
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= limits.longest_deadline_ms:
        raise Wrong(f"deadline_ms must be a whole number in 1..{limits.longest_deadline_ms}, got {shown(given)}")
    return given
