"""Puts records into the order of their append time while the log is read for the first time.

Topics are read side by side, each at its own pace, but a history is put together from records in the order in which they
were appended: a rollout that is taken after the end of the finding behind it would be a story of its own. So what is read
first is held until all groups were read to their end, and then handed on in order; from then on each record as it comes.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from headrace.events.monitor import WindowClosed
from headrace.events.verdicts import VerdictGiven
from headrace.evidence.append_order import in_append_order
from headrace.log.codec import Message

# How many records are handed on at once.
SLICE = 1_000


class Backlog:
    """Holds messages until every group in `awaited` is read. `take`: gets each message once, in order."""

    def __init__(self, awaited: Iterable[str], take: Callable[[Message], None]) -> None:
        self._awaited, self._take = set(awaited), take
        self._held: list[Message] | None = []

    def put(self, message: Message) -> None:
        """Hand a message on, or hold it: without what no history shows, since there may be many of them."""
        if self._held is None:
            self._take(message)
        else:
            self._held.append(_lean(message))

    def is_read(self, group: str) -> Iterator[int]:
        """A group was read to its end. If it was the last one, hands on what was held, slice by slice: each item is the
        number of messages of a slice.
        """
        self._awaited.discard(group)
        if self._awaited:
            return
        while self._held:
            held, self._held = in_append_order(self._held), []
            for begin in range(0, len(held), SLICE):
                for message in held[begin : begin + SLICE]:
                    self._take(message)
                yield min(SLICE, len(held) - begin)
        self._held = None


def _lean(message: Message) -> Message:
    """A message without its bytes, and a verdict or window without its figures."""
    event = message.event
    if isinstance(event, VerdictGiven):
        event = replace(event, evidence=())
    elif isinstance(event, WindowClosed):
        event = replace(event, qualities=(), sources=(), answers={})
    return replace(message, record=replace(message.record, value=b"", headers=()), event=event)
