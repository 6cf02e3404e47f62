"""Keeps on the shelf what the routes want: fetches, loads and warms versions beside the running traffic, and tells."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from headrace.bus import artifacts
from headrace.bus.port import Log, Producer
from headrace.clock import Clock
from headrace.codec import out
from headrace.envelope import Envelope, derived_id
from headrace.errors import Poison, Retryable
from headrace.events.inference import VersionUnloadable, VersionWarmed
from headrace.events.registry import ArtifactPlace, VersionRegistered
from headrace.obs.health import Health
from headrace.topics import Topics
from headrace_inference.adapters.control import Control
from headrace_inference.adapters.models import LoadedModel, Unloadable, warm
from headrace_inference.adapters.shelf import Shelf
from headrace_inference.core.warming import Name, Plan, plan_loads

_log = logging.getLogger("headrace.inference")

RETRY_S = 1.0
MEMORY_BYTES = 2 * 1024**3
LOOK_AGAIN_S = 0.5


class Warmer:
    """Loads one version after the other, off the loop."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        control: Control,
        shelf: Shelf,
        health: Health,
        clock: Clock,
        limit_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._log, self._topics, self._control = log, topics, control
        self._shelf, self._health, self._clock = shelf, health, clock
        self._limit_bytes = limit_bytes
        self._crowded: set[Name] = set()
        self._producer: Producer | None = None

    async def settle(self) -> None:
        """Load everything that is wanted now. Raises `Retryable` when the broker cannot give an artifact."""
        while (plan := self._plan()).load:
            if plan.unload and self._shelf.bytes > self._limit_bytes / 2:
                self._unload(plan)
            await self._load(plan.load[0])
        self._unload(plan)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the routes until `stop`."""
        while not stop.is_set():
            try:
                await self.settle()
                await _either(stop, self._control.view.changed, LOOK_AGAIN_S)
            except Retryable as error:
                _log.warning("versions cannot be loaded now: %s", error)
                await _either(stop, stop, RETRY_S)
        if self._producer is not None:
            await self._producer.close()

    def _plan(self) -> Plan:
        control, shelf = self._control, self._shelf
        return plan_loads(control.routes, control.versions.keys(), shelf.loaded, shelf.refused)

    async def _load(self, name: Name) -> None:
        registered = self._control.versions[name]
        started_s = self._clock.monotonic_s()
        try:
            model = await self._fetch(registered)
        except Unloadable as error:
            self._shelf.refused[name] = str(error)
            _log.error("version %s of %s is not served: %s", name[1], name[0], error)
            await self._tell(VersionUnloadable(*name, self._health.instance, str(error)))
            return
        self._shelf.put(name, model)
        self._report()
        _log.info("version %s of %s is loaded and warm", name[1], name[0])
        await self._tell(VersionWarmed(*name, self._health.instance, self._clock.monotonic_s() - started_s))

    async def _fetch(self, registered: VersionRegistered) -> LoadedModel:
        """The version by ONNX Runtime where it has such an artifact, else (or when that cannot be loaded) by its own."""
        if registered.onnx is not None:
            try:
                return await self._fetch_from(registered, registered.onnx)
            except Unloadable as error:
                _log.warning(
                    "version %s of %s is served without ONNX: %s", registered.version, registered.deployment, error
                )
        return await self._fetch_from(registered, registered.place)

    async def _fetch_from(self, registered: VersionRegistered, place: ArtifactPlace) -> LoadedModel:
        try:
            data = await artifacts.fetch(self._log, self._topics, place)
        except Poison as poison:
            raise Unloadable(str(poison)) from poison
        model = await warm(registered, place, data)
        if self._shelf.bytes + model.footprint_bytes > self._limit_bytes:
            model.lane.close()
            self._crowded.add((registered.deployment, registered.version))
            raise Unloadable(
                f"it takes about {model.footprint_bytes:,} bytes, and {self._shelf.bytes:,} of {self._limit_bytes:,} are taken:"
                " raise HEADRACE_MODEL_MEMORY_BYTES"
            )
        return model

    def _unload(self, plan: Plan) -> None:
        for name in plan.unload:
            self._shelf.drop(name)
            _log.info("version %s of %s is no longer wanted", name[1], name[0])
        if plan.unload:
            # What found no room may find some now.
            for name in self._crowded:
                self._shelf.refused.pop(name, None)
            self._crowded.clear()
        self._report()

    def _report(self) -> None:
        names = {f"{deployment}/{version}" for deployment, version in self._shelf.loaded}
        self._health.loaded, self._health.warmed = names, set(names)

    async def _tell(self, fact: VersionWarmed | VersionUnloadable) -> None:
        self._producer = self._producer or await self._log.producer()
        now_s = self._clock.now_s()
        parts: Sequence[object] = (type(fact).__name__, *msgspec.structs.astuple(fact)[:3], self._health.started_s)
        envelope = Envelope(derived_id(*parts), "", "inference", now_s)
        await self._producer.send([out(self._topics.name("inference.facts"), fact.deployment, fact, envelope)])


async def _either(first: asyncio.Event, second: asyncio.Event, timeout_s: float) -> None:
    waits = {asyncio.create_task(event.wait()) for event in (first, second)}
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
