"""Drift: whether the loss of the champion has risen over closed windows, and since when, by one of two detectors.

`page_hinkley`: Page's cumulative test for a rise (Page 1954; Hinkley 1971) as river implements it, a sum over windows whose
threshold holds for one width of windows only. The rise began after the last minimum of Page's statistic. `loss_change`: see
the module of that name. Both begin anew with each champion, and their memory is plain numbers, from which they are restored
exactly.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import Protocol

from river.drift import PageHinkley

from headrace.events.definition import DriftDefinition
from headrace.events.monitor import FindingOpened, VersionQuality, WindowClosed
from headrace.log.envelope import derived_id, format_instant
from headrace.step import Step
from headrace_monitor.core import loss_change
from headrace_monitor.core.loss_change import BACK_SHARE, Figure, Rise, Sums, rise_of

KIND = "drift"
# One-sided 95 % of the normal distribution.
_Z = 1.645
_NAMES = Figure.__slots__


class Detector(Protocol):
    """A detector for one champion. It is frozen: what changes it returns another one. None of its methods blocks or raises."""

    @property
    def champion(self) -> int | None:
        """The version whose figures it was fed; None when the deployment has no champion."""
        ...

    @property
    def statistic(self) -> float:
        """How far it has come; it alarms at the threshold of its plan."""
        ...

    def restarted(self, champion: int | None) -> "Detector":
        """The detector for a new champion, which has seen nothing yet."""
        ...

    def on_figure(self, figure: Figure) -> "Step[Detector, Rise]":
        """Take the figure of one closed window. The fact is the rise, when it is an alarm."""
        ...

    def resolved(self) -> "Detector":
        """The detector after the figure is back: what led to the alarm is over."""
        ...

    def numbers(self) -> dict[str, float]:
        """Plain numbers from which `restored` makes an equal detector."""
        ...


def _page_hinkley(plan: DriftDefinition) -> PageHinkley:
    return PageHinkley(min_instances=plan.min_windows, delta=plan.delta, threshold=plan.threshold, mode="up")


@dataclass(frozen=True, slots=True, eq=False)
class PageHinkleyDetector:
    """Page-Hinkley on one figure per window; after an alarm it begins anew.

    `fed`: the figures since it began, in order. `usual_count`: how many of the first ones belong to the time before the rise.
    """

    plan: DriftDefinition
    champion: int | None = None
    fed: tuple[Figure, ...] = ()
    usual_count: int = 0
    # NB: river's test changes in place: it is copied before each figure, and never touched afterwards.
    _test: PageHinkley | None = field(default=None, repr=False)

    def restarted(self, champion: int | None) -> "PageHinkleyDetector":
        """See `Detector`."""
        return PageHinkleyDetector(self.plan, champion)

    def on_figure(self, figure: Figure) -> Step[Detector, Rise]:
        """See `Detector`."""
        test = copy.deepcopy(self._test) if self._test is not None else _page_hinkley(self.plan)
        test.update(figure.loss)
        after = replace(self, fed=(*self.fed, figure), _test=test)
        if test.drift_detected:
            return Step(self.restarted(self.champion), (after._rise(),))
        return Step(replace(after, usual_count=len(after.fed)) if after.statistic <= 0 else after)

    def resolved(self) -> "PageHinkleyDetector":
        """See `Detector`. It began anew with its alarm already."""
        return self

    @property
    def statistic(self) -> float:
        """How far the cumulative sum stands above its minimum."""
        return float(self._test._sum_increase - self._test._min_increase) if self._test is not None else 0.0

    def numbers(self) -> dict[str, float]:
        """The figures fed so far, in order."""
        return _numbers("fed", self.fed)

    def _rise(self) -> Rise:
        usual, since = self.fed[: self.usual_count] or self.fed[:1], self.fed[self.usual_count :]
        before, after = (sum(found.loss for found in part) / len(part) for part in (usual, since))
        return Rise(since[0].from_s, before, before + max(self.plan.delta, BACK_SHARE * (after - before)))


@dataclass(frozen=True, slots=True)
class LossChangeDetector:
    """Standardised rises of the loss and of its excess, summed up; after an alarm it compares with the same usual windows."""

    plan: DriftDefinition
    champion: int | None = None
    sums: Sums = field(default_factory=Sums)

    def restarted(self, champion: int | None) -> "LossChangeDetector":
        """See `Detector`."""
        return LossChangeDetector(self.plan, champion)

    def on_figure(self, figure: Figure) -> Step[Detector, Rise]:
        """See `Detector`."""
        sums = loss_change.after_window(self.sums, figure, self.plan.delta, self.plan.min_windows)
        return Step(replace(self, sums=sums), (rise_of(sums),) if sums.sum >= self.plan.threshold else ())

    def resolved(self) -> "LossChangeDetector":
        """See `Detector`. Later windows are compared with the usual ones as before."""
        return replace(self, sums=Sums(self.sums.usual))

    @property
    def statistic(self) -> float:
        """The cumulative sum."""
        return self.sums.sum

    def numbers(self) -> dict[str, float]:
        """The windows that count, and the sum."""
        return _numbers("usual", self.sums.usual) | _numbers("since", self.sums.since) | {"sum": self.sums.sum}


def detector_of(plan: DriftDefinition) -> Detector:
    """The detector of a plan, which has seen nothing yet."""
    return LossChangeDetector(plan) if plan.detector == "loss_change" else PageHinkleyDetector(plan)


def restored(plan: DriftDefinition, champion: int | None, numbers: dict[str, float]) -> Detector:
    """The detector of a plan behind its `numbers`."""
    if plan.detector == "loss_change":
        sums = Sums(_figures("usual", numbers), _figures("since", numbers), numbers.get("sum", 0.0))
        return LossChangeDetector(plan, champion, sums)
    # NB: numbers that were kept before figures had a start are one loss per window.
    old = tuple(Figure(0.0, numbers[place]) for place in sorted(numbers) if place.isdigit())
    found: Detector = PageHinkleyDetector(plan, champion)
    for figure in old or _figures("fed", numbers):
        found = found.on_figure(figure).state
    return found


def figure_of(from_s: float, quality: VersionQuality) -> Figure:
    """What detectors are fed of a window that begins at `from_s`.

    Where a score does not tell which loss to expect (numbers), the whole loss is its own excess.
    """
    loss, expected = quality.loss or 0.0, quality.expected_log_loss or 0.0
    errors = (quality.loss_error, loss - expected, quality.excess_error)
    return Figure(from_s, loss, *errors, quality.rows, quality.loss_skew)


def is_back(quality: VersionQuality, found: FindingOpened) -> bool:
    """Whether the loss of a window is back at the level that ends a finding, as far as its rows can tell."""
    # NB: the standard error counts: a few lucky rows of a sparse stream bring nothing back.
    return found.back_at is not None and (quality.loss or 0.0) + _Z * quality.loss_error <= found.back_at


def finding_of(
    window: WindowClosed, quality: VersionQuality, plan: DriftDefinition, rise: Rise, at_s: float
) -> FindingOpened:
    """The finding that the loss of a version has risen. `at_s`: event time, in seconds."""
    loss = quality.loss or 0.0
    how = f"from {rise.before:.3f} to {loss:.3f} on the last closed window, since {format_instant(rise.began_s)}"
    return FindingOpened(
        finding=derived_id(window.deployment, KIND, window.from_s, quality.version)[:16],
        deployment=window.deployment,
        kind=KIND,
        summary=f"{quality.loss_name} of version {quality.version} has risen {how}",
        at_s=at_s,
        version=quality.version,
        detector=plan.detector,
        measured=quality.loss,
        limit=plan.threshold,
        window_from_s=window.from_s,
        window_to_s=window.to_s,
        changed_at_s=rise.began_s,
        back_at=rise.back_at,
    )


def _numbers(part: str, figures: tuple[Figure, ...]) -> dict[str, float]:
    return {f"{part}.{n:05d}.{name}": getattr(found, name) for n, found in enumerate(figures) for name in _NAMES}


def _figures(part: str, numbers: dict[str, float]) -> tuple[Figure, ...]:
    count = sum(key.startswith(f"{part}.") for key in numbers) // len(_NAMES)
    return tuple(Figure(*(numbers[f"{part}.{n:05d}.{name}"] for name in _NAMES)) for n in range(count))
