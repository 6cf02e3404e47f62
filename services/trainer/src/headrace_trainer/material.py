"""What a run is made of: its rows, the champion's scores on them, where the world changed, and which rows fit and gate."""

from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition, TrainingDefinition
from headrace.events.registry import Signature
from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace.features.dataset import Rows
from headrace_trainer.adapters.champion import Champion
from headrace_trainer.core.changed import locate
from headrace_trainer.core.gates import fair_rows
from headrace_trainer.core.splits import Span, span_of, wanted_after, why_not
from headrace_trainer.core.target import Target, target_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """`champion`: its scores on the rows, None without one. `why_not`: why nothing can be trained of it, "" when it can; `missing_rows`: so many
    more would do. `after`, `wanted`: labelled rows beyond the change, and how many are waited for.
    """

    target: Target
    rows: Rows
    signature: Signature
    matrix: NDArray[np.float32]
    champion: Floats | None
    span: Span
    seed: int
    parent: int | None
    why_not: str
    missing_rows: int
    after: int
    wanted: int

    def told(self, finished: TrainingFinished) -> TrainingFinished:
        """The end of a run, with what it knows of the change."""
        return replace(
            finished,
            missing_rows=self.missing_rows,
            changed_at_s=self.span.changed_at_s,
            rows_after_change=self.after,
            rows_wanted=self.wanted,
        )


def prepared(
    deployment: DeploymentDefinition,
    accepted: RetrainAccepted,
    rows: Rows,
    to_s: float,
    signature: Signature,
    champion: Champion | None,
) -> Material:
    """Of labelled rows, ascending, up to `to_s`."""
    training = deployment.training
    assert training is not None  # a run of a deployment without it has ended before
    assert deployment.label is not None  # and so has one without a label
    target = target_of(deployment.label, rows.labels)
    if champion is not None and not target.is_answered_by(champion.registered):
        # NB: the label has changed since; there is nothing to compare with.
        champion = None
    scores = None if champion is None else champion.scores(target, deployment, rows)
    lineage = None if champion is None else champion.registered.lineage
    changed_at_s, begun_s = accepted.changed_at_s, None
    if changed_at_s is None and lineage is not None:
        changed_at_s = lineage.changed_at_s
    elif (
        changed_at_s is not None and lineage is not None and lineage.request_to_s <= changed_at_s + deployment.cohort_s
    ):
        assert scores is not None
        found = locate(changed_at_s, deployment.cohort_s, rows.at_s, _losses(target, scores, rows.labels))
        changed_at_s, begun_s = found.come_s, found.begun_s
    fair_from_s = None if champion is None else champion.known_to_s
    from_s = accepted.clock_s - training.history_s
    span = span_of(training, rows.at_s, from_s, to_s, changed_at_s, fair_from_s, begun_s)
    after = 0 if changed_at_s is None else int((rows.at_s >= changed_at_s).sum())
    wanted = 0 if accepted.changed_at_s is None else wanted_after(training, len(rows))
    told, missing = _lacking(training, span, rows, after, wanted)
    matrix = rows.matrix(deployment, signature)
    parent = None if champion is None else champion.registered.version
    return Material(target, rows, signature, matrix, scores, span, training.seed, parent, told, missing, after, wanted)


def _losses(target: Target, scores: Floats, labels: Floats) -> Floats:
    if not len(labels):
        return np.empty(0)
    found = np.full(len(labels), np.nan)
    known = fair_rows(scores)
    found[known] = target.yardstick(labels).losses(scores[known], labels[known])
    return found


def _lacking(training: TrainingDefinition, span: Span, rows: Rows, after: int, wanted: int) -> tuple[str, int]:
    if after < wanted:
        told = f"{after:,} of {wanted:,} labelled rows beyond the change are there (min_rows_after_change): {wanted - after:,} are missing"
        return told, wanted - after
    return why_not(training, span, rows.labels, rows.at_s)
