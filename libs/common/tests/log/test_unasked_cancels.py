"""A client that closes a connection cancels its pending answers. That is a missing answer, and no request to end."""

import asyncio

import pytest

from headrace.errors import Retryable
from headrace.log.kafka_errors import quietly, translated


def dropped() -> asyncio.Future[None]:
    """A future as aiokafka leaves it."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def test_a_cancel_that_nobody_sent_is_retried() -> None:
    with pytest.raises(Retryable, match="asking: the client closed its connection"), translated("asking"):
        await asyncio.wait_for(dropped(), 1.0)
    with pytest.raises(Retryable), translated("asking"):
        await dropped()


async def test_closing_continues_after_a_cancel_that_nobody_sent() -> None:
    with quietly():
        await dropped()
    with quietly():
        raise OSError


async def test_a_cancelled_task_ends() -> None:
    async def work(*, closes: bool) -> None:
        with quietly() if closes else translated("asking"):
            await asyncio.sleep(60)

    for closes in (True, False):
        task = asyncio.create_task(work(closes=closes))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def test_a_limit_of_time_is_a_limit_of_time() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.01):
            with translated("asking"):
                await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await work()
