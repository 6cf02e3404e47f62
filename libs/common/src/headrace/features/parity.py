"""Training-serving skew as two figures, over every logged row of an evaluation window.

`parity_tiles`: the share of rows equal to the fold of the events up to the offsets that the decision names. Anything
but 1 means that online and offline code or definitions differ. `parity_as_of`: the share equal to the fold of all
events that were available at their instant. It falls when features arrive later than `feature_delay` allows. When
either falls, the feature that differs in most rows is named, with its likely cause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade
from headrace.events.monitor import SkewSeen
from headrace.features.as_of import AsOf, as_of
from headrace.features.differences import cause_of
from headrace.features.events import EventTable
from headrace.features.plan import ViewPlan, features_of_width, plan_view
from headrace.features.precision import as_seen, filled

Floats32 = NDArray[np.float32]
Tables = Mapping[str, EventTable]


@dataclass(frozen=True)
class Parity:
    """The number of compared rows, the shares of rows equal to the bit, the largest feature lag, and the worst
    difference. `differs`: per id of a request that was compared, whether its row is one of those behind `skew`.
    """

    rows: int
    tiles: float | None
    as_of: float | None
    max_lag_s: float
    missing_share: float
    skew: SkewSeen | None = None
    differs: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class _Logged:
    """The input of all steps. `topics`: full topic name per source; `served`: shape (n, view features)."""

    deployment: DeploymentDefinition
    plans: Sequence[ViewPlan]
    tables: Tables
    topics: Mapping[str, str]
    rows: Sequence[DecisionMade]
    served: Floats32
    at_s: NDArray[np.float64]

    @property
    def names(self) -> list[str]:
        return [name for plan in self.plans for name in plan.feature_names]

    def plan_of(self, place: int) -> tuple[ViewPlan, int]:
        """The plan of a column, and the column's place in its view."""
        for plan in self.plans:
            if place < len(plan.view.features):
                return plan, place
            place -= len(plan.view.features)
        raise IndexError(place)


def parity(
    project: ProjectDefinition,
    deployment: DeploymentDefinition,
    tables: Tables,
    topics: Mapping[str, str],
    rows: Sequence[DecisionMade],
) -> Parity:
    """Recompute the feature columns of `rows`. `topics`: full topic name per source.

    Rows with another number of columns are left out: they were made by other views, or have inputs only.
    """
    plans = [plan_view(project, binding.view) for binding in deployment.features]
    width = sum(len(plan.view.features) for plan in plans)
    columns = sum(field.kind != "key" for field in deployment.inputs) + len(deployment.derived) + width
    logged = [row for row in rows if len(row.row) == 4 * columns]
    if not logged or not plans:
        return Parity(0, None, None, 0.0, 0.0)
    served = np.array([np.frombuffer(row.row, "<f4")[-width:] for row in logged])
    seen = _Logged(deployment, plans, tables, topics, logged, served, np.array([row.at_s for row in logged]))
    found = [_fold(seen, plan) for plan in plans]
    available = _row_of(plans, [part.values for part in found])
    applied = available.copy()
    places = np.flatnonzero(np.logical_or.reduce([part.beyond for part in found]))
    if len(places):
        applied[places] = _restricted(seen, places)
    _leave_out_unbuilt(seen, applied)
    by_tiles, by_as_of = _equal(served, applied), _equal(served, available)
    return Parity(
        len(logged),
        float(by_tiles.all(axis=1).mean()),
        float(by_as_of.all(axis=1).mean()),
        _max_lag_s(tables, topics, logged, seen.at_s),
        float(np.isnan(served).mean()),
        _worst(seen, applied, by_tiles, by_as_of),
        _differs(logged, by_as_of if by_tiles.all() else by_tiles),
    )


def _differs(logged: Sequence[DecisionMade], equal: NDArray[np.bool_]) -> dict[str, bool]:
    different = np.logical_not(equal.all(axis=1)).tolist()
    return dict(zip((row.request_id for row in logged), different, strict=True))


def applied_values(
    project: ProjectDefinition,
    deployment: DeploymentDefinition,
    tables: Tables,
    topics: Mapping[str, str],
    rows: Sequence[DecisionMade],
) -> NDArray[np.float64]:
    """The view features of decisions, each folded from the events below the offsets that it names: float64 (n,
    features), NaN where there is no value, and for views that were not built then. `topics`: full topic name per source.
    """
    plans = [plan_view(project, binding.view) for binding in deployment.features]
    if not plans:
        return np.empty((len(rows), 0))
    at_s = np.array([row.at_s for row in rows])
    seen = _Logged(deployment, plans, tables, topics, rows, np.empty((len(rows), 0), np.float32), at_s)
    found = [_fold(seen, plan) for plan in plans]
    values = np.hstack([part.values for part in found])
    places = np.flatnonzero(np.logical_or.reduce([part.beyond for part in found]))
    if len(places):
        values[places] = np.hstack([_below_limits(seen, plan, places) for plan in plans])
    begin = 0
    for plan in plans:
        columns = slice(begin, begin + len(plan.view.features))
        begin = columns.stop
        values[[not was_built(row, plan, topics) for row in rows], columns] = np.nan
    return values


def was_built(row: DecisionMade, plan: ViewPlan, topics: Mapping[str, str]) -> bool:
    """Whether a view could be looked up when a decision was made: its source had progressed, and not every feature
    lacked a value (a view with counts always has some).
    """
    topic = topics[plan.view.source]
    return any(name.rpartition("/")[0] == topic for name in row.applied) and not set(plan.feature_names) <= set(
        row.missing
    )


def reach_of(plan: ViewPlan, at_s: NDArray[np.float64], feature_delay_s: float) -> tuple[float, float]:
    """Between which instants the events lie that may count for requests at these instants."""
    first_s, last_s = _reach(plan, at_s, feature_delay_s)
    return float(first_s.min()), float(last_s.max())


def _fold(seen: _Logged, plan: ViewPlan) -> AsOf:
    source = plan.view.source
    entities = [row.entities.get(plan.view.name) for row in seen.rows]
    limits = {
        partition: np.array(
            [row.applied.get(f"{seen.topics[source]}/{partition}", 0) for row in seen.rows], dtype=np.int64
        )
        for partition in np.unique(seen.tables[source].partitions).tolist()
    }
    return as_of(plan, seen.tables[source], entities, seen.at_s, seen.deployment.feature_delay_s, limits)


def _row_of(plans: Sequence[ViewPlan], parts: Sequence[NDArray[np.float64]]) -> Floats32:
    """View features as a row holds them: defaults where there is no value, then float32."""
    defaults = [np.nan if f.default is None else f.default for plan in plans for f in plan.view.features]
    values = np.hstack(parts)
    return as_seen(filled(values, np.array(defaults, dtype=np.float64)))


def _restricted(seen: _Logged, places: NDArray[np.int64]) -> Floats32:
    """The rows at `places`, each folded from the events below its own offsets: shape (len(places), view features)."""
    return _row_of(seen.plans, [_below_limits(seen, plan, places) for plan in seen.plans])


def _below_limits(seen: _Logged, plan: ViewPlan, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """One view of such rows, shape (len(places), n_features).

    The events that a row may use are found in one sorted order of the table. Each row then becomes an entity of its
    own, with those of its events that lie below its offsets, so that many rows are one fold.
    """
    table, topic = seen.tables[plan.view.source], seen.topics[plan.view.source]
    index, codes = table.codes(plan.view.entity)
    order = np.lexsort((table.available, codes))
    codes, available = codes[order], table.available[order]
    rows = [seen.rows[n] for n in places]
    entities = [row.entities.get(plan.view.name) for row in rows]
    code = np.array([-2 if e is None else index.get(e, -2) for e in entities], dtype=np.int64)
    at_s = seen.at_s[places]
    first_s, last_s = _reach(plan, at_s, seen.deployment.feature_delay_s)
    begins, ends = np.searchsorted(codes, code, side="left"), np.searchsorted(codes, code, side="right")
    limits = {
        partition: np.array([row.applied.get(f"{topic}/{partition}", 0) for row in rows], dtype=np.int64)
        for partition in np.unique(table.partitions).tolist()
    }
    found = np.full((len(rows), len(plan.view.features)), np.nan)
    for chunk in _chunks(np.where(code < 0, 0, ends - begins)):
        mine = [_inside(available, begins[n], ends[n], first_s[n], last_s[n], code[n] >= 0) for n in chunk]
        owner = np.repeat(np.arange(len(chunk)), [len(events) for events in mine])
        events = order[np.concatenate(mine)]
        limit = np.zeros(len(events), dtype=np.int64)
        for partition, of_rows in limits.items():
            here = table.partitions[events] == partition
            limit[here] = of_rows[chunk][owner[here]]
        keeps = table.offsets[events] < limit
        names = [None if entities[n] is None else str(place) for place, n in enumerate(chunk)]
        small = table.regrouped(events[keeps], plan.view.entity, owner[keeps], len(chunk))
        found[chunk] = as_of(plan, small, names, at_s[chunk], seen.deployment.feature_delay_s).values
    return found


# The number of events that are folded at once.
_CHUNK_EVENTS = 500_000


def _chunks(counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows in order, cut so that a part has at most `_CHUNK_EVENTS` events, or one row."""
    if not len(counts):
        return []
    number = (np.cumsum(counts) - 1) // _CHUNK_EVENTS
    cuts = np.flatnonzero(np.diff(number)) + 1
    return np.split(np.arange(len(counts)), cuts)


def _reach(plan: ViewPlan, at_s: NDArray[np.float64], feature_delay_s: float) -> tuple[NDArray[np.float64], ...]:
    """The interval of instants in which events can count for each row. It is one pane wider than necessary at both
    ends.
    """
    first_s, last_s = at_s.copy(), at_s.copy()
    for width in plan.widths:
        ends = np.floor((at_s - feature_delay_s) / width.width_s)
        longest_s = max(feature.window_s for _, feature in features_of_width(plan.view, width.width_s))
        first_s = np.minimum(first_s, (ends - longest_s // width.width_s - 1) * width.width_s)
        last_s = np.maximum(last_s, (ends + 1) * width.width_s)
    return first_s, last_s


def _inside(
    available: NDArray[np.float64], begin: int, end: int, first_s: float, last_s: float, is_known: bool
) -> NDArray[np.int64]:
    """The places, in the sorted order, of an entity's events between two instants."""
    if not is_known:
        return np.empty(0, dtype=np.int64)
    low, high = np.searchsorted(available[begin:end], [first_s, last_s])
    return np.arange(begin + low, begin + high)


def _leave_out_unbuilt(seen: _Logged, applied: Floats32) -> None:
    """Exclude views that were not built when a row was made: they had no value then, which is no fault of the code."""
    begin = 0
    for plan in seen.plans:
        columns = slice(begin, begin + len(plan.view.features))
        begin = columns.stop
        topic = seen.topics[plan.view.source]
        for place, row in enumerate(seen.rows):
            if not any(name.rpartition("/")[0] == topic for name in row.applied):
                applied[place, columns] = seen.served[place, columns]


def _equal(left: Floats32, right: Floats32) -> NDArray[np.bool_]:
    return (left == right) | (np.isnan(left) & np.isnan(right))


def _worst(
    seen: _Logged, applied: Floats32, by_tiles: NDArray[np.bool_], by_as_of: NDArray[np.bool_]
) -> SkewSeen | None:
    """The feature that differs in most rows. A difference of code is reported before one of time."""
    if by_as_of.all() and by_tiles.all():
        return None
    is_code = not by_tiles.all()
    differs = ~(by_tiles if is_code else by_as_of)
    place = int(np.argmax(differs.sum(axis=0)))
    rows = np.flatnonzero(differs[:, place])
    cause = _code_cause(seen, applied, place, rows) if is_code else _time_cause(seen, place, rows)
    return SkewSeen(seen.names[place], float(len(rows) / len(seen.rows)), cause)


def _code_cause(seen: _Logged, applied: Floats32, place: int, rows: NDArray[np.int64]) -> str:
    plan, within = seen.plan_of(place)
    entities = [seen.rows[n].entities.get(plan.view.name) for n in rows]

    def at_other_time(shift_s: float) -> NDArray[np.float32]:
        found = as_of(
            plan, seen.tables[plan.view.source], entities, seen.at_s[rows] + shift_s, seen.deployment.feature_delay_s
        )
        return found.values[:, within].astype(np.float32)

    return cause_of(seen.served[rows, place], applied[rows, place], at_other_time)


def _time_cause(seen: _Logged, place: int, rows: NDArray[np.int64]) -> str:
    """Why available events were not in the features: the shard lagged, or the events came out of order."""
    plan, _ = seen.plan_of(place)
    table, topic = seen.tables[plan.view.source], seen.topics[plan.view.source]
    index, codes = table.codes(plan.view.entity)
    late, lagged, worst_s = 0, 0, 0.0
    for n in rows[:200]:
        row = seen.rows[n]
        if not any(name.rpartition("/")[0] == topic for name in row.applied):
            return f"{plan.view.name} was not built yet"
        for partition in np.unique(table.partitions).tolist():
            limit = row.applied.get(f"{topic}/{partition}", 0)
            mine = table.partitions == partition
            missed = mine & (table.offsets >= limit) & (table.available < row.at_s)
            missed &= codes == index.get(row.entities.get(plan.view.name) or "", -1)
            if not missed.any():
                continue
            applied_s = table.available[mine & (table.offsets < limit)]
            newest_s = float(applied_s.max()) if len(applied_s) else -np.inf
            came_late = table.available[missed] < newest_s - 300.0
            late, lagged = late + int(came_late.sum()), lagged + int((~came_late).sum())
            worst_s = max(worst_s, row.at_s - float(table.available[missed].min()))
    feature_delay_s = seen.deployment.feature_delay_s
    if late > lagged:
        return f"late events: they came after newer ones, up to {worst_s:.0f} s after they were due (feature_delay {feature_delay_s:.0f} s)"
    return f"lag: features came up to {worst_s:.0f} s late (feature_delay {feature_delay_s:.0f} s)"


def _max_lag_s(
    tables: Tables, topics: Mapping[str, str], rows: Sequence[DecisionMade], at_s: NDArray[np.float64]
) -> float:
    """How long the first event that is missing in a row's features had been available at the row's instant; 0 for
    none.
    """
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
