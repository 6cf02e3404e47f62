"""The rows of the real flights of the year as training and serving make them, folded offline, and when labels are known."""

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import SourceDefinition
from headrace.events.registry import Signature
from headrace.features.as_of import as_of
from headrace.features.events import AVAILABLE, OFFSET, PARTITION, EventTable
from headrace.features.plan import plan_view
from headrace.features.rows import entities_of, pin_signature
from headrace.project.compile import compile_project
from headrace_flights.project import project
from headrace_flights.schedule import DEPARTED, DIVERTED_KNOWN_AFTER_S, EPOCH_S, Schedule

Floats = NDArray[np.float64]

PROJECT = compile_project(project)
DEPLOYMENT = PROJECT.deployments[0]


def signature_of(schedule: Schedule) -> Signature:
    """The signature of versions that know every category of the year."""
    names = [field.name for field in DEPLOYMENT.inputs if field.kind == "category"]
    found = {name: schedule.flights[name].cast(str).unique().to_list() for name in names}
    return pin_signature(PROJECT, DEPLOYMENT, {name: sorted(values) for name, values in found.items()})


def known_s(schedule: Schedule) -> Floats:
    """When each flight's label is known, as the example's pipelines tell it."""
    at_s, places, kinds = schedule.movements
    known = np.full(len(schedule.departs_s), np.nan)
    tells = kinds != DEPARTED
    known[places[tells]] = at_s[tells]
    return known


def features_of(inputs: list[dict], at_s: Floats, tables: dict[str, EventTable]) -> Floats:
    """The features of requests at these instants, shape (n, n_features)."""
    entities = [entities_of(DEPLOYMENT, row) for row in inputs]
    parts = []
    for binding in DEPLOYMENT.features:
        plan = plan_view(PROJECT, binding.view)
        keys = [row[binding.view] for row in entities]
        parts.append(as_of(plan, tables[plan.view.source], keys, at_s, DEPLOYMENT.feature_delay_s).values)
    return np.hstack(parts)


def table_of(schedule: Schedule, source: SourceDefinition) -> EventTable:
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
