"""What a score costs once its label is known: one loss per kind of label, for gates, windows and figures alike.

| kind    | scores                            | loss of a row                               | the prior's score          |
|---------|-----------------------------------|---------------------------------------------|----------------------------|
| binary  | probability of the positive class | log-loss in nats                            | the share of positives     |
| classes | a probability per class           | log-loss in nats: minus log of the true one | the share of each class    |
| number  | the number                        | squared error, in units of `scale` squared  | the mean                   |

`scale` is the spread (standard deviation) of the labels that were fitted on, so that their mean has a loss of 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINARY, NUMBER, CLASSES = "binary", "number", "classes"
LOSSES = {BINARY: "log-loss", CLASSES: "log-loss", NUMBER: "squared error in label variances"}
_LEAST = 1e-15


def losses(kind: str, scores: Floats, labels: Floats, scale: float = 1.0) -> Floats:
    """Loss per row, shape (n,). Probabilities are kept 1e-15 away from 0 and 1.

    `scores`: shape (n,) for `binary` and `number`, (n, classes) for `classes`. `labels`: (n,), for `classes` their
    indices.

    >>> losses("classes", np.array([[0.5, 0.25, 0.25]]), np.array([0.0])).round(3).tolist()
    [0.693]
    """
    if kind == NUMBER:
        return ((scores - labels) / scale) ** 2
    if kind == CLASSES:
        true = scores[np.arange(len(labels)), labels.astype(np.int64)]
        return -np.log(np.clip(true, _LEAST, 1 - _LEAST))
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    return -(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))


def scale_of(kind: str, labels: Floats) -> float:
    """The `scale` for `losses`: the spread of numbers; 1 for classes, and where all numbers are equal.

    >>> scale_of("number", np.array([1.0, 3.0])), scale_of("binary", np.array([0.0, 1.0]))
    (1.0, 1.0)
    """
    return float(labels.std()) or 1.0 if kind == NUMBER and len(labels) else 1.0


def prior_of(kind: str, labels: Floats, classes: int = 2) -> Floats:
    """The prior, which ignores the row, fitted on `labels` (n,).

    Its shape is () for `binary` and `number`, (classes,) for `classes`.

    >>> prior_of("classes", np.array([0.0, 0.0, 1.0, 2.0]), 3).tolist()
    [0.5, 0.25, 0.25]
    """
    if kind == CLASSES:
        return np.bincount(labels.astype(np.int64), minlength=classes) / len(labels)
    return np.asarray(labels.mean())


def prior_losses(kind: str, prior: Floats, labels: Floats, scale: float = 1.0) -> Floats:
    """Loss per row of a prior, see `prior_of`."""
    return losses(kind, np.broadcast_to(prior, (len(labels), *np.shape(prior))), labels, scale)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The loss of one kind of label, with the `prior` and `scale` of the labels that were fitted on."""

    kind: str
    prior: Floats
    scale: float = 1.0

    @property
    def name(self) -> str:
        """The name of the loss."""
        return LOSSES[self.kind]

    def losses(self, scores: Floats, labels: Floats) -> Floats:
        """Loss per row of scores, see `losses`."""
        return losses(self.kind, scores, labels, self.scale)

    def prior_losses(self, labels: Floats) -> Floats:
        """Loss per row of the prior."""
        return prior_losses(self.kind, self.prior, labels, self.scale)


def yardstick_of(kind: str, labels: Floats, classes: int = 2) -> Yardstick:
    """The yardstick of `labels` (n,), at least one. `classes`: their number.

    >>> yardstick_of("number", np.array([1.0, 3.0])).prior_losses(np.array([2.0, 4.0])).tolist()
    [0.0, 4.0]
    """
    return Yardstick(kind, prior_of(kind, labels, classes), scale_of(kind, labels))
