"""Which pipelines a project may declare together."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from headrace.errors import Misconfigured
from headrace.project import Binary, Outcome, Project, RawStream, Source, outcomes, pipeline
from headrace.project.compile import compile_project
from headrace.project.deployments import Deployment
from headrace.project.fields import Key


class Landing(msgspec.Struct):
    at: float
    carrier: str


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")
FEED = RawStream("feed")


@pipeline(FEED, to=[LANDINGS, outcomes("d")])
async def land(messages: AsyncIterator[dict]) -> AsyncIterator[Landing | Outcome]:
    async for message in messages:
        yield Landing(message["at"], "AA")


def test_two_pipelines_that_make_the_same_source_of_the_same_stream_are_refused() -> None:
    @pipeline(FEED, to=[LANDINGS])
    async def also(messages: AsyncIterator[dict]) -> AsyncIterator[Landing]:
        async for message in messages:
            yield Landing(message["at"], "AA")

    twice = Project(
        "p",
        [Deployment("d", "u", [Key("k")], label=Binary("y", "1d"))],
        raw=[FEED],
        pipelines=[land, also],
        sources=[LANDINGS],
    )
    with pytest.raises(Misconfigured, match="pipelines land and also both turn feed into landings"):
        compile_project(twice)
