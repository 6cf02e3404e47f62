"""A source's partition from its beginning, for views that are built beside the running ones."""

from collections.abc import AsyncIterator, Sequence

from headrace.errors import Poison
from headrace.log.codec import SourceEvent
from headrace.log.port import Log, Reader, Record, TopicPartition
from headrace_feature.adapters.admission import Admission

_CHUNK = 5000


class History:
    """Reads one partition in order, up to the offset that each call names. `position`: the next offset that it reads."""

    def __init__(self, log: Log, admission: Admission, partition: TopicPartition) -> None:
        self._log, self._admission, self._partition = log, admission, partition
        self._reader: Reader | None = None
        self.position = 0

    async def up_to(self, offset: int) -> AsyncIterator[Sequence[SourceEvent]]:
        """The messages from where the last call ended to `offset` (exclusive), in chunks. Poison is left out.

        It waits for the broker. Raises `Retryable` when the broker does not answer.
        """
        if self._reader is None:
            self._reader = await self._log.reader([self._partition], "beginning")
            self.position = await self._reader.position(self._partition)
        while self.position < offset:
            records = await self._reader.fetch(0.5, _CHUNK)
            wanted = [record for record in records if record.offset < offset]
            if len(wanted) < len(records):
                await self._reader.seek({self._partition: offset})
                self.position = offset
            else:
                self.position = await self._reader.position(self._partition)
            yield [message for record in wanted if (message := self._decoded(record)) is not None]

    def _decoded(self, record: Record) -> SourceEvent | None:
        try:
            return self._admission.decode(record)
        except Poison:  # it is in the DLQ already
            return None

    async def close(self) -> None:
        """Give the connection back."""
        if self._reader is not None:
            await self._reader.close()
            self._reader = None
