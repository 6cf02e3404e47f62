"""The contract of an outcome, the same for HTTP, client and command line; `requests` has that of questions.

An outcome always names its unit, which is the key of the topic. The unit of a request without one is its own id.
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
    """An outcome as it is written.

    `id`: its own id, by which it is corrected; a repeat has the same id. `at_s`: when it became known. `request_id`:
    the request that it belongs to. `corrects`: the id of the outcome that it corrects.
    """

    id: str
    unit: str
    label: Label
    at_s: float
    request_id: str | None = None
    corrects: str | None = None


def observed(given: Mapping[str, Any], ident: str, now_s: float) -> Observed:
    """Check an outcome that was given from outside. `ident`: its id where it has none. `at` is now where it is missing.

    Raises `Unfit`, which names the field. Whether the label fits the deployment is checked by `refuse`.

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
        raise Unfit(f"corrects names the outcome's own id, {own}: it takes the id of the outcome that it corrects")
    value = float(label) if isinstance(label, int) and not isinstance(label, bool) else label
    return Observed(own, unit, value, instant_of(given.get("at"), now_s), ids["request_id"], ids["corrects"])


def _id(given: Any, field: str) -> str:
    """NB: ids of requests and of pipelines' outcomes are chosen elsewhere: any text that may be on the log is valid."""
    if not isinstance(given, str) or not given or not given.isprintable():
        raise Unfit(f"{field} must be printable text, got {shown(given)}")
    if len(given.encode()) > MAX_TEXT_BYTES:
        raise Unfit(f"{field} may have {MAX_TEXT_BYTES} bytes at most, got {len(given.encode())}")
    return given


def refuse(name: str, deployment: DeploymentDefinition | None, outcome: Observed | None = None) -> None:
    """Raise `Unfit` when a deployment cannot take an outcome; without an outcome, when it takes none at all."""
    refused = why_not_outcome(name, deployment, 0.0 if outcome is None else outcome.label)
    if refused is not None and (outcome is not None or refused[0] == "deployment"):
        raise Unfit(refused[1])
