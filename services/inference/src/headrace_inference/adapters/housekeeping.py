"""The housekeeping of an instance beside its traffic: threads that hang for good are replaced, levels of load end, facts are published, and the
health record is kept.
"""

import asyncio
from collections.abc import Callable

from headrace.errors import Fatal
from headrace_inference.adapters.fact_publisher import FactPublisher
from headrace_inference.adapters.load_shedding import LoadShedding
from headrace_inference.adapters.model_cache import ModelCache

MAX_ABANDONED = 3
LOOK_EVERY_S = 0.2


class Housekeeping:
    """Runs every 0.2 s. `report`: fills in the health record."""

    def __init__(
        self, facts: FactPublisher, models: ModelCache, load: LoadShedding, report: Callable[[], None] = lambda: None
    ) -> None:
        self._facts, self._models, self._load, self._report = facts, models, load, report

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises `Fatal` when too many threads are left behind: a new process has none."""
        while not stop.is_set():
            self._models.renew_workers()
            if self._models.abandoned > MAX_ABANDONED:
                raise Fatal(
                    f"{self._models.abandoned} calls of models hang for good: starting anew frees their threads"
                )
            self._load.calm_down()
            self._report()
            await self._facts.publish()
            await _pause(stop)
        await self._facts.publish()
        self._models.close()
        await self._facts.close()


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_EVERY_S):
            await stop.wait()
    except TimeoutError:
        return
