"""Drift of a figure of closed cohorts: Page's cumulative test for a rise (Page 1954; Hinkley 1971), by river.

It starts anew with each champion. Its state is the list of figures it was fed: plain numbers, from which it is
rebuilt exactly.
"""

from river.drift import PageHinkley

from headrace.project.definition import DriftDefinition


class CohortDetector:
    """Page-Hinkley on one figure per cohort, for one champion."""

    def __init__(self, plan: DriftDefinition, champion: int | None = None, fed: tuple[float, ...] = ()) -> None:
        self._plan = plan
        self._test = _page_hinkley(plan)
        self.champion = champion
        self.fed: tuple[float, ...] = ()
        for figure in fed:
            self.update(figure)

    def restart(self, champion: int | None) -> None:
        """A new champion: forget the old one's figures."""
        self._test, self.champion, self.fed = _page_hinkley(self._plan), champion, ()

    def update(self, figure: float) -> bool:
        """Feed one cohort's figure; returns whether the rise is an alarm (the test then starts anew)."""
        self._test.update(figure)
        self.fed = (*self.fed, figure)
        alarmed = bool(self._test.drift_detected)
        if alarmed:
            self._test, self.fed = _page_hinkley(self._plan), ()
        return alarmed

    @property
    def statistic(self) -> float:
        """How far the cumulative sum stands above its minimum; the alarm is at `threshold`."""
        return float(self._test._sum_increase - self._test._min_increase) if self.fed else 0.0

    def state(self) -> dict[str, float]:
        """The figures fed so far, in order."""
        return {f"{place:05d}": figure for place, figure in enumerate(self.fed)}


def restored(plan: DriftDefinition, champion: int | None, state: dict[str, float]) -> CohortDetector:
    """The detector from its exported state."""
    return CohortDetector(plan, champion, tuple(state[place] for place in sorted(state)))


def _page_hinkley(plan: DriftDefinition) -> PageHinkley:
    return PageHinkley(min_instances=plan.min_cohorts, delta=plan.delta, threshold=plan.threshold, mode="up")
