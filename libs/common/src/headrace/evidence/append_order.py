"""The order of records of several topics: by their append time, as they were lived."""

import heapq
from collections.abc import Iterable

from headrace.log.codec import Message


def in_append_order(messages: Iterable[Message]) -> list[Message]:
    """Messages of several topics by their append time; those of one partition keep their order."""
    partitions: dict[tuple[str, int], list[Message]] = {}
    for message in messages:
        partitions.setdefault((message.record.topic, message.record.partition), []).append(message)
    in_order = [partitions[place] for place in sorted(partitions)]
    return list(heapq.merge(*in_order, key=lambda message: message.record.timestamp_ms))
