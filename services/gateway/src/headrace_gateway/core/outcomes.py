"""What a body of POST /v1/deployments/{name}/outcomes tells: one outcome, or a list of them; all of them, or none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.asking.outcomes import MAX_OUTCOMES, Observed, observed, refuse
from headrace.asking.requests import Unfit, id_of
from headrace.events.definition import DeploymentDefinition
from headrace.log.undecoded import no_number
from headrace_gateway.core.questions import Unclear


class OutcomeTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ground truth of an earlier request. `unit`: what that was about; `label`: 0 or 1, the name of a class, or a
    number; `at`: when it became known (RFC 3339, or seconds since the epoch), now when not given; `request_id`: of the request,
    where it is known: then it belongs to that one; `corrects`: the id of the outcome that it sets right; `id`: its own, made
    where there is none, and given back."""

    unit: str | int | float
    label: str | bool | int | float
    at: str | float | None = None
    request_id: str | None = None
    corrects: str | None = None
    id: str | None = None


class OutcomesTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many outcomes in one call."""

    outcomes: list[OutcomeTold]


class OutcomeTaken(msgspec.Struct, frozen=True):
    """An outcome that is on the log: its id (`corrects` names it), its unit, and when it became known."""

    id: str
    unit: str
    at: str


@dataclass(frozen=True, slots=True)
class Told:
    """The outcomes of a body; `is_list`: they came as one."""

    outcomes: tuple[Observed, ...]
    is_list: bool


_WHAT = '{"unit": ..., "label": ...}, or {"outcomes": [...]} with such in it'


def read_outcomes(
    body: bytes, deployment: DeploymentDefinition, now_s: float, key: str | None, make_id: Callable[[], str]
) -> Told | Unclear:
    """The outcomes of a body. `key`: the call's Idempotency-Key, of which ids are made that a repeated call repeats."""
    try:
        refuse(deployment.name, deployment)
        given = msgspec.json.decode(body)
    except Unfit as error:
        return Unclear(str(error))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return Unclear(no_number(body) or f"not JSON: {error}")
    try:
        base = make_id() if key is None else id_of(key, "Idempotency-Key")
        if isinstance(given, dict) and "outcomes" not in given:
            return Told((_one(given, "", deployment, now_s, base),), is_list=False)
        rows = given["outcomes"] if isinstance(given, dict) and len(given) == 1 else given
        if not isinstance(rows, list):
            return Unclear(f"an outcome is {_WHAT}")
        if not 0 < len(rows) <= MAX_OUTCOMES:
            return Unclear(f"outcomes: 1..{MAX_OUTCOMES} in a call, got {len(rows)}")
        told = [_one(row, f"outcomes[{n}]: ", deployment, now_s, f"{base}/{n}") for n, row in enumerate(rows)]
    except Unfit as error:
        return Unclear(str(error))
    return Told(tuple(told), is_list=True)


def _one(given: Any, where: str, deployment: DeploymentDefinition, now_s: float, ident: str) -> Observed:
    if not isinstance(given, dict):
        raise Unfit(
            f"{where.rstrip(': ') or 'an outcome'} must be {_WHAT.partition(',')[0]}, got {type(given).__name__}"
        )
    try:
        told = observed(given, ident, now_s)
        refuse(deployment.name, deployment, told)
        return told
    except Unfit as error:
        raise Unfit(f"{where}{error}") from None
