"""Which raw records are contained in the features that are served."""

from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from headrace.events.features import FeatureShardAdvanced
from headrace.log.topics import Topics
from headrace.project import (
    Count,
    Deployment,
    FeatureView,
    Number,
    Pipeline,
    Project,
    RawStream,
    Source,
)
from headrace.project.compile import compile_project
from headrace_inference.core.applied import contained


class Event(Struct):
    """Something happened."""

    who: str
    at: float


def raw_project() -> tuple:
    async def transform(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in messages:
            yield message

    raw, sources = RawStream("moves"), [Source(name, Event, "at", "who") for name in ("a", "b")]
    views = [FeatureView(f"v{s.name}", s, "who", {"n": Count("1h")}) for s in sources]
    pipe = Pipeline("pipe", raw, tuple(sources), transform)
    deployment = Deployment("d", unit="u", inputs=[Number("x")])
    project = compile_project(Project("p", [deployment], [raw], [pipe], sources, views))
    return project, Topics.load()


def test_a_raw_record_is_contained_when_every_shard_it_feeds_has_applied_it() -> None:
    project, topics = raw_project()
    place = "raw.moves.v1/0"
    origins = {("a", 0): 9, ("a", 1): 5, ("b", 0): 7, ("b", 1): 8}
    shards = {key: FeatureShardAdvanced(*key, {}, {place: offset}) for key, offset in origins.items()}
    assert contained([project], topics, shards) == {place: 5}
    del shards["b", 1]
    assert contained([project], topics, shards) == {}
