"""What calendars of retrains would have gained, without a replay of each: a matrix of composite models.

For each instant of a grid a version is fitted on everything that was labelled by then, and scores every later request
once. A calendar chooses instants of the grid; between two of them the version of the earlier one answers. So what any
calendar loses is a sum over the matrix, and a thousand random calendars cost no fit more than one (Boether et al. 2025,
"Modyn: data-centric machine learning pipeline orchestration", SIGMOD, section 4: composite models). Calendars have no gates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.stats.losses import Yardstick
from headrace_backtest.history import Floats, History
from headrace_backtest.training import Trainer
from headrace_backtest.versions import Version

Ints = NDArray[np.int64]
Progress = Callable[[float], None]
# So many versions are fitted at the most, whatever the stretch.
MOST_FITS = 60


@dataclass(frozen=True)
class Composite:
    """Losses by version and interval: g instants of a grid, ascending.

    `grid_s`, `ready_s`: (g,), the instants, and since when the version of each answers. `losses`: (g + 1, g + 1), the sum of the losses of a
    version (row 0: of never) over the requests of an interval (column 0: before the first instant). `rows`: of all requests.
    """

    grid_s: Floats
    ready_s: Floats
    losses: Floats
    rows: int

    def totals(self, chosen: NDArray[np.bool_]) -> Floats:
        """The losses of calendars, shape (calendars, g) of the instants at which each retrains, summed over all requests.

        >>> at_s = np.array([1.0, 2.0])
        >>> found = Composite(at_s, at_s, np.array([[5.0, 5.0, 5.0], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]), 3)
        >>> found.totals(np.array([[False, False], [True, False], [True, True]])).tolist()
        [15.0, 8.0, 7.0]
        """
        count = len(self.ready_s)
        newest = np.maximum.accumulate(np.where(chosen, np.arange(1, count + 1), 0), axis=1)
        later = self.losses[newest, np.arange(1, count + 1)].sum(axis=1)
        return self.losses[0, 0] + later

    def gains(self, chosen: NDArray[np.bool_]) -> Floats:
        """What calendars gain over never, per request, shape (calendars,)."""
        return (self.losses[0].sum() - self.totals(chosen)) / max(self.rows, 1)


def grid_of(from_s: float, to_s: float, window_s: float, most: int = MOST_FITS) -> Floats:
    """Equally spaced instants in [from_s, to_s), whole windows apart, at most `most`.

    >>> grid_of(0.0, 10.0, 1.0, 5).tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    windows = int(np.ceil((to_s - from_s) / window_s))
    every = max(-(-windows // most), 1)
    return from_s + window_s * np.arange(0, windows, every, dtype=np.float64)


def composite(
    trainer: Trainer,
    start: Version,
    yardstick: Yardstick,
    grid_s: Floats,
    to_s: float,
    ready_s: float,
    progress: Progress = lambda share: None,
) -> Composite:
    """Fit a version per instant of the grid. One that cannot be fitted yet answers as the one before it."""
    history: History = trainer.history
    judged = history.judged(float(grid_s[0]), to_s)
    places, count = np.flatnonzero(judged), len(grid_s)
    interval = np.searchsorted(grid_s + ready_s, history.at_s[places], side="right")
    labels, losses = history.labels[places], np.zeros((count + 1, count + 1))
    for row in range(count + 1):
        scoring = start.scoring if row == 0 else trainer.fit_all(float(grid_s[row - 1]))
        mine = interval >= row
        if scoring is None:
            losses[row] = losses[row - 1]
        elif mine.any():
            first, last = int(places[mine][0]), int(places[mine][-1]) + 1
            scores = history.answered(scoring(history.matrix[first:last]), first)[places[mine] - first]
            own = yardstick.losses(scores, labels[mine])
            losses[row] = np.bincount(interval[mine], weights=own, minlength=count + 1)
        progress((row + 1) / (count + 1))
    return Composite(grid_s, grid_s + ready_s, losses, len(places))


def phases(instants: int, count: int) -> NDArray[np.bool_]:
    """Calendars that retrain `count` times at equal distances, one per phase; shape (phases, instants).

    >>> phases(4, 2).astype(int).tolist()
    [[1, 0, 1, 0], [0, 1, 0, 1]]
    """
    if not 0 < count <= instants:
        return np.zeros((1, instants), dtype=bool)
    distance = instants / count
    found = np.zeros((max(int(distance), 1), instants), dtype=bool)
    for phase in range(len(found)):
        found[phase, np.floor(phase + distance * np.arange(count)).astype(int)] = True
    return found


def drawn(instants: int, count: int, calendars: int, seed: int) -> NDArray[np.bool_]:
    """Random calendars that retrain `count` times each, any set of instants being as likely; shape (calendars, instants)."""
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random((calendars, instants)), axis=1)
    found = np.zeros((calendars, instants), dtype=bool)
    np.put_along_axis(found, order[:, : min(count, instants)], True, axis=1)
    return found


def percentile(value: float, others: Sequence[float] | Floats) -> float:
    """Where a value lies among others, in 0..100; of equal ones half count as lower.

    >>> percentile(2.0, [1.0, 2.0, 3.0]), percentile(4.0, [1.0, 2.0])
    (50.0, 100.0)
    """
    found = np.asarray(others)
    close = np.isclose(found, value, rtol=0.0, atol=1e-12)
    return float(100.0 * ((found < value) & ~close).mean() + 50.0 * close.mean())
