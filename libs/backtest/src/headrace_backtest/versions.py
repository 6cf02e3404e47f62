"""A version as a back-test has it: what it was trained on, and how it scores rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import ArtifactPlace, Lineage, Signature, VersionRegistered
from headrace_backtest.history import Floats, History, Matrix

Scoring = Callable[[Matrix], Floats]
# Nothing is published: a version lives in this process only.
NOWHERE = ArtifactPlace("", 0, 0, 0)


@dataclass(frozen=True)
class Version:
    """`scoring`: its scores of rows, see `headrace.stats.losses`. `twin`: those of its gated twin, None without one."""

    registered: VersionRegistered
    scoring: Scoring
    twin: Scoring | None = None

    @property
    def number(self) -> int:
        """Its number."""
        return self.registered.version

    @property
    def fair_from_s(self) -> float:
        """The instant from which on rows can be compared with it."""
        lineage = self.registered.lineage
        if self.twin is None or lineage.twin_to_s is None:
            return lineage.request_to_s
        return min(lineage.twin_to_s, lineage.request_to_s)

    def fair_scores(self, history: History, places: np.ndarray) -> Floats:
        """Its scores of requests, its twin's of rows that it was trained on itself, NaN where both were."""
        at_s, matrix = history.at_s[places], history.matrix[places]
        found = np.array(self.scoring(matrix), dtype=np.float64)
        own = at_s < self.registered.lineage.request_to_s
        if self.twin is not None and own.any():
            found[own] = self.twin(matrix[own])
        found[at_s < self.fair_from_s] = np.nan
        return found


def registered_as(
    deployment: DeploymentDefinition, number: int, signature: Signature, at_s: float, digest: str, lineage: Lineage
) -> VersionRegistered:
    """The registration of a version that this process made at `at_s`."""
    label = deployment.label
    return VersionRegistered(
        deployment=deployment.name,
        model=deployment.model,
        version=number,
        place=NOWHERE,
        model_digest=digest,
        signature=signature,
        output="binary" if label is None else label.kind,
        classes=() if label is None else label.classes,
        lineage=lineage,
        metrics={},
        gates=(),
        reason="back-test",
        trained_rows=0,
        by="trainer",
        registered_at_s=at_s,
        command_id=f"back-test-{number}",
    )
