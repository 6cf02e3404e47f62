"""How many false pages charts raise in the mean, and at the most, by what their reference windows say.

For each of `YEARS` synthetic stretches of twelve periods the reference windows are cut at random: a reference is drawn from two
thirds of them, and the windows that are compared with it from the rest, both by a stationary bootstrap in blocks (Politis and
Romano 1994). So a stretch has windows that its reference has not, further away than any of them too, and the chance by which
the reference's own mean and variance are what they are is in the figures. With one and the same reference, each window against the
others, .03 pages a month were expected on the flights where .20 came.

Pages of stretches differ, since what a reference says stays for all of its stretch. The bound is therefore one of a stretch,
not of the mean: so many pages per period as at most a twentieth of the stretches have more of. A stretch without any page does
not say that none can come: the bound is at least the rate at which a twentieth of stretches as long have none.

Two thirds were chosen among that and a half on generated figures that are correlated by 0, .5 and .7 from window to window (forty
references of 84 windows each, seed 4): the bound held in 97, 95 and 97 % of years, and .21, .76 and 1.23 pages were expected
where .08, .66 and 1.16 came.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.stats.e_detector import MOST, Reference, e_values, p_values

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

YEARS, PERIODS = 100, 12
OWN_SHARE = 2 / 3
# Of windows so short that twelve periods have more, so many are drawn.
MOST_WINDOWS = 2000
_MISSED = 0.05


def measured_pages(
    charts: Sequence[tuple[Reference, Sequence[int]]], limit: float, period_windows: float, block: int
) -> tuple[float, float] | None:
    """False pages per period in the mean, and the bound of a stretch of twelve (95 %). None while there are fewer than two blocks.

    `charts`: the reference of each figure, all of the same windows in order, and its sides (1 up, -1 down). `limit`: of the sum
    of all detectors, which begin anew after an alarm. `block`: the mean length of a block in windows. The seed is fixed, so that
    the same windows give the same figure.
    """
    count = len(charts[0][0].values) if charts else 0
    if count < 2 * block:
        return None
    rng, length = np.random.default_rng(0), min(max(round(PERIODS * period_windows), 1), MOST_WINDOWS)
    # The reference comes from one stretch of the windows, and what is compared with it from the rest.
    starts, own = rng.integers(count, size=(YEARS, 1)), round(OWN_SHARE * count)
    references = (starts + _blocks(rng, own, count, block)) % count
    windows = (starts + own + _blocks(rng, count - own, length, block)) % count
    table = np.concatenate([_of_chart(*chart, references, windows) for chart in charts])
    statistics, pages = np.zeros(table.shape[:2]), np.zeros(YEARS)
    for place in range(length):
        statistics = np.minimum((1 + statistics) * table[:, :, place], MOST)
        alarms = statistics.sum(axis=0) >= limit
        pages += alarms
        statistics[:, alarms] = 0.0
    rate = pages * period_windows / length
    least = -math.log(_MISSED) * period_windows / length
    return float(rate.mean()), max(float(np.quantile(rate, 1 - _MISSED)), least)


def _blocks(rng: np.random.Generator, count: int, length: int, block: int) -> Ints:
    """Places of windows in blocks, shape (YEARS, length)."""
    found, places = np.empty((YEARS, length), np.int64), rng.integers(count, size=YEARS)
    for n in range(length):
        found[:, n] = places
        jumps = rng.random(YEARS) < 1 / block
        places = np.where(jumps, rng.integers(count, size=YEARS), (places + 1) % count)
    return found


def _of_chart(reference: Reference, sides: Sequence[int], references: Ints, windows: Ints) -> Floats:
    """The e-values of the drawn windows against the drawn references, shape (sides, YEARS, length)."""
    found = []
    for own, drawn in zip(references, windows, strict=True):
        usual = Reference(reference.values[own], reference.errors[own], reference.rows[own])
        z, among = usual.standardised_all(reference.values[drawn], reference.rows[drawn]), usual.own()
        found.append([e_values(p_values(z * side, among * side)) for side in sides])
    return np.array(found).swapaxes(0, 1)
