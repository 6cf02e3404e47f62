"""How often the monitor pages in a year without drift: synthetic years by a stationary bootstrap of whole weeks.

Every year is one deployment with one version. Its first twelve weeks are the reference of the version, which a trainer makes by
an expanding window; the following 52 weeks close one after another through the monitor's core. All weeks come from the one year
that was recorded, each scored by a model that had not seen it, so no page is deserved. Where two weeks meet that never followed
each other, the weather jumps: pages in the first window behind such a seam are counted apart.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

from bench.monitor_streams import MONTH_S, REFERENCE_DAYS, REFERENCE_WEEKS, Days, Watch, days_of, draw_weeks, seams
from bench.monitor_weeks import WEEK_S, WEEKS
from headrace.events.monitor import FindingOpened
from headrace_monitor.core.quality import log_losses

Ints = NDArray[np.int64]

SEED, YEARS, YEAR_WEEKS = 20_260_025, 200, 52
MONTHS = YEAR_WEEKS * WEEK_S / MONTH_S
ADWIN_DELTA, ADWIN_YEARS = 0.002, 20
_RESAMPLES = 2000


@dataclass(frozen=True)
class Opened:
    """A finding of a synthetic year. `day`: the window that opened it, counted from the beginning of the stream."""

    day: int
    kind: str
    about: str
    is_page: bool
    is_seam: bool


@dataclass(frozen=True)
class Year:
    """`found`: what opened in it. `told`: the pages a month that the ledger expected by its bootstrap, and its upper bound of a
    year; None where it did not tell.
    """

    found: tuple[Opened, ...]
    told: tuple[float, float] | None


@dataclass(frozen=True)
class Pages:
    """Pages of each synthetic year, shape (years,): away from seams, and at seams."""

    name: str
    away: Ints
    at_seams: Ints

    @property
    def a_year(self) -> list[int]:
        """Of each year, seams included."""
        return (self.away + self.at_seams).tolist()

    @property
    def a_month(self) -> float:
        """The mean, away from seams."""
        return float(self.away.mean() / MONTHS)

    @property
    def with_seams(self) -> float:
        """The mean, wherever."""
        return float((self.away + self.at_seams).mean() / MONTHS)

    @property
    def bound(self) -> float:
        """The upper bound (95 %, one-sided) of the mean with seams, by a bootstrap of the years."""
        return self._quantile(0.95)

    @property
    def lower(self) -> float:
        """The lower bound (95 %, one-sided) of the mean with seams."""
        return self._quantile(0.05)

    def above(self, a_month: float) -> NDArray[np.bool_]:
        """Which years had more pages than that, seams included."""
        return (self.away + self.at_seams) / MONTHS > a_month

    def _quantile(self, share: float) -> float:
        rng, pages = np.random.default_rng(1), self.away + self.at_seams
        means = pages[rng.integers(0, len(pages), (_RESAMPLES, len(pages)))].mean(axis=1) / MONTHS
        return float(np.quantile(means, share))


def years(seed: int = SEED, count: int = YEARS) -> Ints:
    """The recorded weeks of each synthetic year, its reference first: shape (years, weeks)."""
    return draw_weeks(seed, count, REFERENCE_WEEKS + YEAR_WEEKS)


def year_of(days: Days, weeks: Ints) -> Year:
    """A synthetic year behind its reference."""
    recorded, jumps = days_of(weeks), seams(weeks)
    watch, found = Watch(days.deployment, days.reference(recorded[:REFERENCE_DAYS])), []
    for number in range(REFERENCE_DAYS, len(recorded)):
        facts = watch.on_closed(days.closed(int(recorded[number])), number)
        for fact in facts:
            if isinstance(fact, FindingOpened):
                found.append(Opened(number, fact.kind, fact.about, fact.severity == "page", number in jumps))
    memory = watch.findings.charts
    told = None if memory.measured is None or memory.measured_high is None else (memory.measured, memory.measured_high)
    return Year(tuple(found), told)


def pages_of(name: str, found: Sequence[Year]) -> Pages:
    """The pages of each year."""
    counts = [
        [sum(one.is_page and one.is_seam == at_seam for one in year.found) for year in found]
        for at_seam in (False, True)
    ]
    return Pages(name, *(np.array(count) for count in counts))


def quiet_a_month(found: Sequence[Year]) -> dict[str, float]:
    """Findings that call nobody, a month, by kind and subject."""
    names = Counter(f"{one.kind} {one.about}".strip() for year in found for one in year.found if not one.is_page)
    return {name: count / (len(found) * MONTHS) for name, count in names.most_common()}


# Methods that must fail


def every_window(drawn: Ints) -> Pages:
    """A monitor that pages in every window."""
    at_seams = np.array([sum(day >= REFERENCE_DAYS for day in seams(weeks)) for weeks in drawn])
    return Pages("always", 7 * YEAR_WEEKS - at_seams, at_seams)


def raw_adwin(days: Days, drawn: Ints) -> Pages:
    """ADWIN (Bifet and Gavalda 2007) as river has it, fed the log-loss of each request as labels come in: it pages whenever it
    finds a change.
    """
    found = days.weeks
    losses = log_losses(found.score, found.label)
    per_day = [
        losses[mine][np.argsort((found.at_s + found.lag_s)[mine])].tolist() for mine in map(found.day, range(7 * WEEKS))
    ]
    counts = []
    for weeks in drawn:
        recorded, jumps, detector = days_of(weeks), seams(weeks), ADWIN(delta=ADWIN_DELTA)
        pages = [0, 0]
        for number, day in enumerate(recorded.tolist()):
            for loss in per_day[day]:
                detector.update(loss)
                if detector.drift_detected and number >= REFERENCE_DAYS:
                    pages[number in jumps] += 1
        counts.append(pages)
    return Pages("raw_adwin", *np.array(counts).T)
