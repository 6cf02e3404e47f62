"""The work of the features area: real departures, the example's three views of them, as records on a real broker."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import numpy as np

from headrace.events.definition import ProjectDefinition
from headrace.events.features import PipelineAdvanced
from headrace.log.admin import ensure_topics
from headrace.log.codec import out
from headrace.log.envelope import Envelope, Origin
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.project.compile import compile_project
from headrace_flights.events import Departure
from headrace_flights.project import project
from headrace_flights.schedule import EPOCH_S, Schedule

PARTITIONS = 4
VIEWS = ("origin", "carrier", "carrier_here")
_AT_ONCE = 20_000
_MARKED = 2000  # a pipeline marks its outputs after every batch


def definition() -> ProjectDefinition:
    """The example's departures and the three views of them, on four partitions."""
    whole = compile_project(project)
    source = msgspec.structs.replace(whole.source("departures"), partitions=PARTITIONS)
    views = tuple(view for view in whole.views if view.name in VIEWS)
    deployment = msgspec.structs.replace(
        whole.deployments[0], features=tuple(b for b in whole.deployments[0].features if b.view in VIEWS)
    )
    return ProjectDefinition("bench", (), (source,), views, (), (deployment,))


def departures(count: int, entities: int | None = None) -> Iterator[Departure]:
    """Real departures in order; after the year's last one the year comes again. `entities`: spread over so many carriers."""
    schedule = Schedule()
    delays = schedule.flights["departure_delay_min"].to_numpy().astype(float)
    at_s = schedule.departs_s + np.nan_to_num(delays) * 60
    order = np.argsort(at_s, kind="stable")
    rows, year_s = schedule.flights.select("carrier", "origin").rows(), float(at_s.max() - EPOCH_S)
    for n in range(count):
        place = int(order[n % len(order)])
        carrier, origin = rows[place]
        name = carrier if entities is None else f"C{n * 2_654_435_761 % entities}"
        when = datetime.fromtimestamp(at_s[place] + n // len(order) * year_s, UTC)
        delay = None if np.isnan(delays[place]) else float(delays[place])
        yield Departure(when, f"f{n}", name, origin, delay is None, delay)


async def preload(log: KafkaLog, topics: Topics, count: int, entities: int | None = None) -> None:
    """Write `count` departures as a pipeline would, over all partitions."""
    await ensure_topics(log, topics.specs(definition()))
    topic = topics.of_source("departures")
    producer = await log.producer()
    waiting: list[Out] = []
    for n, event in enumerate(departures(count, entities)):
        origin = Origin(topics.of_raw("movements"), n % 2, n // 2)
        envelope = Envelope(f"e{n}", "departure", "bench", event.departed_at.timestamp(), "c", "c", origin)
        waiting.append(out(topic, event.carrier, event, envelope, n % PARTITIONS))
        if n % _MARKED == _MARKED - 1:
            waiting += _markers(topics, topic, n)
        if len(waiting) >= _AT_ONCE:
            await producer.send(waiting)
            waiting = []
    await producer.send(waiting)
    await producer.close()


def _markers(topics: Topics, topic: str, last: int) -> list[Out]:
    """What a pipeline writes when everything up to event `last` is out: to every partition, per raw partition."""
    raw = topics.of_raw("movements")
    reached = {0: last // 2, 1: (last - 1) // 2}
    return [
        out(
            topic,
            None,
            PipelineAdvanced("bench", raw, number, offset),
            Envelope(f"m{last}", "", "bench", 0.0),
            partition,
        )
        for number, offset in reached.items()
        for partition in range(PARTITIONS)
    ]
