"""An answer as the asker gets it, over HTTP and over Kafka alike: the value, the version, and what it lacked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.events.inference import Expired, FellBack, Invalid, PredictionAnswered, Refused, Score, Served
from headrace.log.envelope import derived_id

BINARY, NUMBER, CLASSES = "binary", "number", "classes"
CHAMPION = "champion"
HALF = 0.5


@dataclass(frozen=True, slots=True)
class OutputKind:
    """What a version's scores mean. `kind`: `binary`, `number` or `classes`.

    `classes`: their names, as far as known; () for two classes that are only named 0 and 1.
    """

    kind: str = BINARY
    classes: tuple[str, ...] = ()


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer.

    - `outcome`: `served`; `fell_back` (a lower step answered, see `reason`); `invalid` (asking again does not help);
      `refused` (ask again, as a new request, after `retry_after_s`); `expired` (decided too late: ask as a new
      request); `unknown` (no answer came in time: ask again under the same id, since it may have been decided).
    - `value`: the probability of the positive class, or the number. None for several classes, which have
      `probabilities`.
    - `label`: the name of the most probable class, or its number (0 or 1 for two) where it has no name. None for a
      number.
    - `version`: None when the prior answered.
    - `missing`, `stale`: features without a value, and features whose source sends nothing.
    - `provisional`: the decision is not committed yet.
    - `decision_id`: the `ce_id` of the decision on the log.
    """

    deployment: str
    request_id: str
    outcome: str
    value: float | None = None
    label: str | int | None = None
    probabilities: dict[str, float] = {}
    version: int | None = None
    step: str | None = None
    reason: str = ""
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    provisional: bool = False
    decision_id: str | None = None
    retry_after_s: float | None = None

    @property
    def is_answered(self) -> bool:
        """Whether there is a prediction."""
        return self.outcome in ("served", "fell_back")


def predicted(
    deployment: str,
    request_id: str,
    answered: PredictionAnswered | None,
    kind_of: Callable[[int | None], OutputKind],
    waited_ms: int,
) -> Prediction:
    """The prediction for an answer; `answered` is None when none came within `waited_ms`.

    `kind_of`: the kind of output of the version that answered, None for the prior. Versions may name their classes
    differently.
    """
    if answered is None:
        reason = f"no answer within {waited_ms} ms; ask again under the same id"
        return Prediction(deployment=deployment, request_id=request_id, outcome="unknown", reason=reason)
    return Prediction(
        deployment=answered.deployment,
        request_id=answered.request_id,
        missing=answered.missing,
        stale=answered.stale,
        provisional=answered.provisional,
        decision_id=decision_id(answered),
        **_outcome(answered, kind_of),
    )


def decision_id(answered: PredictionAnswered) -> str:
    """The `ce_id` of the decision behind an answer."""
    return derived_id("decision", answered.deployment, answered.request_id)


def label_of(score: Score, kind: OutputKind) -> str | int | None:
    """The most probable class: its name, or its index where it has no name. None for a number.

    >>> label_of(Score(1, "d", None, (0.2, 0.8)), OutputKind("classes", ("cat", "dog")))
    'dog'
    >>> label_of(Score(1, "d", 0.8), OutputKind("binary", ("no", "yes"))), label_of(Score(1, "d", 0.8), OutputKind())
    ('yes', 1)
    """
    if score.probabilities is not None:
        best = max(range(len(score.probabilities)), key=score.probabilities.__getitem__)
        return name_of(best, kind.classes)
    if kind.kind != BINARY or score.value is None:
        return None
    return name_of(int(score.value >= HALF), kind.classes)


def name_of(index: int, classes: Sequence[str]) -> str | int:
    """The name of a class, or its index where it has no name."""
    return classes[index] if index < len(classes) else index


def _outcome(answered: PredictionAnswered, kind_of: Callable[[int | None], OutputKind]) -> dict[str, Any]:
    match answered.answer:
        case Served(score):
            return _scored("served", CHAMPION, "", score, kind_of(score.version or None))
        case FellBack(step, reason, score):
            return _scored("fell_back", step, reason, score, kind_of(score.version or None))
        case Invalid(reason, _):
            return {"outcome": "invalid", "reason": reason}
        case Refused(reason, retry_after_s):
            return {"outcome": "refused", "reason": reason, "retry_after_s": retry_after_s}
        case Expired(late_ms):
            return {"outcome": "expired", "reason": f"the deadline had passed by {late_ms} ms"}


def _scored(outcome: str, step: str, reason: str, score: Score, kind: OutputKind) -> dict[str, Any]:
    probabilities = {str(name_of(index, kind.classes)): one for index, one in enumerate(score.probabilities or ())}
    return {
        "outcome": outcome,
        "value": score.value,
        "label": label_of(score, kind),
        "probabilities": probabilities,
        "version": score.version or None,
        "step": step,
        "reason": reason,
    }
