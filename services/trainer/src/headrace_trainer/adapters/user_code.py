"""Users' code: it runs in a thread of its own, and any exception that it raises becomes one sentence."""

import asyncio
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from headrace.project.raised import place_of
from headrace_trainer.core.target import Unfit

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *given: Any) -> T:
    """The result of a function that runs in a thread, since the event loop has the log's connections to look after.

    Raises `Unfit` for whatever the function raises: a thread must not pass exits and the like on to the loop.
    """

    def work() -> T:
        try:
            return function(*given)
        except Unfit:
            raise
        except BaseException as error:
            traceback.print_exc()
            raise Unfit(sentence_of(error)) from error

    return await asyncio.to_thread(work)


def sentence_of(error: BaseException, own: str = "") -> str:
    """An exception in one line, with file and line where the user's code raised it. `own`: the name of a module of the user's."""
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
