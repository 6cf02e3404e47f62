"""Gather what was read, let the core make documents of it, send what changed; and carry out what a person does.

A document is made again only when something that it rests on has changed and a page shows it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.clock import Clock
from headrace.hosting.health import Health
from headrace_console.adapters.following import Following
from headrace_console.adapters.history import MOST_BYTES, History
from headrace_console.core import catalogue
from headrace_console.core.catalogue import Key
from headrace_console.core.documents import Found, TrafficPoint
from headrace_console.core.feed import HISTORY_BYTES, Feed, as_text
from headrace_console.core.now import Table
from headrace_console.core.search import find
from headrace_console.core.traffic import MINUTE_S, SPARK_MINUTES
from headrace_console.core.world import World
from headrace_console.settings import TICK_S, Limits
from headrace_edge.rules.events import event_bytes

_encode = msgspec.json.Encoder().encode
_NO_TRAFFIC: Mapping[int, TrafficPoint] = {}
_AS_OF_S = 1.0


@dataclass
class _Held:
    """A document that pages show: how many, since when none does, and as of what it was made."""

    key: Key
    readers: int = 0
    left_s: float | None = None
    count: tuple[int, ...] = ()
    made_s: float = -1e18


class Console:
    """The documents, live."""

    def __init__(
        self,
        world: World,
        feed: Feed,
        following: Following,
        history: History,
        health: Health,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._world, self._feed, self._following, self._history = world, feed, following, history
        self._health, self._clock, self._limits = health, clock, limits
        self._table = Table()
        self._held: dict[str, _Held] = {}
        self._changed = asyncio.Event()
        self._streams = 0

    @property
    def is_full(self) -> bool:
        """Whether no further page may be followed."""
        return self._streams >= self._limits.streams

    async def run(self, stop: asyncio.Event) -> None:
        """Make documents until `stop`."""
        now_s = self._clock.now_s()
        since = int(now_s) // MINUTE_S - SPARK_MINUTES
        for minute, answers in await asyncio.to_thread(self._history.answers, since):
            self._world.traffic.recall(minute, answers)
        try:
            while not stop.is_set():
                await self._tick()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await stop.wait()
        finally:
            await asyncio.to_thread(self._history.close)

    async def document(self, key: Key, text: str) -> dict[str, Any]:
        """One document now, with what it is called, why there is none, and as of when it holds."""
        value, why = await self._compose(key, self._clock.now_s())
        as_of_s = catalogue.as_of_s(key, self._following.read_s)
        return {"document": text, "value": value, "why": why, "as_of_s": as_of_s}

    async def live(self, keys: Sequence[tuple[str, Key]], last: str) -> AsyncGenerator[bytes, None]:
        """The documents as server-sent events: what a reader lacks who has everything up to the event `last`, then what changes."""
        names = [text for text, _ in keys]
        self._streams += 1
        for text, key in keys:
            held = self._held.setdefault(text, _Held(key))
            held.readers, held.left_s = held.readers + 1, None
        try:
            await self._refresh()
            number = self._feed.read_number(last) if last else None
            looked_s = 0.0
            while True:
                changed = self._changed
                events, number = self._feed.since(number, names), self._feed.number
                for event in events:
                    yield as_text(event, self._feed.epoch)
                now_s = self._clock.monotonic_s()
                if now_s - looked_s >= _AS_OF_S * 0.9:
                    looked_s = now_s
                    yield self._as_of(keys)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_AS_OF_S):
                        await changed.wait()
        finally:
            self._streams -= 1
            self._leave(names)

    def find(self, text: str) -> list[Found]:
        """What a person looks for."""
        return find(self._world, text)

    def names(self) -> list[str]:
        """All deployments."""
        return self._world.names()

    def _as_of(self, keys: Sequence[tuple[str, Key]]) -> bytes:
        read_s = self._following.read_s
        as_of = {text: catalogue.as_of_s(key, read_s) for text, key in keys}
        return event_bytes(_encode({"as_of_s": as_of, "now_s": self._clock.now_s()}), "as_of")

    def _leave(self, names: Sequence[str]) -> None:
        for text in names:
            held = self._held[text]
            held.readers -= 1
            if held.readers == 0:
                held.left_s = self._clock.monotonic_s()

    async def _tick(self) -> None:
        now_s = self._clock.now_s()
        self._world.advance(now_s)
        for minute, amounts in self._world.traffic.take_closed():
            await asyncio.to_thread(self._history.add, minute, amounts)
            self._health.holds("traffic", await asyncio.to_thread(lambda: self._history.held_bytes), MOST_BYTES)
        self._forget()
        await self._refresh()
        self._health.handled = self._world.handled
        self._health.holds("changes for pages", self._feed.held_bytes, HISTORY_BYTES)

    async def _refresh(self) -> None:
        """Make the documents again that are shown and due, and wake their readers."""
        now_s, is_new = self._clock.now_s(), False
        for text, held in list(self._held.items()):
            if not self._is_due(text, held, now_s):
                continue
            held.count, held.made_s = self._world.count(*held.key.subjects()), now_s
            value, why = await self._compose(held.key, now_s)
            is_new |= self._feed.put(text, value, why, catalogue.as_of_s(held.key, self._following.read_s))
        if is_new:
            self._changed.set()
            self._changed = asyncio.Event()

    def _is_due(self, text: str, held: _Held, now_s: float) -> bool:
        age_s = now_s - held.made_s
        has_changed = self._world.count(*held.key.subjects()) != held.count
        return (
            not self._feed.has(text)
            or age_s >= held.key.age_s
            or (has_changed and age_s >= held.key.least_s)
            or age_s < 0
        )

    async def _compose(self, key: Key, now_s: float) -> tuple[dict[str, Any] | None, str]:
        if key.kind == "now":
            return self._table.document(self._world, now_s, self._following.read_s), ""
        traffic = (
            await asyncio.to_thread(self._history.points, key.name, now_s) if key.kind == "series" else _NO_TRAFFIC
        )
        return catalogue.compose(self._world, key, now_s, traffic)

    def _forget(self) -> None:
        """Hold no longer what nobody has read for a while."""
        now_s = self._clock.monotonic_s()
        for text, held in list(self._held.items()):
            if held.left_s is not None and now_s - held.left_s > self._limits.forget_s:
                del self._held[text]
                self._feed.forget(text)
