"""Reading a raw partition again, for transforms with a look-back: what lies before the first record of a batch."""

from collections.abc import AsyncGenerator, Sequence

from headrace.log.port import Log, Record, TopicPartition

_CHUNK = 2000


class RawHistory:
    """Looks back `back_ms` milliseconds of append time."""

    def __init__(self, log: Log, back_ms: int) -> None:
        self._log, self._back_ms = log, back_ms

    async def before(self, first: Record, seen_to: int | None) -> AsyncGenerator[Sequence[Record], None]:
        """The records before `first` of its partition, in chunks: from the offset `seen_to`, or, when None, as far back as it looks.

        It waits for the broker. Raises `Retryable` when the broker does not answer.
        """
        tp = TopicPartition(first.topic, first.partition)
        oldest = (await self._log.offsets_at([tp], first.timestamp_ms - self._back_ms))[tp]
        start = max(oldest, seen_to or 0, (await self._log.begin_offsets([tp]))[tp])
        if start >= first.offset:
            return
        reader = await self._log.reader([tp], {tp: start})
        try:
            while await reader.position(tp) < first.offset:
                records = await reader.fetch(0.5, _CHUNK)
                yield [record for record in records if record.offset < first.offset]
        finally:
            await reader.close()
