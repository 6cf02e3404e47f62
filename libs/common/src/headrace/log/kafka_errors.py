"""Translates every error of the client into ours, which are named by what a loop must do. This is the only such place.

What this process can never mend is `Misconfigured`. When another process owns its id, it is `Fenced`. Every other
error, known or not (aiokafka asserts, raises `IllegalStateError` after a rebalance, `ValueError` for a partition that
is gone), means that the log did not answer: `Retryable`. A watchdog ends what is retried without progress.

A client that closes a connection cancels the futures of pending answers. Whoever awaits one gets a `CancelledError`
that nobody sent, and would end silently as if it had been cancelled. `is_cancelled` distinguishes the two.
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
    """The error of ours for an error that was raised while `doing`.

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


def is_cancelled() -> bool:
    """Whether the running task was cancelled. False where a `CancelledError` only came from a future of the client."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def quietly() -> Iterator[None]:
    """For closing: suppress everything except that this task is cancelled."""
    try:
        yield
    except asyncio.CancelledError:
        if is_cancelled():
            raise
    except Exception:
        return


class _Translated:
    """NB: a class, since a generator takes three times as long, and this is around every fetch and commit."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            if not is_cancelled():
                raise Retryable(f"{self._doing}: the client closed its connection") from error
        elif isinstance(error, Exception):
            translated_error = translate(error, self._doing)
            if translated_error is not error:
                raise translated_error from error


def translated(doing: str) -> _Translated:
    """Let no errors out but ours. `doing`: what was tried, for the message."""
    return _Translated(doing)


def cause(error: BaseException) -> str:
    """The name and the message of an error, without repeating the name."""
    name, text = type(error).__name__, str(error)
    return text if text.startswith(name) else f"{name}: {text}" if text else name
