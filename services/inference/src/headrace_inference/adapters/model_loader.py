"""Keeps those versions loaded that the routes name: fetches, checks and loads them beside the running traffic, and publishes what became
of each.

A version is checked in a child process first. What the check rejects is never tried again. What cannot be loaded now is tried
again and again, at growing intervals, for a machine that is short of memory or of time is no fault of the version.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from headrace.clock import Clock
from headrace.errors import Poison, Retryable
from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.ops import LOAD_REASON_CHARS, LOADS_REPORTED, FailedLoads
from headrace.events.registry import ArtifactPlace, VersionRegistered
from headrace.hosting.health import Health
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.models import artifacts
from headrace_inference.adapters.crash_log import CrashLog
from headrace_inference.adapters.model_cache import ModelCache
from headrace_inference.adapters.model_worker import ModelWorker
from headrace_inference.adapters.models import LoadedModel, Tried, Unloadable, footprint, try_out
from headrace_inference.adapters.registry_view import RegistryView
from headrace_inference.core.batch import Name
from headrace_inference.core.faults import text_of
from headrace_inference.core.load_check import (
    CHILD,
    LOG,
    MEMORY,
    TIME,
    Crashed,
    Failed,
    Passed,
    Rejected,
    Verdict,
    after_crash,
    why_no_room,
)
from headrace_inference.core.loading import (
    PATIENCE_S,
    Plan,
    Tries,
    failed_again,
    failures_of,
    on_failure,
    on_room,
    plan_loads,
    wait_s,
)
from headrace_inference.core.proof import Asked

_log = logging.getLogger("headrace.inference")

MEMORY_BYTES = 2 * 1024**3
# What is known of all registered versions. Nothing is dropped beyond this; the gauge shows how near it is.
_MOST_REGISTERED_BYTES = 256 * 1024**2
LOOK_AGAIN_S = 0.5
# How long a start waits for champions, and then for what else the routes name. After that the service begins with what is loaded.
CHAMPIONS_WITHIN_S, OTHERS_WITHIN_S = 60.0, 5.0
V = TypeVar("V")
Fact = VersionWarmed | VersionUnloadable | VersionLoadFailed


class LoadCheck(Protocol):
    """How versions are checked before they are loaded here."""

    async def judge(
        self, registered: VersionRegistered, place: ArtifactPlace, data: bytes, rows: np.ndarray, *, fresh: bool = False
    ) -> Verdict:
        """The verdict on one version. `rows`: float32 (n, columns), such as its contract allows; `fresh`: by a process that checked none
        before. May take as long as the version makes progress; what goes wrong is part of the verdict, and nothing is raised.
        """
        ...

    async def close(self) -> None:
        """End what is open. Waits for it to end."""
        ...


class NoCheck:
    """No check: every version passes, and what is wrong with it is found when it is loaded. For tests of everything else."""

    async def judge(
        self, registered: VersionRegistered, place: ArtifactPlace, data: bytes, rows: np.ndarray, *, fresh: bool = False
    ) -> Verdict:
        """Pass."""
        del registered, rows, fresh
        try:
            return Passed(footprint(data, place.format))
        except Unloadable:
            return Passed(0)

    async def close(self) -> None:
        """End nothing."""


@dataclass(slots=True)
class _Loading:
    """What is being loaded. `began_s`: on the monotonic clock; `reported_s`: how long it had taken when that was published last."""

    name: Name
    began_s: float
    reported_s: float = 0.0


class ModelLoader:
    """Loads one version after the other, off the loop. `first_rows`: what a version is asked first; `publish`: takes facts."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        registry: RegistryView,
        models: ModelCache,
        health: Health,
        clock: Clock,
        *,
        load_check: LoadCheck,
        first_rows: Callable[[VersionRegistered], Asked],
        publish: Callable[[Fact], None],
        limit_bytes: int = MEMORY_BYTES,
        crash_log: CrashLog | None = None,
    ) -> None:
        self._log, self._topics, self._registry = log, topics, registry
        self._models, self._health, self._clock = models, health, clock
        self._load_check, self._first_rows, self._publish = load_check, first_rows, publish
        self._limit_bytes, self._crash_log = limit_bytes, crash_log
        self._tries: dict[Name, Tries] = {}
        self._failed: dict[Name, FailedLoads] = {}
        self._loading: _Loading | None = None
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start loading what the routes name now, and wait for a while: for champions longer than for the rest."""
        self._task = asyncio.create_task(self._follow())
        await self._wait(lambda: self._untried(champions=True), CHAMPIONS_WITHIN_S)
        await self._wait(lambda: self._untried(champions=False), OTHERS_WITHIN_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the routes until `stop`. Raises what loading raises unforeseen."""
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
            await self._load_check.close()
            if self._crash_log is not None:
                self._crash_log.end()

    def why_not(self, name: Name) -> str | None:
        """Why a version is not loaded yet, when more than that is known; None otherwise."""
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
        registry = self._registry
        tried = self._models.loaded | self._models.refused.keys() | self._tries.keys()
        routes = registry.routes
        plan = plan_loads(routes, registry.versions.keys(), tried, frozenset())
        if not champions:
            return set(plan.load)
        shares = {(route.deployment, version) for route in routes for version in route.shares}
        return {name for name in plan.load if name in shares}

    async def _follow(self) -> None:
        while True:
            while (plan := self._plan()).load:
                if plan.unload and self._models.bytes > self._limit_bytes / 2:
                    self._unload(plan)
                await self._load(plan.load[0])
                self._moved.set()
            self._unload(plan)
            await self._load_check.close()
            self._moved.set()
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        """Until a route or a version changes, or it is time to try something again."""
        due_s = [tries.due_s - self._clock.monotonic_s() for tries in self._tries.values() if tries.due_s]
        try:
            async with asyncio.timeout(max(0.01, min([LOOK_AGAIN_S, *due_s]))):
                await self._registry.view.changed.wait()
        except TimeoutError:
            return

    def _plan(self) -> Plan:
        registry, models = self._registry, self._models
        self._forget()
        known, refused, now_s = registry.versions.keys(), models.refused.keys(), self._clock.monotonic_s()
        return plan_loads(registry.routes, known, models.loaded, refused, self._tries, now_s)

    def _forget(self) -> None:
        """Forget what the registry does not know any more."""
        for known in (self._tries, self._failed, self._models.refused):
            for name in [name for name in known if name not in self._registry.versions]:
                del known[name]

    async def _load(self, name: Name) -> None:
        registered = self._registry.versions[name]
        began_s = self._clock.monotonic_s()
        self._loading = _Loading(name, began_s)
        self._report()
        try:
            found = await self._fetch(registered)
        finally:
            self._loading = None
        self._take(name, found, began_s)
        self._report()

    def _take(self, name: Name, found: LoadedModel | Rejected | Failed, began_s: float) -> None:
        if not isinstance(found, Failed):
            self._failed.pop(name, None)
        if isinstance(found, LoadedModel):
            self._tries.pop(name, None)
            self._models.put(name, found)
            _log.info("version %s of %s is loaded and warm", name[1], name[0])
            self._publish(VersionWarmed(*name, self._health.instance, self._clock.monotonic_s() - began_s))
        elif isinstance(found, Rejected):
            self._tries.pop(name, None)
            self._models.refused[name] = found.reason
            _log.error("version %s of %s is not served: %s", name[1], name[0], found.reason)
            self._publish(VersionUnloadable(*name, self._health.instance, found.reason))
        else:
            self._try_again(name, found)

    def _try_again(self, name: Name, failed: Failed) -> None:
        tries = on_failure(self._tries.get(name, Tries()), self._clock.monotonic_s()).state
        self._tries[name], after_s = tries, wait_s(tries.failures)
        self._models.waits[name] = f"its load failed: {failed.reason}"
        self._failed[name] = failed_again(
            self._failed.pop(name, None), failed.cause, failed.reason, self._clock.now_s()
        )
        _log.warning(
            "version %s of %s could not be loaded, again in %.0f s: %s", name[1], name[0], after_s, failed.reason
        )
        fact = VersionLoadFailed(
            *name, self._health.instance, failed.cause, failed.reason, tries.failures, retry_after_s=after_s
        )
        self._publish(fact)

    async def _fetch(self, registered: VersionRegistered) -> LoadedModel | Rejected | Failed:
        """The version by ONNX Runtime where it has such an artifact, else (or when that is rejected) by its own."""
        if registered.onnx is not None:
            found = await self._fetch_from(registered, registered.onnx)
            if not isinstance(found, Rejected):
                return found
            _log.warning(
                "version %s of %s is served without ONNX: %s", registered.version, registered.deployment, found.reason
            )
            name = (registered.deployment, registered.version)
            if name in self._tries:
                # The crashes were those of the other artifact.
                self._tries[name] = replace(self._tries[name], crashes=0)
        return await self._fetch_from(registered, registered.place)

    async def _fetch_from(self, registered: VersionRegistered, place: ArtifactPlace) -> LoadedModel | Rejected | Failed:
        crashes = self._crash_log
        if crashes is not None and (reason := crashes.why_not(place.digest)) is not None:
            return Rejected(reason)
        try:
            data = await artifacts.fetch(self._log, self._topics, place)
        except Poison as poison:
            return Rejected(str(poison))
        except Retryable as error:
            return Failed(LOG, f"its artifact could not be read: {error}")
        asked = await asyncio.to_thread(self._first_rows, registered)
        if asked.otherwise is not None:
            return Rejected(asked.otherwise)
        verdict = await self._judge(registered, place, data, asked.rows)
        if isinstance(verdict, Rejected | Failed):
            return verdict
        if (no_room := why_no_room(verdict.footprint_bytes, self._models.bytes, self._limit_bytes)) is not None:
            return no_room
        name = (registered.deployment, registered.version)
        on_begin = crashes.note_thread(*name, place.digest) if crashes is not None else _nothing
        return await _load_here(registered, place, data, asked.rows, on_begin)

    async def _judge(
        self, registered: VersionRegistered, place: ArtifactPlace, data: bytes, rows: np.ndarray
    ) -> Passed | Rejected | Failed:
        """The verdict of the load check. A version on which a child crashed once must pass twice, and two crashes are enough to reject it."""
        name = (registered.deployment, registered.version)
        tries = self._tries.get(name, Tries())
        crashes = tries.crashes
        verdict: Verdict = Failed(LOG, "")
        for _ in range(1 + crashes):
            verdict = await self._load_check.judge(registered, place, data, rows, fresh=crashes > 0)
            if not isinstance(verdict, Passed):
                break
        if not isinstance(verdict, Crashed):
            return verdict
        self._tries[name] = replace(tries, crashes=crashes + 1)
        return after_crash(verdict, crashes)

    def _unload(self, plan: Plan) -> None:
        for name in plan.unload:
            self._models.drop(name)
            _log.info("version %s of %s is no longer wanted", name[1], name[0])
        if plan.unload:
            now_s = self._clock.monotonic_s()
            self._tries = {name: on_room(tries, now_s).state for name, tries in self._tries.items()}
        self._report()

    def look(self) -> None:
        """Keep the health record, and publish that a load takes long, whatever part of it does. Nothing else is done about that."""
        self._report()
        loading = self._loading
        if loading is None:
            return
        took_s = self._clock.monotonic_s() - loading.began_s
        if took_s - loading.reported_s < PATIENCE_S:
            return
        loading.reported_s = took_s
        reason = f"its load has taken {took_s:.0f} s so far and goes on"
        _log.warning("version %s of %s: %s", loading.name[1], loading.name[0], reason)
        attempt = failures_of(self._tries, loading.name)
        self._publish(VersionLoadFailed(*loading.name, self._health.instance, TIME, reason, attempt, goes_on=True))

    def _report(self) -> None:
        """Report what is loaded, what is not and why, and what waits for its turn."""
        busy = self._loading
        waiting = [name for name in self._plan().load if name != busy.name] if busy is not None else []
        self._health.in_line = tuple(map(_key, waiting))
        named = {(route.deployment, version) for route in self._registry.routes for version in route.named}
        self._health.warmed = {_key(name) for name in self._models.loaded}
        rejected = _newest(self._models.refused, named)
        self._health.rejected = {name: reason[:LOAD_REASON_CHARS] for name, reason in rejected.items()}
        self._health.failed_loads = _newest(self._failed, named)
        self._health.holds("loaded versions", self._models.bytes, self._limit_bytes)
        self._health.holds("registered versions", self._registry.bytes, _MOST_REGISTERED_BYTES)


def _nothing(_: int) -> None:
    """Note nothing, where there is no crash log."""


async def _load_here(
    registered: VersionRegistered,
    place: ArtifactPlace,
    data: bytes,
    rows: np.ndarray,
    on_begin: Callable[[int], None],
) -> LoadedModel | Rejected | Failed:
    """Load here what has passed its load check, in the thread that will answer, for as long as it takes."""
    name = f"{registered.deployment}-{registered.version}"
    worker = ModelWorker(f"model-{name}", on_begin)
    try:
        tried: Tried = await worker.run(partial(try_out, registered, place, data, rows), None)
    except Unloadable as error:
        worker.close()
        return Rejected(str(error))
    except MemoryError:
        worker.close()
        return Failed(MEMORY, "no memory was left to load it")
    except Exception as error:
        # NB: this is foreign code that has passed its load check: whatever it raised may be gone the next time.
        worker.close()
        return Failed(CHILD, f"loading it here raised {text_of(error)}")
    shadow_worker = ModelWorker(f"shadow-{name}", on_begin)
    return LoadedModel(registered, tried.engine, worker, tried.footprint_bytes, tried.pace, shadow_worker)


def _key(name: Name) -> str:
    return f"{name[0]}/{name[1]}"


def _newest(known: Mapping[Name, V], named: Set[Name]) -> dict[str, V]:
    """Of what is known of versions, the newest of those that a route names."""
    found = [(_key(name), about) for name, about in known.items() if name in named]
    return dict(found[-LOADS_REPORTED:])
