"""One transform and the records that it is fed: read, noted as in flight while it works on them, and counted when they survive."""

import logging
from collections.abc import Sequence
from typing import Any

from headrace.errors import Poison
from headrace.log.port import Record
from headrace_pipeline.adapters.in_flight import InFlight
from headrace_pipeline.adapters.runner import TransformRunner
from headrace_pipeline.core.contract import read_raw
from headrace_pipeline.core.handled import Handled

_log = logging.getLogger("headrace.pipeline")

Read = dict | Poison


class Feed:
    """The transform of pipeline `name`, which reads the raw topic `raw`."""

    def __init__(self, name: str, runner: TransformRunner, in_flight: InFlight, raw: str) -> None:
        self.name = name
        self._runner, self._in_flight, self._slot = runner, in_flight, in_flight.slot(name, raw)

    def read(self, record: Record) -> Read:
        """The message of a record, or why it has none, or must not be given to the transform. Never raises."""
        if (poison := self._in_flight.why_not(self.name, record)) is not None:
            return poison
        try:
            return read_raw(record)
        except Exception as error:
            # NB: whatever is raised while one record is read is that record's.
            return error if isinstance(error, Poison) else Poison(str(Poison.of(error)))

    async def run(self, pairs: Sequence[tuple[Record, Any]]) -> list[Handled]:
        """What became of the first of these messages: up to the first on which the transform failed, or as many as it took.

        Raises `Misconfigured` when the transform cannot start.
        """
        async with self._in_flight.turn():
            try:
                found = await self._runner.run_to_failure(
                    [message for _, message in pairs], lambda at: self._slot.take(pairs[at][0])
                )
            finally:
                self._slot.done()
        for record, _ in pairs[: len(found)]:
            self._in_flight.survived(self.name, record)
        return found

    async def run_mixed(self, records: Sequence[Record], read: Sequence[Read]) -> list[Handled]:
        """The same for records of which some could not be read: these are poison in their places."""
        results = await self.run([pair for pair in zip(records, read, strict=True) if not isinstance(pair[1], Poison)])
        taken = iter(results)
        handled: list[Handled] = []
        for message in read:
            if isinstance(message, Poison):
                handled.append(Handled(poison=message))
                continue
            found = next(taken, None)
            if found is None:
                break
            handled.append(found)
        return handled

    async def restart(self) -> None:
        """End the transform: the next message starts it anew, with no state."""
        await self._runner.close()

    @property
    def hung_count(self) -> int:
        """Threads that hang and could not be ended."""
        return self._runner.left_count
