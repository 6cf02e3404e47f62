"""Whether topics are still the ones that this process began with.

A topic that is deleted and created again has the same name and another id. What was read of the old one is no longer
true, positions in it mean nothing, and clients may wait for ever. So the process ends (exit 75) and is started again at
once.

NB: call `look` before anything is opened. A topic that is created again in between is then reported once too often, and
never missed.
"""

import asyncio
from collections.abc import Collection

from headrace.errors import Restart, Retryable
from headrace.log.port import Log

LOOK_EVERY_S = 5.0


class SameTopics:
    """Remembers the ids of topics, each from when it was first seen."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._gone: frozenset[str] = frozenset()
        self._looked_s = -LOOK_EVERY_S
        self.ids: dict[str, str] = {}

    async def look(self, names: Collection[str]) -> list[str]:
        """The missing topics, sorted. Raises `Restart` when one is another topic now."""
        self._looked_s = asyncio.get_running_loop().time()
        before = set(self.ids)
        there = await self._log.topic_ids(sorted(names))
        again = [name for name in there if self._is_another(name, there[name])]
        if again:
            were, it = ("was", "it") if len(again) == 1 else ("were", "them")
            raise Restart(f"{', '.join(again)} {were} deleted and created again: what was read of {it} is void")
        # NB: topics that are not in `names` are forgotten, except those that another look, which ran at the same time,
        # saw first.
        beside = {name: found for name, found in self.ids.items() if name not in before}
        asked = {name: self.ids.get(name, there.get(name, "")) for name in names if name in self.ids or name in there}
        # NB: in place, since writers of these topics' offsets share this dictionary.
        self.ids.clear()
        self.ids.update(beside | asked)
        self._gone = frozenset(self.ids.keys() - there.keys())
        return sorted(set(names) - there.keys())

    async def look_now_and_then(self, names: Collection[str]) -> None:
        """The same, at most every five seconds, for readers that wait. Raises `Retryable` when a topic is missing."""
        if asyncio.get_running_loop().time() - self._looked_s < LOOK_EVERY_S:
            return
        missing = await self.look(names)
        if missing:
            raise Retryable(f"topics are missing: {', '.join(missing)}; run `headrace topic apply`")

    def _is_another(self, name: str, ident: str) -> bool:
        """Whether a topic is another one. Without ids, a topic that was gone and is back is another one."""
        known = self.ids.get(name)
        return known is not None and (known != ident or (name in self._gone and not ident))
