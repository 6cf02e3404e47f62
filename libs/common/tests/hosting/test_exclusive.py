"""Of two processes that must not run at once, one runs, on whichever machine."""

import asyncio

import pytest

from headrace.hosting import exclusive as alone
from headrace.hosting.exclusive import Alone, Taken
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics

TOPICS = Topics.load()


def place(log: MemoryLog | KafkaLog, topics: Topics = TOPICS) -> Alone:
    return Alone(log, topics, "replay.d", "playing to d")


async def test_the_second_is_refused_with_the_way_out_and_admitted_once_the_first_has_left(
    memory_log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_topics(memory_log, TOPICS.specs())
    monkeypatch.setattr(alone, "GONE_WITHIN_S", 0.05)
    monkeypatch.setattr(alone, "_LOOK_S", 0.01)
    first, second, notes = place(memory_log), place(memory_log), list[str]()
    await first.take()
    with pytest.raises(
        Taken, match=r"somebody else is playing to d \(from here\): wait until that has ended, or end it"
    ):
        await second.take(notes.append)
    assert len(notes) == 1
    await first.hold()
    await first.leave()
    await second.take()
    await second.leave()


@pytest.mark.kafka
async def test_of_two_that_join_at_once_one_stays(settings: Settings, kafka_log: KafkaLog) -> None:
    topics = Topics.load(settings.namespace)
    await ensure_topics(kafka_log, topics.specs())
    both = [place(kafka_log, topics) for _ in range(2)]

    is_decided = asyncio.Event()

    async def stays(one: Alone) -> bool:
        try:
            await one.take()
            while not is_decided.is_set():
                await one.hold()
                await asyncio.sleep(0.1)
        except Taken:
            is_decided.set()
            await one.leave()
            return False
        return True

    async with asyncio.timeout(60):
        assert sorted(await asyncio.gather(*map(stays, both))) == [False, True]
    for one in both:
        await one.leave()
