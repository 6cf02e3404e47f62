"""What an outcome may say, by one rule for every door (HTTP, client, command line), as `asked` is for questions.

It names its unit, always: that is the key of the topic. A request that was asked without a unit has its own id for one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.asking.requests import Unfit, instant_of, shown, unit_of, value_of
from headrace.events.definition import DeploymentDefinition
from headrace.log.envelope import MAX_TEXT_BYTES
from headrace.project.labels import Label, why_not_outcome

MAX_OUTCOMES = 1000
FIELDS = ("unit", "label", "at", "request_id", "corrects", "id")


@dataclass(frozen=True, slots=True)
class Observed:
    """An outcome as it is written. `id`: its own, by which it is corrected, and which a repeat repeats; `at_s`: when it
    became known; `request_id`: of the request that it belongs to; `corrects`: the id of the outcome that it sets right."""

    id: str
    unit: str
    label: Label
    at_s: float
    request_id: str | None = None
    corrects: str | None = None


def observed(given: Mapping[str, Any], ident: str, now_s: float) -> Observed:
    """An outcome as somebody gave it; `ident`: where it has no id of its own; `at` is now where nothing is said.

    Raises `Unfit` naming the field. Whether its label is one is for the deployment to say, see `refuse`.

    >>> observed({"unit": 7.0, "label": True, "at": "2013-04-01T00:00:00Z"}, "o1", 2e9)
    Observed(id='o1', unit='7', label=True, at_s=1364774400.0, request_id=None, corrects=None)
    """
    strange = next((field for field in given if field not in FIELDS), None)
    if strange is not None:
        raise Unfit(f"an outcome has no field {shown(strange)}; it has {', '.join(FIELDS)}")
    unit, label = unit_of(given.get("unit")), value_of("label", given.get("label"))
    if not unit:
        raise Unfit(
            "unit is missing: an outcome names what its request was about (its request_id, where that named no unit)"
        )
    if label is None:
        raise Unfit("label is missing")
    ids = {field: None if given.get(field) is None else _id(given[field], field) for field in FIELDS[3:]}
    own = ids["id"] or ident
    if ids["corrects"] == own:
        raise Unfit(f"corrects names the outcome's own id, {own}: it takes the id of the one that it sets right")
    told = float(label) if isinstance(label, int) and not isinstance(label, bool) else label
    return Observed(own, unit, told, instant_of(given.get("at"), now_s), ids["request_id"], ids["corrects"])


def _id(given: Any, field: str) -> str:
    """NB: ids of requests and of pipelines' outcomes are others' to choose: any text that may stand on the log."""
    if not isinstance(given, str) or not given or not given.isprintable():
        raise Unfit(f"{field} must be printable text, got {shown(given)}")
    if len(given.encode()) > MAX_TEXT_BYTES:
        raise Unfit(f"{field} may have {MAX_TEXT_BYTES} bytes at most, got {len(given.encode())}")
    return given


def refuse(name: str, deployment: DeploymentDefinition | None, told: Observed | None = None) -> None:
    """Raise `Unfit` for an outcome that the deployment of this name cannot take; without one: where it takes none at all."""
    refused = why_not_outcome(name, deployment, 0.0 if told is None else told.label)
    if refused is not None and (told is not None or refused[0] == "deployment"):
        raise Unfit(refused[1])
