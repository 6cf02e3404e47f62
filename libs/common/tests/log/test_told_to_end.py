"""A cancelled task ends, whatever arrives at the same moment: Python 3.11's `wait_for` loses a cancel that meets a
result.
"""

import asyncio

import pytest

from headrace.log.codec import Codec
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, TopicSpec
from headrace.log.topics import Topics
from headrace.log.views import View

TOPIC = Topics.load("").name("inference.outcomes")


@pytest.mark.parametrize("turns", range(8))
async def test_a_view_that_is_cancelled_as_a_record_comes_ends(memory_log: MemoryLog, turns: int) -> None:
    await memory_log.create_topics([TopicSpec(TOPIC, 1)])
    view = View(memory_log, Codec(Topics.load("")), [TOPIC], lambda _: None)
    await view.start()
    following = asyncio.create_task(view.follow())
    await asyncio.sleep(0.01)
    memory_log.append(Out(TOPIC, b"k", b"x"))
    for _ in range(turns):
        await asyncio.sleep(0)
    following.cancel()
    done, _ = await asyncio.wait({following}, timeout=2)
    assert following in done, f"a cancel {turns} turns after the record was lost"
