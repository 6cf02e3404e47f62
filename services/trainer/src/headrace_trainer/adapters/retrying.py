"""Steps of a run that only touch the log: they are tried again until the log is there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from headrace.errors import Poison, Retryable
from headrace.log.backoff import delays_s

# How often in a row a step may fail with an error that we do not know.
_UNKNOWN_ERRORS = 8
T = TypeVar("T")


async def retried(step: Callable[[], Awaitable[T]], waiting: Callable[[str], None]) -> T:
    """The result of a step that only touches the log. It is repeated, later each time, until the log is there.

    `waiting`: receives the reason of each failure. Raises `Poison` at once, and an error that is not known after eight of them in a row.
    """
    unknown = 0
    for delay_s in delays_s(0.5, 10.0):
        try:
            return await step()
        except Retryable as error:
            waiting(str(error))
        except Poison:
            raise
        except Exception as error:
            # NB: no user's code runs in here. What the client raises beside the known errors may pass too: a broker that
            # has just come back may say of a topic that it is not there.
            unknown += 1
            if unknown >= _UNKNOWN_ERRORS:
                raise
            waiting(f"{type(error).__name__}: {error}")
        await asyncio.sleep(delay_s)
    raise AssertionError("delays are endless")
