"""Evaluates a closed window away from the event loop, with a sample of its decisions read from the log again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from headrace.errors import HeadraceError
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade
from headrace.log.port import TopicPartition
from headrace.project.labels import CLASSES
from headrace.stats.metric_names import is_reference
from headrace_monitor.core.closing import close, estimate
from headrace_monitor.core.deployments import Watched
from headrace_monitor.core.evaluation import SAMPLE_ROWS, WindowInputs
from headrace_monitor.core.facts import Fact, MonitoringFailed
from headrace_monitor.core.measures import Custom, Part, parts_of
from headrace_monitor.core.monitoring import Monitoring
from headrace_monitor.core.windows import Rows

# Reads decisions again, by partition and offset (ascending). It may block on the log.
Reread = Callable[[Mapping[TopicPartition, Sequence[int]]], Awaitable[list[DecisionMade]]]

# A project's own metrics of parts of a window, by (version, role) and name; and per metric that failed why.
ComputeCustom = Callable[[DeploymentDefinition, Sequence[Part]], tuple[Custom, Sequence[tuple[str, str]]]]


class MetricFailed(Exception):
    """A metric of a project has no value, for the reason that the message gives."""


class WindowEvaluation:
    """Evaluates windows one at a time. `reread`: None where decisions cannot be read again: then no parity is measured.

    `custom`: see `Outside`.
    """

    def __init__(
        self, core: Monitoring, decisions_topic: str, reread: Reread | None, custom: ComputeCustom | None = None
    ) -> None:
        self._core, self._decisions, self._reread, self._custom = core, decisions_topic, reread, custom

    async def due(self, name: str, clock_s: float) -> AsyncIterator[Sequence[Fact]]:
        """What follows from each window of a deployment that closes by its clock, then from each that is estimated.

        May block on the log. An error of the evaluation becomes a fact of that window, and the next one goes on.
        """
        watched = self._core.deployments.watched[name]
        while (closing := watched.windows.closable(clock_s)) is not None:
            yield await self._closed(watched, *closing)
        while (from_s := watched.windows.estimable(clock_s)) is not None:
            yield await self._estimated(watched, from_s)

    async def _closed(self, watched: Watched, from_s: float, closes_s: float) -> Sequence[Fact]:
        try:
            rows = await asyncio.to_thread(watched.windows.rows_of, from_s, closes_s)
            inputs = self._core.window_inputs(watched, rows, await self._sample(rows))
            custom, failed = await asyncio.to_thread(self._computed, inputs)
            await asyncio.to_thread(watched.windows.settle_corrections, closes_s)
            late = watched.report_late()
            step = await asyncio.to_thread(close, watched.findings, inputs, from_s, closes_s, late, custom)
        except HeadraceError:
            raise
        except Exception as error:
            return self._core.on_window_failed(watched, from_s, closes_s, error)
        facts = self._core.on_window_closed(watched, from_s, closes_s, step)
        failures = [
            MonitoringFailed(watched.deployment.name, f"metric {name}", MetricFailed(why)) for name, why in failed
        ]
        return (*facts, *failures)

    def _computed(self, inputs: WindowInputs) -> tuple[Custom, Sequence[tuple[str, str]]]:
        """The project's own metrics of a window, and per metric that failed why."""
        if self._custom is None or not any(map(is_reference, inputs.deployment.metrics)):
            return {}, ()
        return self._custom(inputs.deployment, list(parts_of(inputs.scored, inputs.slices)))

    async def _estimated(self, watched: Watched, from_s: float) -> Sequence[Fact]:
        deployment = watched.deployment
        try:
            to_s = from_s + deployment.evaluation_window_s
            rows = await asyncio.to_thread(watched.windows.rows_of, from_s, to_s)
            # NB: scores of two classes and of numbers are in the rows.
            is_wide = deployment.label is not None and deployment.label.kind == CLASSES
            sample = await self._sample(rows) if is_wide else []
            step = await asyncio.to_thread(estimate, watched.findings, deployment, rows, sample, from_s)
        except HeadraceError:
            raise
        except Exception as error:
            return self._core.on_estimate_failed(watched, from_s, error)
        return self._core.on_window_estimated(watched, from_s, step)

    async def _sample(self, rows: Rows) -> list[DecisionMade]:
        wanted = rows.sample(SAMPLE_ROWS) if len(rows) else {}
        if self._reread is None or not wanted:
            return []
        return await self._reread(
            {TopicPartition(self._decisions, partition): found.tolist() for partition, found in wanted.items()}
        )
