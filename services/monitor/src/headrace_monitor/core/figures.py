"""The figures of a closed window per kind of label, and why there are none: what is not measured is said, never left empty.

| kind    | loss                                                   | beside it          | from                                            |
|---------|--------------------------------------------------------|--------------------|-------------------------------------------------|
| binary  | log-loss                                               | AUC, mean score    | every labelled row                              |
| classes | log-loss                                               | accuracy           | a sample of decisions, read again: see `MOST`   |
| number  | squared error, in squares of a quarter of the declared range | RMSE, MAE, mean score | every labelled row                      |

A score of several classes is as wide as there are classes, and waits nowhere until its label comes: of a window at most 5,000 decisions
are read from the log again (those of the lowest hash of where they lie), with their shadows' scores, those that came later too. A number's loss
is told in its range so that one threshold means the same for prices and for degrees.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import LabelDefinition
from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.events.monitor import VersionQuality
from headrace.features.outcomes import key_of
from headrace.project.labels import CLASSES, NUMBER
from headrace.stats.losses import losses
from headrace_monitor.core.quality import errors_of, qualities_of
from headrace_monitor.core.windows import ROLES, Rows

Floats = NDArray[np.float64]
Group = tuple[int, str]
# What the ladder's prior says: a probability or a number, or one probability per class; None where there is none.
Prior = float | tuple[float, ...] | None
# The spread of labels that fill their range as a bell does.
_SPREAD_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Figures:
    """What the labels of a window say. `positive_share`: of two classes; `class_shares`: of several, by name; `mean_label`: of numbers.
    `unmeasured`: why nothing is said of versions, "" when something is.
    """

    qualities: tuple[VersionQuality, ...] = ()
    positive_share: float | None = None
    class_shares: dict[str, float] | None = None
    mean_label: float | None = None
    unmeasured: str = ""


def figures_of(
    label: LabelDefinition | None, rows: Rows, sample: Sequence[DecisionMade], prior: Prior = None
) -> Figures:
    """Of a window's rows. `sample`: decisions of it, read again; only several classes need them. `prior`: of the ladder."""
    if label is None:
        return Figures(unmeasured="no label is declared")
    known = rows.labels[~np.isnan(rows.labels)]
    if not len(known):
        return Figures(unmeasured="no label has come" if len(rows) else "nothing was asked")
    match label.kind:
        case "binary":
            return _told(
                Figures(
                    qualities_of(rows, prior if isinstance(prior, float) else None), float(known.sum()) / len(known)
                )
            )
        case "number":
            return _told(Figures(_of_numbers(label, rows, prior), mean_label=float(known.mean())))
        case _:
            return _told(Figures(_of_classes(label, rows, sample, prior), class_shares=_shares(label, known)))


def _told(found: Figures) -> Figures:
    if found.qualities:
        return found
    why = "no labelled request has a score of the label's kind"
    return Figures((), found.positive_share, found.class_shares, found.mean_label, why)


def _shares(label: LabelDefinition, known: Floats) -> dict[str, float]:
    indexes, counts = np.unique(known.astype(np.int64), return_counts=True)
    names = [label.classes[index] if index < len(label.classes) else str(index) for index in indexes]
    return {name: int(count) / len(known) for name, count in zip(names, counts, strict=True)}


def _of_numbers(label: LabelDefinition, rows: Rows, prior: Prior) -> tuple[VersionQuality, ...]:
    versions, roles, scores, labels = rows.scores()
    scale = None if label.low is None or label.high is None else (label.high - label.low) * _SPREAD_SHARE
    keys = versions.astype(np.int64) * len(ROLES) + roles
    groups = sorted((int(key) // len(ROLES), ROLES[int(key) % len(ROLES)], key) for key in np.unique(keys))
    return tuple(
        _number(version, role, scores[keys == key], labels[keys == key], scale, prior) for version, role, key in groups
    )


def _number(
    version: int, role: str, scores: Floats, labels: Floats, scale: float | None, prior: Prior
) -> VersionQuality:
    errors = scores - labels
    squared = float((errors**2).mean())
    each = None if scale is None else losses(NUMBER, scores, labels, scale)
    over = None
    if each is not None and isinstance(prior, float):
        over = each - losses(NUMBER, np.full(len(labels), prior), labels, scale or 1.0)
    return VersionQuality(
        version,
        role,
        len(labels),
        None,
        None,
        None,
        float(scores.mean()),
        rmse=squared**0.5,
        mae=float(np.abs(errors).mean()),
        squared_error=None if each is None else float(each.mean()),
        **({} if each is None else errors_of(each, each, over)),
    )


def _of_classes(
    label: LabelDefinition, rows: Rows, sample: Sequence[DecisionMade], prior: Prior
) -> tuple[VersionQuality, ...]:
    columns = (rows.table[name].tolist() for name in ("unit", "at_s", "request"))
    by_place = {place: row for row, place in enumerate(zip(*columns, strict=True))}
    groups: dict[Group, tuple[list[tuple[float, ...]], list[float]]] = {}
    for decision in sample:
        row = by_place.get((key_of(decision.unit), decision.at_s, key_of(decision.request_id)))
        value = np.nan if row is None else float(rows.labels[row])
        if value != value:
            continue
        for role, score in _scores(decision):
            shares = score.classes or ()
            if len(shares) == len(label.classes) or (not label.classes and value < len(shares)):
                said, true = groups.setdefault((score.version, role), ([], []))
                said.append(shares)
                true.append(value)
    return tuple(_classes(*group, *of, prior) for group, of in sorted(groups.items()))


def _classes(
    version: int, role: str, said: Sequence[tuple[float, ...]], true: Sequence[float], prior: Prior
) -> VersionQuality:
    width = max(len(shares) for shares in said)
    shares, labels = np.array([(*found, *[0.0] * (width - len(found))) for found in said]), np.array(true)
    clipped = np.clip(shares, 1e-15, 1.0)
    each, expected = losses(CLASSES, shares, labels), -(shares * np.log(clipped)).sum(axis=1)
    is_told = isinstance(prior, tuple) and len(prior) == width
    over = each - losses(CLASSES, np.tile(np.array(prior), (len(labels), 1)), labels) if is_told else None
    return VersionQuality(
        version,
        role,
        len(labels),
        float(each.mean()),
        float(expected.mean()),
        None,
        None,
        accuracy=float((shares.argmax(axis=1) == labels).mean()),
        **errors_of(each, each - expected, over),
    )


def _scores(decision: DecisionMade) -> list[tuple[str, Score]]:
    answer, found = decision.answer, [("shadow", score) for score in decision.shadows]
    if isinstance(answer, Served):
        return [("champion", answer.score), *found]
    if isinstance(answer, FellBack):
        return [(answer.rung if answer.rung in ROLES else "fallback", answer.score), *found]
    return found


def needs_sample(label: LabelDefinition | None) -> bool:
    """Whether decisions must be read again to say how versions did."""
    return label is not None and label.kind == CLASSES
