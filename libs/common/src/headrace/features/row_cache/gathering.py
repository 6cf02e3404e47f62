"""Reads what a deployment's rows are made of: what earlier readings kept, and only new records from the log."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.errors import Restart
from headrace.features.dataset import Gathered
from headrace.features.own import Own
from headrace.features.row_cache.cache import Kept
from headrace.log.codec import Codec
from headrace.log.port import Log, Record, TopicPartition
from headrace.log.reading import Progress, pin_offsets, read_up_to

_log = logging.getLogger("headrace.dataset")


class Gathering:
    """One reading. `make`: returns the `Gathered` to fill. `folder`: the deployment's cache, None for none.

    `forgets`: records older than needed now are neither read nor kept. NB: call `begin` before the ends are pinned, so
    that the cache never lies beyond them.
    """

    def __init__(
        self, log: Log, codec: Codec, make: Callable[[], Gathered], folder: Path | None, *, forgets: bool
    ) -> None:
        self._log, self._codec, self._make, self._folder, self._forgets = log, codec, make, folder, forgets
        self._kept: Kept | None = None
        self._fresh: list[Own] = []
        self.gathered = make()
        self.topic_ids: dict[str, str] = {}
        self.starts: dict[TopicPartition, int] = {}

    async def begin(self) -> None:
        """Load the cache, and find out from where the log must be read. Raises `Retryable` while the broker is away."""
        names = self.gathered.topic_names()
        self.topic_ids = await self._log.topic_ids(sorted(names))
        begins = await self._log.begin_offsets([tp for name in names for tp in await self._log.partitions(name)])
        bounds = await self.gathered.starts(self._log) if self._forgets else {}
        # NB: this is the last step, and does not ask the broker. So after any earlier error everything can be repeated.
        found = {} if self._folder is None else await asyncio.to_thread(self._load, self._folder, begins)
        self.starts = {tp: max(begin, found.get(tp, 0), bounds.get(tp, 0)) for tp, begin in begins.items()}

    async def pin(self) -> dict[TopicPartition, int]:
        """The present ends of the log."""
        return await pin_offsets(self._log, self.gathered.topic_names())

    async def read(self, ends: Mapping[TopicPartition, int], progress: Progress) -> int:
        """Read up to `ends` and keep it. Returns the number of offsets. Raises `Restart` when a topic was created again
        meanwhile.
        """
        await read_up_to(self._log, ends, self._take, progress, self.starts)
        if await self._log.topic_ids(sorted(self.topic_ids)) != self.topic_ids:
            raise Restart("a topic was deleted and created again while it was read: what was read of it is void")
        if self._kept is not None:
            await asyncio.to_thread(self._kept.save, self._fresh, self.starts, ends)
        return sum(max(end - self.starts.get(tp, 0), 0) for tp, end in ends.items())

    def close(self) -> None:
        """Unlock the folder."""
        if self._kept is not None:
            self._kept.close()

    def _load(self, folder: Path, begins: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        kept = Kept(folder, self.gathered, self.topic_ids, self._forgets)
        if not kept.open():
            return {}
        self._kept = kept
        try:
            return kept.load(begins)
        except Exception as error:
            # NB: any error of the cache is harmless, since the log has everything.
            _log.warning("the cache in %s cannot be read (%s): everything is read from the log", folder, error)
            self.gathered = kept.gathered = self._make()
            kept.throw_away()
            return {}

    def _take(self, record: Record) -> None:
        own = self.gathered.read(self._codec, record)
        if own is not None and self._kept is not None:
            self._fresh.append(own)
