"""Compacted reference topics as mappings, read to their ends before the first lookup, and followed from then on."""

import asyncio
import logging
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from headrace.errors import Poison
from headrace.log.codec import Codec, Message
from headrace.log.envelope import read_headers
from headrace.log.port import Log, Record
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace_pipeline.core.contract import read_raw

# What a message takes as a dict, by estimate: so many times its bytes, and so much more.
_GROWTH, _OBJECT_BYTES = 4, 400

_log = logging.getLogger("headrace.pipeline")


class _Raw(Codec):
    """Reads whatever users write to a reference: an object in JSON or MessagePack; null deletes."""

    def decode(self, record: Record) -> Message:
        try:
            return Message(record, read_headers(record), None if record.value is None else read_raw(record))
        except Exception as error:
            # NB: whatever is raised while one record is read is that record's.
            poison = Poison.of(error)
            _log.warning("passed over %s/%s/%s: %s", record.topic, record.partition, record.offset, poison)
            raise poison from None


class Snapshots(Mapping[str, Any]):
    """A reference as a transform sees it: each lookup gives the newest message, each iteration goes through the reference as it was when it began.

    The reference changes on another thread meanwhile.
    """

    def __init__(self, current: dict[str, Any]) -> None:
        self._current = current

    def __getitem__(self, key: str) -> Any:
        return self._current[key]

    def __len__(self) -> int:
        return len(self._current)

    def __iter__(self) -> Iterator[str]:
        return iter(self._current.copy())

    def keys(self) -> KeysView[str]:
        """As they are now."""
        return self._current.copy().keys()

    def values(self) -> ValuesView[Any]:
        """As they are now."""
        return self._current.copy().values()

    def items(self) -> ItemsView[str, Any]:
        """As they are now."""
        return self._current.copy().items()


class References:
    """One mapping per reference, shared by all pipelines of this process.

    All of them together are kept up to `limit_bytes` (by estimate). Beyond it keys that are not known yet are left out and counted
    in `left_out`. `held_bytes`: what is kept now, by the same estimate.
    """

    limit_bytes = 256 * 1_048_576

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log, self._topics = log, topics
        self._views: dict[str, View] = {}
        self._mappings: dict[str, dict[str, Any]] = {}
        self._sizes: dict[tuple[str, str], int] = {}
        self.held_bytes = 0
        self.left_out = 0

    async def mapping(self, name: str) -> Mapping[str, Any]:
        """The newest message per key, as it is now and as it changes. The first call of a name reads the topic to its end.

        Raises `Retryable` when the broker does not answer.
        """
        if name not in self._views:
            self._mappings[name] = {}
            topic = self._topics.of_reference(name)
            view = self._views[name] = View(self._log, _Raw(self._topics), [topic], lambda m: self._put(name, m))
            await view.start()
        return Snapshots(self._mappings[name])

    async def run(self, stop: asyncio.Event) -> None:
        """Follow all references until `stop`."""
        async with asyncio.TaskGroup() as group:
            for view in self._views.values():
                group.create_task(view.run(stop))
            group.create_task(stop.wait())

    async def stop(self) -> None:
        """Close the connections."""
        for view in self._views.values():
            await view.stop()

    def _put(self, name: str, message: Message) -> None:
        key = (message.record.key or b"").decode("utf-8", "replace")
        self.held_bytes -= self._sizes.pop((name, key), 0)
        size = _OBJECT_BYTES + len(key) + _GROWTH * len(message.record.value or b"")
        if message.event is None or self.held_bytes + size > self.limit_bytes:
            self.left_out += message.event is not None
            self._mappings[name].pop(key, None)
            return
        # NB: in one step: a transform on its own thread may look at any moment.
        self._sizes[name, key] = size
        self.held_bytes += size
        self._mappings[name][key] = message.event
