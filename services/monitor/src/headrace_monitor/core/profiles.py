"""What the events of a source look like in a window: how many there are, how often a column is null, how large its numbers are."""

from collections.abc import Iterable, Mapping

import numpy as np

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.monitor import ColumnProfile, SourceProfile
from headrace.features.events import EventTable


def profile_sources(
    project: ProjectDefinition,
    deployment: DeploymentDefinition,
    tables: Mapping[str, EventTable],
    from_s: float,
    to_s: float,
) -> tuple[SourceProfile, ...]:
    """The profile of every source that the deployment's views read, over the events that became available in [from_s, to_s).

    `tables`: the events by source name; each source that a view reads must be there.
    """
    views = [project.view(binding.view) for binding in deployment.features]
    columns: dict[str, set[str]] = {view.source: set() for view in views}
    for view in views:
        columns[view.source] |= {feature.column for feature in view.features if feature.column is not None}
    return tuple(profile(source, tables[source], sorted(columns[source]), from_s, to_s) for source in sorted(columns))


def profile(source: str, table: EventTable, columns: Iterable[str], from_s: float, to_s: float) -> SourceProfile:
    """The profile of one source over the events that became available in [from_s, to_s). `columns`: the numeric ones that views read."""
    inside = np.flatnonzero((table.available >= from_s) & (table.available < to_s))
    found = {name: _column(table.column(name)[inside]) for name in columns} if len(inside) else {}
    return SourceProfile(source, len(inside), found)


def _column(values: np.ndarray) -> ColumnProfile:
    known = values[~np.isnan(values)]
    magnitude = float(np.quantile(np.abs(known), 0.9)) if len(known) else None
    return ColumnProfile(1.0 - len(known) / len(values), magnitude)
