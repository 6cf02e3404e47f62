"""One at a time: whoever does a thing that two must not do at once is the only member of a consumer group.

The broker says who is there, on whichever machine: a process that is killed leaves the group when its session ends, ten seconds
later. Of two that come at once the group gives its one partition to one.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from headrace.errors import HeadraceError, Retryable
from headrace.log.port import Log, Member, TopicPartition
from headrace.log.topics import Topics

Tell = Callable[[str], None]

# Any topic of one partition will do: that partition is the place.
_PLACE = "registry.routes"
# A session of 10 s, and a beat.
GONE_WITHIN_S = 13.0
_LOOK_S = 0.25


def of_replay(log: Log, topics: Topics, deployment: str, streams: Iterable[tuple[str, str]]) -> "list[Alone]":
    """The places that a replay to a deployment must have, in the order in which all take them; `streams`: name and topic of each."""
    whats = {f"replay.{deployment}": f"playing history to {deployment}"}
    whats |= {f"replay.{topics.base(topic)}": f"playing history of {name}" for name, topic in streams}
    return [Alone(log, topics, name, what) for name, what in sorted(whats.items())]


class Taken(HeadraceError):
    """Somebody else does it."""


class Alone:
    """A place that one process has. `what`: what it does there, in words, for whoever comes second."""

    def __init__(self, log: Log, topics: Topics, name: str, what: str) -> None:
        self._log, self._group, self._what = log, topics.group(f"alone.{name}"), what
        self._topic = topics.name(_PLACE)
        # None: the group is about to say.
        self._is_mine: bool | None = None
        self._said = asyncio.Event()
        self._member: Member | None = None
        self._staying: asyncio.Task[None] | None = None

    async def take(self, tell: Tell = lambda line: None) -> None:
        """Have the place; raises `Taken` when somebody has it, and did not go within `GONE_WITHIN_S`."""
        await self._until_empty(tell)
        self._member = await self._log.member(
            self._group, [self._topic], on_assigned=self._on_assigned, on_revoked=self._on_revoked
        )
        self._staying = asyncio.create_task(self._stay(self._member))
        await self.hold()

    async def hold(self) -> None:
        """Return while the place is ours; raises `Taken` once it is not."""
        while self._is_mine is None:
            self._said.clear()
            await self._said.wait()
        if not self._is_mine:
            raise Taken(f"somebody else has begun {self._what} meanwhile: it goes on there, this one ends")

    async def leave(self) -> None:
        """Give it back."""
        member, self._member = self._member, None
        if self._staying is not None:
            self._staying.cancel()
            await asyncio.gather(self._staying, return_exceptions=True)
        if member is not None:
            await member.close()

    async def _until_empty(self, tell: Tell) -> None:
        clock = asyncio.get_running_loop().time
        since_s, has_told = clock(), False
        while hosts := await self._log.members(self._group):
            if clock() - since_s > GONE_WITHIN_S:
                raise Taken(
                    f"somebody else is {self._what} (from {', '.join(sorted(set(hosts)))}): wait until that has ended, or end it first"
                )
            if not has_told:
                tell(
                    f"somebody else is {self._what}, or was killed a moment ago: waiting {GONE_WITHIN_S:.0f} s for it to end"
                )
                has_told = True
            await asyncio.sleep(_LOOK_S)

    async def _stay(self, member: Member) -> None:
        """Who does not read leaves the group. What is read there is of no interest."""
        while True:
            with contextlib.suppress(Retryable):
                await member.fetch(1.0)
            await asyncio.sleep(_LOOK_S)

    async def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self._is_mine = bool(partitions)
        self._said.set()

    async def _on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self._is_mine = None
