"""Commands that read show live data: existing values, each as of an instant at which it is complete."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from tests.cases.test_before_definition import Place

from headrace.errors import Misconfigured
from headrace.log.envelope import parse_instant
from headrace.log.port import Out
from headrace.project import Count, Deployment, FeatureView, Key, Last, Mean, Project, Source
from headrace.project.compile import compile_view
from headrace_cli.commands import feature
from headrace_cli.session import Session
from headrace_feature.app import Feature


class Landed(msgspec.Struct):
    at: float
    who: str
    late: float


SOURCE = Source("landed", event=Landed, event_time="at", key="who", available_after="30m")
VIEW = FeatureView(
    "carrier", source=SOURCE, entity="who",
    features={"mean_3h": Mean("late", "3h"), "mean_24h": Mean("late", "24h"), "last": Last("late", "30d"), "n": Count("30d")},
)  # fmt: skip
PROJECT = Project("p", [Deployment("d", "u", [Key("who")], [VIEW.by("who")])], sources=[SOURCE], views=[VIEW])
NOON = parse_instant("2026-01-05T12:00:00Z")


@asynccontextmanager
async def folded(*events: Landed) -> AsyncIterator[Session]:
    """A log on which the feature service has folded these events."""
    place, key = await Place().begin(PROJECT), compile_view(VIEW).key
    context = place.context("feature")
    running = asyncio.create_task(Feature(context).run(context.stop))
    producer = await place.log.producer()
    topic = place.topics.of_source("landed")
    await producer.send([Out(topic, b"k", msgspec.json.encode(event), partition=0) for event in events])
    session = Session(place.log, place.topics, place.codec, place.projects, place.clock)  # ty: ignore[invalid-argument-type]  # in memory
    async with asyncio.timeout(20):
        while context.health.handled < len(events):
            await asyncio.sleep(0.01)
        while not (await feature._store(session)).has(key, "AA"):
            await asyncio.sleep(0.01)
    yield session
    context.stop.set()
    await running


async def values(session: Session, entity: str) -> dict[str, tuple[float | None, str]]:
    store = await feature._store(session)
    (project,) = session.projects.definitions
    rows = await feature._values(session, project, project.views[0], entity, None, store)
    return {row["feature"]: (row["value"], row["as_of"]) for row in rows}


async def test_each_feature_is_shown_as_of_the_end_of_its_own_newest_pane() -> None:
    async with folded(
        Landed(NOON - 3600, "AA", 10.0), Landed(NOON, "AA", 30.0), Landed(NOON - 60, "UA", 5.0)
    ) as session:
        found = await values(session, "AA")
        with pytest.raises(Misconfigured, match="no view 'nope'; there are: carrier"):
            feature._view(session, "nope")
    # NB: the newest event may be used from 12:30 on.
    assert found == {
        "carrier.mean_3h": (20.0, "2026-01-05 12:35:00"),
        "carrier.mean_24h": (20.0, "2026-01-05 13:00:00"),
        "carrier.last": (30.0, "2026-01-06 00:00:00"),
        "carrier.n": (2.0, "2026-01-06 00:00:00"),
    }
