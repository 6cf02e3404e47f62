"""Calls of the broker that are repeated until they succeed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headrace.errors import Retryable
from headrace.log.backoff import delays_s
from headrace.log.port import Out, Producer

_log = logging.getLogger("headrace.pipeline")

# So many records are on their way at once.
_SEND_AT_ONCE = 2000


async def until_done(call: Callable[[], Awaitable[Any]]) -> None:
    """Returns when `call` has succeeded, however long that takes. Raises whatever it raises that is not `Retryable`."""
    for delay_s in delays_s(0.2, 3.0):
        try:
            await call()
        except Retryable as error:
            _log.warning("%s; trying again in %.1f s", error, delay_s)
            await asyncio.sleep(delay_s)
        else:
            return


async def send_all(producer: Producer, outs: Sequence[Out]) -> None:
    """Returns when all are acknowledged. A repeat after an unknown outcome is dropped downstream by its origin."""
    for begin in range(0, len(outs), _SEND_AT_ONCE):
        part = outs[begin : begin + _SEND_AT_ONCE]
        await until_done(lambda part=part: producer.send(part))
