"""Any bytes over HTTP get an answer of 2xx, 4xx, 503 or 504 with one sentence. Memory stays flat, and other clients are served.

This is a sample on the log in memory. A failure prints the bytes that caused it; `HEADRACE_FUZZ_SEED` repeats a run.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases.wild_requests import NAMES, PROJECT, attack, set_up, values

from headrace.clock import SystemClock
from headrace.events.inference import Score, Served
from headrace.hosting.health import Health
from headrace.log.codec import Codec
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace.testing.answering import answer_requests
from headrace_edge.rules.replies import Reply
from headrace_gateway.app import wire
from headrace_gateway.core.calls import Asked, Call, Unclear
from headrace_gateway.core.requests import read_named, read_v1, read_v2
from headrace_gateway.settings import Limits


class Stand:
    """A gateway on the log in memory, and a task that answers."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.topics, self.health = log, Topics.load(), Health("gateway", "gateway-1", failures={})
        self.codec = Codec(self.topics)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        await set_up(self.log, self.topics)
        projects = Projects(self.log, self.codec, self.topics)
        await projects.start()
        address, limits = (
            ("127.0.0.1", 0),
            Limits(deadline_ms=500, longest_deadline_ms=5000, body_within_s=1.0, head_within_s=1.0),
        )
        gateway = await wire(self.log, self.codec, self.topics, projects, self.health, SystemClock(), address, limits)
        stop = asyncio.Event()
        tasks = [asyncio.create_task(part(stop)) for part in (gateway.run, self.respond, projects.run)]
        yield gateway.port
        stop.set()
        await asyncio.gather(*tasks)

    async def respond(self, stop: asyncio.Event) -> None:
        await answer_requests(self.log, self.codec, self.topics, lambda _: Served(Score(3, "d", 0.5)), stop)


async def test_wild_requests_get_an_answer_with_the_reason_and_good_ones_are_served_meanwhile() -> None:
    stand = Stand(MemoryLog(SystemClock()))
    async with stand.serving() as port:
        fuzzer, served = await attack(port, 2.0, askers=6, within_s=5.0)
    assert stand.health.unforeseen == 0
    assert served > 0
    assert {"400", "404"} <= fuzzer.seen.keys()


tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["miles", "carrier", "flight", "x"]),
        "shape": st.lists(st.integers(-1, 3), max_size=3) | values,
    },
    optional={
        "datatype": st.sampled_from(["FP64", "BYTES", "INT64"]) | values,
        "data": st.lists(values) | values,
        "parameters": values,
    },
)
bodies = st.dictionaries(st.sampled_from(NAMES), values) | st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3)}, optional={"parameters": values, "outputs": values}
)
CALL = Call(PROJECT.deployments[0], Limits(), 1.7e9, lambda: "id")


@pytest.mark.parametrize("reader", [read_v2, read_v1, read_named])
@given(bodies)
@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
def test_every_document_is_a_question_or_unclear(reader: Any, body: Any) -> None:
    found = reader(json.dumps(body).encode(), CALL)
    assert isinstance(found, Asked | Unclear)
    assert not isinstance(found, Reply)
    if isinstance(found, Unclear):
        assert 0 < len(found.reason) < 700
