"""Which requests are worth a model call: known deployment, a unit, inputs within the contract, still in time.

Everything that is turned away here still gets its decision; deadlines count from the append time, by the broker's clock.
What a sender chose is bounded here: texts, ids, deadlines, and how far ahead of the log the instant lies.
"""

import hashlib
import math
from dataclasses import dataclass

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Expired, Invalid, PredictionRequested
from headrace.features.rows import check_inputs
from headrace.instants import why_not

# What users name is echoed in decisions: without a limit one record of theirs makes one of ours that no broker takes.
MAX_TEXT_CHARS = 512
# About thirty years: whatever is longer was not meant.
MAX_DEADLINE_MS = 1_000_000_000_000
INSTANT = "ce_time"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that will be answered, and the unit it is about."""

    unit: str


def admit(
    request: PredictionRequested,
    key: bytes | None,
    found: DeploymentDefinition | None,
    appended_ms: int,
    now_ms: int,
    vouched: bool = False,
    *,
    at_s: float | None = None,
    request_id: str = "",
) -> Admitted | Expired | Invalid:
    """Let a request in or say why not. `found`: its deployment, None when there is no such; times in ms since the epoch.

    `vouched`: its inputs are known to keep the contract. `at_s`: the instant that it is about, not looked at when None.
    """
    unit = unit_of(request, key)
    if len(request_id) > MAX_TEXT_CHARS:
        return Invalid(f"ce_id is longer than {MAX_TEXT_CHARS} characters", "ce_id")
    if at_s is not None and (reason := why_not(at_s, appended_ms, INSTANT)) is not None:
        return Invalid(reason, INSTANT)
    if request.deadline_ms is not None and deadline_ms_of(request) is None:
        return Invalid(f"deadline_ms must lie in 0..{MAX_DEADLINE_MS}", "deadline_ms")
    if (field := overlong(request, unit, vouched)) is not None:
        return Invalid(f"{field} is longer than {MAX_TEXT_CHARS} characters", field)
    if found is None:
        return Invalid(
            f"no deployment is called {request.deployment!r}; publish it with `headrace apply`", "deployment"
        )
    if not unit:
        return Invalid("a request needs a unit: in the field `unit`, or as the record's key (UTF-8)", "unit")
    late_ms = lateness_ms(request, appended_ms, now_ms)
    if late_ms > 0:
        return Expired(late_ms)
    return (None if vouched else check_inputs(found, request.inputs)) or Admitted(unit)


def unit_of(request: PredictionRequested, key: bytes | None) -> str:
    """The request's unit, else the record's key; "" when there is neither.

    >>> unit_of(PredictionRequested("d"), b"AA-1")
    'AA-1'
    """
    return request.unit or (key or b"").decode("utf-8", "replace")


def overlong(request: PredictionRequested, unit: str, vouched: bool = False) -> str | None:
    """Which text of a request is too long to be echoed; None when none is. `vouched`: its inputs are known to be short."""
    if len(request.deployment) > MAX_TEXT_CHARS:
        return "deployment"
    if len(unit) > MAX_TEXT_CHARS:
        return "unit"
    if vouched:
        return None
    texts = (text for pair in request.inputs.items() for text in pair if isinstance(text, str))
    return "an input" if any(len(text) > MAX_TEXT_CHARS for text in texts) else None


def lateness_ms(request: PredictionRequested, appended_ms: int, now_ms: int) -> int:
    """How long the deadline has passed; 0 or less while there is time."""
    deadline_ms = deadline_ms_of(request)
    return 0 if deadline_ms is None else now_ms - appended_ms - deadline_ms


# Of the time left until the tightest deadline, a model call may take this share; the rest is for the rungs below and the reply.
_CALL_SHARE = 0.5
# No deadline shortens a call below this: a client that allows a millisecond must not fail everybody's version.
_SHORTEST_CALL_S = 0.05


def due_ms(request: PredictionRequested, appended_ms: int) -> float:
    """When the deadline passes, in ms since the epoch; infinite when there is none."""
    deadline_ms = deadline_ms_of(request)
    return math.inf if deadline_ms is None else appended_ms + deadline_ms


def deadline_ms_of(request: PredictionRequested) -> int | None:
    """The deadline that a request gives; None for none, and for one that nobody can mean.

    >>> deadline_ms_of(PredictionRequested("d", deadline_ms=250)), deadline_ms_of(PredictionRequested("d", deadline_ms=-1))
    (250, None)
    """
    found = request.deadline_ms
    return found if found is not None and 0 <= found <= MAX_DEADLINE_MS else None


def short_id(request_id: str) -> str:
    """A request's id as it is written: one that is too long is cut, and stays its own.

    >>> short_id("r1"), len(short_id("r" * 60_000))
    ('r1', 289)
    """
    if len(request_id) <= MAX_TEXT_CHARS:
        return request_id
    return f"{request_id[:256]}~{hashlib.blake2b(request_id.encode(), digest_size=16).hexdigest()}"


def call_limit_s(time_limit_s: float, left_s: float) -> float:
    """How long a batch may wait for a model. `left_s`: time until the tightest deadline in it.

    >>> call_limit_s(5.0, math.inf), call_limit_s(5.0, 1.0), call_limit_s(5.0, 0.001)
    (5.0, 0.5, 0.05)
    """
    return max(_SHORTEST_CALL_S, min(time_limit_s, left_s * _CALL_SHARE))
