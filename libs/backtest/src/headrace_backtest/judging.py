"""What a policy was worth: its alarms, how late it found planted faults, and what it gained over never, on the same requests.

Gains are differences of losses, request by request, with bounds by blocks of days (`headrace_trainer.core.intervals`): each
of the two bounds is exceeded with a probability of 5 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.stats.losses import Yardstick
from headrace_backtest.calendars import Composite, drawn, percentile, phases
from headrace_backtest.history import Bools, Floats, History
from headrace_backtest.plants import Plant
from headrace_backtest.replaying import Played, Retrain
from headrace_backtest.watching import Course
from headrace_trainer.core.intervals import estimate

RANDOM_CALENDARS, SEED = 1000, 14


@dataclass(frozen=True, slots=True)
class Gain:
    """How much lower a loss is per request. `low`, `high`: None where there were too few rows to say."""

    mean: float
    low: float | None
    high: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class Delay:
    """After how long a planted fault was found, None for never, and by what (`kind` or `kind:about`)."""

    plant: str
    delay_s: float | None
    by: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gain lies among calendars of equal count, in 0..100. `phases`: how many of equal distance there are.

    `by_timing`: where the calendar of the policy's own instants lies among the random ones. All of these train alike, so
    that it shows what the instants alone are worth, without what the policy knows of the change.
    """

    among_phases: float
    among_random: float
    by_timing: float
    phases: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What one policy was worth.

    `false_alarms`: alarms while no planted fault was there. `allowed`: by its budget in this stretch, None where it states
    none. `asked`: retrains that were asked for; `retrains`: those that answered, with what each gained over never.
    """

    name: str
    alarms: int
    pages: int
    false_alarms: int
    allowed: float | None
    delays: tuple[Delay, ...]
    asked: int
    retrains: tuple[tuple[Retrain, Gain], ...]
    gain: Gain
    loss: float
    place: Place


def judge(
    name: str,
    played: Played,
    never: Floats,
    history: History,
    yardstick: Yardstick,
    span: tuple[float, float],
    plants: Sequence[Plant],
    matrix: Composite,
) -> Judged:
    """What a policy was worth in `span`. `never`: the losses of the first version, by place, NaN where not judged."""
    judged = ~np.isnan(never)
    losses = losses_of(played.course, history, yardstick, judged)
    gains, alarms = never - losses, played.alarms
    slack_s = _slack_s(played)
    found = [_delay(plant, played, slack_s) for plant in plants]
    within = [alarm for alarm in alarms if any(plant.from_s <= alarm.at_s <= plant.to_s + slack_s for plant in plants)]
    gain = gain_of(gains[judged], history.at_s[judged])
    return Judged(
        name,
        len(alarms),
        sum(alarm.severity == "page" for alarm in alarms),
        len(alarms) - len(within),
        _allowed(played, span),
        tuple(found),
        len(played.retrains),
        tuple((one, _gained(one, played.course, gains, judged, history)) for one in played.made),
        gain,
        float(losses[judged].mean()),
        place_of(gain.mean, [one.at_s for one in played.made], matrix),
    )


def losses_of(course: Course, history: History, yardstick: Yardstick, judged: Bools) -> Floats:
    """The loss of each request as it was answered, by place; NaN where it is not judged."""
    found = np.full(len(history), np.nan)
    found[judged] = yardstick.losses(course.answers[judged], history.labels[judged])
    return found


def gain_of(gains: Floats, at_s: Floats) -> Gain:
    """The mean of gains (n,) at instants (n,), with its bounds.

    >>> gain_of(np.empty(0), np.empty(0))
    Gain(mean=0.0, low=None, high=None, rows=0)
    """
    if not len(gains):
        return Gain(0.0, None, None, 0)
    found = estimate(gains, at_s)
    if not found.is_measured:
        return Gain(found.mean, None, None, found.rows)
    return Gain(found.mean, found.low, found.high, found.rows)


def place_of(gain: float, instants: Sequence[float], matrix: Composite) -> Place:
    """Where the gain of a policy that retrained at these instants lies among calendars that retrain as often."""
    count, grid = len(instants), len(matrix.ready_s)
    even = phases(grid, count)
    random = matrix.gains(drawn(grid, count, RANDOM_CALENDARS, SEED))
    own = _snapped(instants, matrix)
    others = matrix.gains(drawn(grid, int(own.sum()), RANDOM_CALENDARS, SEED))
    timing = percentile(float(matrix.gains(own)[0]), others)
    return Place(percentile(gain, matrix.gains(even)), percentile(gain, random), timing, len(even))


def _snapped(instants: Sequence[float], matrix: Composite) -> Bools:
    """The calendar of these instants, each at the next instant of the grid; shape (1, g)."""
    found = np.zeros((1, len(matrix.ready_s)), dtype=bool)
    places = np.searchsorted(matrix.grid_s, np.asarray(instants, dtype=np.float64) - 1e-6, side="left")
    found[0, places[places < found.shape[1]]] = True
    return found


def _slack_s(played: Played) -> float:
    """How long after the end of a fault a finding is still of it: until its last window has closed."""
    closed = [window.to_s - window.from_s for window in played.told.windows]
    return 2 * max(closed, default=0.0)


def _delay(plant: Plant, played: Played, slack_s: float) -> Delay:
    found = [one for one in played.told.opened if plant.from_s <= one.at_s <= plant.to_s + slack_s]
    if not found:
        return Delay(plant.text, None, "")
    first = min(found, key=lambda one: one.at_s)
    by = f"{first.kind}:{first.about}" if first.about else first.kind
    return Delay(plant.text, first.at_s - plant.from_s, by)


def _allowed(played: Played, span: tuple[float, float]) -> float | None:
    budgets = played.told.budgets
    if not budgets or not math.isfinite(budgets[-1].period_s):
        return None
    return budgets[-1].stated * (span[1] - span[0]) / budgets[-1].period_s


def _gained(retrain: Retrain, course: Course, gains: Floats, judged: Bools, history: History) -> Gain:
    mine = judged & (course.numbers == retrain.version)
    return gain_of(gains[mine], history.at_s[mine])
