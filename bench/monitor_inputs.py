"""Faults of rows and of sources, which the monitor finds by its clock, long before a window closes.

The requests of a trial come one after another as decisions with their rows, as the monitor reads them; its look at the inputs
comes every ten minutes of event time, by the clock of the newest request. At night nothing is asked, and no clock moves.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.flight_rows import PROJECT, table_of
from bench.monitor_streams import HOUR_S, REFERENCE_DAYS, VERSION, Days, Requests, Watch, days_of
from bench.monitor_weeks import DAY_S, Weeks
from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.monitor import FindingOpened
from headrace.events.references import VersionReference
from headrace.events.registry import Signature
from headrace.stats.references import SCORE, column_of
from headrace.testing.registry import version_of
from headrace_flights.schedule import EPOCH_S, Schedule
from headrace_monitor.core.findings import on_inputs
from headrace_monitor.core.input_watch import InputWatch
from headrace_monitor.core.references import References
from headrace_monitor.core.source_silence import silence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP_S = 600.0
WHOLE_DAYS, SILENT_DAYS, NO_VALUES_DAYS = 8, 2, 2


class Inputs:
    """The inputs of a trial, beside the reference of `watch`, which has the columns of the rows."""

    def __init__(self, watch: Watch, signature: Signature) -> None:
        self._watch = watch
        references, deployment = References(), watch.deployment
        references.add(version_of(VERSION, deployment=deployment.name, signature=signature, reference=watch.reference))
        self._inputs = InputWatch(deployment.name, DAY_S, "inference.decisions.v1", references)
        self._count = 0

    def day(self, requests: Requests, number: int, recorded: int, step_s: float = STEP_S) -> Iterator[FindingOpened]:
        """What opens while the requests of a recorded day come as day `number` of the stream, looked at every `step_s`."""
        at_s = requests.at_s + (number - recorded) * DAY_S
        window_s = EPOCH_S + number * DAY_S
        rows = np.ascontiguousarray(requests.rows)
        edges = np.searchsorted(at_s, window_s + np.arange(0, DAY_S + 1, step_s))
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            for place in range(first, last):
                self._inputs.add(self._decision(at_s[place], requests.score[place], rows[place]), window_s, 0, place)
            if last > first:
                yield from self._look(float(at_s[last - 1]))

    def _decision(self, at_s: float, score: float, row: NDArray[np.float32]) -> DecisionMade:
        self._count += 1
        ident, name = f"r{self._count}", self._watch.deployment.name
        return DecisionMade(ident, name, ident, float(at_s), Served(Score(VERSION, "", float(score))), 0, row.tobytes())

    def _look(self, clock_s: float) -> list[FindingOpened]:
        seen = self._inputs.look(clock_s, clock_s, clock_s, self._watch.findings.open)
        self._watch.findings = on_inputs(self._watch.findings, seen.changes).state
        return seen.opened


def with_columns(days: Days, recorded: Ints) -> VersionReference:
    """What is normal for a version by these recorded days, with the columns of their rows and the scores as a trainer makes them."""
    parts = [days.requests(int(day)) for day in recorded]
    shifts = (np.arange(len(recorded)) - recorded) * DAY_S
    at_s = np.concatenate([part.at_s + shift for part, shift in zip(parts, shifts, strict=True)])
    rows = np.concatenate([part.rows for part in parts])
    columns = tuple(
        column_of(pin.name, rows[:, place], at_s, DAY_S, is_category=pin.vocabulary is not None)
        for place, pin in enumerate(days.weeks.signature.columns)
    )
    score = np.concatenate([part.score for part in parts]).astype(np.float32)
    scores = column_of(SCORE, score, at_s, DAY_S)
    return msgspec.structs.replace(days.reference(recorded), columns=columns, scores=scores)


def false_findings(days: Days, weeks: Ints) -> list[FindingOpened]:
    """What the inputs of sound weeks open behind the reference, looked at every hour.

    Not on the first two days of the record: no flight was before them, so their features have indeed no values.
    """
    recorded = days_of(weeks)
    inputs = Inputs(Watch(days.deployment, with_columns(days, recorded[:REFERENCE_DAYS])), days.weeks.signature)
    rest = range(REFERENCE_DAYS, len(recorded))
    return [
        found
        for number in rest
        if recorded[number] >= NO_VALUES_DAYS
        for found in inputs.day(days.requests(int(recorded[number])), number, int(recorded[number]), HOUR_S)
    ]


# Sources


def available_of(source: str) -> Floats:
    """When the events of a source became available, ascending."""
    return np.sort(table_of(Schedule(), PROJECT.source(source)).available)


def silent_after_s(available: Floats, weeks: Weeks, at_s: float) -> float:
    """How long after it a source that stops at `at_s` is found to be silent; inf when it is not within two days."""
    kept = available[(available < at_s) & (available >= at_s - WHOLE_DAYS * DAY_S)]
    for clock_s in _clocks(weeks, at_s, at_s + SILENT_DAYS * DAY_S):
        if silence(kept, clock_s, at_s - WHOLE_DAYS * DAY_S) is not None:
            return clock_s - at_s
    return math.inf


def false_silences(available: Floats, weeks: Weeks) -> int:
    """How often a source that never stops is found to be silent in the year, by its days."""
    found = set()
    for clock_s in _clocks(weeks, EPOCH_S + WHOLE_DAYS * DAY_S, float(weeks.at_s[-1])):
        first, last = np.searchsorted(available, (clock_s - WHOLE_DAYS * DAY_S, clock_s), "right")
        if silence(available[first:last], clock_s, clock_s - WHOLE_DAYS * DAY_S) is not None:
            found.add(clock_s // DAY_S)
    return len(found)


def _clocks(weeks: Weeks, from_s: float, to_s: float) -> Iterator[float]:
    """The clock every ten minutes: the instant of the newest request, where there is a new one."""
    before = -math.inf
    for place in np.searchsorted(weeks.at_s, np.arange(from_s + STEP_S, to_s, STEP_S), "right").tolist():
        clock_s = float(weeks.at_s[place - 1])
        if clock_s > max(before, from_s):
            before = clock_s
            yield clock_s
