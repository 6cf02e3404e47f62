"""What is counted of answered requests: the outcome, where the score lies, and the rows whose categories a version does not know."""

from collections.abc import Sequence

import numpy as np

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Answer, Expired, FellBack, Invalid, Refused, Score, Served
from headrace.events.registry import ColumnPin

NUMBER = "number"
# The lowest value and the width of what is a probability.
PROBABILITIES = (0.0, 1.0)


def outcome_of(answer: Answer) -> tuple[str, int]:
    """The outcome as `ops.health` names it, and the version that answered, 0 for none.

    >>> outcome_of(FellBack("prior", "no version yet", Score(0, "", 0.3))), outcome_of(Expired(5))
    (('prior', 0), ('expired', 0))
    """
    match answer:
        case Served(score):
            return "served", score.version
        case FellBack(step, _, score):
            return step, score.version
        case Refused():
            return "refused", 0
        case Expired():
            return "expired", 0
        case Invalid():
            return "invalid", 0


def scale_of(definition: DeploymentDefinition | None) -> tuple[float, float] | None:
    """The lowest value that a version gives, and how far the highest lies above it; None for a number without a range.

    A deployment without a label gives probabilities.
    """
    label = None if definition is None else definition.label
    if label is None or label.kind != NUMBER:
        return PROBABILITIES
    if label.low is None or label.high is None or label.high <= label.low:
        return None
    return label.low, label.high - label.low


def place_of(score: Score, scale: tuple[float, float]) -> float | None:
    """Where a score lies, 0..1: the probability of the positive class, of several classes that of the likeliest, or the place of a number
    in its range. None without a value.

    >>> place_of(Score(1, "", 30.0), (0.0, 120.0)), place_of(Score(1, "", None, (0.2, 0.7, 0.1)), (0.0, 1.0))
    (0.25, 0.7)
    """
    if score.value is not None:
        return (score.value - scale[0]) / scale[1]
    return max(score.probabilities) if score.probabilities else None


def unknown_rows(rows: np.ndarray, columns: Sequence[ColumnPin]) -> int:
    """The rows with at least one category for which the version has no code. `rows`: float32 (n, columns).

    >>> unknown_rows(np.array([[0.0, 1.0], [np.nan, 0.0]]), [ColumnPin("x"), ColumnPin("c", ("AA",))])
    1
    """
    found = None
    for place, pin in enumerate(columns):
        if pin.vocabulary is not None:
            # NB: a null is NaN, which is not below anything.
            known = rows[:, place] < len(pin.vocabulary)
            found = known if found is None else found & known
    return 0 if found is None else len(rows) - int(np.count_nonzero(found))
