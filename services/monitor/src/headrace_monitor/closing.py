"""Closes evaluation windows: gathers what a window needs, has it evaluated in a thread, writes what it says.

A window that cannot be evaluated is told as UNMEASURED, with an alert about its deployment, and all others go on.
"""

import asyncio
from collections.abc import Callable, Sequence

from headrace.errors import HeadraceError
from headrace.events.inference import DecisionMade
from headrace.events.monitor import WindowClosed
from headrace.log.port import Out, TopicPartition
from headrace.log.topics import Topics
from headrace_monitor.core.deployments import Deployments, Watched
from headrace_monitor.core.evaluation import PARITY_ROWS, Seen, evaluate
from headrace_monitor.core.failing import Failing
from headrace_monitor.core.figures import needs_sample
from headrace_monitor.core.signatures import Signatures
from headrace_monitor.core.sources import Sources
from headrace_monitor.core.windows import Rows
from headrace_monitor.keeping import Keeping
from headrace_monitor.rereading import Reread
from headrace_monitor.rollouts import OnFailed
from headrace_monitor.telling import Telling


class Closing:
    """`reread`: decisions from the log again (without it windows close without parity). `progress`: told that work goes on."""

    def __init__(
        self,
        topics: Topics,
        deployments: Deployments,
        sources: Sources,
        signatures: Signatures,
        telling: Telling,
        keeping: Keeping,
        failing: Failing,
        on_failed: OnFailed,
        reread: Reread | None,
        progress: Callable[[], None],
    ) -> None:
        self._topics, self._deployments, self._sources, self._signatures = topics, deployments, sources, signatures
        self._telling, self._keeping, self._failing, self._on_failed = telling, keeping, failing, on_failed
        self._reread, self._progress = reread, progress

    def due(self) -> list[str]:
        """Deployments of which a window may have come to an hour at which it closes."""
        if self._sources.is_loose:
            self._sources.tidy(self._keeping.needed_from_s)
        windows = {name: found.windows for name, found in self._deployments.watched.items()}
        return [name for name, found in windows.items() if found.may_close_by(found.highest_s)]

    async def close_by(self, name: str, clock_s: float) -> list[Out]:
        """Every window of a deployment that may close by its clock."""
        watched, outs = self._deployments.watched[name], list[Out]()
        while (closing := watched.windows.closable(clock_s)) is not None:
            outs += await self._close(name, watched, *closing)
            self._progress()
        return outs

    async def _close(self, name: str, watched: Watched, start_s: float, closes_s: float) -> list[Out]:
        windows = watched.windows
        try:
            rows = await asyncio.to_thread(windows.rows_of, start_s, closes_s)
            sample = await self._sample(watched, rows)
            outs = await asyncio.to_thread(self._said_of, watched, start_s, closes_s, rows, sample)
        except HeadraceError:
            raise
        except Exception as error:
            outs = [self._unmeasured(name, watched, start_s), *self._on_failed(name, error)]
        else:
            self._failing.is_well(name)
        windows.drop(start_s, closes_s)
        return [*outs, self._keeping.keep(name)]

    async def _sample(self, watched: Watched, rows: Rows) -> list[DecisionMade]:
        deployment = watched.deployment
        if self._reread is None or not (deployment.features or needs_sample(deployment.label)):
            return []
        topic = self._topics.name("inference.decisions")
        sample = rows.sample(PARITY_ROWS).items()
        return await self._reread({TopicPartition(topic, partition): offsets.tolist() for partition, offsets in sample})

    def _said_of(
        self, watched: Watched, start_s: float, closes_s: float, rows: Rows, sample: Sequence[DecisionMade]
    ) -> list[Out]:
        watch, sources = watched.watch, watched.sources
        seen = Seen(
            watched.project,
            watched.deployment,
            rows,
            sample,
            self._sources.tables(sources),
            {source: self._topics.of_source(source) for source in sources},
            self._sources.whole_from_s(sources),
            self._signatures.alike(watched.project, watched.deployment),
        )
        statistic = watch.detectors[0].statistic if watch.detectors else None
        window = evaluate(seen, start_s, watched.late_since(), statistic)
        said = watch.on_window(window, rows.served_version, closes_s)
        written, cause = self._telling.window(window, watch.champion)
        return [written, *self._telling.say(said, cause)]

    def _unmeasured(self, name: str, watched: Watched, start_s: float) -> Out:
        """The event of a window that could not be evaluated: that it is over, and nothing else."""
        to_s, count = start_s + watched.deployment.cohort_s, watched.windows.rows_in(start_s)
        why = "it could not be evaluated; the alert MonitoringFailed says why"
        window = WindowClosed(name, start_s, to_s, count, 0, None, "UNMEASURED", unmeasured=why)
        return self._telling.window(window, watched.watch.champion)[0]
