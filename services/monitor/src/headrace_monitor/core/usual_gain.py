"""What a deployment's champion usually gains over a constant answer, from its closed windows: the default margin of a rollout is
a tenth of it.

The gain is taken from before the rollout. In a calm fortnight a champion gains little; a margin that followed the rollout's own
labels would then ask for more evidence than any fortnight has.
"""

from collections.abc import Sequence

from headrace.events.definition import LabelDefinition
from headrace.events.monitor import WindowClosed
from headrace.project.labels import BINARY, CLASSES
from headrace.stats.scores import constant_score

# How much less each older window counts: about the newest fifty make up the record.
_FADES = 0.98
# With fewer labelled rows nothing is usual yet.
_LEAST_ROWS = 100

# Rows, the sum of their scores, and labels per class, all of them faded.
Record = tuple[float, ...]


def recorded(record: Record, window: WindowClosed, label: LabelDefinition | None) -> Record:
    """The record with one more closed window; unchanged where that does not measure the champion.

    Of numbers there is none: the best constant of several windows does not follow from their figures.
    """
    shares = _shares(window, label)
    scored = [found for found in window.qualities if found.role == "champion" and found.score is not None]
    rows = sum(found.rows for found in scored)
    if shares is None or not rows:
        return record
    total = sum(found.rows * (found.score or 0.0) for found in scored)
    own = (float(rows), total, *(window.labelled * share for share in shares))
    before = record if len(record) == len(own) else (0.0,) * len(own)
    return tuple(_FADES * old + new for old, new in zip(before, own, strict=True))


def gain_of(record: Record, label: LabelDefinition | None) -> float | None:
    """The usual gain per request, in the bounded score of the label's kind; None where too little is on record.

    >>> gain_of((100.0, 10.0, 75.0, 25.0), LabelDefinition("y", "binary", 60.0))
    0.0875
    """
    if label is None or len(record) < 2 or record[0] < _LEAST_ROWS:
        return None
    rows, total, *counts = record
    return constant_score(label.kind, counts) - total / rows


def _shares(window: WindowClosed, label: LabelDefinition | None) -> Sequence[float] | None:
    """The share of each class among the labels of a window, in the order of the label; None where there are no classes."""
    if label is None:
        return None
    if label.kind == BINARY and window.positive_share is not None:
        return (1 - window.positive_share, window.positive_share)
    if label.kind == CLASSES and window.class_shares is not None:
        return tuple(window.class_shares.get(name, 0.0) for name in label.classes)
    return None
