"""Which partition of `inference.replies` an instance reads: a stable hash, so that a restart reads the same one."""

import hashlib


def reply_partition(instance: str, partitions: int) -> int:
    """The partition of an instance among `partitions`. Instances may share one; ids tell their replies apart.

    >>> reply_partition("gateway-1", 8) == reply_partition("gateway-1", 8)
    True
    """
    drawn = hashlib.blake2b(instance.encode(), digest_size=8).digest()
    return int.from_bytes(drawn, "big") % partitions
