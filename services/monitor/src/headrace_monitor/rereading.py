"""Decisions read from the log again, by where they lie: what a window needs of them when it closes is not kept meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from headrace.asking.decisions import joined
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.log.codec import Codec
from headrace.log.port import Log, Reader, TopicPartition

# A gap of more records than this is jumped over instead of read.
_JUMP = 5000
# Records at once. NB: these lie beside the few that are kept, and hold the memory between them: a tenth as many leave a tenth.
_CHUNK = 500
# So many fetches without a record and without progress: what is asked for is not there any more.
_FRUITLESS = 60

Reread = Callable[[Mapping[TopicPartition, Sequence[int]]], Awaitable[list[DecisionMade]]]


class Rereader:
    """Reads single records, ascending, without a group. `progress` is told of every step (the watchdog's food)."""

    def __init__(self, log: Log, codec: Codec, progress: Callable[[], None] = lambda: None) -> None:
        self._log, self._codec, self._progress = log, codec, progress

    async def read(self, wanted: Mapping[TopicPartition, Sequence[int]]) -> list[DecisionMade]:
        """Those that are still on the log, by partition and offset, with what their shadows said later where that is wanted too. `wanted`:
        offsets, ascending."""
        begins = await self._log.begin_offsets(wanted)
        left = {tp: [o for o in offsets if o >= begins[tp]] for tp, offsets in sorted(wanted.items())}
        left = {tp: offsets for tp, offsets in left.items() if offsets}
        if not left:
            return []
        reader = await self._log.reader(list(left), {tp: offsets[0] for tp, offsets in left.items()})
        try:
            return joined(await self._read(reader, {tp: list(reversed(offsets)) for tp, offsets in left.items()}))
        finally:
            await reader.close()

    async def _read(self, reader: Reader, left: dict[TopicPartition, list[int]]) -> list[DecisionMade | ShadowScored]:
        """`left`: offsets, descending: the next one is at the end."""
        found: list[DecisionMade | ShadowScored] = []
        fruitless = 0
        while left and fruitless < _FRUITLESS:
            records = await reader.fetch(0.5, _CHUNK)
            fruitless = 0 if records else fruitless + 1
            for record in records:
                offsets = left.get(TopicPartition(record.topic, record.partition))
                while offsets and offsets[-1] < record.offset:
                    offsets.pop()
                if offsets and offsets[-1] == record.offset:
                    offsets.pop()
                    event = self._codec.decode(record).event
                    if isinstance(event, DecisionMade | ShadowScored):
                        found.append(event)
            if records:
                self._progress()
            await asyncio.sleep(0)
            await self._go_on(reader, left)
        return found

    async def _go_on(self, reader: Reader, left: dict[TopicPartition, list[int]]) -> None:
        """Leave partitions that are done, and jump over long gaps."""
        jumps: dict[TopicPartition, int] = {}
        for tp in list(left):
            position = await reader.position(tp)
            while left[tp] and left[tp][-1] < position:
                left[tp].pop()
            if not left[tp]:
                del left[tp]
                reader.pause([tp])
            elif left[tp][-1] > position + _JUMP:
                jumps[tp] = left[tp][-1]
        if jumps:
            await reader.seek(jumps)
