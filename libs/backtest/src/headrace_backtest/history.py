"""What a back-test replays: requests with the rows that they were answered from, their labels, and when these became known."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.events.registry import Signature
from headrace.stats.losses import CLASSES, NUMBER

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class History:
    """Requests of one deployment, by ascending instant; n of them.

    `matrix`: float32 (n, columns), as `signature` orders them. `labels`: (n,), NaN where none ever came. `known_s`: (n,),
    when the label became known, inf for never. `is_told`: (n,), whether an outcome of it is on the log (a label that
    counts as negative because none came is not). `powers`: (n,), what answers are raised to, 1 unless a fault is planted.
    `kind`: of the label; `classes`: how many, 2 for numbers too.
    """

    ids: Sequence[str]
    units: Sequence[str]
    at_s: Floats
    matrix: Matrix
    labels: Floats
    known_s: Floats
    is_told: Bools
    signature: Signature
    kind: str
    classes: int = 2
    powers: Floats = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.at_s)

    def first_at(self, at_s: float) -> int:
        """The place of the first request at or after an instant."""
        return int(np.searchsorted(self.at_s, at_s, side="left"))

    def known_by(self, clock_s: float) -> Floats:
        """The labels as they were known at an instant, shape (n,), NaN for none."""
        return np.where(self.known_s <= clock_s, self.labels, np.nan)

    def judged(self, from_s: float, to_s: float) -> Bools:
        """The requests of [from_s, to_s) that have a label by now; shape (n,)."""
        return (self.at_s >= from_s) & (self.at_s < to_s) & ~np.isnan(self.labels)

    def answered(self, scores: Floats, first: int = 0) -> Floats:
        """Scores of the requests from place `first` on, as they are served: with the miscalibration that is planted.

        >>> history = History(["r"], ["u"], np.zeros(1), np.zeros((1, 0), np.float32), np.ones(1), np.zeros(1),
        ...     np.ones(1, bool), Signature((), "s"), "binary", powers=np.array([2.0]))
        >>> history.answered(np.array([0.5]))
        array([0.25])
        """
        if not len(self.powers) or self.kind == NUMBER:
            return scores
        powers = self.powers[first : first + len(scores)]
        if self.kind == CLASSES:
            raised = scores ** powers[:, None]
            return raised / raised.sum(axis=1, keepdims=True)
        return scores**powers
