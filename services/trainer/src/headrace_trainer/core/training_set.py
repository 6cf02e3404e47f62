"""What a run trains on: where the data changed, which rows fit and which gate, and whether there are enough of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition, TrainingDefinition
from headrace.events.registry import Signature, VersionRegistered
from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace_trainer.core.change_point import locate
from headrace_trainer.core.gates import fair_rows
from headrace_trainer.core.splits import Span, span_of, wanted_after, why_not
from headrace_trainer.core.target import Target

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelledRows:
    """Labelled rows of closed windows, by ascending instant.

    `matrix`: float32 (n, columns), as the signature orders them. `labels`, `at_s`: (n,). `inputs`: of the requests. `offsets`: up to where
    the log was read for them, per topic and partition. `defaulted`: where a default stands for a feature without a value, of the
    shape of `matrix`; None where that is not known, or no feature has a default.
    """

    matrix: NDArray[np.float32]
    labels: Floats
    at_s: Floats
    inputs: Sequence[dict[str, Any]]
    offsets: Mapping[str, int]
    defaulted: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class ChampionScores:
    """The champion, and its scores on all rows: NaN where it must not be compared with. `fair_from_s`: from there on it may be."""

    registered: VersionRegistered
    scores: Floats
    fair_from_s: float


@dataclass(frozen=True)
class TrainingSet:
    """The rows of a run and what was decided about them.

    `champion`: its scores on the rows, None without one. `why_not`: why nothing can be trained on them, "" when it can; `missing_rows`: so
    many more would do. `after`, `wanted`: labelled rows beyond the change, and how many of them the run waits for.
    """

    target: Target
    rows: LabelledRows
    signature: Signature
    champion: Floats | None
    span: Span
    seed: int
    parent: int | None
    why_not: str
    missing_rows: int
    after: int
    wanted: int

    def with_change(self, finished: TrainingFinished) -> TrainingFinished:
        """The end of a run, with what the rows show of the change."""
        return replace(
            finished,
            missing_rows=self.missing_rows,
            changed_at_s=self.span.changed_at_s,
            rows_after_change=self.after,
            rows_wanted=self.wanted,
        )

    def in_span(self, span: Span) -> NDArray[np.bool_]:
        """Which rows lie in a span; shape (n,)."""
        return (self.rows.at_s >= span.from_s) & (self.rows.at_s < span.to_s)


def choose_training_set(
    deployment: DeploymentDefinition,
    accepted: RetrainAccepted,
    target: Target,
    rows: LabelledRows,
    to_s: float,
    signature: Signature,
    champion: ChampionScores | None,
) -> TrainingSet:
    """What a run trains on, of labelled rows up to `to_s`. `champion`: None where there is none that answers the same label."""
    training = deployment.training
    assert training is not None  # a run of a deployment without it has ended before
    changed_at_s, begun_s = _change(deployment, accepted, target, rows, champion)
    fair_from_s = None if champion is None else champion.fair_from_s
    span = span_of(training, rows.at_s, accepted.clock_s - training.history_s, to_s, changed_at_s, fair_from_s, begun_s)
    after = 0 if changed_at_s is None else int((rows.at_s >= changed_at_s).sum())
    wanted = 0 if accepted.changed_at_s is None else wanted_after(training, len(rows.labels))
    why, missing = _lacking(training, span, rows, after, wanted)
    parent = None if champion is None else champion.registered.version
    scores = None if champion is None else champion.scores
    return TrainingSet(target, rows, signature, scores, span, training.seed, parent, why, missing, after, wanted)


def _change(
    deployment: DeploymentDefinition,
    accepted: RetrainAccepted,
    target: Target,
    rows: LabelledRows,
    champion: ChampionScores | None,
) -> tuple[float | None, float | None]:
    """The instants at which the change is complete and at which it began; None for no change, and where it came at once.

    A request without a change takes over that of the champion's own training. Where the champion was trained before the change, its
    losses show more exactly where the change lies.
    """
    changed_at_s, width_s = accepted.changed_at_s, deployment.evaluation_window_s
    if champion is None:
        return changed_at_s, None
    lineage = champion.registered.lineage
    if changed_at_s is None:
        return lineage.changed_at_s, None
    if lineage.request_to_s > changed_at_s + width_s:
        return changed_at_s, None
    found = locate(changed_at_s, width_s, rows.at_s, _losses(target, champion.scores, rows.labels))
    return found.complete_s, found.begun_s


def _losses(target: Target, scores: Floats, labels: Floats) -> Floats:
    if not len(labels):
        return np.empty(0)
    found = np.full(len(labels), np.nan)
    known = fair_rows(scores)
    found[known] = target.yardstick(labels).losses(scores[known], labels[known])
    return found


def _lacking(training: TrainingDefinition, span: Span, rows: LabelledRows, after: int, wanted: int) -> tuple[str, int]:
    if after < wanted:
        missing = wanted - after
        return (
            f"{after:,} of {wanted:,} labelled rows beyond the change are there (min_rows_after_change): {missing:,} are missing",
            missing,
        )
    return why_not(training, span, rows.labels, rows.at_s)
