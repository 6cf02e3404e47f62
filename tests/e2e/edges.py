"""Whether every step of a timeline, and every cause of one, is a record that the log holds."""

from headrace.evidence.episodes import Episode
from headrace.evidence.records import read_history, read_record
from headrace.evidence.timeline import TOPICS, Timeline
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.kafka import KafkaLog


async def resolved(settings: Settings, deployment: str) -> list[Episode]:
    """The episodes of a deployment; fails where a step or a cause is not the record at its place."""
    topics, log = topics_of(settings), KafkaLog(settings)
    codec = Codec(topics)
    await log.start()
    try:
        timeline = Timeline()
        for message in await read_history(log, codec, topics, TOPICS):
            timeline.take(message)
        episodes = timeline.episodes(deployment)
        edges = {step.place: step.id for one in episodes for step in one.steps}
        edges |= {step.cause_place: step.cause for one in episodes for step in one.steps if step.cause}
        found = {place: (await read_record(log, codec, topics, place)).id for place in edges}
        assert found == edges
        return episodes
    finally:
        await log.stop()
