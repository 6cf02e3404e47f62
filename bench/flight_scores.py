"""The scores of several versions on July's real flights: the data of the rollouts area, computed once and kept.

All are the example's own model on the example's own rows, folded offline as serving folds them:

    champion            January - March
    challenger          January - June
    resample_a, _b      January - June, a random 80 % of the rows each
    skewed              January - June, on features that look 360 minutes ahead; scored on honest ones
    shuffled, flipped   January - June, on labels in random order, on labels turned around
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measure import ROOT, progress
from bench.rollout_sims import QUIET_S, Traffic
from headrace.events.definition import SourceDefinition
from headrace.features.as_of import as_of
from headrace.features.events import AVAILABLE, OFFSET, PARTITION, EventTable
from headrace.features.plan import plan_view
from headrace.features.rows import RowMaker, entities_of, pin_signature
from headrace.project.compile import compile_project
from headrace_flights.project import project
from headrace_flights.schedule import DEPARTED, DIVERTED_KNOWN_AFTER_S, EPOCH_S, Schedule
from headrace_flights.train import build

Floats = NDArray[np.float64]

CACHE = ROOT / "build" / "rollouts" / "july-2.npz"
AHEAD_S = 360 * 60.0
SHARE = 0.8
DAYS = 30
_LATE_MIN = 15
VERSIONS = ("champion", "challenger", "resample_a", "resample_b", "skewed", "shuffled", "flipped")

PROJECT = compile_project(project)
DEPLOYMENT = PROJECT.deployments[0]


@dataclass(frozen=True)
class July:
    """Per flight asked about in July: the instant, how long its label takes, the label, and the score of each version."""

    at_s: Floats
    lag_s: Floats
    labels: Floats
    scores: dict[str, Floats]


def july(cache: Path = CACHE) -> July:
    """From the cache, or made: about a minute."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        made = _make()
        np.savez_compressed(cache, at_s=made.at_s, lag_s=made.lag_s, labels=made.labels, **made.scores)
    found = np.load(cache)
    return July(found["at_s"], found["lag_s"], found["labels"], {name: found[name] for name in VERSIONS})


def _make() -> July:
    schedule = Schedule()
    count = int(np.searchsorted(schedule.asked_s, _instant(8)))
    at_s, inputs = schedule.asked_s[:count], [schedule.asked(place).inputs for place in range(count)]
    tables = {source.name: _table(schedule, source) for source in PROJECT.sources}
    names = [field.name for field in DEPLOYMENT.inputs if field.kind == "category"]
    signature = pin_signature(PROJECT, DEPLOYMENT, {name: sorted({str(i[name]) for i in inputs}) for name in names})
    maker = RowMaker(DEPLOYMENT, signature)
    progress("folding the features of 200,000 flights, twice")
    rows = maker.rows(inputs, _features(inputs, at_s, tables))
    ahead = maker.rows(inputs, _features(inputs, at_s + AHEAD_S, tables))
    labels = _labels(schedule)[:count]
    march, june = at_s < _instant(4), at_s < _instant(7)
    tested = ~june
    rng = np.random.default_rng(7)
    scores: dict[str, Floats] = {}
    for name in VERSIONS:
        progress(f"fitting {name}")
        chosen = march if name == "champion" else june
        if name.startswith("resample"):
            chosen = june & (rng.random(count) < SHARE)
        truth = labels[chosen]
        truth = rng.permutation(truth) if name == "shuffled" else 1 - truth if name == "flipped" else truth
        model = build(signature).fit((ahead if name == "skewed" else rows)[chosen], truth)
        scores[name] = model.predict_proba(rows[tested])[:, 1]
    lag_s = _known_s(schedule)[:count] - at_s
    return July(at_s[tested], lag_s[tested], labels[tested], scores)


def _instant(month: int) -> float:
    return datetime(2013, month, 1, tzinfo=UTC).timestamp()


def _labels(schedule: Schedule) -> Floats:
    delay_min = schedule.flights["arrival_delay_min"].to_numpy().astype(float)
    return (np.isnan(delay_min) | (delay_min > _LATE_MIN)).astype(float)


def _known_s(schedule: Schedule) -> Floats:
    """When each flight's label is known, as the example's pipelines tell it."""
    at_s, places, kinds = schedule.movements
    known_s = np.full(len(schedule.departs_s), np.nan)
    tells = kinds != DEPARTED
    known_s[places[tells]] = at_s[tells]
    return known_s


def _features(inputs: list[dict], at_s: Floats, tables: dict[str, EventTable]) -> Floats:
    entities = [entities_of(DEPLOYMENT, row) for row in inputs]
    parts = []
    for binding in DEPLOYMENT.features:
        plan = plan_view(PROJECT, binding.view)
        keys = [row[binding.view] for row in entities]
        parts.append(as_of(plan, tables[plan.view.source], keys, at_s, DEPLOYMENT.feature_delay_s).values)
    return np.hstack(parts)


def _table(schedule: Schedule, source: SourceDefinition) -> EventTable:
    """The source's events as the example's pipelines make them, as columns at once."""
    columns = _weather(schedule) if source.name == "weather" else _flown(schedule, source.name)
    wanted = {field.name for field in source.fields}
    columns = {name: values for name, values in columns.items() if name in wanted or name == AVAILABLE}
    count = len(columns[AVAILABLE])
    places = {PARTITION: np.zeros(count, dtype=np.int64), OFFSET: np.arange(count)}
    return EventTable(source, {**columns, **places})


def _flown(schedule: Schedule, source: str) -> dict[str, NDArray]:
    flights = schedule.flights
    departs_s, block_s = schedule.departs_s, flights["block_min"].to_numpy() * 60.0
    left_min = flights["departure_delay_min"].to_numpy().astype(float)
    came_min = flights["arrival_delay_min"].to_numpy().astype(float)
    texts = {
        name: flights[name].cast(str).to_numpy().astype(object) for name in ("carrier", "origin", "dest", "tail")
    } | {"flight_id": np.array(schedule.flight_ids, dtype=object)}
    cancelled = np.isnan(left_min)
    if source == "departures":
        at_s, kept = departs_s + np.nan_to_num(left_min) * 60, np.ones(len(departs_s), dtype=bool)
        own = {"departed_at": at_s, "cancelled": cancelled.astype(object), "delay_min": left_min}
    else:
        landed_s = departs_s + block_s + came_min * 60
        at_s, kept = np.where(np.isnan(came_min), departs_s + block_s + DIVERTED_KNOWN_AFTER_S, landed_s), ~cancelled
        own = {"landed_at": at_s, "delay_min": came_min}
    order = np.argsort(at_s, kind="stable")
    order = order[kept[order]]
    return {name: values[order] for name, values in {**texts, **own, AVAILABLE: at_s}.items()}


def _weather(schedule: Schedule) -> dict[str, NDArray]:
    frame = schedule.weather
    columns = {
        name: frame[name].to_numpy().astype(float) for name in frame.columns if name not in ("hour", "origin")
    } | {"origin": frame["origin"].cast(str).to_numpy().astype(object)}
    observed_s = EPOCH_S + frame["hour"].to_numpy() * 3600.0
    return {**columns, "observed_at": observed_s, AVAILABLE: schedule.weather_s}


def traffic_of(found: July, new: str, control: str) -> Traffic:
    """Thirty whole days of two versions, from the first quiet hour."""
    at_s = found.at_s - _instant(7) - QUIET_S
    whole = (at_s >= 0) & (at_s < DAYS * 86_400)
    return Traffic(
        at_s[whole], found.lag_s[whole], found.labels[whole], found.scores[new][whole], found.scores[control][whole]
    )
