"""Reads decisions from the log again, by where they lie: what a window needs of them when it closes is not kept meanwhile."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from headrace.asking.decisions import joined
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.log.codec import Codec
from headrace.log.port import Log, Reader, TopicPartition

# A gap of more records than this is jumped over and not read.
_JUMP = 5000
# Records per fetch. NB: all records of a fetch are held in memory beside the few that are kept, so this bounds the memory.
_CHUNK = 500
# After so many fetches without a record, what is asked for is not on the log any more.
_FRUITLESS = 60


class DecisionReader:
    """Reads single records, ascending, without a consumer group. `progress`: called with every fetch, for the watchdog."""

    def __init__(self, log: Log, codec: Codec, progress: Callable[[], None] = lambda: None) -> None:
        self._log, self._codec, self._progress = log, codec, progress

    async def read(self, wanted: Mapping[TopicPartition, Sequence[int]]) -> list[DecisionMade]:
        """The wanted decisions that are still on the log, by partition and offset. `wanted`: offsets, ascending.

        Late scores of their shadows are joined to them where these are wanted too. Blocks on the log; raises `Retryable` while
        it does not answer, and what the codec raises for a record that cannot be read.
        """
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
        """`left`: offsets, descending, so that the next one is at the end."""
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
        """Leave the partitions that are done, and jump over long gaps."""
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
