"""Where in the rows the world changed, and what rows before that are still worth.

A finding knows the window from which on the champion's loss rose; the rows know better. One step that explains most of
the champion's loss per row (least squares with one break, Bai 1994), of losses cut at their 99th percentile, is looked for
from one window before the finding's on. The change began there, if the loss was still as before until then: where it had risen already, as in a month of storms
that get worse, with the finding's instant. It has come there too, unless the loss goes on rising beyond it: then at the next step. What a run waits for and gates on lies beyond
that: what is fitted half-way knows half of two worlds.

Rows before it stay or go by what the rows after it show: the recipe is fitted with all of them, with those since the change began,
without them, and on the newer half of the rows beyond the change alone, each on the older two thirds of the rows after the
change that may fit, and judged on the others. What has the lower loss stands; of the newer half it must be lower by more than a standard error of the paired
difference, or a coin would throw half of the new rows away. None touches the holdout.
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
# Up to this share of the rise a loss is still as before: of April's storms it had risen by .33 when the finding says that it began.
_STILL = 0.25
# Standard errors by which losses beyond a change must have risen to be rising still.
_SURE = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """`begun_s`: the instant from which on rows may be of the new world; `come_s`: that from which on most are, never before `begun_s`."""

    begun_s: float
    come_s: float


def locate(changed_at_s: float, width_s: float, at_s: Floats, losses: Floats) -> Change:
    """Where the world changed. `losses`: of the champion per row (n,), NaN where they say nothing; `at_s`: ascending;
    `width_s`: of the windows in which the change was seen. Where too few losses are known: at `changed_at_s`.
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
    come_s = max(found_s, _settled(at_s[known & parts[2]], after, rise))
    if len(before) and len(between) and between.mean() - before.mean() > _STILL * rise:
        return Change(changed_at_s, come_s)
    return Change(found_s, come_s)


def _settled(at_s: Floats, losses: Floats, rise: float) -> float:
    """The first instant from which on losses beyond a change rise no more; minus infinity where they do not."""
    older, newer = np.split(losses, [len(losses) // 2])
    if len(older) < LEAST_LOSSES:
        return -math.inf
    more, error = newer.mean() - older.mean(), math.sqrt((older.var() + newer.var()) / len(older))
    found_s = _step(at_s, losses) if more > max(_STILL * rise, _SURE * error) else None
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
    """From which instant on rows are used, and the figures that decided it. `losses_of(fits, judges)`: per row of one set, of
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
    """The rows that are used, by losses on the same rows of what was fitted on them."""
    best, *others = sorted(losses, key=lambda name: losses[name].mean())
    if best != NEWER_HALF or not others:
        return best
    gain = losses[others[0]] - losses[best]
    return best if gain.mean() > gain.std() / math.sqrt(len(gain)) else others[0]
