"""The fixtures of the tests of commands and client."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from libs.cli.tests.client_bench import Bench

from headrace.log.memory import MemoryLog


@pytest_asyncio.fixture
async def bench(memory_log: MemoryLog) -> AsyncIterator[Bench]:
    found = Bench(memory_log)
    await found.set_up()
    stop = asyncio.Event()
    responding = asyncio.create_task(found.respond(stop))
    yield found
    stop.set()
    await responding
