"""How a shard begins: it reads the history that makes up its state, read committed and to the end, and finds its
offsets.
"""

import logging
from collections.abc import Mapping

from headrace.errors import Fatal, Poison
from headrace.hosting.logic import ShardLogic
from headrace.hosting.stops import Stops
from headrace.log.codec import Codec
from headrace.log.port import Log, TopicPartition
from headrace.log.same_topics import SameTopics

_log = logging.getLogger("headrace.hosting")


async def replay(log: Log, codec: Codec, number: int, logic: ShardLogic) -> None:
    """Pass the logic of shard `number` the history that it needs. Raises `Fatal` for a record that cannot be read."""
    for wanted in logic.rebuild():
        partitions = await log.partitions(wanted.topic)
        if not wanted.whole:
            partitions = [tp for tp in partitions if tp.partition == number]
        try:
            await _replay_topic(log, codec, logic, partitions, wanted.tail_records)
        except Poison as poison:
            raise Fatal(f"shard {number} cannot be rebuilt: {poison}") from poison


async def _replay_topic(
    log: Log, codec: Codec, logic: ShardLogic, partitions: list[TopicPartition], tail: int | None
) -> None:
    topics, same = {tp.topic for tp in partitions}, SameTopics(log)
    await same.look(topics)
    ends = await log.end_offsets(partitions)
    begins = await log.begin_offsets(partitions)
    starts = {tp: begins[tp] if tail is None else max(begins[tp], ends[tp] - tail) for tp in partitions}
    reader = await log.reader(partitions, starts)
    try:
        while any([await reader.position(tp) < ends[tp] for tp in partitions]):
            for record in await reader.fetch(0.5, 5000):
                await logic.on_history(codec.decode(record))
            await same.look_now_and_then(topics)
    finally:
        await reader.close()


async def committed_of(log: Log, group: str, partitions: frozenset[TopicPartition]) -> dict[TopicPartition, int]:
    """The group's committed offsets, without those of a topic that was created again."""
    found = await log.committed(group, partitions)
    ends = await log.end_offsets(found) if found else {}
    for tp in [tp for tp in found if found[tp] > ends[tp]]:
        _log.warning("%s/%s ends at %s, before the committed offset: it was created again", *tp, ends[tp])
        del found[tp]
    return found


async def starts_of(
    log: Log, stops: Stops, wanted: Mapping[TopicPartition, int], partitions: frozenset[TopicPartition]
) -> dict[TopicPartition, int]:
    """The offset to read each partition from: `wanted`, but not before the beginning, nor before what an operator has
    skipped.
    """
    begins = await log.begin_offsets(partitions)
    ends = await log.end_offsets(partitions)
    starts = {tp: max(wanted.get(tp, 0), begins[tp]) for tp in partitions}
    # NB: an operator's skip is ignored when it lies beyond the end of a topic that was created again.
    skipped = {tp: stops.goes_on_at(*tp) for tp in partitions}
    return {tp: max(start, skipped[tp]) if skipped[tp] <= ends[tp] else start for tp, start in starts.items()}
