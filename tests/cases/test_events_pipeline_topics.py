"""The pipeline service on a real broker: raw topics that are created again, altered by their owner, or missing."""

import asyncio

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.cases.pipeline_place import Place, has

from headrace.events.definition import ProjectDefinition
from headrace.events.features import PipelineAdvanced
from headrace.features.origins import Origins
from headrace.hosting.stops import read_stops
from headrace.log.admin import ensure_topics
from headrace.log.kafka import KafkaLog
from headrace.project.applied import Projects

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.mark.parametrize("more", [1, 60])
async def test_raw_topics_made_again_are_read_whole_their_events_are_no_repeats_and_their_stops_are_gone(
    place: Place, more: int
) -> None:
    old, new = [f"o{n}" for n in range(30)], [f"n{n}" for n in range(30 * more)]
    await place.send("good", *[{"name": name} for name in old])
    await place.send("bad", *[{"do": "raise"}] * 150)
    await place.until(lambda: has(place.names("seen"), old[-1]))

    async def stopped() -> set[str]:
        return set(await read_stops(place.log, place.codec, place.topics))

    bad = place.topics.of_raw("bad")
    await place.until(lambda: has(stopped(), f"pipeline/{bad}/0"))
    raw = [spec for spec in place.topics.specs(await applied(place)) if spec.name in (place.topics.of_raw("good"), bad)]
    assert len(raw) == 2
    await place.log.admin.delete_topics([spec.name for spec in raw])

    async def are_gone() -> bool:
        return not await place.log.topic_ids([spec.name for spec in raw])

    await place.until(are_gone)
    await ensure_topics(place.log, raw)
    await place.send("good", *[{"name": name} for name in new])
    await place.send("bad", *[{"do": "ok", "name": f"b{n}"} for n in range(200)])
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75
    place.start()
    await place.until(lambda: has(place.names("noted"), "b199"))
    await place.until(lambda: has(counted(place, "seen"), new[-1]))
    assert await counted(place, "seen") == old + new
    assert set(await place.names("noted")) == {f"b{n}" for n in range(200)}
    assert await stopped() == set()


async def test_partitions_added_to_a_raw_topic_are_read_and_another_retention_stops_nobody(place: Place) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    good = place.topics.of_raw("good")
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.bootstrap_servers)
    await admin.start()
    await admin.create_partitions({good: NewPartitions(3)})
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, good, {"retention.ms": "3600000"})])
    await admin.close()
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75
    place.start()
    before, place.log = place.log, KafkaLog(place.settings)  # a process that does not know how many there were
    await place.log.start()
    for partition in range(3):
        await place.send("good", {"name": f"p{partition}"}, partition=partition)
    for partition in range(3):
        await place.until(lambda name=f"p{partition}": has(place.names("seen"), name))
    await place.log.stop()
    place.log = before


async def test_a_project_that_lacks_a_topic_is_left_out_until_it_is_there(place: Place) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    third = place.topics.of_raw("third")
    specs = [spec for spec in place.topics.specs(await applied(place)) if spec.name == third]
    assert place.end() == 0
    await place.log.admin.delete_topics([third])

    async def is_gone() -> bool:
        return not await place.log.topic_ids([third])

    await place.until(is_gone)
    place.start()

    async def is_reported() -> bool:
        beat = await place.health()
        return beat is not None and f"project mischief: topics are missing: {third}" in beat.reason

    await place.until(is_reported)
    await ensure_topics(place.log, specs)
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75
    place.start()
    await place.send("good", {"name": "b"})
    await place.until(lambda: has(place.names("seen"), "b"))


async def applied(place: Place) -> ProjectDefinition:
    projects = Projects(place.log, place.codec, place.topics)
    await projects.start()
    await projects.stop()
    return projects.applied["mischief"].definition


async def counted(place: Place, source: str) -> list[str]:
    """The events of a source that a reader with state accepts."""
    origins = dict[int, Origins]()
    found: list[str] = []
    for record in await place.records(place.topics.of_source(source)):
        mine = origins.setdefault(record.partition, Origins())
        message = place.codec.decode(record)
        if isinstance(message.event, PipelineAdvanced):
            mine.advance(
                f"{message.event.topic}/{message.event.partition}", message.event.offset, message.event.topic_id
            )
        elif not mine.is_repeat(message.envelope.origin):
            found.append(msgspec.msgpack.decode(record.value)["name"])
    return sorted(found, key=lambda name: (name[0] == "n", int(name[1:])))
