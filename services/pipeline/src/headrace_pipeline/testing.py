"""Running a pipeline in a test without a broker, with the platform's contract around it.

This is what users import in their own tests, so it stands at the top of the package and not in a room: it is no part of the service.

ran = run_pipeline(follow_flights, [{"kind": "departed", ...}, {"kind": "landed", ...}])
assert ran.of(Landing) == [Landing(...)]
assert "kind must be" in ran.poison[1]
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from headrace.errors import Poison
from headrace.events.definition import PipelineDefinition, ProjectDefinition
from headrace.log.envelope import Origin
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project.compile import compile_source
from headrace.project.pipelines import OutcomesOf, Pipeline
from headrace.project.sources import Source
from headrace_pipeline.adapters.runner import TransformRunner
from headrace_pipeline.core.contract import Contract, read_raw, targets_of
from headrace_pipeline.core.handled import Handled

T = TypeVar("T")


@dataclass(frozen=True)
class Ran:
    """What came of each message: `yielded` in order, per message; `poison`: why a message would be dead-lettered."""

    yielded: list[list[Any]]
    poison: dict[int, str]

    @property
    def events(self) -> list[Any]:
        """Everything that was yielded and may pass."""
        return [event for found in self.yielded for event in found]

    def of(self, kind: type[T]) -> list[T]:
        """Only the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]


def run_pipeline(
    pipeline: Pipeline,
    messages: Iterable[Any],
    references: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    limit_s: float = 5.0,
) -> Ran:
    """Feed `messages` (objects, or bytes as they would lie on the topic) to a pipeline, and check its outputs against their contract.

    `references`: per reference of `enrich` its mapping. `limit_s`: how long one message may take.
    """
    return asyncio.run(_run(pipeline, list(messages), references or {}, limit_s))


async def _run(
    pipeline: Pipeline, messages: list[Any], references: Mapping[str, Mapping[str, Any]], limit_s: float
) -> Ran:
    mappings = [references[reference.name] for reference in pipeline.enrich]
    runner = TransformRunner(pipeline.name, pipeline.transform, limit_s, mappings)
    read = [_read(n, message) for n, message in enumerate(messages)]
    try:
        good = [message for message in read if not isinstance(message, Poison)]
        results = iter(await (_run_with_lookback(runner, good) if pipeline.remembers else runner.run(good)))
    finally:
        await runner.close()
    handled = [Handled(poison=found) if isinstance(found, Poison) else next(results) for found in read]
    contract = _contract(pipeline)
    for n, found in enumerate(handled):
        _check(contract, found, n)
    reasons = {n: str(found.poison) for n, found in enumerate(handled) if found.poison is not None}
    return Ran([[] if found.poison else found.yielded for found in handled], reasons)


async def _run_with_lookback(runner: TransformRunner, messages: list[Any]) -> list[Handled]:
    """As the service does it: after a failure the transform is shown again what it had seen."""
    handled: list[Handled] = []
    while len(handled) < len(messages):
        seen = [message for message, found in zip(messages, handled, strict=False) if found.poison is None]
        if handled:
            await runner.run(seen)
        handled += await runner.run_to_failure(messages[len(handled) :])
    return handled


def _read(number: int, message: Any) -> Any:
    value = message if isinstance(message, bytes) else msgspec.json.encode(message)
    try:
        return read_raw(Record("raw.test.v1", 0, number, None, value))
    except Poison as poison:
        return poison


def _check(contract: Contract, handled: Handled, number: int) -> None:
    try:
        for index, yielded in enumerate(handled.yielded):
            contract.write(yielded, Origin("raw.test.v1", 0, number, index), "test", int(time.time() * 1000))
    except Poison as poison:
        handled.poison = poison


def _contract(pipeline: Pipeline) -> Contract:
    sources = tuple(compile_source(target) for target in pipeline.to if isinstance(target, Source))
    outcomes = tuple(target.deployment for target in pipeline.to if isinstance(target, OutcomesOf))
    compiled = PipelineDefinition(
        pipeline.name, "", pipeline.raw.name, tuple(source.name for source in sources), outcomes
    )
    project = ProjectDefinition("test", (), sources, (), (compiled,), ())
    return Contract(Topics.load(), project, compiled, targets_of(pipeline))
