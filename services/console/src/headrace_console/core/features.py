"""Sources and feature views: how fresh they are, what was not counted, and who uses them."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from headrace.events.definition import FeatureDefinition, ProjectDefinition
from headrace.events.ops import HealthReported
from headrace_console.core.documents import Features, Mark, SourceRow, ViewRow
from headrace_console.core.world import World

T = TypeVar("T")


def document(world: World, now_s: float) -> Features:
    """The document `features`."""
    reports, answering = world.reports.fresh("feature", now_s), world.reports.fresh("inference", now_s)
    sources, views, missing = {}, {}, {}
    for applied in world.projects.values():
        definition = applied.definition
        stopped = {found.opened.about for d in definition.deployments for found in world.findings.open(d.name)}
        for source in definition.sources:
            row = _source(source.name, definition.name, reports, is_stopped=source.name in stopped)
            if row.newest_event_s is None:
                word = _why_no_newest(source.name, definition, reports, answering)
                row = msgspec.structs.replace(row, newest_word=word)
            sources[f"{definition.name}/{source.name}"] = row
        for view in definition.views:
            features = {feature.name: shown(feature) for feature in view.features}
            entity = ", ".join(view.entity) or "all events"
            users = _users(definition, view.name)
            views[f"{definition.name}/{view.name}"] = ViewRow(
                view.name, definition.name, view.source, entity, features, users
            )
        for deployment in definition.deployments:
            seen = world.windows.of(deployment.name)
            if deployment.features and seen is not None:
                missing[deployment.name] = seen.newest.missing_share
    return Features(sources, views, missing)


def shown(feature: FeatureDefinition) -> str:
    """A feature in a few words.

    >>> shown(FeatureDefinition("late_share_3h", "mean", "late", 10800))
    'mean of late over 3 h'
    """
    of = f" of {feature.column}" if feature.column is not None else ""
    hours, seconds = divmod(feature.window_s, 3600)
    window = f"{hours} h" if hours and not seconds else f"{feature.window_s // 60} min"
    return f"{feature.aggregation}{of} over {window}"


def _users(definition: ProjectDefinition, view: str) -> tuple[str, ...]:
    return tuple(d.name for d in definition.deployments if any(binding.view == view for binding in d.features))


def _source(name: str, project: str, reports: list[HealthReported], *, is_stopped: bool) -> SourceRow:
    newest = [at_s for report in reports for at_s in _of(name, report.newest_event_s).values()]
    behind = sum(sum(_of(name, report.lag).values()) for report in reports)
    late = sum(sum(_of(name, report.late).values()) for report in reports)
    mark: Mark = "unknown" if not reports else "attention" if is_stopped else "ok" if newest else "unknown"
    return SourceRow(name, project, mark, max(newest, default=None), behind, late)


def _why_no_newest(
    source: str, definition: ProjectDefinition, reports: list[HealthReported], answering: list[HealthReported]
) -> str:
    """Why the feature service reports no newest event: it knows only those that it has folded since it started.

    Whether anything was folded before, inference says: from which offsets of the source, or of the raw streams that it
    is made from, it answers.
    """
    raw = {pipeline.raw for pipeline in definition.pipelines if source in pipeline.sources}
    topics = tuple(f"raw.{stream}.v1" for stream in raw) or (f"events.{source}.v1",)
    if any(_is_of(place, topics) for report in answering for place in report.applied):
        return "not known since its restart"
    return "none yet" if reports and answering else "not known"


def _is_of(place: str, topics: tuple[str, ...]) -> bool:
    topic = place.rsplit("/", 1)[0]
    return any(topic == named or topic.endswith(f".{named}") for named in topics)


def _of(source: str, figures: Mapping[str, T]) -> dict[str, T]:
    """The figures of a source's partitions: keys are `SOURCE/PARTITION`, or `events.SOURCE.v1/PARTITION`."""
    topic = f"events.{source}.v1"
    return {
        place: value for place, value in figures.items() if place.rsplit("/", 1)[0] == source or _is_of(place, (topic,))
    }
