"""A request as it was read from its topic, and the names in it as they are written into other records.

What a sender chose is echoed in decisions, so it is bounded here.
"""

import hashlib
from typing import Protocol

from headrace.events.inference import PredictionRequested
from headrace.log.envelope import Envelope
from headrace.log.port import Record

# Without a limit one record of a user's would make one of ours that no broker takes.
MAX_TEXT_CHARS = 512


class Request(Protocol):
    """A decoded record of `inference.requests`."""

    @property
    def record(self) -> Record:
        """Where it lies, and when it was appended."""
        ...

    @property
    def envelope(self) -> Envelope:
        """Its id, its instant and its causes."""
        ...

    @property
    def event(self) -> PredictionRequested:
        """What is asked."""
        ...


def unit_of(event: PredictionRequested, key: bytes | None) -> str:
    """The request's unit, else the record's key; "" when there is neither.

    >>> unit_of(PredictionRequested("d"), b"AA-1")
    'AA-1'
    """
    return event.unit or (key or b"").decode("utf-8", "replace")


def short_id(request_id: str) -> str:
    """A request's id as it is written: one that is too long is cut, and stays unique.

    >>> short_id("r1"), len(short_id("r" * 60_000))
    ('r1', 289)
    """
    if len(request_id) <= MAX_TEXT_CHARS:
        return request_id
    return f"{request_id[:256]}~{hashlib.blake2b(request_id.encode(), digest_size=16).hexdigest()}"
