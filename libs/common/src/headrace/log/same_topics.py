"""Whether topics are still the ones that this process began with.

A topic that is deleted and made again has its name and another id. What was read of the old one is not true any more, positions
in it mean nothing, and clients may wait for what never comes: so the process ends (exit 75, restarted at once) and begins anew.

NB: look once before anything is opened. What was made again in between is then told once too often, never not at all.
"""

import asyncio
from collections.abc import Collection

from headrace.errors import Restart, Retryable
from headrace.log.port import Log

LOOK_EVERY_S = 5.0


class SameTopics:
    """Remembers the ids of topics; a topic counts from when it was first seen."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._gone: frozenset[str] = frozenset()
        self._looked_s = -LOOK_EVERY_S
        self.ids: dict[str, str] = {}

    async def look(self, names: Collection[str]) -> list[str]:
        """Those that are missing now, sorted. Raises `Restart` when one is not what it was."""
        self._looked_s = asyncio.get_running_loop().time()
        before = set(self.ids)
        there = await self._log.topic_ids(sorted(names))
        again = [name for name in there if self._is_another(name, there[name])]
        if again:
            told, it = ("was", "it") if len(again) == 1 else ("were", "them")
            raise Restart(f"{', '.join(again)} {told} deleted and made again: what was read of {it} counts no more")
        # NB: who is not asked about now is forgotten: what happens to it meanwhile is nobody's business. Not who was first seen
        # by another look that ran beside this one.
        beside = {name: found for name, found in self.ids.items() if name not in before}
        asked = {name: self.ids.get(name, there.get(name, "")) for name in names if name in self.ids or name in there}
        # NB: in place: whoever writes offsets of these topics holds this dictionary.
        self.ids.clear()
        self.ids.update(beside | asked)
        self._gone = frozenset(self.ids.keys() - there.keys())
        return sorted(set(names) - there.keys())

    async def look_now_and_then(self, names: Collection[str]) -> None:
        """The same, every five seconds at most, for who waits for records: raises `Retryable` when one is missing."""
        if asyncio.get_running_loop().time() - self._looked_s < LOOK_EVERY_S:
            return
        missing = await self.look(names)
        if missing:
            raise Retryable(f"topics are missing: {', '.join(missing)}; run `headrace topic apply`")

    def _is_another(self, name: str, ident: str) -> bool:
        """A broker that gives no ids is taken at its word: what was gone and is there again is another one."""
        known = self.ids.get(name)
        return known is not None and (known != ident or (name in self._gone and not ident))
