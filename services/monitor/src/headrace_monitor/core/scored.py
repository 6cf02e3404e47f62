"""Which scores each version gave in a window, by the role in which it was asked.

Scores of two classes and of numbers are in the columns of the window. Those of several classes are as wide as there are
classes, so they are in the decisions that are read again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import LabelDefinition
from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.features.outcomes import key_of
from headrace.project.labels import CLASSES
from headrace_monitor.core.windows import ROLES, SHADOW, Rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one version in one role, of n requests.

    `scores`: shape (n,), of several classes (n, classes). `labels`: shape (n,), places of classes or numbers, NaN for none.
    `rows`: shape (n,), the place of each request in the window's rows. They are in an order that does not depend on how the
    records were read: by instant, label and score. So sums over them are the same to the last bit.
    """

    version: int
    role: str
    scores: Floats
    labels: Floats
    rows: Ints

    @property
    def labelled(self) -> "Scored":
        """Those that have a label."""
        known = ~np.isnan(self.labels)
        return Scored(self.version, self.role, self.scores[known], self.labels[known], self.rows[known])


def scored_of(label: LabelDefinition, rows: Rows, sample: Sequence[DecisionMade]) -> tuple[Scored, ...]:
    """The scores of each (version, role), in that order. `sample`: decisions of the window, read again.

    Scores of the fallback chain count for the version that answered (0 is the prior).
    """
    return tuple(_of_classes(label, rows, sample) if label.kind == CLASSES else _of_columns(rows))


def labelled_of(label: LabelDefinition, rows: Rows, sample: Sequence[DecisionMade]) -> tuple[Scored, ...]:
    """The scores that have a label, of each (version, role) that has any."""
    found = (scored.labelled for scored in scored_of(label, rows, sample))
    return tuple(scored for scored in found if len(scored.labels))


def places_of(rows: Rows, sample: Sequence[DecisionMade]) -> list[int | None]:
    """Per decision of a sample the place of its request in the window's rows; None where it is not among them."""
    columns = (rows.table[name].tolist() for name in ("unit", "at_s", "request"))
    by_request = {request: row for row, request in enumerate(zip(*columns, strict=True))}
    return [by_request.get((key_of(decision.unit), decision.at_s, key_of(decision.request_id))) for decision in sample]


def _of_columns(rows: Rows) -> Iterator[Scored]:
    table, shadows = rows.table, rows.shadows
    versions = np.concatenate([table["version"], shadows["version"]]).astype(np.int64)
    roles = np.concatenate([table["role"], np.full(len(shadows), SHADOW, dtype=np.uint8)])
    scores = np.concatenate([table["score"], shadows["score"]])
    places = np.concatenate([np.arange(len(table)), shadows["row"].astype(np.int64)])
    keys = np.where((roles > 0) & np.isfinite(scores), versions * len(ROLES) + roles, -1)
    groups = sorted((int(key) // len(ROLES), ROLES[int(key) % len(ROLES)], key) for key in np.unique(keys[keys >= 0]))
    for version, role, key in groups:
        mine = keys == key
        yield _ordered(version, role, scores[mine], places[mine], rows)


def _of_classes(label: LabelDefinition, rows: Rows, sample: Sequence[DecisionMade]) -> Iterator[Scored]:
    groups: dict[tuple[int, str], list[tuple[int, tuple[float, ...]]]] = {}
    for decision, row in zip(sample, places_of(rows, sample), strict=True):
        if row is None:
            continue
        true = float(rows.labels[row])
        for role, score in _scores(decision):
            probabilities = score.probabilities or ()
            # NB: without declared classes a score fits when it has a probability for the label.
            fits = len(probabilities) == len(label.classes) if label.classes else not true >= len(probabilities)
            if probabilities and fits:
                groups.setdefault((score.version, role), []).append((row, probabilities))
    for (version, role), found in sorted(groups.items()):
        yield _group(version, role, found, rows)


def _group(version: int, role: str, found: Sequence[tuple[int, tuple[float, ...]]], rows: Rows) -> Scored:
    width = max(len(probabilities) for _, probabilities in found)
    scores = np.array([(*probabilities, *[0.0] * (width - len(probabilities))) for _, probabilities in found])
    places = np.array([row for row, _ in found], dtype=np.int64)
    return _ordered(version, role, scores, places, rows)


def _ordered(version: int, role: str, scores: Floats, places: Ints, rows: Rows) -> Scored:
    labels = rows.labels[places]
    columns = scores if scores.ndim == 2 else scores[:, None]
    order = np.lexsort((*columns.T, labels, rows.table["at_s"][places]))
    return Scored(version, role, scores[order], labels[order], places[order])


def _scores(decision: DecisionMade) -> list[tuple[str, Score]]:
    """The scores of a decision with the role of each."""
    answer, found = decision.answer, [("shadow", score) for score in decision.shadows]
    if isinstance(answer, Served):
        return [("champion", answer.score), *found]
    if isinstance(answer, FellBack):
        return [(answer.step if answer.step in ROLES else "fallback", answer.score), *found]
    return found
