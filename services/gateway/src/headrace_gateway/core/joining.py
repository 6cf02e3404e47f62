"""What a repeated Idempotency-Key means: the same call is joined or asked again under its ids, another body is refused."""

import hashlib
from collections import OrderedDict
from enum import Enum


class Meaning(Enum):
    """Of a key with a body."""

    NEW = "new"
    SAME = "same"
    OTHER = "other"


# By measure: two digests of 16 bytes, and what a dictionary in order costs for them.
ENTRY_BYTES = 240


class Keys:
    """The newest `limit` keys with fingerprints of their bodies, oldest forgotten first. Of a key, too, only a fingerprint is
    kept, so that nobody chooses how much is held.

    >>> keys = Keys(10)
    >>> [keys.meet("k", body).value for body in (b"a", b"a", b"b")]
    ['new', 'same', 'other']
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, bytes] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """What is held, by estimate."""
        return len(self._known) * ENTRY_BYTES

    @property
    def limit_bytes(self) -> int:
        """What is held at most, by estimate."""
        return self._limit * ENTRY_BYTES

    def meet(self, key: str, body: bytes) -> Meaning:
        """What this call is to the key's first one."""
        known_by, fingerprint = _digest(key.encode()), _digest(body)
        known = self._known.get(known_by)
        if known is not None:
            return Meaning.SAME if known == fingerprint else Meaning.OTHER
        self._known[known_by] = fingerprint
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return Meaning.NEW


def _digest(given: bytes) -> bytes:
    return hashlib.blake2b(given, digest_size=16).digest()
