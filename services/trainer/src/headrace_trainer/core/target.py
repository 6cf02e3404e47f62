"""What is fitted and how a model's predictions are read, per kind of label; a model that cannot be read so is refused with the reason.

| kind    | `build` returns                  | `fit(X, y)` gets in y        | scores                            | figures on the holdout      |
|---------|----------------------------------|------------------------------|-----------------------------------|-----------------------------|
| binary  | a classifier with `predict_proba` | 0.0 and 1.0                 | probability of the positive class | log-loss, AUC               |
| classes | a classifier with `predict_proba` | indices of the classes, int | a probability per class           | log-loss, accuracy          |
| number  | a regressor with `predict`        | the numbers                 | the number                        | RMSE, MAE, R2               |

A classifier that has not seen a class gives it probability 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from headrace.events.definition import LabelDefinition
from headrace.events.inference import Score
from headrace.events.registry import VersionRegistered
from headrace.models.engine import Engine, by_class, numbered
from headrace.project.labels import BINARY, CLASSES, NUMBER, are_its_answers
from headrace.stats.losses import Yardstick, losses, scale_of, yardstick_of

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
_MISSING_SHOWN = 5


class Unfit(Exception):
    """The run cannot go on because of the user's code, or of what it made of the data. The message is the reason of the outcome."""


@dataclass(frozen=True, slots=True)
class Target:
    """The label that is predicted. `classes`: their names, of two the negative one first; () for a number, and for two without names."""

    kind: str
    classes: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, str]:
        """The methods that an estimator must have."""
        return ("fit", "predict" if self.kind == NUMBER else "predict_proba")

    def fit(self, estimator: Any, matrix: Matrix, labels: Floats) -> Any:
        """The estimator, fitted. Raises `Unfit` where it cannot do with the classes that there are rows of."""
        if self.kind != CLASSES:
            return estimator.fit(matrix, labels)
        try:
            return estimator.fit(matrix, labels.astype(np.int64))
        except Exception as error:
            missing = self._without_rows(labels)
            if not missing:
                raise
            reason = f"fit failed: {type(error).__name__}: {error} (no row to fit on is of {', '.join(missing)})"
            raise Unfit(" ".join(reason.split())[:500]) from error

    def _without_rows(self, labels: Floats) -> list[str]:
        seen = set(labels.astype(np.int64).tolist())
        return [name for index, name in enumerate(self.classes) if index not in seen][:_MISSING_SHOWN]

    def places(self, model: Any) -> tuple[int, ...]:
        """Where a fitted model's classes stand among the label's; () where it knows all of them."""
        if self.kind != CLASSES:
            return ()
        known = tuple(int(found) for found in getattr(model, "classes_", range(len(self.classes))))
        return () if known == tuple(range(len(self.classes))) else known

    def scores(self, model: Any, matrix: Matrix) -> Floats:
        """A fitted model's scores of rows, see `headrace.stats.losses`. Raises `Unfit` for predictions of another shape."""
        if self.kind == NUMBER:
            numbers = np.asarray(model.predict(matrix), np.float64)
            if numbers.size != len(matrix):
                raise Unfit(f"predict gave shape {numbers.shape} for {len(matrix)} rows: one number per row is wanted")
            return numbers.reshape(len(matrix))
        places = self.places(model)
        count = 2 if self.kind == BINARY else len(places or self.classes)
        found = np.asarray(model.predict_proba(matrix), np.float64)
        if found.shape != (len(matrix), count):
            raise Unfit(f"predict_proba gave shape {found.shape} for {len(matrix)} rows of {count} classes")
        return found[:, 1] if self.kind == BINARY else by_class(found, len(self.classes), places)

    def ask(self, engine: Engine, matrix: Matrix, places: Sequence[int]) -> Floats:
        """An engine's scores of rows. `places`: where its classes stand among the label's, () where they are the same."""
        found = by_class(engine.predict(matrix, self.kind), len(self.classes) or 2, places)
        return found[:, 1] if self.kind == BINARY else found

    def places_of_twin(self, engine: Engine) -> tuple[int, ...]:
        """Where the classes of a gated twin stand among the label's: it was trained here, and knows them by their indices."""
        if self.kind != CLASSES:
            return ()
        known = tuple(int(float(found)) for found in engine.labels)
        return () if known == tuple(range(len(self.classes))) else known

    def unknown(self, rows: int) -> Floats:
        """Scores that are not known: NaN for each row."""
        return np.full((rows, len(self.classes)) if self.kind == CLASSES else rows, np.nan)

    def score_of(self, score: Score) -> float | tuple[float, ...] | None:
        """The figures of a logged score; None where it is of another kind, or of another number of classes."""
        if self.kind == CLASSES:
            return (
                score.probabilities
                if score.probabilities is not None and len(score.probabilities) == len(self.classes)
                else None
            )
        return score.value

    def is_answered_by(self, registered: VersionRegistered) -> bool:
        """Whether a version's scores are of the same kind, and of the same classes in their order."""
        return are_its_answers(self.kind, self.classes, registered.output, registered.classes)

    def yardstick(self, labels: Floats) -> Yardstick:
        """The losses of this kind of label, fitted on labels."""
        return yardstick_of(self.kind, labels, len(self.classes))

    def figures(self, scores: Floats, labels: Floats) -> dict[str, float]:
        """How good scores are, by name; a figure that these labels do not determine is left out."""
        if self.kind == NUMBER:
            return _figures_of_numbers(scores, labels)
        found = {"log_loss": float(losses(self.kind, scores, labels).mean())}
        if self.kind == CLASSES:
            return found | {"accuracy": float((scores.argmax(axis=1) == labels).mean())}
        has_both = 0 < labels.sum() < len(labels)
        return found | ({"auc": float(roc_auc_score(labels, scores))} if has_both else {})

    def apart(self, scores: Floats, others: Floats) -> Floats:
        """How far two scores of each row lie apart, shape (n,): of classes the largest difference, of numbers in their spread."""
        gaps = np.abs(scores - others)
        return gaps.max(axis=1, initial=0.0) if gaps.ndim == 2 else gaps / scale_of(self.kind, scores)

    def flipped(self, scores: Floats, others: Floats) -> int:
        """How many rows have another most probable class; 0 for numbers."""
        if self.kind == NUMBER:
            return 0
        if self.kind == BINARY:
            return int(((scores > 0.5) != (others > 0.5)).sum())
        return int((scores.argmax(axis=1) != others.argmax(axis=1)).sum())


def target_of(label: LabelDefinition, labels: Sequence[float] | Floats) -> Target:
    """The target of a deployment. Where several classes have no names, there are as many as the largest of `labels` implies."""
    if label.kind != CLASSES or label.classes:
        return Target(label.kind, label.classes)
    return Target(label.kind, numbered(int(max(labels, default=0.0)) + 1))


def _figures_of_numbers(scores: Floats, labels: Floats) -> dict[str, float]:
    errors = scores - labels
    found = {"rmse": float(np.sqrt((errors**2).mean())), "mae": float(np.abs(errors).mean())}
    spread = float(((labels - labels.mean()) ** 2).mean())
    return found | ({"r2": 1 - float((errors**2).mean()) / spread} if spread else {})
