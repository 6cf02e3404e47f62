"""One process at a time: a process that must be alone is the only member of a consumer group.

The broker knows the members on all machines. A killed process leaves the group when its session ends, ten seconds
later. When two join at once, the group gives its one partition to one of them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from headrace.errors import HeadraceError, Retryable
from headrace.log.port import Log, Member, TopicPartition
from headrace.log.topics import Topics

Notify = Callable[[str], None]

# Any topic of one partition would do.
_PLACE = "registry.routes"
# A session of 10 s, and a heartbeat interval.
GONE_WITHIN_S = 13.0
_LOOK_S = 0.25


def of_replay(log: Log, topics: Topics, deployment: str, streams: Iterable[tuple[str, str]]) -> "list[Alone]":
    """The places that a replay to a deployment must hold, in the order in which all replays take them.

    `streams`: name and topic of each.
    """
    whats = {f"replay.{deployment}": f"playing history to {deployment}"}
    whats |= {f"replay.{topics.base(topic)}": f"playing history of {name}" for name, topic in streams}
    return [Alone(log, topics, name, what) for name, what in sorted(whats.items())]


class Taken(HeadraceError):
    """Another process has the place."""


class Alone:
    """A place that one process holds. `what`: what the process does, for messages to others."""

    def __init__(self, log: Log, topics: Topics, name: str, what: str) -> None:
        self._log, self._group, self._what = log, topics.group(f"alone.{name}"), what
        self._topic = topics.name(_PLACE)
        # None while the group has not decided.
        self._is_mine: bool | None = None
        self._is_decided = asyncio.Event()
        self._member: Member | None = None
        self._staying: asyncio.Task[None] | None = None

    async def take(self, notify: Notify = lambda line: None) -> None:
        """Take the place. Waits for another holder to go; raises `Taken` when it is still there after
        `GONE_WITHIN_S`.
        """
        await self._until_empty(notify)
        self._member = await self._log.member(
            self._group, [self._topic], on_assigned=self._on_assigned, on_revoked=self._on_revoked
        )
        self._staying = asyncio.create_task(self._stay(self._member))
        await self.hold()

    async def hold(self) -> None:
        """Return while the place is ours. Raises `Taken` once it is not."""
        while self._is_mine is None:
            self._is_decided.clear()
            await self._is_decided.wait()
        if not self._is_mine:
            raise Taken(f"somebody else has begun {self._what} meanwhile: that one continues, this one ends")

    async def leave(self) -> None:
        """Leave the place."""
        member, self._member = self._member, None
        if self._staying is not None:
            self._staying.cancel()
            await asyncio.gather(self._staying, return_exceptions=True)
        if member is not None:
            await member.close()

    async def _until_empty(self, notify: Notify) -> None:
        clock = asyncio.get_running_loop().time
        since_s, has_notified = clock(), False
        while hosts := await self._log.members(self._group):
            if clock() - since_s > GONE_WITHIN_S:
                raise Taken(
                    f"somebody else is {self._what} (from {', '.join(sorted(set(hosts)))}): wait until that has ended, or end it first"
                )
            if not has_notified:
                notify(
                    f"somebody else is {self._what}, or was killed a moment ago: waiting {GONE_WITHIN_S:.0f} s for it to end"
                )
                has_notified = True
            await asyncio.sleep(_LOOK_S)

    async def _stay(self, member: Member) -> None:
        """Read, since a member that does not read leaves the group. The records are ignored."""
        while True:
            with contextlib.suppress(Retryable):
                await member.fetch(1.0)
            await asyncio.sleep(_LOOK_S)

    async def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self._is_mine = bool(partitions)
        self._is_decided.set()

    async def _on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self._is_mine = None
