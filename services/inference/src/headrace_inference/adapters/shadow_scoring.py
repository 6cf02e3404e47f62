"""The tasks that let shadows score, one per version that has rows to score, beside the answers of a shard."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from headrace.events.definition import BreakerDefinition
from headrace.events.failures import NotLoaded
from headrace.events.inference import Score
from headrace.log.port import Out
from headrace_inference.adapters.model_calls import ModelCalls
from headrace_inference.adapters.records import Records
from headrace_inference.adapters.serving_views import ServingViews
from headrace_inference.core.batch import ModelCall, Name, ShadowCall
from headrace_inference.core.shadows import Late, Shadowed, ShadowQueues, Waiting, is_awaited, results_of, why_lost
from headrace_inference.core.takeover import Owed

# The scores of a call come all at once. So many are recorded before the answers have their turn, and so many go into one commit beside a
# batch of requests (twice as many as there are requests, or these), lest answers wait for them.
_AT_ONCE, _BESIDE = 64, 256
_LOOK_EVERY_S = 0.1
_TIME_LIMIT_S = 5.0


class ShadowScoring:
    """The shadows of one shard, whose decisions lie in `partition`. Only `close` waits."""

    def __init__(self, views: ServingViews, calls: ModelCalls, records: Records, partition: int) -> None:
        self._views, self._calls, self._records, self._partition = views, calls, records, partition
        self._queues = ShadowQueues()
        self._tasks: dict[Name, asyncio.Task[None]] = {}
        self._late: list[Out] = []

    @property
    def bytes(self) -> int:
        """An estimate of what waits here takes."""
        return self._queues.bytes

    def add(self, call: ShadowCall, shadowed: Mapping[int, Shadowed]) -> None:
        """Let a version score cases in its own time. `shadowed`: their decisions, by place."""
        for place, found in call.cases:
            if isinstance(found, Score):
                shadowed[place].scores.append(found)
            else:
                self._put(call.name, Waiting(shadowed[place], found))
        self._begin(call.name)

    def owe(self, owed: Owed) -> None:
        """Let shadows score a decision that a former owner wrote before they had."""
        decision = owed.decision
        for version in sorted(owed.versions):
            name = (decision.deployment, version)
            shadowed = Shadowed.of(decision, owed.causes)
            shadowed.is_written = True
            registered = self._views.registry.versions.get(name)
            failure = why_lost(decision, registered.signature.digest if registered is not None else None)
            if failure is not None:
                self._record(shadowed.take(version, failure))
                continue
            self._put(name, Waiting(shadowed, decision.row, asyncio.get_running_loop().time()))
            self._begin(name)

    def take(self, beside: int = 0) -> list[Out]:
        """The late scores that are to be written now. `beside`: how many requests are answered with them. Raises what a task raised."""
        for task in self._tasks.values():
            if task.done():
                task.result()
        most = max(_BESIDE, 2 * beside)
        found, self._late = self._late[:most], self._late[most:]
        return found

    async def close(self) -> None:
        """Score no more; what is owed is the next owner's. Waits for the tasks to end."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _put(self, name: Name, waiting: Waiting) -> None:
        self._record(self._queues.on_due(name, waiting, len(self._late)).facts)

    def _record(self, late: Iterable[Late]) -> None:
        self._late += [self._records.shadow(one.scored, one.causes, self._partition) for one in late]

    def _begin(self, name: Name) -> None:
        task = self._tasks.get(name)
        if self._queues.first(name) is None or (task is not None and not task.done()):
            return
        if task is not None:
            task.result()
        self._tasks[name] = asyncio.create_task(self._serve(name))

    async def _serve(self, name: Name) -> None:
        while (first := self._queues.first(name)) is not None:
            found = self._views.definitions.deployment(name[0])
            breaker = found[1].breaker if found is not None else BreakerDefinition()
            limit_s = found[1].time_limit_s if found is not None else _TIME_LIMIT_S
            failure = self._views.models.why_not(name, breaker, as_shadow=True)
            if isinstance(failure, NotLoaded) and self._is_awaited(name, first):
                await asyncio.sleep(_LOOK_EVERY_S)
                continue
            waiting = self._queues.take(name)
            if failure is not None:
                self._record(late for one in waiting for late in one.shadowed.take(name[1], failure))
            else:
                await self._call(name, waiting, limit_s, breaker)
        self._queues.on_idle(name)
        del self._tasks[name]

    def _is_awaited(self, name: Name, first: Waiting) -> bool:
        if self._views.models.find(name) is not None:
            return False
        route, _ = self._views.registry.route(name[0])
        waited_s = None if first.since_s is None else asyncio.get_running_loop().time() - first.since_s
        return is_awaited(name[1], route, waited_s, is_refused=name in self._views.models.refused)

    async def _call(self, name: Name, waiting: Sequence[Waiting], limit_s: float, breaker: BreakerDefinition) -> None:
        columns = len(waiting[0].row) // 4
        rows = np.frombuffer(b"".join(one.row for one in waiting), "<f4").reshape(len(waiting), columns)
        units = [one.shadowed.unit for one in waiting]
        result = await self._calls.ask(ModelCall(name, rows, units, limit_s, breaker, as_shadow=True))
        self._queues.on_result(result)
        for start in range(0, len(waiting), _AT_ONCE):
            if start:
                await asyncio.sleep(0)
            self._record(results_of(waiting[start : start + _AT_ONCE], result, start))
