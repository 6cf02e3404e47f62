"""What a repeated Idempotency-Key means: the same call joins or repeats the first one, another body is refused."""

import hashlib
from collections import OrderedDict
from enum import Enum


class KeyUse(Enum):
    """How a key with a body relates to the first call under that key."""

    NEW = "new"
    SAME = "same"
    OTHER = "other"


# Measured: two digests of 16 bytes, and what an ordered dictionary costs for them.
ENTRY_BYTES = 240


class IdempotencyKeys:
    """The newest `limit` keys with a fingerprint of each body; the oldest is forgotten first.

    Of a key, too, only a fingerprint is kept, so that no client chooses how much memory is held. The state is mutable, since a
    copy of 20,000 keys per call would be slow.

    >>> keys = IdempotencyKeys(10)
    >>> [keys.note(key="k", body=body).value for body in (b"a", b"a", b"b")]
    ['new', 'same', 'other']
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, bytes] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """The memory that is held, by estimate."""
        return len(self._known) * ENTRY_BYTES

    @property
    def limit_bytes(self) -> int:
        """The memory that is held at most, by estimate."""
        return self._limit * ENTRY_BYTES

    def note(self, key: str, body: bytes) -> KeyUse:
        """Note a call under a key, and return how it relates to the first one."""
        known_by, fingerprint = _digest(key.encode()), _digest(body)
        known = self._known.get(known_by)
        if known is not None:
            return KeyUse.SAME if known == fingerprint else KeyUse.OTHER
        self._known[known_by] = fingerprint
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return KeyUse.NEW


def _digest(given: bytes) -> bytes:
    return hashlib.blake2b(given, digest_size=16).digest()
