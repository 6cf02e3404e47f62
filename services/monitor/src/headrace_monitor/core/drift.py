"""Drift of the champion's loss over closed windows, by one of two detectors, and since when.

`page_hinkley`: Page's cumulative test for a rise (Page 1954; Hinkley 1971), by river: a sum over windows, whose threshold holds
for one width of windows only. The rise began after the last minimum of Page's statistic. `loss_change`: see there. Both start
anew with each champion, and their states are plain numbers, from which they are restored exactly.
"""

from typing import Protocol

from river.drift import PageHinkley

from headrace.events.definition import DriftDefinition
from headrace_monitor.core import loss_change
from headrace_monitor.core.loss_change import BACK_SHARE, Figure, Rise, Sums, rise_of

_NAMES = Figure.__slots__


class Detector(Protocol):
    """A detector of one champion."""

    champion: int | None

    def restart(self, champion: int | None) -> None:
        """A new champion: forget the old one's figures."""
        ...

    def update(self, figure: Figure) -> Rise | None:
        """Feed one window; the rise where it is an alarm."""
        ...

    def settle(self) -> None:
        """The figure is back: what led to the alarm is over."""
        ...

    @property
    def statistic(self) -> float:
        """How far it has come; the alarm is at the plan's threshold."""
        ...

    def state(self) -> dict[str, float]:
        """What `restored` goes on from."""
        ...


class CohortDetector:
    """Page-Hinkley on one figure per window; after an alarm it starts anew."""

    def __init__(self, plan: DriftDefinition, champion: int | None = None, fed: tuple[Figure, ...] = ()) -> None:
        self._plan = plan
        self._test = _page_hinkley(plan)
        self.champion = champion
        self.fed: tuple[Figure, ...] = ()
        self._rose = 0
        for figure in fed:
            self.update(figure)

    def restart(self, champion: int | None) -> None:
        """A new champion."""
        self._test, self.champion, self.fed, self._rose = _page_hinkley(self._plan), champion, (), 0

    def update(self, figure: Figure) -> Rise | None:
        """Feed one window."""
        self._test.update(figure.loss)
        self.fed = (*self.fed, figure)
        if self._test.drift_detected:
            found = self._rise()
            self.restart(self.champion)
            return found
        if self.statistic <= 0:
            self._rose = len(self.fed)
        return None

    def settle(self) -> None:
        """It has started anew with its alarm."""

    @property
    def statistic(self) -> float:
        """How far the cumulative sum stands above its minimum."""
        return float(self._test._sum_increase - self._test._min_increase) if self.fed else 0.0

    def state(self) -> dict[str, float]:
        """The figures fed so far, in order."""
        return _numbers("fed", self.fed)

    def _rise(self) -> Rise:
        usual, since = self.fed[: self._rose] or self.fed[:1], self.fed[self._rose :]
        before, after = (sum(found.loss for found in part) / len(part) for part in (usual, since))
        return Rise(since[0].from_s, before, before + max(self._plan.delta, BACK_SHARE * (after - before)))


class LossChangeDetector:
    """Standardised rises of the loss and of its excess, summed up; after an alarm it goes on against the same usual windows."""

    def __init__(self, plan: DriftDefinition, champion: int | None = None, sums: Sums | None = None) -> None:
        self._plan, self.champion, self._sums = plan, champion, sums or Sums()

    def restart(self, champion: int | None) -> None:
        """A new champion."""
        self.champion, self._sums = champion, Sums()

    def update(self, figure: Figure) -> Rise | None:
        """Feed one window."""
        self._sums = loss_change.on_window(self._sums, figure, self._plan.delta, self._plan.min_cohorts)
        return rise_of(self._sums) if self._sums.sum >= self._plan.threshold else None

    def settle(self) -> None:
        """Later windows are compared with the usual ones as before."""
        self._sums = Sums(self._sums.usual)

    @property
    def statistic(self) -> float:
        """The cumulative sum."""
        return self._sums.sum

    def state(self) -> dict[str, float]:
        """The windows that count, and the sum."""
        return _numbers("usual", self._sums.usual) | _numbers("since", self._sums.since) | {"sum": self._sums.sum}


def detector_of(plan: DriftDefinition) -> Detector:
    """A detector that has seen nothing yet."""
    return LossChangeDetector(plan) if plan.detector == "loss_change" else CohortDetector(plan)


def restored(plan: DriftDefinition, champion: int | None, state: dict[str, float]) -> Detector:
    """The detector from its exported state."""
    if plan.detector == "loss_change":
        return LossChangeDetector(
            plan, champion, Sums(_figures("usual", state), _figures("since", state), state.get("sum", 0.0))
        )
    # NB: states that were kept before figures had a start hold one number per window.
    old = tuple(Figure(0.0, state[place]) for place in sorted(state) if place.isdigit())
    return CohortDetector(plan, champion, old or _figures("fed", state))


def _numbers(part: str, figures: tuple[Figure, ...]) -> dict[str, float]:
    return {f"{part}.{n:05d}.{name}": getattr(found, name) for n, found in enumerate(figures) for name in _NAMES}


def _figures(part: str, state: dict[str, float]) -> tuple[Figure, ...]:
    count = sum(key.startswith(f"{part}.") for key in state) // len(_NAMES)
    return tuple(Figure(*(state[f"{part}.{n:05d}.{name}"] for name in _NAMES)) for n in range(count))


def _page_hinkley(plan: DriftDefinition) -> PageHinkley:
    return PageHinkley(min_instances=plan.min_cohorts, delta=plan.delta, threshold=plan.threshold, mode="up")
