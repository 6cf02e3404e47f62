"""Every error of the client, in the words that a loop reacts to: the one place where they are translated.

What this process can never mend is `Misconfigured`; what says that somebody else owns its id is `Fenced`; all else, known or
not (aiokafka asserts, raises `IllegalStateError` after a rebalance, `ValueError` for a partition that is gone), means that
the log did not answer now: `Retryable`. A watchdog ends what is retried without progress.

A client that closes a connection cancels the futures that wait for its answers, and whoever awaits one of them meets a
`CancelledError` that nobody sent: a task would end by it in silence, as if it had been told to. `is_told_to_end` tells them apart.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    InvalidProducerEpoch,
    InvalidTopicError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedVersionError,
)

from headrace.errors import Fenced, HeadraceError, Misconfigured, Retryable, TooLarge

_FENCED = (ProducerFenced, InvalidProducerEpoch)
_DENIED = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, TransactionalIdAuthorizationFailed)
_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_WRONG = (InvalidTopicError, IncompatibleBrokerVersion, UnsupportedVersionError)


def translate(error: Exception, doing: str) -> HeadraceError:
    """What a loop must do about an error raised while `doing`.

    >>> translate(ProducerFenced(), "committing")
    Fenced('committing: another process owns this shard now (ProducerFenced)')
    >>> translate(AssertionError(), "starting a producer")
    Retryable('starting a producer: AssertionError')
    """
    if isinstance(error, HeadraceError):
        return error
    if isinstance(error, _FENCED):
        return Fenced(f"{doing}: another process owns this shard now ({type(error).__name__})")
    if isinstance(error, _DENIED):
        return Misconfigured(f"{doing}: {cause(error)}; give this principal the right to do so")
    if isinstance(error, _LARGE):
        return TooLarge(f"{doing}: {cause(error)}")
    if isinstance(error, _WRONG):
        return Misconfigured(f"{doing}: {cause(error)}")
    return Retryable(f"{doing}: {cause(error)}")


def is_told_to_end() -> bool:
    """Whether somebody has cancelled the task that runs now; false where a `CancelledError` only came out of a future of the client's."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def quietly() -> Iterator[None]:
    """For closing: let nothing out of it but that this task is to end."""
    try:
        yield
    except asyncio.CancelledError:
        if is_told_to_end():
            raise
    except Exception:
        return


class _Translated:
    """NB: a class, since a generator costs three times as much, and this stands around every fetch and every commit."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            if not is_told_to_end():
                raise Retryable(f"{self._doing}: the client let go of its connection") from error
        elif isinstance(error, Exception):
            told = translate(error, self._doing)
            if told is not error:
                raise told from error


def translated(doing: str) -> _Translated:
    """Let nothing but our own errors out. `doing`: what was tried, for the message."""
    return _Translated(doing)


def cause(error: BaseException) -> str:
    """The name and the words of an error, the name once."""
    name, text = type(error).__name__, str(error)
    return text if text.startswith(name) else f"{name}: {text}" if text else name
