"""Which partition of `inference.replies` an instance listens on: a stable hash, so that a restart hears where it heard."""

import hashlib


def reply_partition(instance: str, partitions: int) -> int:
    """The partition of an instance among `partitions`; two instances may share one, ids tell their replies apart.

    >>> reply_partition("gateway-1", 8) == reply_partition("gateway-1", 8)
    True
    """
    drawn = hashlib.blake2b(instance.encode(), digest_size=8).digest()
    return int.from_bytes(drawn, "big") % partitions
