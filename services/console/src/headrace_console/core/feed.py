"""What is sent to whom: the newest value of each document, and a bounded history of changes that every reader follows.

A reader holds only a number, up to which it has been sent everything; the history is everybody's queue. A reader that is
slower than the history is long gets snapshots instead of a backlog, and so does one whose number is of another epoch
(another process). A document that nobody reads is forgotten.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace_console.core.patches import patch
from headrace_edge.rules.events import event_bytes

HISTORY_EVENTS, HISTORY_BYTES = 4_096, 8 * 1024 * 1024
_encode = msgspec.json.Encoder().encode


class Sent(msgspec.Struct, frozen=True, gc=False):
    """An event for readers. `name`: `snapshot` or `delta`. `number`: None for an event without an id."""

    number: int | None
    name: str
    key: str
    data: bytes


class _Held(msgspec.Struct, gc=False):
    value: dict[str, Any] | None
    why: str
    as_of_s: float | None
    since: int


class Feed:
    """The documents that are read now. `epoch`: names this process in the ids of events."""

    def __init__(self, epoch: str) -> None:
        self.epoch, self.number = epoch, 0
        self._held: dict[str, _Held] = {}
        self._history: deque[Sent] = deque()
        self._bytes = 0
        self._forgotten = 0

    @property
    def held_bytes(self) -> int:
        """The size of the history."""
        return self._bytes

    def has(self, key: str) -> bool:
        """Whether the document is held."""
        return key in self._held

    def put(self, key: str, value: dict[str, Any] | None, why: str, as_of_s: float | None) -> bool:
        """Take the present value of a document. Returns whether it differs from the one before."""
        held = self._held.get(key)
        if held is None:
            # NB: a number of its own, so that whoever had an earlier value of it is sent the whole.
            self.number += 1
            self._held[key] = _Held(value, why, as_of_s, self.number)
            return True
        held.as_of_s = as_of_s
        if held.value is None or value is None:
            if held.value is None and value is None and held.why == why:
                return False
            held.value, held.why = value, why
            self._note(key, "snapshot", _snapshot(key, held))
            return True
        change = patch(held.value, value)
        held.value = value
        if not change:
            return False
        self._note(key, "delta", _encode({"document": key, "patch": change, "as_of_s": as_of_s}))
        return True

    def forget(self, key: str) -> None:
        """Hold a document no longer."""
        self._held.pop(key, None)

    def snapshots(self, keys: Sequence[str]) -> list[Sent]:
        """The documents as they are. Only the last event has an id: with it everything has been sent."""
        there = [key for key in keys if key in self._held]
        last = len(there) - 1
        return [
            Sent(self.number if place == last else None, "snapshot", key, _snapshot(key, self._held[key]))
            for place, key in enumerate(there)
        ]

    def since(self, number: int | None, keys: Sequence[str]) -> list[Sent]:
        """What a reader of `keys` is to be sent, who has everything up to `number`; None for nothing yet."""
        if number is None or number < self._forgotten or number > self.number:
            return self.snapshots(keys)
        wanted = {key for key in keys if key in self._held}
        # NB: a document that was forgotten meanwhile has no changes in the history: it is sent whole.
        whole = [key for key in keys if key in wanted and self._held[key].since > number]
        wanted.difference_update(whole)
        changes = [sent for sent in self._later(number) if sent.key in wanted]
        found = self.snapshots(whole)
        return [msgspec.structs.replace(sent, number=None) for sent in found] + changes if changes else found

    def read_number(self, ident: str) -> int | None:
        """The number of a `Last-Event-ID` of this epoch; None for any other text."""
        epoch, _, digits = ident.rpartition("-")
        return (
            int(digits) if epoch == self.epoch and digits.isascii() and digits.isdigit() and len(digits) < 19 else None
        )

    def _later(self, number: int) -> list[Sent]:
        """The history after `number`, oldest first."""
        found: list[Sent] = []
        for sent in reversed(self._history):
            if sent.number is None or sent.number <= number:
                break
            found.append(sent)
        return found[::-1]

    def _note(self, key: str, name: str, data: bytes) -> None:
        self.number += 1
        self._history.append(Sent(self.number, name, key, data))
        self._bytes += len(data)
        while len(self._history) > HISTORY_EVENTS or self._bytes > HISTORY_BYTES:
            gone = self._history.popleft()
            self._bytes -= len(gone.data)
            self._forgotten = gone.number or 0


def _snapshot(key: str, held: _Held) -> bytes:
    return _encode({"document": key, "value": held.value, "why": held.why, "as_of_s": held.as_of_s})


def as_text(sent: Sent, epoch: str) -> bytes:
    r"""An event as the bytes that a reader is sent.

    >>> as_text(Sent(7, "delta", "now", b"{}"), "a1")
    b'id: a1-7\nevent: delta\ndata: {}\n\n'
    """
    return event_bytes(sent.data, sent.name, "" if sent.number is None else f"{epoch}-{sent.number}")
