"""What the events of a source add to a finding: the first event that shows it, the features that read it, what else moved."""

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.events.monitor import ColumnProfile, FindingOpened, Moved, SourceProfile, WindowClosed
from headrace_monitor.core.evaluation import WindowInputs

TRAFFIC, CONTRACT = "traffic", "contract"
# By so much the null share of a source's column differs from the usual one before it has moved.
_NULL_STEP = 0.2


def reading(inputs: WindowInputs, about: str) -> tuple[str, ...]:
    """The columns of a row that a finding is about: a column itself, or the features that read `source.column`."""
    source, _, column = about.partition(".")
    views = [inputs.project.view(binding.view) for binding in inputs.deployment.features]
    features = [
        f"{view.name}.{feature.name}"
        for view in views
        if view.source == source
        for feature in view.features
        if feature.column == column
    ]
    return (about, *features)


def first_of_source(
    found: FindingOpened, inputs: WindowInputs, window: WindowClosed
) -> tuple[str, float | None] | None:
    """The first event of the window that shows a finding about a source, and the instant since when it may be used.

    Of a source that has stopped no event shows it: the instant is that of its newest event. None for any other finding.
    """
    source, _, name = found.about.partition(".")
    if found.kind not in (TRAFFIC, CONTRACT) or source not in inputs.tables:
        return None
    table = inputs.tables[source]
    available, column = table.available, _column(window.sources, source, name)
    if found.kind == TRAFFIC:
        before = available[available < window.to_s]
        return "", float(before.max()) if len(before) else None
    if column is None:
        return None
    shows = (available >= window.from_s) & (available < window.to_s)
    is_null = found.measured == column.null_share
    shows &= np.isnan(table.column(name)) == is_null
    places = np.flatnonzero(shows)
    if not len(places):
        return "", None
    first = places[np.lexsort((table.offsets[places], table.partitions[places], available[places]))[0]]
    return f"{inputs.topics[source]}/{table.partitions[first]}/{table.offsets[first]}", float(available[first])


def sources_moved(window: WindowClosed, usual: Mapping[str, Sequence[SourceProfile]]) -> tuple[Moved, ...]:
    """Columns of sources that are null much more, or less, often than in the windows in which the source was as usual."""
    found = []
    for profile in window.sources:
        for name, column in profile.columns.items():
            before = [one.columns[name].null_share for one in usual.get(profile.source, ()) if name in one.columns]
            if before and abs(column.null_share - (middle := float(np.median(before)))) >= _NULL_STEP:
                found.append(Moved(f"{profile.source}.{name}", "null_share", column.null_share, middle))
    return tuple(found)


def _column(profiles: Sequence[SourceProfile], source: str, name: str) -> ColumnProfile | None:
    return next((one.columns.get(name) for one in profiles if one.source == source), None)
