"""Explanations from the log: a decision with everything that it was made from, and the chain of causes behind a
route. Every record names the one that caused it (`ce_causationid`); the chain is followed back to its first record.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.asking.decisions import joined
from headrace.asking.output_kinds import named_by
from headrace.asking.prediction import OutputKind, label_of, name_of
from headrace.errors import Misconfigured, Poison
from headrace.events.inference import (
    Answer,
    DecisionMade,
    Expired,
    FellBack,
    Invalid,
    Refused,
    Score,
    Served,
    ShadowScored,
)
from headrace.events.registry import ModelVersion, Signature, VersionRegistered
from headrace.evidence import causes
from headrace.features.rows import bare_signature
from headrace.log.codec import Message
from headrace.models import artifacts
from headrace.models.engine import Engine, by_class, load
from headrace.models.frames import frame_of
from headrace.models.matching import matched
from headrace_cli.outcomes.labelled import label_by_name, labels_by_request
from headrace_cli.session import Session
from headrace_cli.terminal.render import instant

_SAME_SCORE = 1e-6


async def explain_decision(session: Session, deployment: str, wanted: str, *, again: bool) -> dict[str, Any]:
    """The newest decision on a request id or unit. `again`: load the version, score the logged row, and compare."""
    message = await _find(session, deployment, wanted)
    decision: DecisionMade = message.event
    version = version_of(decision.answer)
    registered = await _registered(session, deployment, version)
    found = {
        "request": decision.request_id,
        "unit": decision.unit,
        "at": instant(decision.at_s),
        "answer": described(decision.answer, _kind(session, deployment, registered)),
        "assigned_version": decision.assigned,
        "failed_versions": {
            name: f"{type(failure).__name__}: {failure.reason}" for name, failure in decision.failures.items()
        },
        "shadows": {str(score.version): score.probabilities or score.value for score in decision.shadows},
        "row": row_of(decision, _signature(session, decision, registered)),
        "missing": list(decision.missing),
        "stale": list(decision.stale),
        "entities": decision.entities,
        "source_offsets": decision.applied,
        "outcome": await _outcome(session, decision),
        "recovered": decision.recovered,
        "record": f"{message.record.topic}/{message.record.partition}/{message.record.offset}",
        "code_version": decision.code_version,
        "why_this_version": await chain_of_route(session, deployment, decision.route_offset),
    }
    if again:
        found["made_again"] = await _again(session, decision, registered)
    return found


async def _outcome(session: Session, decision: DecisionMade) -> float | str | None:
    """The label of the request; None if there is none yet, or if the deployment is no longer declared."""
    found = session.projects.deployment(decision.deployment)
    if found is None:
        return None
    labels = labels_by_request(found[1], [decision], await session.all_of("inference.outcomes"))
    return label_by_name(found[1], labels.get(decision.request_id))


async def _find(session: Session, deployment: str, wanted: str) -> Message:
    about = [
        message
        for message in await session.all_of("inference.decisions")
        if isinstance(message.event, DecisionMade | ShadowScored)
        and message.event.deployment == deployment
        and wanted in (message.event.request_id, message.event.unit)
    ]
    late = [message.event for message in about if isinstance(message.event, ShadowScored)]
    found = [replace(m, event=joined([m.event, *late])[0]) for m in about if isinstance(m.event, DecisionMade)]
    if not found:
        raise Misconfigured(
            f"{deployment} has no decision on {wanted!r}: give a request id or a unit, as shown by `headrace topic tail inference.decisions`"
        )
    return found[-1]


async def _registered(session: Session, deployment: str, version: int | None) -> VersionRegistered | None:
    current = await session.current_of("registry.models")
    found = current.get(f"{deployment}/{version}")
    return found.event.registered if found is not None and isinstance(found.event, ModelVersion) else None


async def _again(session: Session, decision: DecisionMade, registered: VersionRegistered | None) -> dict[str, Any]:
    """The logged row, scored once more by the version that answered."""
    score = decision.answer.score if isinstance(decision.answer, Served | FellBack) else None
    if registered is None or score is None or not decision.row:
        return {"done": False, "why": "no version answered, so there is nothing to score again"}
    # The file that inference serves: if there is an ONNX one, the other differs in the last digits.
    place = registered.onnx or registered.place
    try:
        data = await artifacts.fetch(session.log, session.topics, place)
        model = matched(load(data, place.format), registered.signature)
    except Poison as poison:
        return {"done": False, "why": str(poison)}
    then = list(score.probabilities) if score.probabilities is not None else [score.value or 0.0]
    now = _scored(model, registered, np.frombuffer(decision.row, "<f4").reshape(1, -1))
    return {
        "done": True,
        "then": then,
        "now": now,
        "same_bits": now == then,
        "same": bool(np.allclose(now, then, rtol=0.0, atol=_SAME_SCORE)),
    }


def _scored(model: Engine, registered: VersionRegistered, row: NDArray[np.float32]) -> list[float]:
    signature, output = registered.signature, registered.output
    shaped = frame_of(row, signature.columns) if signature.frame else row
    raw = by_class(model.predict(shaped, output), len(registered.classes), registered.class_places)
    scores = raw[0].tolist()
    return [scores] if output == "number" else scores if output == "classes" else scores[1:]


def version_of(answer: Answer) -> int | None:
    """The version that answered; None for the prior and for requests that were not answered.

    >>> version_of(Refused("overload")) is None
    True
    """
    return answer.score.version or None if isinstance(answer, Served | FellBack) else None


def _kind(session: Session, deployment: str, registered: VersionRegistered | None) -> OutputKind:
    """The kind of the answer: by the version that gave it, else by the label."""
    found = session.projects.deployment(deployment)
    label = None if found is None else found[1].label
    if registered is not None:
        return named_by(OutputKind(registered.output, registered.classes), label)
    return OutputKind() if label is None else OutputKind(label.kind, label.classes)


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


def _signature(session: Session, decision: DecisionMade, registered: VersionRegistered | None) -> Signature | None:
    """The signature of the row: the version's own, or the deployment's if the prior answered and it is still the same."""
    if registered is not None:
        return registered.signature
    found = session.projects.deployment(decision.deployment)
    bare = None if found is None else bare_signature(*found)
    return bare if bare is not None and bare.digest == decision.signature else None


def _plain(value: float, vocabulary: Sequence[str] | None) -> float | str | None:
    if value != value:
        return None
    if vocabulary is None:
        return round(value, 6)
    return vocabulary[int(value)] if value < len(vocabulary) else "(unknown)"


async def chain_of_route(session: Session, deployment: str, offset: int | None = None) -> list[dict[str, Any]]:
    """The causes of a deployment's route, newest first; `offset`: of its record, the newest one if None."""
    messages = await causes.read_causes(session.log, session.codec, session.topics)
    steps = causes.chain_of_route(messages, deployment, offset)
    return [{"at": instant(s.at_s), "what": s.what, "summary": s.summary, "place": s.place} for s in steps]
