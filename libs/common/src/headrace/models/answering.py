"""Whether a scikit-learn estimator gives answers that can be served: one number, or a probability per class.

Bare labels and several answers at once are refused.
"""

from typing import Any

from headrace.errors import Poison

_ONE_EACH = "train and register one model per label, each for its own deployment"


def refuse_unanswerable(estimator: Any) -> None:
    """Raise `Poison` with the way out for an estimator whose answers cannot be served."""
    name = type(last_of(estimator)).__name__
    if hasattr(estimator, "predict_proba"):
        classes = getattr(estimator, "classes_", None)
        is_flat = classes is not None and not isinstance(classes, list) and getattr(classes, "ndim", 1) == 1
        if not is_flat or _is_multilabel(last_of(estimator)):
            raise Poison(f"{name} predicts several labels at once, and an answer has one: {_ONE_EACH}")
        return
    if not hasattr(estimator, "predict"):
        raise Poison(f"{name} has no predict: register an estimator, or a pipeline that ends in one")
    if _is_classifier(estimator):
        raise Poison(
            f"{name} gives labels and no probabilities: calibrate it, CalibratedClassifierCV(model).fit(X, y), and register that"
        )
    if (count := _targets(last_of(estimator))) > 1:
        raise Poison(f"{name} predicts {count} numbers at once, and an answer has one: {_ONE_EACH}")


def last_of(estimator: Any) -> Any:
    """The part that answers: the last step of a pipeline, the best estimator of a search, or what is inside of
    these.
    """
    for _ in range(20):
        steps = getattr(estimator, "steps", None)
        inside = steps[-1][1] if steps else getattr(estimator, "best_estimator_", None)
        if inside is None:
            return estimator
        estimator = inside
    return estimator


def decision_notes(estimator: Any) -> tuple[str, ...]:
    """Notes on a classifier whose own `predict` does not return its most probable class."""
    last = last_of(estimator)
    kind = type(last).__name__
    if kind not in ("FixedThresholdClassifier", "TunedThresholdClassifierCV"):
        return ()
    threshold = getattr(last, "best_threshold_", None) if kind.startswith("Tuned") else last.threshold
    if not isinstance(threshold, int | float) or threshold == 0.5:
        return ()
    return (
        f"its own predict decides by its own threshold ({threshold:.6g}), which is not served: `label` is the most probable"
        " class, `value` the probability to compare with it",
    )


def _is_classifier(estimator: Any) -> bool:
    from sklearn.base import is_classifier

    return bool(is_classifier(estimator))


def _is_multilabel(estimator: Any) -> bool:
    """Whether each class is a label of its own, so that the probabilities do not add up to 1."""
    labels = getattr(getattr(estimator, "_label_binarizer", None), "y_type_", "")
    return bool(getattr(estimator, "multilabel_", False)) or str(labels).startswith("multilabel")


def _targets(estimator: Any) -> int:
    """How many numbers a regressor predicts per row; 1 where it does not state it."""
    if type(estimator).__name__ in ("MultiOutputRegressor", "RegressorChain"):
        return len(estimator.estimators_)
    shape = getattr(getattr(estimator, "coef_", None), "shape", ())
    if len(shape) == 2 and shape[0] > 1:
        return int(shape[0])
    count = getattr(estimator, "n_outputs_", 1)
    return count if isinstance(count, int) else 1
