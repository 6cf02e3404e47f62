"""Evaluates a closed window away from the event loop, with a sample of its decisions read from the log again."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from headrace.events.inference import DecisionMade
from headrace.log.port import TopicPartition
from headrace.step import Step
from headrace_monitor.core.closing import close
from headrace_monitor.core.deployments import Watched
from headrace_monitor.core.evaluation import SAMPLE_ROWS
from headrace_monitor.core.facts import FindingFact, WindowReported
from headrace_monitor.core.findings import Findings
from headrace_monitor.core.monitoring import Monitoring
from headrace_monitor.core.windows import Rows

# Reads decisions again, by partition and offset (ascending). It may block on the log.
Reread = Callable[[Mapping[TopicPartition, Sequence[int]]], Awaitable[list[DecisionMade]]]


class WindowEvaluation:
    """Evaluates windows one at a time. `reread`: None where decisions cannot be read again: then no parity is measured."""

    def __init__(self, core: Monitoring, decisions_topic: str, reread: Reread | None) -> None:
        self._core, self._decisions, self._reread = core, decisions_topic, reread

    async def closed(
        self, watched: Watched, from_s: float, closes_s: float
    ) -> Step[Findings, WindowReported | FindingFact]:
        """What a window shows that begins at `from_s` and has closed at `closes_s`; see `closing.close`.

        May block on the log. It raises what the evaluation raises; then nothing of the deployment has changed.
        """
        rows = await asyncio.to_thread(watched.windows.rows_of, from_s, closes_s)
        inputs = self._core.window_inputs(watched, rows, await self._sample(rows))
        return await asyncio.to_thread(close, watched.findings, inputs, from_s, closes_s, watched.report_late())

    async def _sample(self, rows: Rows) -> list[DecisionMade]:
        wanted = rows.sample(SAMPLE_ROWS) if len(rows) else {}
        if self._reread is None or not wanted:
            return []
        return await self._reread(
            {TopicPartition(self._decisions, partition): found.tolist() for partition, found in wanted.items()}
        )
