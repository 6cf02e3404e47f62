"""How far the features that this instance answers from have come, in terms of what the outside world sent.

A raw record is contained when every shard of every source that its pipelines write has applied all that followed from it.
"""

from collections.abc import Iterable, Mapping

from headrace.events.definition import ProjectDefinition, RawStreamDefinition
from headrace.events.features import FeatureShardAdvanced
from headrace.log.topics import Topics

Shard = tuple[str, int]


def contained(
    projects: Iterable[ProjectDefinition], topics: Topics, shards: Mapping[Shard, FeatureShardAdvanced]
) -> dict[str, int]:
    """Per `topic/partition` (full names) the highest offset whose effects are contained, inclusive.

    `shards`: the newest report per (source, partition). Raw partitions of which nothing is contained are left out; so are
    raw streams whose pipelines feed no view. Sources that users write to directly appear by their own offsets.
    """
    found: dict[str, int] = {}
    for project in projects:
        viewed = {view.source for view in project.views}
        written = {source for pipeline in project.pipelines for source in pipeline.sources}
        for raw in project.raw:
            found |= _contained_raw(project, raw, viewed, topics, shards)
        for source in viewed - written:
            found |= _contained_source(topics.of_source(source), source, shards)
    return found


def _contained_raw(
    project: ProjectDefinition,
    raw: RawStreamDefinition,
    viewed: set[str],
    topics: Topics,
    shards: Mapping[Shard, FeatureShardAdvanced],
) -> dict[str, int]:
    sources = {name for pipeline in project.pipelines if pipeline.raw == raw.name for name in pipeline.sources}
    fed = [(name, p) for name in sources & viewed for p in range(project.source(name).partitions)]
    places = [f"{topics.of_raw(raw.name)}/{partition}" for partition in range(raw.partitions)]
    if not fed or any(shard not in shards for shard in fed):
        return {}
    lowest = {place: min(shards[shard].origins.get(place, -1) for shard in fed) for place in places}
    return {place: offset for place, offset in lowest.items() if offset >= 0}


def _contained_source(topic: str, source: str, shards: Mapping[Shard, FeatureShardAdvanced]) -> dict[str, int]:
    places = [(f"{topic}/{p}", report) for (name, p), report in shards.items() if name == source]
    reached = {place: report.applied.get(place, 0) - 1 for place, report in places}
    return {place: offset for place, offset in reached.items() if offset >= 0}
