"""The partition of a key: Kafka's default partitioner (murmur2), so that every client agrees."""

from aiokafka.partitioner import murmur2


def partition_of(key: bytes | str, partitions: int) -> int:
    """The partition of a key among `partitions`.

    >>> partition_of("flight-1", 4) == partition_of(b"flight-1", 4)
    True
    """
    raw = key.encode() if isinstance(key, str) else key
    return (murmur2(raw) & 0x7FFFFFFF) % partitions
