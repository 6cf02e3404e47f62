"""How a run does its steps: those that only touch the log until the log is there, the user's code in a thread of its own."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from headrace.errors import Poison, Retryable
from headrace.log.backoff import delays_s
from headrace.project.raised import place_of
from headrace_trainer.core.target import Unfit

# How often in a row the log may fail in a way that nobody knows.
_UNKNOWN_ERRORS = 8
T = TypeVar("T")


async def patiently(work: Callable[[], Awaitable[T]], waiting: Callable[[str], None]) -> T:
    """A step that only touches the log, again until the log is there; `waiting` is told why not."""
    unknown = 0
    for delay_s in delays_s(0.5, 10.0):
        try:
            return await work()
        except Retryable as error:
            waiting(str(error))
        except Poison:
            raise
        except Exception as error:
            # NB: no user's code is in here; what the client raises beside the known errors may pass too, and a broker that
            # has just come back may say of a topic that it is not there.
            unknown += 1
            if unknown >= _UNKNOWN_ERRORS:
                raise
            waiting(f"{type(error).__name__}: {error}")
        await asyncio.sleep(delay_s)
    raise AssertionError("delays are endless")


async def beside(function: Callable[..., T], *given: Any) -> T:
    """A function in a thread: the loop has the log's connections to look after. Whatever it raises becomes `Unfit`, since
    a thread must not hand exits and the like on to the loop.
    """

    def work() -> T:
        try:
            return function(*given)
        except Unfit:
            raise
        except BaseException as error:
            traceback.print_exc()
            raise Unfit(told_of(error)) from error

    return await asyncio.to_thread(work)


def told_of(error: BaseException, own: str = "") -> str:
    """An exception in one line, with file and line where the user's code raised it. `own`: a module of his."""
    place = place_of(error, own)
    return f"{_words(error)} ({place})" if place else _words(error)


def _words(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())[:500]
    except Exception:
        text = "(its message cannot be read)"
    if isinstance(error, SystemExit):
        return f"the code called sys.exit({text})"
    if isinstance(error, MemoryError):
        return f"MemoryError: {text or 'no more memory'}; the limit of a run is HEADRACE_TRAINING_MEMORY_BYTES"
    return f"{type(error).__name__}: {text}"
