"""Compacted reference topics as mappings, read to their ends before the first lookup, and followed from then on."""

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from headrace.bus.port import Log, Record
from headrace.bus.views import View
from headrace.codec import Codec, Message
from headrace.envelope import read_headers
from headrace.errors import Poison
from headrace.project.contract import read_raw
from headrace.topics import Topics

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


class References:
    """One mapping per reference, shared by all pipelines of this process.

    All of them together are kept up to `limit_bytes` (by estimate): beyond it keys that are not known yet are left out, and
    counted.
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
        """The newest message per key, as it is now and as it changes."""
        if name not in self._views:
            self._mappings[name] = {}
            topic = self._topics.of_reference(name)
            view = self._views[name] = View(self._log, _Raw(self._topics), [topic], lambda m: self._put(name, m))
            await view.start()
        return MappingProxyType(self._mappings[name])

    async def run(self, stop: asyncio.Event) -> None:
        """Follow all of them until `stop`."""
        async with asyncio.TaskGroup() as group:
            for view in self._views.values():
                group.create_task(view.run(stop))
            group.create_task(stop.wait())

    async def stop(self) -> None:
        """Give the connections back."""
        for view in self._views.values():
            await view.stop()

    def _put(self, name: str, message: Message) -> None:
        key = (message.record.key or b"").decode("utf-8", "replace")
        self.held_bytes -= self._sizes.pop((name, key), 0)
        self._mappings[name].pop(key, None)
        if message.event is None:
            return
        size = _OBJECT_BYTES + len(key) + _GROWTH * len(message.record.value or b"")
        if self.held_bytes + size > self.limit_bytes:
            self.left_out += 1
            return
        self._sizes[name, key] = size
        self.held_bytes += size
        self._mappings[name][key] = message.event
