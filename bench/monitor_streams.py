"""Streams of recorded days as the monitor's core sees them: closed windows, made once per day and placed anywhere.

A window's figures do not depend on its neighbours, so each recorded day is closed and evaluated once, by the core's own code,
with the labels that were known at the hour at which it closes; a stream places such days one after another. A synthetic stream
is a stationary bootstrap of whole weeks (Politis, Romano 1994; stretches of four weeks on average): storms, weekdays and the
order of the days within a week stay as they were.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.flight_rows import DEPLOYMENT, PROJECT
from bench.monitor_weeks import DAY_S, WEEKS, Rows, Weeks
from headrace.events.definition import ChartsDefinition, DeploymentDefinition
from headrace.events.monitor import WindowClosed
from headrace.events.references import ChartFigure, ReferenceWindow, VersionReference
from headrace.stats.charts import figures_of
from headrace.stats.trials import draw_cycles
from headrace_flights.schedule import EPOCH_S
from headrace_monitor.core import windows
from headrace_monitor.core.budget import measured
from headrace_monitor.core.chart_figures import Seen, seen_of
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.facts import FindingFact
from headrace_monitor.core.findings import Findings, findings_of, on_champion, on_window
from headrace_monitor.core.further_change import after_figures
from headrace_monitor.core.windows import Late

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR_S = 3600.0
MEAN_STRETCH, REFERENCE_WEEKS = 4.0, 12
REFERENCE_DAYS = 7 * REFERENCE_WEEKS
VERSION = 1
BUDGET, MONTH_S = 1.0, 30 * DAY_S
# The example's deployment under the default budget.
CHARTED = msgspec.structs.replace(DEPLOYMENT, charts=ChartsDefinition(BUDGET, MONTH_S), monitoring=())


@dataclass(frozen=True)
class Requests:
    """The requests of one day, in order: instants, label delays, labels, scores of the version that served, and rows.

    `broken`: the scores that it gives to rows behind each fault of rows.
    """

    at_s: Floats
    lag_s: Floats
    label: Floats
    score: Floats
    rows: Rows
    broken: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.at_s)


Change = Callable[[Requests, int], Requests]


class Closed(NamedTuple):
    """A window that has closed, what charts are fed of it, and how long after its beginning it did."""

    window: WindowClosed
    seen: Seen
    after_s: float


@dataclass
class Days:
    """The recorded days, closed. `deployment`: as which they are evaluated."""

    weeks: Weeks
    deployment: DeploymentDefinition = CHARTED
    _closed: dict[tuple[str, int], Closed] = field(default_factory=dict)
    _known: dict[int, tuple[int, dict[str, ChartFigure]]] = field(default_factory=dict)

    def requests(self, day: int) -> Requests:
        """The requests of a recorded day."""
        found, mine = self.weeks, self.weeks.day(day)
        columns = (found.at_s, found.lag_s, found.label, found.score, found.rows)
        broken = {name: scores[mine] for name, scores in found.broken.items()}
        return Requests(*(column[mine] for column in columns), broken)

    def closed(self, day: int, name: str = "", change: Change = lambda found, day: found) -> Closed:
        """The window of a recorded day after a change, which is kept by its name."""
        if (name, day) not in self._closed:
            self._closed[name, day] = self.close(change(self.requests(day), day), day)
        return self._closed[name, day]

    def close(self, requests: Requests, day: int) -> Closed:
        """The window of a recorded day with these requests."""
        from_s = EPOCH_S + day * DAY_S
        closes_s = closes_at(requests, from_s, self.deployment)
        rows = rows_of(requests, closes_s)
        # NB: without tables of sources nothing is compared with them; the sources have trials of their own.
        inputs = WindowInputs(PROJECT, self.deployment, rows, (), {}, {}, math.inf)
        window = evaluate(inputs, from_s, Late(), None)
        seen = Seen() if self.deployment.label is None else seen_of(self.deployment.label, inputs.scored, VERSION)
        return Closed(window, seen, closes_s - from_s)

    def reference(self, recorded: Ints) -> VersionReference:
        """What is normal for a version by these recorded days, one after another from the beginning of a stream."""
        windows = tuple(
            ReferenceWindow(EPOCH_S + n * DAY_S, EPOCH_S + (n + 1) * DAY_S, *self._figures(int(day)))
            for n, day in enumerate(recorded)
        )
        rows = [window.rows for window in windows]
        return VersionReference(sum(rows), EPOCH_S, windows[-1].to_s, DAY_S, float(np.median(rows)), windows=windows)

    def _figures(self, day: int) -> tuple[int, dict[str, ChartFigure]]:
        """The rows of a day and its figures by all labels, as a trainer has them."""
        if day not in self._known:
            found = self.requests(day)
            self._known[day] = len(found), figures_of("binary", found.score, found.label)
        return self._known[day]


def closes_at(requests: Requests, from_s: float, deployment: DeploymentDefinition) -> float:
    """The full hour at which the window that begins at `from_s` closes: by coverage or at the label's horizon."""
    end_s, horizon_s = from_s + DAY_S, 0.0 if deployment.label is None else deployment.label.horizon_s
    known_s = np.sort(np.where(requests.lag_s <= horizon_s, requests.at_s + requests.lag_s, np.inf))
    needed = math.ceil(deployment.coverage * len(known_s) - 1e-9)
    covered_s = float(known_s[needed - 1]) if needed else -math.inf
    return min(
        math.ceil(max(end_s, covered_s) / HOUR_S) * HOUR_S if covered_s < math.inf else math.inf, end_s + horizon_s
    )


def rows_of(requests: Requests, closes_s: float) -> windows.Rows:
    """The rows of a closed window, all served by one champion, with the labels that are known at `closes_s`."""
    table = np.zeros(len(requests), windows.ROW_DTYPE)
    table["unit"] = table["offset"] = table["request"] = np.arange(len(requests))
    table["at_s"], table["score"] = requests.at_s, requests.score
    table["version"], table["role"] = VERSION, windows.CHAMPION
    known = requests.at_s + requests.lag_s <= closes_s
    shadows, labels = np.zeros(0, windows.SHADOW_DTYPE), np.where(known, requests.label, np.nan)
    delay_s = float(np.median(requests.lag_s[known])) if known.any() else None
    return windows.Rows(table, labels, shadows, label_delay_s=delay_s)


def draw_weeks(seed: int, runs: int, count: int) -> Ints:
    """Recorded weeks for each run, shape (runs, count)."""
    return draw_cycles(np.random.default_rng(seed), runs, count, WEEKS, MEAN_STRETCH)


def seams(drawn: Ints) -> set[int]:
    """The first days, in the stream, of weeks that were not recorded after the week before them."""
    follows = drawn[:-1] + 1 == drawn[1:]
    return {7 * int(week) for week in np.flatnonzero(~follows) + 1}


def days_of(drawn: Ints) -> Ints:
    """The recorded days of a stream of weeks."""
    return (7 * drawn[:, None] + np.arange(7)).ravel()


@dataclass
class Watch:
    """A deployment whose champion has just begun to serve. `reference`: what is normal for it; `findings`: so far."""

    deployment: DeploymentDefinition
    reference: VersionReference
    findings: Findings = field(init=False)

    def __post_init__(self) -> None:
        self.findings = on_champion(findings_of(self.deployment, None), VERSION).state

    def on_closed(self, closed: Closed, number: int) -> list[FindingFact]:
        """The window closes as day `number` of the stream, as `evaluation.close` does it: what opens and resolves, and the ledger."""
        from_s = EPOCH_S + number * DAY_S
        window = msgspec.structs.replace(closed.window, from_s=from_s, to_s=from_s + DAY_S)
        memory, points = after_figures(self.findings.charts, self.deployment, self.reference, from_s, closed.seen)
        memory = measured(memory, self.deployment, self.reference)
        window = msgspec.structs.replace(window, charts=points)
        step = on_window(replace(self.findings, charts=memory), window, VERSION, from_s + closed.after_s)
        self.findings = step.state
        return list(step.facts)
