"""How a model does on windows that it has not seen: the figures of charts by an expanding window over the training history.

The last two thirds of the history are cut into `FOLDS` equal stretches of time. Each is scored by a model that was fitted on rows
before it, less the embargo, so every figure is out of time as live ones are. A fit takes at most 1 / `FOLDS` of all rows, evenly
spaced, so that all of them together take no more rows than one fit. Trees have a cost that does not fall with the rows: on 81,714
flights all of it took 5.1 s of CPU, where one fit takes 2.7 s, and the 61 windows take 15 KB. Such a model is somewhat worse than the
version, which saw all rows (its mean AUC there was .688); what its windows differ by is what the charts need most.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.events.references import ReferenceWindow
from headrace.project.labels import NUMBER
from headrace.stats.charts import figures_of
from headrace_trainer.core.splits import Span
from headrace_trainer.core.target import Target

FOLDS = 4
FIRST_SHARE = 1 / 3
LEAST_ROWS = 100
# The newest ones are kept: so many take about 150 KB of a record.
MOST_WINDOWS = 400

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def windows_of(
    deployment: DeploymentDefinition,
    target: Target,
    span: Span,
    build: Callable[[], Any],
    matrix: NDArray[np.float32],
    labels: Floats,
    at_s: Floats,
) -> tuple[ReferenceWindow, ...]:
    """The windows of the history that have figures, oldest first; () where the history is too short.

    `build`, `matrix`, `labels`, `at_s`: as in `fit_gated`. A stretch whose model cannot be fitted on the rows before it has no windows.
    """
    embargo_s = span.holdout_s - span.fit_to_s
    scores = target.unknown(len(labels))
    for fits, stretch in folds_of(span, at_s, embargo_s):
        if len(fits) < LEAST_ROWS or len(np.unique(labels[fits])) < 2 or not len(stretch):
            continue
        try:
            scores[stretch] = target.scores(target.fit(build(), matrix[fits], labels[fits]), matrix[stretch])
        except Exception:
            # NB: users' code: what cannot be fitted on fewer rows tells nothing of this stretch. The version itself was fitted well.
            continue
    return _windows(deployment, target, scores, labels, at_s)


def folds_of(span: Span, at_s: Floats, embargo_s: float) -> Iterator[tuple[Ints, Ints]]:
    """Per stretch the rows to fit on, and the rows to score. `at_s`: ascending, shape (n,)."""
    inside = np.flatnonzero((at_s >= span.from_s) & (at_s < span.to_s))
    if not len(inside):
        return
    begin_s = float(at_s[inside[0]])
    edges = np.linspace(begin_s + FIRST_SHARE * (span.to_s - begin_s), span.to_s, FOLDS + 1)
    most = max(len(inside) // FOLDS, LEAST_ROWS)
    for low_s, high_s in pairwise(edges):
        before = inside[at_s[inside] < low_s - min(embargo_s, 0.1 * (low_s - begin_s))]
        fits = before if len(before) <= most else before[np.linspace(0, len(before) - 1, most).astype(np.int64)]
        yield fits, inside[(at_s[inside] >= low_s) & (at_s[inside] < high_s)]


def _windows(
    deployment: DeploymentDefinition, target: Target, scores: Floats, labels: Floats, at_s: Floats
) -> tuple[ReferenceWindow, ...]:
    label, width_s = deployment.label, deployment.evaluation_window_s
    span = 1.0
    if label is not None and target.kind == NUMBER and label.low is not None and label.high is not None:
        span = label.high - label.low
    known = np.flatnonzero(np.isfinite(scores if scores.ndim == 1 else scores.sum(axis=1)))
    starts = np.floor(at_s[known] / width_s) * width_s
    found = []
    for start_s in np.unique(starts)[-MOST_WINDOWS:].tolist():
        rows = known[starts == start_s]
        charts = figures_of(target.kind, scores[rows], labels[rows], span)
        if len(charts) > 1:
            found.append(ReferenceWindow(start_s, start_s + width_s, len(rows), charts))
    return tuple(found)
