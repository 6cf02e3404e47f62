"""Streams whose concept changes at times that nobody knew: river's concepts over real covariates, and the flights themselves.

A stream has 120 requests a day for 240 days. Its covariates are real rows in their own order (flights) or drawn with
replacement (data sets that come with river). Its label is what a classification function of one of river's generators says
of some of the columns, by their ranks, and the opposite in a tenth of the cases. One to three times the function becomes
another one of that generator, at once or over ten days. Everything is drawn from one seed, onsets included.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from river import datasets
from river.datasets import synth

from bench.flight_rows import DEPLOYMENT, PROJECT, features_of, known_s, signature_of, table_of
from bench.measure import ROOT, progress
from headrace.events.registry import ColumnPin, Signature
from headrace.features.rows import RowMaker
from headrace_backtest.history import History
from headrace_flights.schedule import Schedule

Floats = NDArray[np.float64]
Concept = Callable[[Floats], int]

CACHE = ROOT / "build" / "streams" / "flights.npz"
DAY_S, HOUR_S = 86_400.0, 3600.0
BEGIN_S = 1_356_998_400.0
DAYS, A_DAY, WARM_DAYS, QUIET_DAYS, APART_DAYS, GRADUAL_DAYS = 240, 120, 30, 14, 30, 10
LATE_MIN = 15
NOISE, MOST_COLUMNS, MOST_CHANGES = 0.1, 9, 3
LEAST_LAG_S, MOST_LAG_S = 4 * HOUR_S, 12 * HOUR_S


@dataclass(frozen=True)
class Change:
    """The concept becomes another one, from `day` on, within `over_days` (0: at once)."""

    day: float
    over_days: float
    concept: int


@dataclass(frozen=True)
class Stream:
    """A stream, and what is true of it. `truth`: the labels before a tenth of them was turned around, shape (n,)."""

    name: str
    history: History
    changes: tuple[Change, ...]
    truth: Floats

    @property
    def from_s(self) -> float:
        """The end of the days on which the first version is trained."""
        return BEGIN_S + WARM_DAYS * DAY_S

    @property
    def to_s(self) -> float:
        """Its end."""
        return BEGIN_S + DAYS * DAY_S


@dataclass(frozen=True)
class Generator:
    """The concepts of one of river's generators. `ranks`: how many columns they read; `concepts`: of such ranks in 0..1."""

    name: str
    ranks: int
    concepts: Sequence[Concept]


def flights() -> History:
    """The flights of the year as the example would have served them, from the cache or made (two minutes)."""
    if not CACHE.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        np.savez(CACHE, **_folded())
    found = np.load(CACHE)
    columns = zip(found["names"].tolist(), found["categories"].tolist(), strict=True)
    signature = Signature(tuple(ColumnPin(name, () if is_one else None) for name, is_one in columns), "flights")
    units = [f"f{n}" for n in range(len(found["at_s"]))]
    told = found["known_s"] <= found["at_s"] + _horizon_s()
    labels, came_s = np.where(told, found["late"], np.nan), np.where(told, found["known_s"], math.inf)
    return History(units, units, found["at_s"], found["rows"], labels, came_s, told, signature, "binary")


def _folded() -> dict[str, NDArray]:
    schedule = Schedule()
    progress(f"folding the features of {len(schedule.asked_s):,} flights")
    inputs = [schedule.asked(place).inputs for place in range(len(schedule.asked_s))]
    tables = {source.name: table_of(schedule, source) for source in PROJECT.sources}
    signature = signature_of(schedule)
    rows = RowMaker(DEPLOYMENT, signature).rows(inputs, features_of(inputs, schedule.asked_s, tables))
    delay_min = schedule.flights["arrival_delay_min"].to_numpy().astype(float)
    late = (np.isnan(delay_min) | (delay_min > LATE_MIN)).astype(float)
    order = np.argsort(schedule.asked_s, kind="stable")
    columns = {"at_s": schedule.asked_s, "late": late, "known_s": known_s(schedule), "rows": rows.astype(np.float32)}
    return {
        "names": np.array([column.name for column in signature.columns]),
        "categories": np.array([column.vocabulary is not None for column in signature.columns]),
        **{name: values[order] for name, values in columns.items()},
    }


def streams(numbers: Iterable[int], seed: int, flown: History) -> list[Stream]:
    """The streams of these numbers. `flown`: the flights, whose rows most of them use."""
    return [_stream(number, np.random.default_rng([seed, number]), flown) for number in numbers]


def generators() -> list[Generator]:
    """The concepts of river's generators."""
    sine, mixed, stagger = synth.Sine(seed=0), synth.Mixed(seed=0), synth.STAGGER(seed=0)
    return [
        Generator("SEA", 3, [_sea(variant) for variant in range(4)]),
        Generator("Agrawal", 9, [_agrawal(number) for number in range(10)]),
        Generator("STAGGER", 3, [_stagger(stagger, number) for number in range(3)]),
        Generator("Sine", 2, [_sine(sine, number) for number in range(4)]),
        Generator("Mixed", 4, [_mixed(mixed, number) for number in range(2)]),
    ]


def _stream(number: int, dice: np.random.Generator, flown: History) -> Stream:
    known = generators()
    generator = known[number % len(known)]
    where, covariates, at_s = _covariates(number, dice, flown, generator.ranks)
    ranks = _ranks(covariates[:, : generator.ranks], int(np.searchsorted(at_s, BEGIN_S + WARM_DAYS * DAY_S)))
    changes = drawn_changes(dice, len(generator.concepts))
    concept = _concepts(dice, at_s, changes)
    truth = np.array([generator.concepts[n](row) for n, row in zip(concept.tolist(), ranks, strict=True)], dtype=float)
    labels = np.where(dice.random(len(truth)) < NOISE, 1 - truth, truth)
    came_s = at_s + dice.uniform(LEAST_LAG_S, MOST_LAG_S, len(at_s))
    names = [f"r{n}" for n in range(len(at_s))]
    shuffled = dice.permutation(covariates.shape[1])
    signature = Signature(tuple(ColumnPin(f"c{n}") for n in range(covariates.shape[1])), "rows")
    matrix = np.ascontiguousarray(covariates[:, shuffled].astype(np.float32))
    told = np.ones(len(at_s), dtype=bool)
    history = History(names, names, at_s, matrix, labels, came_s, told, signature, "binary")
    return Stream(f"{generator.name} on {where}", history, changes, truth)


def _covariates(number: int, dice: np.random.Generator, flown: History, least: int) -> tuple[str, Floats, Floats]:
    """The name of the rows, the rows (n, columns), and their instants."""
    if number % 3 == 2 and least <= 2:
        return "bananas", *_drawn(dice, datasets.Bananas())
    if number % 3 == 1:
        return "image segments", *_drawn(dice, datasets.ImageSegments())
    first = dice.integers(0, 365 - DAYS)
    day = np.floor((flown.at_s - BEGIN_S) / DAY_S).astype(int) - first
    within = np.flatnonzero((day >= 0) & (day < DAYS))
    kept = np.sort(dice.choice(within, DAYS * A_DAY, replace=False))
    matrix = flown.matrix[kept].astype(np.float64)
    rich = [n for n in range(matrix.shape[1]) if len(np.unique(matrix[:2000, n])) > 100]
    chosen = dice.permutation(rich)[:MOST_COLUMNS]
    at_s = flown.at_s[kept] - first * DAY_S
    order = np.argsort(at_s, kind="stable")
    return "flights", _without_gaps(matrix[order][:, chosen]), at_s[order]


def _drawn(dice: np.random.Generator, data: datasets.base.Dataset) -> tuple[Floats, Floats]:
    rows = np.array([[float(value) for value in row.values()] for row, _ in data])
    rich = [n for n in range(rows.shape[1]) if len(np.unique(rows[:, n])) > 50]
    chosen = dice.permutation(rich)[:MOST_COLUMNS]
    at_s = np.sort(dice.uniform(BEGIN_S, BEGIN_S + DAYS * DAY_S, DAYS * A_DAY))
    return rows[dice.integers(0, len(rows), len(at_s))][:, chosen], at_s


def _without_gaps(matrix: Floats) -> Floats:
    return np.where(np.isnan(matrix), np.nanmedian(matrix, axis=0), matrix)


def _ranks(columns: Floats, warm: int) -> Floats:
    """Each value's rank among those of the first rows, in 0..1."""
    found = np.empty_like(columns)
    for n in range(columns.shape[1]):
        usual = np.sort(columns[:warm, n])
        low, high = (np.searchsorted(usual, columns[:, n], side=side) for side in ("left", "right"))
        found[:, n] = (low + high) / 2 / warm
    return found


def drawn_changes(dice: np.random.Generator, concepts: int) -> tuple[Change, ...]:
    """The first concept, and when it changes to which other ones."""
    count = int(dice.integers(1, MOST_CHANGES + 1))
    while True:
        days = np.sort(dice.uniform(WARM_DAYS + QUIET_DAYS, DAYS - QUIET_DAYS, count))
        if count == 1 or np.diff(days).min() >= APART_DAYS:
            break
    found, now = [], int(dice.integers(concepts))
    found.append(Change(0.0, 0.0, now))
    for day in days.tolist():
        now = int(dice.choice([n for n in range(concepts) if n != now]))
        found.append(Change(day, GRADUAL_DAYS if dice.random() < 0.5 else 0.0, now))
    return tuple(found)


def _concepts(dice: np.random.Generator, at_s: Floats, changes: Sequence[Change]) -> NDArray[np.int64]:
    """The concept of each request; within a gradual change the share of the new one grows."""
    day, chance = (at_s - BEGIN_S) / DAY_S, dice.random(len(at_s))
    found = np.full(len(at_s), changes[0].concept)
    for change in changes[1:]:
        share = np.clip((day - change.day) / change.over_days, 0, 1) if change.over_days else (day >= change.day) * 1.0
        found = np.where(chance < share, change.concept, found)
    return found


def _horizon_s() -> float:
    return 0.0 if DEPLOYMENT.label is None else DEPLOYMENT.label.horizon_s


# Ranks to the ranges of river's generators.


def _sea(variant: int) -> Concept:
    threshold = synth.SEA(variant=variant)._threshold
    return lambda row: int(10 * row[0] + 10 * row[1] > threshold)


def _agrawal(number: int) -> Concept:
    function = getattr(synth.Agrawal, f"_classification_function_{number}")

    def label(row: Floats) -> int:
        salary, zipcode = 20_000 + 130_000 * row[0], min(int(9 * row[5]), 8)
        commission = 0.0 if salary >= 75_000 else 10_000 + 75_000 * row[1]
        value = (8 - zipcode) * 100_000 * (0.5 + row[6])
        age, level, car = int(20 + 60 * row[2]), min(int(5 * row[3]), 4), 1 + min(int(20 * row[4]), 19)
        years, loan = 1 + min(int(30 * row[7]), 29), 500_000 * row[8]
        return int(function(salary, commission, age, level, car, zipcode, value, years, loan))

    return label


def _stagger(generator: synth.STAGGER, number: int) -> Concept:
    function = generator._functions[number]
    return lambda row: int(function(*(min(int(3 * rank), 2) for rank in row[:3])))


def _sine(generator: synth.Sine, number: int) -> Concept:
    function = generator._functions[number]
    return lambda row: int(function(row[0], row[1]))


def _mixed(generator: synth.Mixed, number: int) -> Concept:
    function = generator._functions[number]
    return lambda row: int(function(int(row[0] < 0.5), int(row[1] < 0.5), row[2], row[3]))
