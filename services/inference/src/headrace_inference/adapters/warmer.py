"""Keeps on the shelf what the routes want: fetches, tries and loads versions beside the running traffic, and tells.

A version is tried in a child process first. What the trial rejects is never tried again; what cannot be loaded now is tried
again and again, at growing intervals, for a machine that is short of memory or of time is no fault of the version.
"""

import asyncio
import logging
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from headrace.clock import Clock
from headrace.errors import Poison, Retryable
from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.registry import ArtifactPlace, VersionRegistered
from headrace.hosting.health import Health
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.models import artifacts
from headrace_inference.adapters.blackbox import Blackbox
from headrace_inference.adapters.control import Control
from headrace_inference.adapters.lane import Lane
from headrace_inference.adapters.models import LoadedModel, Tried, Unloadable, footprint, try_out
from headrace_inference.adapters.shelf import Shelf
from headrace_inference.core.faults import told
from headrace_inference.core.proof import Asked
from headrace_inference.core.trial import CHILD, LOG, MEMORY, TIME, Crashed, Failed, Passed, Rejected, Verdict
from headrace_inference.core.warming import PATIENCE_S, Name, Plan, Tries, failures_of, plan_loads, wait_s

_log = logging.getLogger("headrace.inference")

MEMORY_BYTES = 2 * 1024**3
# What the registry says of all versions: nothing is dropped beyond, whoever watches the gauge is told that it is near.
_MOST_REGISTERED_BYTES = 256 * 1024**2
LOOK_AGAIN_S = 0.5
# How long a start waits for champions, and then for what else the routes name: after that it serves what it has.
CHAMPIONS_WITHIN_S, OTHERS_WITHIN_S = 60.0, 5.0
Fact = VersionWarmed | VersionUnloadable | VersionLoadFailed


class Trial(Protocol):
    """How versions are tried before they are loaded here."""

    async def judge(
        self, registered: VersionRegistered, place: ArtifactPlace, data: bytes, rows: np.ndarray, *, fresh: bool = False
    ) -> Verdict: ...
    async def close(self) -> None: ...


class Trust:
    """No trial: every version passes, and what is wrong with it is found when it is loaded. For tests of all else."""

    async def judge(
        self, registered: VersionRegistered, place: ArtifactPlace, data: bytes, rows: np.ndarray, *, fresh: bool = False
    ) -> Verdict:
        """Passes."""
        del registered, rows, fresh
        try:
            return Passed(footprint(data, place.format))
        except Unloadable:
            return Passed(0)

    async def close(self) -> None:
        """Nothing to end."""


@dataclass(slots=True)
class _Loading:
    """What is being loaded. `began_s`: on the monotonic clock; `told_s`: how long it had taken when that was told last."""

    name: Name
    began_s: float
    told_s: float = 0.0


class Warmer:
    """Loads one version after the other, off the loop. `asks`: what a version is asked first; `tell`: takes facts."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        control: Control,
        shelf: Shelf,
        health: Health,
        clock: Clock,
        *,
        trial: Trial,
        asks: Callable[[VersionRegistered], Asked],
        tell: Callable[[Fact], None],
        limit_bytes: int = MEMORY_BYTES,
        blackbox: Blackbox | None = None,
    ) -> None:
        self._log, self._topics, self._control = log, topics, control
        self._shelf, self._health, self._clock = shelf, health, clock
        self._trial, self._asks, self._tell, self._limit_bytes = trial, asks, tell, limit_bytes
        self._blackbox = blackbox
        self._tries: dict[Name, Tries] = {}
        self._loading: _Loading | None = None
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start loading what is wanted now, and wait for a while: for champions longer than for what else the routes name."""
        self._task = asyncio.create_task(self._follow())
        await self._wait(lambda: self._untried(champions=True), CHAMPIONS_WITHIN_S)
        await self._wait(lambda: self._untried(champions=False), OTHERS_WITHIN_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the routes until `stop`."""
        task = self._task = self._task or asyncio.create_task(self._follow())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            stopped.cancel()
            task.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)
            await self._trial.close()
            if self._blackbox is not None:
                self._blackbox.end()

    def why_not(self, name: Name) -> str | None:
        """What is to be said of a version that is not loaded, beside that; None when nothing is."""
        if self._loading is not None and self._loading.name == name:
            minutes = int((self._clock.monotonic_s() - self._loading.began_s) / 60)
            return f"loading it has taken {minutes} min so far" if minutes else None
        return None

    async def _wait(self, untried: Callable[[], Set[Name]], within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while untried() and self._task is not None and not self._task.done():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            names = ", ".join(f"{deployment}/{version}" for deployment, version in sorted(untried()))
            _log.warning("serving begins before these are loaded: %s", names)

    def _untried(self, *, champions: bool) -> Set[Name]:
        control = self._control
        tried = self._shelf.loaded | self._shelf.refused.keys() | self._tries.keys()
        routes = control.routes
        plan = plan_loads(routes, control.versions.keys(), tried, frozenset())
        if not champions:
            return set(plan.load)
        shares = {(route.deployment, version) for route in routes for version in route.shares}
        return {name for name in plan.load if name in shares}

    async def _follow(self) -> None:
        while True:
            while (plan := self._plan()).load:
                if plan.unload and self._shelf.bytes > self._limit_bytes / 2:
                    self._unload(plan)
                await self._load(plan.load[0])
                self._moved.set()
            self._unload(plan)
            await self._trial.close()
            self._moved.set()
            await self._news()

    async def _news(self) -> None:
        """Until a route or a version changes, or it is time to try something again."""
        due_s = [tries.due_s - self._clock.monotonic_s() for tries in self._tries.values() if tries.due_s]
        try:
            async with asyncio.timeout(max(0.01, min([LOOK_AGAIN_S, *due_s]))):
                await self._control.view.changed.wait()
        except TimeoutError:
            return

    def _plan(self) -> Plan:
        control, shelf = self._control, self._shelf
        self._forget()
        known, refused, now_s = control.versions.keys(), shelf.refused.keys(), self._clock.monotonic_s()
        return plan_loads(control.routes, known, shelf.loaded, refused, self._tries, now_s)

    def _forget(self) -> None:
        """What no registry knows any more is not remembered either."""
        for known in (self._tries, self._shelf.refused):
            for name in [name for name in known if name not in self._control.versions]:
                del known[name]

    async def _load(self, name: Name) -> None:
        registered = self._control.versions[name]
        began_s = self._clock.monotonic_s()
        self._loading = _Loading(name, began_s)
        self._report()
        try:
            found = await self._fetch(registered)
        finally:
            self._loading = None
        self._settle(name, found, began_s)
        self._report()

    def _settle(self, name: Name, found: LoadedModel | Rejected | Failed, began_s: float) -> None:
        if isinstance(found, LoadedModel):
            self._tries.pop(name, None)
            self._shelf.put(name, found)
            _log.info("version %s of %s is loaded and warm", name[1], name[0])
            self._tell(VersionWarmed(*name, self._health.instance, self._clock.monotonic_s() - began_s))
        elif isinstance(found, Rejected):
            self._tries.pop(name, None)
            self._shelf.refused[name] = found.reason
            _log.error("version %s of %s is not served: %s", name[1], name[0], found.reason)
            self._tell(VersionUnloadable(*name, self._health.instance, found.reason))
        else:
            self._try_again(name, found)

    def _try_again(self, name: Name, failed: Failed) -> None:
        tries = self._tries.setdefault(name, Tries())
        tries.failures += 1
        after_s = wait_s(tries.failures)
        tries.due_s = self._clock.monotonic_s() + after_s
        self._shelf.waits[name] = f"its load failed: {failed.reason}"
        _log.warning(
            "version %s of %s could not be loaded, again in %.0f s: %s", name[1], name[0], after_s, failed.reason
        )
        fact = VersionLoadFailed(
            *name, self._health.instance, failed.cause, failed.reason, tries.failures, retry_after_s=after_s
        )
        self._tell(fact)

    async def _fetch(self, registered: VersionRegistered) -> LoadedModel | Rejected | Failed:
        """The version by ONNX Runtime where it has such an artifact, else (or when that is rejected) by its own."""
        if registered.onnx is not None:
            found = await self._fetch_from(registered, registered.onnx)
            if not isinstance(found, Rejected):
                return found
            _log.warning(
                "version %s of %s is served without ONNX: %s", registered.version, registered.deployment, found.reason
            )
            if (registered.deployment, registered.version) in self._tries:
                self._tries[registered.deployment, registered.version].crashes = 0
        return await self._fetch_from(registered, registered.place)

    async def _fetch_from(self, registered: VersionRegistered, place: ArtifactPlace) -> LoadedModel | Rejected | Failed:
        box = self._blackbox
        if box is not None and (deadly := box.why_not(place.digest)) is not None:
            return Rejected(deadly)
        try:
            data = await artifacts.fetch(self._log, self._topics, place)
        except Poison as poison:
            return Rejected(str(poison))
        except Retryable as error:
            return Failed(LOG, f"its artifact could not be read: {error}")
        asked = await asyncio.to_thread(self._asks, registered)
        if asked.otherwise is not None:
            return Rejected(asked.otherwise)
        verdict = await self._judge(registered, place, data, asked.rows)
        if isinstance(verdict, Rejected | Failed):
            return verdict
        if self._shelf.bytes + verdict.footprint_bytes > self._limit_bytes:
            return Failed(
                MEMORY,
                f"it takes about {verdict.footprint_bytes:,} bytes, and {self._shelf.bytes:,} of {self._limit_bytes:,} are taken:"
                " raise HEADRACE_MODEL_MEMORY_BYTES",
            )
        asks = box.asks(registered.deployment, registered.version, place.digest) if box is not None else _nothing
        return await _warm(registered, place, data, asked.rows, asks)

    async def _judge(
        self, registered: VersionRegistered, place: ArtifactPlace, data: bytes, rows: np.ndarray
    ) -> Passed | Rejected | Failed:
        """What the trial says. A child that died of a version once makes it pass twice, and two such are enough to reject it."""
        name = (registered.deployment, registered.version)
        crashes = self._tries[name].crashes if name in self._tries else 0
        verdict: Verdict = Failed(LOG, "")
        for _ in range(1 + crashes):
            verdict = await self._trial.judge(registered, place, data, rows, fresh=crashes > 0)
            if not isinstance(verdict, Passed):
                break
        if not isinstance(verdict, Crashed):
            return verdict
        self._tries.setdefault(name, Tries()).crashes += 1
        return Rejected(f"{verdict.reason}, twice") if crashes else Failed(CHILD, verdict.reason)

    def _unload(self, plan: Plan) -> None:
        for name in plan.unload:
            self._shelf.drop(name)
            _log.info("version %s of %s is no longer wanted", name[1], name[0])
        if plan.unload:
            # What found no room may find some now.
            for tries in self._tries.values():
                tries.due_s = min(tries.due_s, self._clock.monotonic_s())
        self._report()

    def look(self) -> None:
        """Keep the health record, and tell of a load that takes long, whatever part of it does; nothing else is done about that."""
        self._report()
        loading = self._loading
        if loading is None:
            return
        took_s = self._clock.monotonic_s() - loading.began_s
        if took_s - loading.told_s < PATIENCE_S:
            return
        loading.told_s = took_s
        reason = f"its load has taken {took_s:.0f} s so far and goes on"
        _log.warning("version %s of %s: %s", loading.name[1], loading.name[0], reason)
        attempt = failures_of(self._tries, loading.name)
        self._tell(VersionLoadFailed(*loading.name, self._health.instance, TIME, reason, attempt, goes_on=True))

    def _report(self) -> None:
        """What is loaded, and what waits for its turn."""
        busy = self._loading
        waiting = [name for name in self._plan().load if name != busy.name] if busy is not None else []
        self._health.in_line = tuple(f"{deployment}/{version}" for deployment, version in waiting)
        names = {f"{deployment}/{version}" for deployment, version in self._shelf.loaded}
        self._health.loaded, self._health.warmed = names, set(names)
        self._health.holds("loaded versions", self._shelf.bytes, self._limit_bytes)
        self._health.holds("registered versions", self._control.bytes, _MOST_REGISTERED_BYTES)


def _nothing(_: int) -> None:
    """Where no one keeps a black box."""


async def _warm(
    registered: VersionRegistered,
    place: ArtifactPlace,
    data: bytes,
    rows: np.ndarray,
    on_begin: Callable[[int], None],
) -> LoadedModel | Rejected | Failed:
    """Load here what has passed its trial, in the thread that will answer, for as long as it takes."""
    name = f"{registered.deployment}-{registered.version}"
    lane = Lane(f"model-{name}", on_begin)
    try:
        tried: Tried = await lane.run(partial(try_out, registered, place, data, rows), None)
    except Unloadable as error:
        lane.close()
        return Rejected(str(error))
    except MemoryError:
        lane.close()
        return Failed(MEMORY, "no memory was left to load it")
    except Exception as error:
        # NB: foreign code, and it has passed its trial: whatever this is, it may be gone the next time.
        lane.close()
        return Failed(CHILD, f"loading it here raised {told(error)}")
    shadow_lane = Lane(f"shadow-{name}", on_begin)
    return LoadedModel(registered, tried.engine, lane, tried.footprint_bytes, tried.pace, shadow_lane)
