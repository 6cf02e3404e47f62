"""Where in the rows the data changed, and whether older rows are still used.

A finding names the window from which on the champion's loss rose; the rows show it more exactly. One step that explains most of
the champion's loss per row (least squares with one break, Bai 1994), of losses cut at their 99th percentile, is searched
from one window before the finding's on. If the loss did not rise before that step, the change began there. If it had risen already, as
in a month of storms that get worse, the change began at the finding's instant. The change is complete at the step, unless the loss goes on
rising beyond it: then at the next step. A run waits for rows beyond that instant and gates on them: a model that is fitted half-way
through a change learns half of the old data.

Rows before the change stay or go by what the rows after it show. The recipe is fitted with all of them, with those since the change began,
without them, and on the newer half of the rows beyond the change alone. Each fit takes the older two thirds of the rows after the
change that may fit, and is judged on the others. The lowest loss decides. That of the newer half must be lower by more than a standard
error of the paired difference; otherwise chance would drop half of the new rows. No fit touches the holdout.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace_trainer.core.splits import Span

OLDER, BEGUN = "with_older_rows", "since_it_began"
ALL_NEW, NEWER_HALF = "without_older_rows", "with_newer_half"
LEAST_LOSSES = 50
LEAST_NEW = 100
_CUT = 0.99
# Up to this share of the rise a loss counts as unchanged: in April's storms it had risen by .33 at the instant that the finding names.
_UNCHANGED = 0.25
# Standard errors by which losses beyond a change must have risen to count as still rising.
_SURE = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """`begun_s`: the instant from which on rows may follow the new pattern; `complete_s`: that from which on most do, never before `begun_s`."""

    begun_s: float
    complete_s: float


def locate(changed_at_s: float, width_s: float, at_s: Floats, losses: Floats) -> Change:
    """Where the data changed; at `changed_at_s` where too few losses are known.

    `losses`: of the champion per row (n,), NaN where they are not known. `at_s`: ascending. `width_s`: of the windows in which the change was found.
    """
    known = ~np.isnan(losses)
    seen = known & (at_s >= changed_at_s - width_s)
    if seen.sum() < LEAST_LOSSES:
        return Change(changed_at_s, changed_at_s)
    most = np.quantile(losses[seen], _CUT)
    found_s = _step(at_s[seen], np.minimum(losses[seen], most))
    if found_s is None:
        return Change(changed_at_s, changed_at_s)
    parts = (at_s < changed_at_s, (at_s >= changed_at_s) & (at_s < found_s), at_s >= found_s)
    before, between, after = (np.minimum(losses[known & part], most) for part in parts)
    rise = after.mean() - before.mean() if len(before) else 0.0
    complete_s = max(found_s, _end_of_rise(at_s[known & parts[2]], after, rise))
    if len(before) and len(between) and between.mean() - before.mean() > _UNCHANGED * rise:
        return Change(changed_at_s, complete_s)
    return Change(found_s, complete_s)


def _end_of_rise(at_s: Floats, losses: Floats, rise: float) -> float:
    """The first instant from which on losses beyond a change rise no more; minus infinity where they do not."""
    older, newer = np.split(losses, [len(losses) // 2])
    if len(older) < LEAST_LOSSES:
        return -math.inf
    more, error = newer.mean() - older.mean(), math.sqrt((older.var() + newer.var()) / len(older))
    found_s = _step(at_s, losses) if more > max(_UNCHANGED * rise, _SURE * error) else None
    return -math.inf if found_s is None else found_s


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
    losses_of: Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats],
) -> tuple[float, dict[str, float]]:
    """From which instant on rows are used, and the losses that decided it.

    `losses_of(fits, judges)`: the losses per row of the second set of rows, by the recipe fitted on the first.
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
    begun_s = span.changed_at_s if span.begun_s is None else max(span.begun_s, span.from_s)
    candidates = {
        OLDER: (span.from_s, fits_new | (usable & ~new)),
        BEGUN: (begun_s, fits_new | (usable & ~new & (at_s >= begun_s))),
        ALL_NEW: (span.changed_at_s, fits_new),
        NEWER_HALF: (float(at_s[places[cut // 2]]), fits_newer),
    }
    if begun_s >= span.changed_at_s:
        del candidates[BEGUN]
    losses = {
        name: losses_of(fits, judges) for name, (_, fits) in candidates.items() if len(np.unique(labels[fits])) > 1
    }
    figures = {f"loss_{name}": float(found.mean()) for name, found in losses.items()}
    return candidates[_best(losses)][0], figures


def _best(losses: Mapping[str, Floats]) -> str:
    """The candidate with the lowest mean loss; `losses`: per candidate, on the same rows."""
    best, *others = sorted(losses, key=lambda name: losses[name].mean())
    if best != NEWER_HALF or not others:
        return best
    gain = losses[others[0]] - losses[best]
    return best if gain.mean() > gain.std() / math.sqrt(len(gain)) else others[0]
