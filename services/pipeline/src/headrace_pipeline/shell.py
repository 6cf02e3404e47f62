"""One batch of raw records: read and transform, write, mark the progress, and only then done."""

import logging
from collections.abc import Mapping, Sequence

from headrace.clock import Clock
from headrace.hosting.health import Health
from headrace.hosting.stops import Stops, way_on
from headrace.hosting.triage import Learn
from headrace.log.poison import PoisonLedger
from headrace.log.port import Out, Producer, Record
from headrace.log.topics import Topics
from headrace_pipeline.adapters.retrying import send_all, until_done
from headrace_pipeline.adapters.transform import HostedTransform
from headrace_pipeline.core.batch import SERVICE, Decided, Stop, choose_way, decide_batch
from headrace_pipeline.core.contract import Contract
from headrace_pipeline.core.lookback import Place, place_of
from headrace_pipeline.core.progress import Progress, on_arrived, on_written

__all__ = ["SERVICE", "PipelineShell"]

_log = logging.getLogger("headrace.pipeline")


class PipelineShell:
    """Handles the batches of one pipeline. Never raises for a record: what cannot pass is dead-lettered.

    `learn`: returns when all that is applied by now is known, or never when this process is about to be restarted for it.
    `stopped`: stopped partitions of which records arrived here.
    """

    def __init__(
        self,
        topics: Topics,
        producer: Producer,
        health: Health,
        transform: HostedTransform,
        contract: Contract,
        progress: Progress,
        stops: Stops,
        clock: Clock,
        learn: Learn | None = None,
    ) -> None:
        self._topics, self._producer, self._health = topics, producer, health
        self._transform, self._contract, self._progress = transform, contract, progress
        self._stops, self._clock, self._learn = stops, clock, learn
        self._ledger = PoisonLedger()
        self.stopped: set[Place] = set()

    async def handle(self, records: Sequence[Record]) -> Mapping[Place, int]:
        """Returns when all outputs and markers are acknowledged: per stopped partition the first offset that is not done."""
        records = [record for record in records if self._is_to_be_handled(record)]
        step = on_arrived(self._progress, records)
        await self._send(step.facts)
        self._progress = step.state
        while records:
            handled = await self._transform.handle(records)
            append_ms = int(self._clock.now_s() * 1000)
            dlq = self._topics.dlq(SERVICE)
            decided = decide_batch(records, handled, self._ledger, self._contract, dlq, append_ms)
            await self._carry_out(decided)
            done = {(r.topic, r.partition, r.offset) for r in decided.done}
            left = [r for r in records if (r.topic, r.partition, r.offset) not in done]
            records = [record for record in left if self._is_to_be_handled(record)]
        return {(s.topic, s.partition): s.offset for s in self._stops.stopped}

    async def _carry_out(self, decided: Decided) -> None:
        for record, poison in decided.dead:
            _log.warning("dead-lettered %s/%s/%s: %s", record.topic, record.partition, record.offset, poison)
        self._health.dead_lettered += len(decided.dead)
        if self._learn is not None and not decided.is_all_well:
            # NB: what could not be handled may be meant for what was applied a moment ago: then this process ends here, and the
            # next one handles it.
            await until_done(self._learn)
        await self._send(decided.outs)
        await self._send(on_written(self._progress, decided.done).facts)
        self._health.handled += len(decided.done)
        for place, stop in decided.stops.items():
            await self._stop(place, stop)

    async def _stop(self, place: Place, stop: Stop) -> None:
        topic, partition = place
        on = way_on(self._topics.base(topic))
        _log.error("%s/%s is stopped at offset %s: %s; %s", topic, partition, stop.offset, stop.reason, on)
        self._ledger.forget(place)
        # NB: the transform has seen what lies past the stop, and nothing of that was written: it must forget it.
        await self._transform.restart()
        await self._stops.stop(topic, partition, stop.offset, stop.reason)

    def _is_to_be_handled(self, record: Record) -> bool:
        place = place_of(record)
        way = choose_way(record, self._stops.at(*place), self._stops.goes_on_at(*place))
        if way == "past a stop":
            self.stopped.add(place)
        return way == "to be handled"

    async def _send(self, outs: Sequence[Out]) -> None:
        await send_all(self._producer, outs)

    @property
    def hung_count(self) -> int:
        """Threads that hang and could not be ended."""
        return self._transform.hung_count

    @property
    def held_bytes(self) -> int:
        """What is kept of records on which the transform failed, by estimate."""
        return self._transform.held_bytes
