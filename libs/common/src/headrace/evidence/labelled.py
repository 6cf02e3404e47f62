"""The labels of decisions that were read from the log, by the rule of `headrace.features.outcomes`."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved
from headrace.features.outcomes import FATES, Asked, asked, fates_of, labels_of, packed, table_of
from headrace.log.codec import Message
from headrace.project.labels import value_of, why_not_label


def labels_by_request(
    deployment: DeploymentDefinition, decisions: Sequence[DecisionMade], outcomes: Iterable[Message]
) -> dict[str, float]:
    """The label of each request of a deployment that has one, as a number, by its id. `outcomes`: the messages on the log."""
    mine = [decision for decision in decisions if decision.deployment == deployment.name]
    if deployment.label is None or not mine:
        return {}
    labels = labels_of(deployment.label, _asked(mine), table_of(packed_rows(deployment, outcomes))).labels.tolist()
    return {decision.request_id: value for decision, value in zip(mine, labels, strict=True) if value == value}


def packed_rows(deployment: DeploymentDefinition, outcomes: Iterable[Message]) -> bytes:
    """The outcomes of a deployment whose label is of its kind, as rows of `headrace.features.outcomes.OUTCOME`."""
    return b"".join(row for row in _rows(deployment, outcomes) if row is not None)


def fates_by_place(
    deployment: DeploymentDefinition, decisions: Sequence[DecisionMade], outcomes: Sequence[Message]
) -> list[str]:
    """How each outcome of a deployment was used, once all horizons have passed: one of `FATES`, or `no_label`."""
    mine = [decision for decision in decisions if decision.deployment == deployment.name]
    rows = list(_rows(deployment, outcomes))
    if deployment.label is None:
        return ["no_label"] * len(outcomes)
    fates = iter(fates_of(deployment.label, _asked(mine), table_of(b"".join(row for row in rows if row is not None))))
    return ["no_label" if row is None else FATES[next(fates)] for row in rows]


def _asked(decisions: Sequence[DecisionMade]) -> Asked:
    at_s = np.array([decision.at_s for decision in decisions], dtype=np.float64)
    return asked([decision.unit for decision in decisions], at_s, [decision.request_id for decision in decisions])


def _rows(deployment: DeploymentDefinition, outcomes: Iterable[Message]) -> Iterator[bytes | None]:
    """Each outcome of a deployment as a row; None for one whose label is not of the deployment's kind."""
    label = deployment.label
    for message in outcomes:
        event, envelope = message.event, message.envelope
        if not isinstance(event, OutcomeObserved) or event.deployment != deployment.name or label is None:
            continue
        if why_not_label(label, event.label) is not None:
            yield None
            continue
        value = value_of(label, event.label)
        yield packed(event.unit, value, envelope.time_s, envelope.id, event.request_id, event.corrects)


def label_by_name(deployment: DeploymentDefinition, value: float | None) -> float | str | None:
    """A label for people: the name of a class if classes have names."""
    classes = deployment.label.classes if deployment.label is not None else ()
    return classes[int(value)] if classes and value is not None else value
