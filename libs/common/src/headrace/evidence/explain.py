"""A decision with everything that it was made from, and why the version that answered had the traffic."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.asking.output_kinds import named_by
from headrace.asking.prediction import OutputKind, label_of, name_of
from headrace.events.inference import Answer, DecisionMade, Expired, FellBack, Invalid, Refused, Score, Served
from headrace.events.registry import Signature, VersionRegistered
from headrace.evidence.causes import Cause
from headrace.evidence.labelled import label_by_name, labels_by_request
from headrace.evidence.reading import Evidence
from headrace.evidence.why_version import why_version
from headrace.features.rows import bare_signature
from headrace.log.codec import Message
from headrace.project.applied import Projects


class Explained(msgspec.Struct, frozen=True):
    """A decision, explained. `answer`: as plain values, with the names of classes. `failed`: per version why it gave no score.
    `shadows`: the scores of other versions. `row`: by the names of its columns. `source_offsets`: per source partition,
    the offset up to which (exclusive) the features contain its events. `outcome`: None if there is none yet. `place`,
    `request_place`: topic/partition/offset. `why`: the causes of the version's traffic, newest first.
    """

    deployment: str
    request_id: str
    unit: str
    at_s: float
    answer: dict[str, Any]
    assigned: int | None
    failed: dict[str, str]
    shadows: dict[str, Any]
    row: dict[str, float | str | None]
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    entities: dict[str, str]
    source_offsets: dict[str, int]
    outcome: float | str | None
    recovered: bool
    place: str
    request_place: str
    code_version: str
    why: tuple[Cause, ...]


async def explain_decision(
    evidence: Evidence, deployment: str, wanted: str, written_at_s: float | None = None
) -> Explained:
    """The newest decision on a request id or unit. `written_at_s`: about when it was written, if it is older than the index.

    Raises `Misconfigured` where there is none.
    """
    message = await evidence.decision(deployment, wanted, written_at_s)
    decision: DecisionMade = message.event
    version = version_of(decision.answer)
    current = None if version is None else await evidence.version(deployment, version)
    registered = None if current is None else current.registered
    requests = evidence.topics.name("inference.requests")
    route = await evidence.route(deployment, decision.route_offset, message.record.timestamp_ms)
    why = await why_version(evidence, deployment, decision.assigned if version is None else version, route)
    return Explained(
        deployment=deployment,
        request_id=decision.request_id,
        unit=decision.unit,
        at_s=decision.at_s,
        answer=described(decision.answer, _kind(evidence.projects, deployment, registered)),
        assigned=decision.assigned,
        failed={name: f"{type(why).__name__}: {why.reason}" for name, why in decision.failures.items()},
        shadows={str(score.version): score.probabilities or score.value for score in decision.shadows},
        row=row_of(decision, signature_of(evidence.projects, decision, registered)),
        missing=decision.missing,
        stale=decision.stale,
        entities=decision.entities,
        source_offsets=decision.applied,
        outcome=await outcome_of(evidence, message),
        recovered=decision.recovered,
        place=message.record.place,
        request_place=f"{requests}/{message.record.partition}/{decision.request_offset}",
        code_version=decision.code_version,
        why=tuple(why),
    )


async def outcome_of(evidence: Evidence, message: Message) -> float | str | None:
    """The label of a decision's request; None if there is none yet, or if the deployment is no longer declared."""
    decision: DecisionMade = message.event
    found = evidence.projects.deployment(decision.deployment)
    if found is None:
        return None
    labels = labels_by_request(found[1], [decision], await evidence.outcomes(message))
    return label_by_name(found[1], labels.get(decision.request_id))


def version_of(answer: Answer) -> int | None:
    """The version that answered; None for the prior and for requests that were not answered.

    >>> version_of(Refused("overload")) is None
    True
    """
    return answer.score.version or None if isinstance(answer, Served | FellBack) else None


def described(answer: Answer, kind: OutputKind) -> dict[str, Any]:
    """An answer as plain values, with the names of classes."""
    match answer:
        case Served(score):
            return {"kind": "served", "version": score.version, **_named(score, kind)}
        case FellBack(step, reason, score):
            return {
                "kind": "fell back",
                "step": step,
                "version": score.version,
                **_named(score, kind),
                "reason": reason,
            }
        case Refused(reason) | Invalid(reason):
            return {"kind": type(answer).__name__.lower(), "reason": reason}
        case Expired(late_ms):
            return {"kind": "expired", "late_ms": late_ms}


def _named(score: Score, kind: OutputKind) -> dict[str, Any]:
    found = {"label": label_of(score, kind), "value": score.value, "probabilities": None}
    if score.probabilities is None:
        return found
    return found | {"probabilities": {str(name_of(n, kind.classes)): p for n, p in enumerate(score.probabilities)}}


def row_of(decision: DecisionMade, signature: Signature | None) -> dict[str, float | str | None]:
    """The logged row by its columns, categories by name; columns by number if there is no signature."""
    values = np.frombuffer(decision.row, "<f4").tolist()
    if signature is None or len(signature.columns) != len(values):
        return {str(place): _plain(value, None) for place, value in enumerate(values)}
    columns = signature.columns
    return {column.name: _plain(value, column.vocabulary) for column, value in zip(columns, values, strict=True)}


def signature_of(projects: Projects, decision: DecisionMade, registered: VersionRegistered | None) -> Signature | None:
    """The signature of the row: the version's own, or the deployment's if the prior answered and it is still the same."""
    if registered is not None:
        return registered.signature
    found = projects.deployment(decision.deployment)
    bare = None if found is None else bare_signature(*found)
    return bare if bare is not None and bare.digest == decision.signature else None


def _kind(projects: Projects, deployment: str, registered: VersionRegistered | None) -> OutputKind:
    """The kind of the answer: by the version that gave it, else by the label."""
    found = projects.deployment(deployment)
    label = None if found is None else found[1].label
    if registered is not None:
        return named_by(OutputKind(registered.output, registered.classes), label)
    return OutputKind() if label is None else OutputKind(label.kind, label.classes)


def _plain(value: float, vocabulary: Sequence[str] | None) -> float | str | None:
    if value != value:
        return None
    if vocabulary is None:
        return round(value, 6)
    return vocabulary[int(value)] if value < len(vocabulary) else "(unknown)"
