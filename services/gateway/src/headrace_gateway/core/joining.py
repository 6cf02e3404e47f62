"""What a repeated Idempotency-Key means: the same call is joined or asked again under its ids, another body is refused."""

from collections import OrderedDict
from enum import Enum


class Meaning(Enum):
    """Of a key with a body."""

    NEW = "new"
    SAME = "same"
    OTHER = "other"


class Keys:
    """The newest `limit` keys with fingerprints of their bodies, oldest forgotten first.

    >>> keys = Keys(10)
    >>> [keys.meet("k", body).value for body in (b"a", b"a", b"b")]
    ['new', 'same', 'other']
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[str, bytes] = OrderedDict()

    def meet(self, key: str, fingerprint: bytes) -> Meaning:
        """What this call is to the key's first one."""
        known = self._known.get(key)
        if known is not None:
            return Meaning.SAME if known == fingerprint else Meaning.OTHER
        self._known[key] = fingerprint
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return Meaning.NEW
