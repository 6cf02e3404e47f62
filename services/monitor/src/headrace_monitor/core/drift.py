"""Drift: whether a figure of the champion has become worse over closed windows, and since when, by single detectors.

`page_hinkley`: Page's cumulative test for a rise (Page 1954; Hinkley 1971) as river implements it, a sum over windows whose
threshold holds for one width of windows only. The rise began after the last minimum of Page's statistic. `loss_change`: see
the module of that name. `adwin`: ADWIN (Bifet and Gavalda 2007) as river implements it, asked after each window. All begin anew
with each champion, and their memory is plain numbers, from which they are restored exactly.

Page-Hinkley and ADWIN follow any figure of the label's kind, turned so that up is worse. A figure that is not right on either side
(a base rate, a calibration) has one detector for each.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from river.drift import ADWIN, PageHinkley

from headrace.events.monitor import FindingOpened, VersionQuality, WindowClosed
from headrace.events.policies import DriftDefinition
from headrace.log.envelope import derived_id, format_instant
from headrace.stats.charts import CHARTS
from headrace.stats.figures import sides_of
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


@dataclass(frozen=True, slots=True, eq=False)
class AdwinDetector:
    """ADWIN on one figure per window. After an alarm it begins anew; after a change for the better it keeps the windows since then.

    `fed`: the figures since it began, in order.
    """

    plan: DriftDefinition
    champion: int | None = None
    fed: tuple[Figure, ...] = ()
    # NB: as in `PageHinkleyDetector`.
    _test: ADWIN | None = field(default=None, repr=False)

    def restarted(self, champion: int | None) -> "AdwinDetector":
        """See `Detector`."""
        return AdwinDetector(self.plan, champion)

    def on_figure(self, figure: Figure) -> Step[Detector, Rise]:
        """See `Detector`."""
        test = copy.deepcopy(self._test) if self._test is not None else self._fresh()
        test.update(figure.loss)
        fed = (*self.fed, figure)
        if not test.drift_detected:
            return Step(replace(self, fed=fed, _test=test))
        kept = min(max(int(test.width), 1), len(fed) - 1)
        usual, since = fed[:-kept], fed[-kept:]
        before, after = (sum(found.loss for found in part) / len(part) for part in (usual, since))
        if after > before:
            rise = Rise(since[0].from_s, before, before + BACK_SHARE * (after - before))
            return Step(self.restarted(self.champion), (rise,))
        anew = self._fresh()
        for found in since:
            anew.update(found.loss)
        return Step(replace(self, fed=since, _test=anew))

    def resolved(self) -> "AdwinDetector":
        """See `Detector`. It began anew with its alarm already."""
        return self

    @property
    def statistic(self) -> float:
        """ADWIN compares all parts of its windows, and has no figure that comes near to a limit: 0."""
        return 0.0

    def numbers(self) -> dict[str, float]:
        """The figures fed so far, in order."""
        return _numbers("fed", self.fed)

    def _fresh(self) -> ADWIN:
        return ADWIN(delta=self.plan.delta, clock=1, grace_period=self.plan.min_windows)


@dataclass(frozen=True, slots=True)
class SidedDetector:
    """Detectors of a rise on the same figure, turned to each of its `sides`; an alarm of one begins all anew."""

    sides: tuple[int, ...]
    parts: tuple[Detector, ...]

    @property
    def champion(self) -> int | None:
        """See `Detector`."""
        return self.parts[0].champion

    @property
    def statistic(self) -> float:
        """The one that has come farthest."""
        return max(part.statistic for part in self.parts)

    def restarted(self, champion: int | None) -> "SidedDetector":
        """See `Detector`."""
        return replace(self, parts=tuple(part.restarted(champion) for part in self.parts))

    def on_figure(self, figure: Figure) -> Step[Detector, Rise]:
        """See `Detector`."""
        turned = [replace(figure, loss=side * figure.loss) for side in self.sides]
        steps = [part.on_figure(one) for part, one in zip(self.parts, turned, strict=True)]
        for side, step in zip(self.sides, steps, strict=True):
            for rise in step.facts:
                found = Rise(rise.began_s, side * rise.before, side * rise.back_at, side)
                return Step(self.restarted(self.champion), (found,))
        return Step(replace(self, parts=tuple(step.state for step in steps)))

    def resolved(self) -> "SidedDetector":
        """See `Detector`."""
        return replace(self, parts=tuple(part.resolved() for part in self.parts))

    def numbers(self) -> dict[str, float]:
        """Those of each side."""
        return {f"{n}|{key}": value for n, part in enumerate(self.parts) for key, value in part.numbers().items()}


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
    if plan.detector == "loss_change":
        return LossChangeDetector(plan)
    one = AdwinDetector(plan) if plan.detector == "adwin" else PageHinkleyDetector(plan)
    sides = sides_of(plan.figure)
    return one if sides == (1,) else SidedDetector(sides, (one,) * len(sides))


def restored(plan: DriftDefinition, champion: int | None, numbers: dict[str, float]) -> Detector:
    """The detector of a plan behind its `numbers`."""
    begun = detector_of(plan).restarted(champion)
    if isinstance(begun, SidedDetector):
        parts = [_behind(part, _of_side(numbers, n)) for n, part in enumerate(begun.parts)]
        return replace(begun, parts=tuple(parts))
    return _behind(begun, numbers)


def _behind(begun: Detector, numbers: dict[str, float]) -> Detector:
    if isinstance(begun, LossChangeDetector):
        sums = Sums(_figures("usual", numbers), _figures("since", numbers), numbers.get("sum", 0.0))
        return replace(begun, sums=sums)
    # NB: numbers that were kept before figures had a start are one loss per window.
    old = tuple(Figure(0.0, numbers[place]) for place in sorted(numbers) if place.isdigit())
    for figure in old or _figures("fed", numbers):
        begun = begun.on_figure(figure).state
    return begun


def _of_side(numbers: dict[str, float], side: int) -> dict[str, float]:
    return {key.partition("|")[2]: value for key, value in numbers.items() if key.startswith(f"{side}|")}


def figure_of(window: WindowClosed, quality: VersionQuality, name: str) -> Figure | None:
    """What detectors are fed of a window for a figure; None where the window does not have it. `name`: "" for the loss.

    Where a score does not tell which loss to expect (numbers), the whole loss is its own excess.
    """
    if name in ("", "log_loss", "squared_error"):
        if quality.loss is None:
            return None
        excess = quality.loss - (quality.expected_log_loss or 0.0)
        errors = (quality.loss_error, excess, quality.excess_error)
        return Figure(window.from_s, quality.loss, *errors, quality.rows, quality.loss_skew)
    if name in CHARTS:
        own = (point for point in window.charts if not point.segment and point.version == quality.version)
        point = next((point for point in own if point.chart == name), None)
        return None if point is None else Figure(window.from_s, point.value, point.error, rows=point.rows)
    value = quality.metrics.get(name, getattr(quality, name, None))
    return None if value is None else Figure(window.from_s, value, rows=quality.rows)


def quality_of(window: WindowClosed, champion: int | None, *, is_passed_over: bool) -> VersionQuality | None:
    """How the champion did on its own rows: those that it answered, or those that it scored in shadow because it is passed over.

    Other versions may answer beside it, in a canary or an A/B test: then these are fewer rows, as `rows` says.
    """
    own = {quality.role: quality for quality in window.qualities if quality.version == champion}
    return own.get("champion") or (own.get("shadow") if is_passed_over else None)


def words_of(quality: VersionQuality, name: str) -> str:
    """A figure in words. `name`: "" for the loss."""
    return quality.loss_name if name in ("", "log_loss", "squared_error") else name.replace("_", " ")


def is_back(figure: Figure, found: FindingOpened) -> bool:
    """Whether the figure of a window is back at the level that ends a finding, as far as its rows can tell."""
    if found.back_at is None:
        return False
    side = -1 if found.measured is not None and found.measured < found.back_at else 1
    # NB: the standard error counts: a few lucky rows of a sparse stream bring nothing back.
    return side * figure.loss + _Z * figure.loss_error <= side * found.back_at


def finding_of(
    window: WindowClosed, quality: VersionQuality, plan: DriftDefinition, rise: Rise, at_s: float
) -> FindingOpened:
    """The finding that a figure of a version has become worse. `at_s`: event time, in seconds."""
    figure, name = figure_of(window, quality, plan.figure), plan.figure
    about = "" if name in ("log_loss", "squared_error") else name
    value = 0.0 if figure is None else figure.loss
    how = f"from {rise.before:.3f} to {value:.3f} on the last closed window, since {format_instant(rise.began_s)}"
    moved = "risen" if rise.side > 0 else "fallen"
    return FindingOpened(
        finding=derived_id(window.deployment, KIND, window.from_s, quality.version)[:16],
        deployment=window.deployment,
        kind=KIND,
        summary=f"{words_of(quality, about)} of version {quality.version} has {moved} {how}",
        at_s=at_s,
        version=quality.version,
        detector=plan.detector,
        measured=value,
        limit=plan.threshold,
        window_from_s=window.from_s,
        window_to_s=window.to_s,
        about=about,
        changed_at_s=rise.began_s,
        back_at=rise.back_at,
    )


def _numbers(part: str, figures: tuple[Figure, ...]) -> dict[str, float]:
    return {f"{part}.{n:05d}.{name}": getattr(found, name) for n, found in enumerate(figures) for name in _NAMES}


def _figures(part: str, numbers: dict[str, float]) -> tuple[Figure, ...]:
    count = sum(key.startswith(f"{part}.") for key in numbers) // len(_NAMES)
    return tuple(Figure(*(numbers[f"{part}.{n:05d}.{name}"] for name in _NAMES)) for n in range(count))


def numbers_of(numbers: Mapping[str, float], detector: int) -> dict[str, float]:
    """What is remembered of the detector of that number."""
    return {key.partition(":")[2]: value for key, value in numbers.items() if key.startswith(f"{detector}:")}
