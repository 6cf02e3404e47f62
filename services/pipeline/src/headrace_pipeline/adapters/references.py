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

_log = logging.getLogger("headrace.pipeline")


class _Raw(Codec):
    """Reads whatever users write to a reference: an object in JSON or MessagePack; null deletes."""

    def decode(self, record: Record) -> Message:
        envelope = read_headers(record)
        try:
            return Message(record, envelope, None if record.value is None else read_raw(record))
        except Poison as poison:
            _log.warning("passed over %s/%s/%s: %s", record.topic, record.partition, record.offset, poison)
            raise


class References:
    """One mapping per reference, shared by all pipelines of this process."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log, self._topics = log, topics
        self._views: dict[str, View] = {}
        self._mappings: dict[str, dict[str, Any]] = {}

    async def mapping(self, name: str) -> Mapping[str, Any]:
        """The newest message per key, as it is now and as it changes."""
        if name not in self._views:
            values = self._mappings[name] = {}
            topic = self._topics.of_reference(name)
            view = self._views[name] = View(self._log, _Raw(self._topics), [topic], lambda m: _put(values, m))
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


def _put(values: dict[str, Any], message: Message) -> None:
    key = (message.record.key or b"").decode("utf-8", "replace")
    if message.event is None:
        values.pop(key, None)
    else:
        values[key] = message.event
