"""Training-serving skew as two figures, over every logged row of a cohort.

`parity_tiles`: the row equals the fold of the events up to the offsets that the decision names; anything but 1 means
that online and offline code differ. `parity_as_of`: it equals the fold of all events that were available at its
instant; it falls when features arrive later than `settle` allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import DecisionMade
from headrace.features.as_of import AsOf, as_of
from headrace.features.events import EventTable
from headrace.features.plan import ViewPlan, plan_view
from headrace.project.definition import DeploymentDefinition, ProjectDefinition

Tables = Mapping[str, EventTable]


@dataclass(frozen=True)
class Parity:
    """`rows` compared; shares of rows equal to the bit; the largest feature lag in event seconds."""

    rows: int
    tiles: float | None
    as_of: float | None
    max_lag_s: float
    missing_share: float


def parity(
    project: ProjectDefinition,
    deployment: DeploymentDefinition,
    tables: Tables,
    topics: Mapping[str, str],
    rows: Sequence[DecisionMade],
) -> Parity:
    """Recompute the feature columns of `rows`. `topics`: full topic name per source."""
    logged = [row for row in rows if row.row]
    if not logged or not deployment.features:
        return Parity(0, None, None, 0.0, 0.0)
    plans = [plan_view(project, binding.view) for binding in deployment.features]
    width = sum(len(plan.view.features) for plan in plans)
    served = np.array([np.frombuffer(row.row, "<f4")[-width:] for row in logged])
    at_s = np.array([row.at_s for row in logged])
    found = [_fold(plan, deployment, tables, topics, logged, at_s) for plan in plans]
    recomputed = np.hstack([part.values for part in found]).astype(np.float32)
    equal = _equal(served, recomputed)
    beyond = np.logical_or.reduce([part.beyond for part in found])
    tiles = equal.copy()
    for place in np.flatnonzero(beyond):
        tiles[place] = _equal(served[place : place + 1], _restricted(plans, deployment, tables, topics, logged[place]))[
            0
        ]
    lag_s = _max_lag_s(tables, topics, logged, at_s)
    return Parity(len(logged), float(tiles.mean()), float(equal.mean()), lag_s, float(np.isnan(served).mean()))


def _fold(
    plan: ViewPlan,
    deployment: DeploymentDefinition,
    tables: Tables,
    topics: Mapping[str, str],
    rows: Sequence[DecisionMade],
    at_s: NDArray[np.float64],
) -> AsOf:
    source = plan.view.source
    entities = [row.entities.get(plan.view.name) for row in rows]
    limits = {
        partition: np.array([row.applied.get(f"{topics[source]}/{partition}", 0) for row in rows], dtype=np.int64)
        for partition in np.unique(tables[source].partitions).tolist()
    }
    return as_of(plan, tables[source], entities, at_s, deployment.settle_s, limits)


def _restricted(
    plans: Sequence[ViewPlan],
    deployment: DeploymentDefinition,
    tables: Tables,
    topics: Mapping[str, str],
    row: DecisionMade,
) -> NDArray[np.float32]:
    at_s = np.array([row.at_s])
    parts = [
        as_of(
            plan,
            _up_to(tables[plan.view.source], topics[plan.view.source], row),
            [row.entities.get(plan.view.name)],
            at_s,
            deployment.settle_s,
        )
        for plan in plans
    ]
    return np.hstack([part.values for part in parts]).astype(np.float32)


def _up_to(table: EventTable, topic: str, row: DecisionMade) -> EventTable:
    partitions = np.unique(table.partitions)
    limits = np.zeros(len(table), dtype=np.int64)
    for partition in partitions:
        limits[table.partitions == partition] = row.applied.get(f"{topic}/{partition}", 0)
    return table.select(table.offsets < limits)


def _equal(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.bool_]:
    return ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=1)


def _max_lag_s(
    tables: Tables, topics: Mapping[str, str], rows: Sequence[DecisionMade], at_s: NDArray[np.float64]
) -> float:
    """How long, at a row's instant, the first event that its features did not contain had been available; 0 when it came later."""
    worst = 0.0
    for source, table in tables.items():
        partitions, offsets, available = table.partitions, table.offsets, table.available
        for partition in np.unique(partitions):
            mine = np.flatnonzero(partitions == partition)
            mine = mine[np.argsort(offsets[mine])]
            limits = np.array([row.applied.get(f"{topics[source]}/{partition}", 0) for row in rows])
            first = np.searchsorted(offsets[mine], limits)
            inside = first < len(mine)
            if inside.any():
                worst = max(worst, float((at_s[inside] - available[mine[first[inside]]]).max()))
    return worst
