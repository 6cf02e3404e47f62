"""Which partition a key belongs to: Kafka's default partitioner (murmur2), so that every client agrees."""

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def partition_of(key: bytes | str, partitions: int) -> int:
    """The partition of a key among `partitions`.

    >>> partition_of("flight-1", 4) == partition_of(b"flight-1", 4)
    True
    """
    raw = key.encode() if isinstance(key, str) else key
    return (murmur2(raw) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """MurmurHash2 with Kafka's seed (Appleby 2008), as an unsigned 32-bit number."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for start in range(0, whole, 4):
        k = (int.from_bytes(data[start : start + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if length & 3:
        h = ((h ^ int.from_bytes(data[whole:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)
