"""Where in the rows the world changed, and what rows before that are still worth.

A finding knows the window from which on the champion's loss rose; the rows know better. The change is put where one step explains most of
the champion's loss per row (least squares with one break, Bai 1994), of losses cut at their 99th percentile, looked for
from one window before the finding's on, provided that the loss was still as before until then: where it had risen already, as in a month of storms
that get worse, the finding's instant stands. Older rows stay or go by what the rows after the change show: the recipe is fitted with
and without them, and on the newer half of the rows beyond the change alone (it may have come by and by), each on the older two thirds of the rows after the
change that may fit, and what has the lower loss on the others stands. Neither touches the holdout.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headrace_trainer.core.splits import Span

LEAST_LOSSES = 50
LEAST_NEW = 100
_CUT = 0.99
# Up to this share of the rise a loss is still as before: of April's storms it had risen by .33 when the finding says that it began.
_STILL = 0.25

Floats = NDArray[np.float64]


def locate(changed_at_s: float, width_s: float, at_s: Floats, losses: Floats) -> float:
    """The instant of the first row after the change. `losses`: of the champion per row (n,), NaN where they say nothing; `at_s`: ascending;
    `width_s`: of the windows in which the change was seen. Where too few losses are known: `changed_at_s`.
    """
    known = ~np.isnan(losses)
    seen = known & (at_s >= changed_at_s - width_s)
    if seen.sum() < LEAST_LOSSES:
        return changed_at_s
    most = np.quantile(losses[seen], _CUT)
    found_s = _step(at_s[seen], np.minimum(losses[seen], most))
    if found_s is None:
        return changed_at_s
    parts = (at_s < changed_at_s, (at_s >= changed_at_s) & (at_s < found_s), at_s >= found_s)
    before, between, after = (np.minimum(losses[known & part], most) for part in parts)
    if len(before) and len(between) and between.mean() - before.mean() > _STILL * (after.mean() - before.mean()):
        return changed_at_s
    return found_s


def _step(at_s: Floats, losses: Floats) -> float | None:
    """The first instant after the one step up that explains most; None where there is none."""
    counts = np.arange(1, len(losses))
    below = np.cumsum(losses)[:-1]
    step = (losses.sum() - below) / (len(losses) - counts) - below / counts
    explained = np.where(step > 0, step**2 * counts * (len(losses) - counts), 0.0)
    return float(at_s[int(np.argmax(explained)) + 1]) if explained.any() else None


def history_of(
    span: Span,
    at_s: Floats,
    labels: Floats,
    loss_of: Callable[[NDArray[np.bool_], NDArray[np.bool_]], float],
) -> tuple[float, dict[str, float]]:
    """From which instant on rows are used, and the figures that decided it. `loss_of(fits, judges)`: the mean loss on one set of rows of
    the recipe fitted on another.
    """
    if span.changed_at_s is None or span.changed_at_s <= span.from_s:
        return span.from_s, {}
    usable = (at_s >= span.from_s) & (at_s < span.fit_to_s)
    new = usable & (at_s >= span.changed_at_s)
    places = np.flatnonzero(new)
    if len(places) < LEAST_NEW or not (usable & ~new).any():
        return span.from_s, {}
    cut = (2 * len(places)) // 3
    judges, fits_new, fits_newer = (np.zeros_like(new) for _ in range(3))
    fits_new[places[:cut]], fits_newer[places[cut // 2 : cut]], judges[places[cut:]] = True, True, True
    candidates = {
        "loss_with_older_rows": (span.from_s, fits_new | (usable & ~new)),
        "loss_without_older_rows": (span.changed_at_s, fits_new),
        "loss_with_newer_half": (float(at_s[places[cut // 2]]), fits_newer),
    }
    figures = {
        name: loss_of(fits, judges) for name, (_, fits) in candidates.items() if len(np.unique(labels[fits])) > 1
    }
    best = min(figures, key=lambda name: figures[name])
    return candidates[best][0], figures
