"""A batch of decisions as the two arms of a rollout see it.

An arm holds the units that the route gave to its version, whoever answered in the end. Where the version has no traffic of its own (in
shadow, or after the switch the control), the requests that it scored along with count instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.policy.guardrails import INVALID, NOT_ASKED

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Side:
    """One version's side of a batch, per decision. `is_own`: the unit was given to it; `is_asked`: it was to score the request
    (one that was spared to shed load was not). `errors`, `invalid_scores`, `degraded`: bad cases of each metric.
    """

    scores: list[Score | None]
    is_own: Bools
    is_asked: Bools
    errors: Bools
    invalid_scores: Bools
    degraded: Bools

    def cases(self, metric: str, has_own: Bools) -> tuple[Bools, Bools]:
        """Which decisions count for a metric, and which are bad. `has_own`: the version has traffic of its own by the route of
        each. Only own units can be degraded: a shadow answers nobody."""
        counts = self.is_own if metric == "degraded" else np.where(has_own, self.is_own, self.is_asked)
        return counts, {"errors": self.errors, "invalid_scores": self.invalid_scores, "degraded": self.degraded}[metric]

    def only(self, kept: Bools) -> "Side":
        """Of some of the decisions."""
        scores = [score for score, is_kept in zip(self.scores, kept.tolist(), strict=True) if is_kept]
        flags = (self.is_own, self.is_asked, self.errors, self.invalid_scores, self.degraded)
        return Side(scores, *(values[kept] for values in flags))


def side_of(decisions: Sequence[DecisionMade], version: int | None) -> Side:
    """The side of a version; of none, nothing counts."""
    scores: list[Score | None] = []
    flags = np.zeros((5, len(decisions)), dtype=bool)
    if version is None:
        return Side([None] * len(decisions), *flags)
    is_own, is_asked, errors, invalid, degraded = flags
    for n, decision in enumerate(decisions):
        score, reason = score_of(decision, version), decision.failed.get(version, "")
        has_failed = bool(reason) and not reason.startswith(NOT_ASKED)
        scores.append(score)
        is_own[n] = assigned(decision) == version
        is_asked[n] = score is not None or has_failed
        errors[n], invalid[n] = has_failed, reason.startswith(INVALID)
        degraded[n] = not (isinstance(decision.answer, Served) and decision.answer.score.version == version)
    return Side(scores, is_own, is_asked, errors, invalid, degraded)


def assigned(decision: DecisionMade) -> int | None:
    """The version of the unit's arm; of records without it, whoever answered."""
    if decision.assigned is None and isinstance(decision.answer, Served):
        return decision.answer.score.version
    return decision.assigned


def score_of(decision: DecisionMade, version: int) -> Score | None:
    """What a version said of the request, as its answer or in shadow."""
    answer = decision.answer
    if isinstance(answer, Served | FellBack) and answer.score.version == version:
        return answer.score
    for score in decision.shadows:
        if score.version == version:
            return score
    return None


def calls(decisions: Sequence[DecisionMade], new: int, control: int | None) -> tuple[list[float], list[float]]:
    """How long either version took on the same rows; rows in a row with the same times were one call."""
    ours: list[float] = []
    theirs: list[float] = []
    before: tuple[float, float] | None = None
    for decision in decisions:
        took_ms = decision.took_ms
        if control is None or new not in took_ms or control not in took_ms:
            continue
        call = (took_ms[new], took_ms[control])
        if call != before:
            ours.append(call[0])
            theirs.append(call[1])
        before = call
    return ours, theirs


def shares(new: Side, control: Side) -> tuple[list[float], list[float]]:
    """Both versions' scores of the same requests, where both gave one in 0..1."""
    pairs = [(_share(ours), _share(theirs)) for ours, theirs in zip(new.scores, control.scores, strict=True)]
    both = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    return [ours for ours, _ in both], [theirs for _, theirs in both]


def _share(score: Score | None) -> float | None:
    """A score in 0..1; of several classes the largest share; None for other numbers."""
    if score is None:
        return None
    value = max(score.classes, default=None) if score.classes is not None else score.value
    return value if value is not None and 0 <= value <= 1 else None
