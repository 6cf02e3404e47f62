"""Which outcomes a body of POST /v1/deployments/{name}/outcomes reports: one, or a list; all of them are taken, or none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.asking.outcomes import MAX_OUTCOMES, Observed, observed, refuse
from headrace.asking.requests import Unfit, id_of
from headrace.events.definition import DeploymentDefinition
from headrace.log.envelope import format_instant
from headrace.log.undecoded import no_number
from headrace_gateway.core.calls import Unclear


class OutcomeReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ground truth of an earlier request.

    `unit`: what the request was about. `label`: 0 or 1, the name of a class, or a number. `at`: when it became known (RFC 3339, or
    seconds since the epoch), now when not given. `request_id`: of the request, where it is known: the outcome then belongs to that one.
    `corrects`: the id of the outcome that it corrects. `id`: its own; one is made where it is missing, and returned.
    """

    unit: str | int | float
    label: str | bool | int | float
    at: str | float | None = None
    request_id: str | None = None
    corrects: str | None = None
    id: str | None = None


class OutcomeList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many outcomes in one call."""

    outcomes: list[OutcomeReport]


class OutcomeAccepted(msgspec.Struct, frozen=True):
    """An outcome that is on the log: its id (a correction names it), its unit, and when it became known."""

    id: str
    unit: str
    at: str


@dataclass(frozen=True, slots=True)
class Reported:
    """The outcomes of a body; `is_list`: the body held a list of them."""

    outcomes: tuple[Observed, ...]
    is_list: bool


_WHAT = '{"unit": ..., "label": ...}, or {"outcomes": [...]} with such in it'


def read_outcomes(
    body: bytes, deployment: DeploymentDefinition, now_s: float, key: str | None, make_id: Callable[[], str]
) -> Reported | Unclear:
    """The outcomes of a body, or why none is taken.

    `key`: the call's Idempotency-Key; ids are made of it, so that a repeated call has the same ids. `make_id`: for a call without one.
    """
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
            return Reported((_one(given, "", deployment, now_s, base),), is_list=False)
        rows = given["outcomes"] if isinstance(given, dict) and len(given) == 1 else given
        if not isinstance(rows, list):
            return Unclear(f"an outcome is {_WHAT}")
        if not 0 < len(rows) <= MAX_OUTCOMES:
            return Unclear(f"outcomes: 1..{MAX_OUTCOMES} in a call, got {len(rows)}")
        found = [_one(row, f"outcomes[{n}]: ", deployment, now_s, f"{base}/{n}") for n, row in enumerate(rows)]
    except Unfit as error:
        return Unclear(str(error))
    return Reported(tuple(found), is_list=True)


def _one(given: Any, where: str, deployment: DeploymentDefinition, now_s: float, ident: str) -> Observed:
    if not isinstance(given, dict):
        raise Unfit(
            f"{where.rstrip(': ') or 'an outcome'} must be {_WHAT.partition(',')[0]}, got {type(given).__name__}"
        )
    try:
        found = observed(given, ident, now_s)
        refuse(deployment.name, deployment, found)
        return found
    except Unfit as error:
        raise Unfit(f"{where}{error}") from None


def accepted_body(reported: Reported) -> dict[str, list[OutcomeAccepted]] | OutcomeAccepted:
    """The body of the 202 once all outcomes are on the log."""
    taken = [OutcomeAccepted(one.id, one.unit, format_instant(one.at_s)) for one in reported.outcomes]
    return {"outcomes": taken} if reported.is_list else taken[0]
