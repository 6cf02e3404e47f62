"""Reports in the health record how far the features have come, at most every 20 ms."""

import asyncio

from headrace.features.store import VALUES_BYTES, OnlineStore
from headrace.hosting.health import Health
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace_inference.core.applied import contained

EVERY_S = 0.02


class Progress:
    """Follows the online store."""

    def __init__(self, store: OnlineStore, projects: Projects, topics: Topics, health: Health) -> None:
        self._store, self._projects, self._topics, self._health = store, projects, topics, health

    async def run(self, stop: asyncio.Event) -> None:
        """Report until `stop`."""
        reported: object = None
        while not stop.is_set():
            # NB: the store makes a new dict with every report of a shard: by its identity one sees whether anything moved.
            if self._store.applied is not reported:
                reported = self._store.applied
                self.report()
            await asyncio.sleep(EVERY_S)

    def report(self) -> None:
        """Set the health record's `applied`."""
        self._health.holds("feature values", self._store.values_bytes, VALUES_BYTES)
        self._health.applied = contained(self._projects.definitions, self._topics, self._store.shards)
