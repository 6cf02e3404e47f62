"""Which rows fit and which gate: by time. The newest `holdout` is kept to gate on, and the `embargo` before it is left out.

Both shrink by one factor while they would take more than a third of the time that the rows span. After a change the newest third
of the rows beyond it gate, if that is less, and the embargo is at most a tenth of the time between the change and the holdout. Where
the champion was trained on rows of the holdout, the holdout begins where those end (rolling origin), while enough rows are left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import TrainingDefinition
from headrace_trainer.core.intervals import LEAST_ROWS

MOST_SHARE = 1 / 3
EMBARGO_AFTER_CHANGE = 0.1
# What a retrain that follows a change waits for, unless the project says otherwise.
MOST_AFTER_CHANGE, SHARE_AFTER_CHANGE = 1000, 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of a run have an instant in [from_s, to_s); those before `fit_to_s` fit, those in [holdout_s, to_s) gate.

    `changed_at_s`: the instant from which on the data has changed, None for no change. `begun_s`: the instant at which a gradual change began.
    """

    from_s: float
    fit_to_s: float
    holdout_s: float
    to_s: float
    changed_at_s: float | None = None
    begun_s: float | None = None


def span_of(
    training: TrainingDefinition,
    at_s: Floats,
    from_s: float,
    to_s: float,
    changed_at_s: float | None = None,
    fair_from_s: float | None = None,
    begun_s: float | None = None,
) -> Span:
    """The span of labelled rows at the instants `at_s` (n,), ascending, within [from_s, to_s).

    `fair_from_s`: the champion was trained on rows before it. `changed_at_s`, `begun_s`: see `Span`.
    """
    inside = at_s[(at_s >= from_s) & (at_s < to_s)]
    begin_s = float(inside[0]) if len(inside) else from_s
    wanted_s = training.holdout_s + training.embargo_s
    shrunk = min(1.0, MOST_SHARE * (to_s - begin_s) / wanted_s) if wanted_s > 0 else 1.0
    holdout_s, embargo_s = to_s - shrunk * training.holdout_s, shrunk * training.embargo_s
    after = inside[inside >= changed_at_s] if changed_at_s is not None else inside[:0]
    if changed_at_s is not None and len(after):
        holdout_s = max(holdout_s, float(after[(2 * len(after)) // 3]))
        embargo_s = min(embargo_s, EMBARGO_AFTER_CHANGE * max(holdout_s - changed_at_s, 0.0))
    if fair_from_s is not None and fair_from_s > holdout_s and (inside >= fair_from_s).sum() >= LEAST_ROWS:
        holdout_s = fair_from_s
    return Span(from_s, holdout_s - embargo_s, holdout_s, to_s, changed_at_s, begun_s)


def masks(span: Span, at_s: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows to fit on, and rows to gate on."""
    return (at_s >= span.from_s) & (at_s < span.fit_to_s), (at_s >= span.holdout_s) & (at_s < span.to_s)


def wanted_after(training: TrainingDefinition, rows: int) -> int:
    """How many labelled rows beyond a change a retrain waits for, of a history of so many rows.

    >>> from headrace.events.definition import TrainingDefinition
    >>> wanted_after(TrainingDefinition("m:f", 1.0, 1.0, 0.0, 1.0, 1), 4_321)
    433
    """
    if training.min_rows_after_change is not None:
        return training.min_rows_after_change
    return min(MOST_AFTER_CHANGE, -int(-rows * SHARE_AFTER_CHANGE // 1))


def why_not(training: TrainingDefinition, span: Span, labels: Floats, at_s: Floats) -> tuple[str, int]:
    """Why there are too few rows to train on, naming the argument, and how many are missing; "" and 0 when there are enough."""
    fits, gates = masks(span, at_s)
    days = (span.to_s - span.holdout_s) / 86_400
    left = f"holdout={training.holdout_s / 86_400:g}d (here {days:.2g} d) leaves {fits.sum():,} labelled rows to fit on"
    if fits.sum() < training.min_rows:
        return f"{left}, at least min_rows={training.min_rows:,} are wanted", int(training.min_rows - fits.sum())
    if gates.sum() < LEAST_ROWS:
        gating = f"and {gates.sum()} to gate on, at least {LEAST_ROWS} are wanted: a longer holdout holds more"
        return f"{left} {gating}", int(LEAST_ROWS - gates.sum())
    if len(np.unique(labels[fits])) < 2:
        return "all rows to fit on have the same label", 0
    return "", 0
