"""A stream of decisions and outcomes with planted faults, written to two namespaces of one broker: hour by hour for the one, as a backlog
for the other."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import asdict, replace

from headrace.clock import SystemClock
from headrace.events.inference import DecisionMade, Invalid, OutcomeObserved, Score, Served
from headrace.events.monitor import FindingOpened, FindingResolved, WindowClosed
from headrace.events.references import ColumnReference, VersionReference
from headrace.events.registry import AliasMoved, ColumnPin, ModelVersion, Signature
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.project import Binary, Charts, Deployment, Number, PageHinkley, Project
from headrace.project.compile import compile_project
from headrace.stats.bins import edges_of
from headrace.stats.sketches import sketch_of
from headrace.testing.registry import version_of

DAY, HOUR = 86_400.0, 3_600.0
DAYS, COLUMNS = 20, 4
NULLS, REFUSED, MOVED, FLIPPED = (5 * 24, 5 * 24 + 30), (11 * 24, 11 * 24 + 3), (8 * 24, 9 * 24), (17 * 24, DAYS * 24)
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d", "u", [Number(f"x{n}") for n in range(COLUMNS)], label=Binary("y", horizon="24h"),
                monitoring=[Charts(windows=10), PageHinkley()],
            )
        ],
    )
)  # fmt: skip


# Sketches of quantiles draw at random which values they keep: their rank error, at both ends.
RANK_ERROR = 0.035
# What a finding says of the rows that were there when it was found.
OF_THE_MOMENT = ("at_s", "measured", "summary")


class HourLater(SystemClock):
    """The wall clock of somebody who reads the log an hour after it was written."""

    def now_s(self) -> float:
        """An hour after now."""
        return super().now_s() + HOUR


class Stream:
    """`count` decisions over twenty days, each with its outcome two hours later; every hundredth outcome is corrected a day and a half after it."""

    def __init__(self, count: int) -> None:
        self.an_hour = count // (DAYS * 24)
        self._rng = np.random.default_rng(7)
        self._due: dict[int, list[tuple[str, int]]] = {}

    def registry(self, topics: Topics) -> list[Out]:
        """A version with its reference, which is champion."""
        rng = np.random.default_rng(3)
        values = rng.normal(size=(5000, COLUMNS)).astype(np.float32)
        columns = tuple(
            ColumnReference(
                f"x{n}", "number", (0.1,) * 10, edges_of(values[:, n]), low=-5, high=5, tail=0.4, sketch=sketch_of(values[:, n])
            )
            for n in range(COLUMNS)
        )  # fmt: skip
        usual = VersionReference(5000, -40 * DAY, 0.0, DAY, 500.0, columns)
        pins = tuple(ColumnPin(f"x{n}") for n in range(COLUMNS))
        registered = version_of(1, model_digest="m", signature=Signature(pins, "s"), reference=usual)
        model = ModelVersion(registered, "champion", ("champion",))
        moved = AliasMoved("d", "champion", 1, None, "test")
        return [
            out(topics.name("registry.models"), "d/1", model, Envelope("m1", "", "registry", 0.0)),
            out(topics.name("registry.facts"), "d", moved, Envelope("a1", "", "registry", 0.0)),
        ]

    def hours(self, topics: Topics) -> Iterator[list[Out]]:
        """The records of each hour, and at last those of a day in which the clock comes to the end of all horizons."""
        decisions, outcomes = topics.name("inference.decisions"), topics.name("inference.outcomes")
        for hour in range(DAYS * 24 + 60):
            outs = []
            for n, decision in enumerate(self._decisions(hour)):
                outs.append(_out(decisions, decision, decision.unit, f"d-{decision.unit}", decision.at_s, n % 2))
            for n, (known_s, outcome, ident) in enumerate(self._outcomes(hour)):
                outs.append(_out(outcomes, outcome, outcome.unit, ident, known_s, n % 2))
            yield outs

    def _decisions(self, hour: int) -> Iterator[DecisionMade]:
        # NB: the last days have little traffic: only their clock is needed.
        count = self.an_hour if hour < DAYS * 24 else 20
        rows = self._rng.normal(size=(count, COLUMNS)).astype(np.float32)
        if _in(hour, NULLS):
            rows[:, 3] = np.nan
        if _in(hour, MOVED):
            rows[:, 2] += 2
        scores, draws = self._rng.beta(2, 5, count), self._rng.random(count)
        labels = (draws < scores) != _in(hour, FLIPPED)
        self._due[hour + 2] = [(f"{hour}-{n}", int(labels[n])) for n in range(count)]
        for n in range(count):
            at_s = hour * HOUR + (n + 0.5) * HOUR / count
            refused = _in(hour, REFUSED) and n % 2 == 0
            answer = Invalid("it must be a number", "x1") if refused else Served(Score(1, "m", float(scores[n])))
            yield DecisionMade(
                f"r{hour}-{n}", "d", f"{hour}-{n}", at_s, answer, n, b"" if refused else rows[n].tobytes(), "s"
            )

    def _outcomes(self, hour: int) -> Iterator[tuple[float, OutcomeObserved, str]]:
        due = self._due.pop(hour, [])
        for n, (unit, label) in enumerate(due):
            yield hour * HOUR + (n + 0.5) * HOUR / len(due), OutcomeObserved("d", unit, float(label)), f"o-{unit}"
        if hour % 24 == 12 and hour > 48:
            for n in range(0, self.an_hour, 100):
                unit = f"{hour - 38}-{n}"
                yield hour * HOUR + n, OutcomeObserved("d", unit, 1.0, corrects=f"o-{unit}"), f"c-{unit}"


def moved_to(outs: list[Out], topics: Topics, to: Topics) -> list[Out]:
    """The same records for the topics of another namespace."""
    return [replace(one, topic=to.prefixed(topics.base(one.topic))) for one in outs]


def _out(topic: str, event: msgspec.Struct, unit: str, ident: str, at_s: float, partition: int) -> Out:
    return out(topic, unit, event, Envelope(ident, "", "test", at_s), partition)


def _in(hour: int, span: tuple[int, int]) -> bool:
    return span[0] <= hour < span[1]


def by_kind(events: Iterable[Any]) -> dict[str, list[Any]]:
    """Windows, and what opened and was resolved, these by finding and instant.

    Estimates are none of it: a backlog has the labels that these would stand in for.
    """
    events = list(events)
    kinds = (WindowClosed, FindingOpened, FindingResolved)
    found = {kind.__name__: [event for event in events if isinstance(event, kind)] for kind in kinds}
    for name in ("FindingOpened", "FindingResolved"):
        found[name].sort(key=lambda event: (event.finding, event.at_s))
    return found


def assert_same(live: dict[str, list[Any]], backlog: dict[str, list[Any]]) -> None:
    """Every record is equal, but for sketches, within their error.

    What was found within a minute, before its hour was over, says what was there by then.
    """
    for one, other in zip(live["WindowClosed"], backlog["WindowClosed"], strict=True):
        assert asdict(replace(one, columns=())) == asdict(replace(other, columns=())), one.from_s
        for column, same in zip(one.columns, other.columns, strict=True):
            assert column.ks == pytest.approx(same.ks, abs=RANK_ERROR)
            assert asdict(replace(column, sketch=b"", ks=None)) == asdict(replace(same, sketch=b"", ks=None))
    assert live["FindingResolved"] == backlog["FindingResolved"]
    for one, other in zip(live["FindingOpened"], backlog["FindingOpened"], strict=True):
        is_early = one.kind == "contract" and one.at_s % HOUR != 0
        moment = OF_THE_MOMENT if is_early else ()
        assert without(one, moment) == without(other, moment)
        assert not is_early or other.at_s - HOUR < one.at_s < other.at_s


def without(found: FindingOpened, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a finding but these."""
    return {name: value for name, value in asdict(found).items() if name not in names}
