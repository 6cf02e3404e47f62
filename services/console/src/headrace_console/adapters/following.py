"""The topics that the console follows, in groups, each with the instant up to which it was read to its end.

Each group is a view of its own. While a group is read for the first time the page is there already, and says so.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.clock import Clock
from headrace.log.codec import Codec, Message
from headrace.log.port import Log, Start, TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.project.applied import Projects
from headrace_console.core import catalogue
from headrace_console.core.backlog import Backlog
from headrace_console.core.places import bare
from headrace_console.core.seen import Seen
from headrace_console.core.world import CONTROL, HEALTH, MEASURED, World

# The newest records with which reading begins: of windows and verdicts, of dead letters, and how far back reports are read.
MEASURED_RECORDS, LETTERS, HEALTH_S = 40_000, 1_000, 900.0
PROBE_S = 1.0
_CATCH_UP_S = 5.0


@dataclass
class Group:
    """Topics that are read together. `read_s`: wall clock, None until they were read to their end for the first time."""

    name: str
    topics: Sequence[str]
    take: Callable[[Message], None]
    newest: int | None = None
    since_s: float | None = None
    committed: bool = True
    read_s: float | None = field(default=None, init=False)


class Following:
    """Feeds the world with the records of all groups."""

    def __init__(self, log: Log, codec: Codec, topics: Topics, projects: Projects, world: World, clock: Clock) -> None:
        self._log, self._codec, self._topics, self._clock = log, codec, topics, clock
        self._projects, self._world = projects, world
        names = topics.name
        self._groups = (
            Group(catalogue.CONTROL, [names(base) for base in CONTROL], self._take),
            Group(catalogue.MEASUREMENTS, [names(base) for base in MEASURED], self._take, newest=MEASURED_RECORDS),
            Group(catalogue.HEALTH, [names(HEALTH)], self._take, since_s=HEALTH_S, committed=False),
            Group(catalogue.LETTERS, [topics.dlq(name) for name in topics.services], self._take_letter, newest=LETTERS),
        )
        self._backlog = Backlog((catalogue.CONTROL, catalogue.MEASUREMENTS), world.take_cause)
        self._listeners: list[Callable[[Seen], None]] = []
        projects.listen(lambda _: self._take_projects())

    def listen(self, listener: Callable[[Seen], None]) -> None:
        """Call `listener` with every record of the control plane, after it was folded."""
        self._listeners.append(listener)

    @property
    def read_s(self) -> Mapping[str, float | None]:
        """Per group the instant up to which everything was read."""
        return {group.name: group.read_s for group in self._groups}

    async def run(self, stop: asyncio.Event) -> None:
        """Follow everything until `stop`."""
        self._take_projects()
        async with asyncio.TaskGroup() as tasks:
            for group in self._groups:
                tasks.create_task(self._follow(group, stop))

    async def _follow(self, group: Group, stop: asyncio.Event) -> None:
        begun_s = self._clock.now_s()
        start = await self._start(group)
        view = View(self._log, self._codec, group.topics, group.take, committed=group.committed, start=start)
        try:
            starting, stopping = asyncio.ensure_future(view.start()), asyncio.ensure_future(stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return
            stopping.cancel()
            await starting
            for _ in self._backlog.is_read(group.name):
                await asyncio.sleep(0)
            group.read_s = begun_s
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(view.run(stop))
                tasks.create_task(self._probe(group, view, stop))
        finally:
            await view.stop()

    async def _probe(self, group: Group, view: View, stop: asyncio.Event) -> None:
        """Note now and then that the group has been read to its end."""
        while not stop.is_set():
            asked_s = self._clock.now_s()
            if await view.catch_up(_CATCH_UP_S):
                group.read_s = asked_s
            if group.name == catalogue.CONTROL:
                await self._projects.catch_up()
                if self._world.refused != self._projects.refused:
                    self._take_projects()
            await _wait(stop, PROBE_S)

    async def _start(self, group: Group) -> Start:
        """Where reading begins."""
        if group.newest is None and group.since_s is None:
            return "beginning"
        partitions = [tp for topic in group.topics for tp in await self._log.partitions(topic)]
        if group.since_s is not None:
            return await self._log.offsets_at(partitions, int((self._clock.now_s() - group.since_s) * 1000))
        begins, ends = await self._log.begin_offsets(partitions), await self._log.end_offsets(partitions)
        return {tp: max(begins[tp], ends[tp] - (group.newest or 0)) for tp in partitions}

    def _take_projects(self) -> None:
        self._world.set_projects(self._projects.applied, self._projects.refused)

    def _take(self, message: Message) -> None:
        seen = seen_of(message, self._topics)
        self._world.take(seen)
        self._backlog.put(message)
        for listener in self._listeners:
            listener(seen)

    def _take_letter(self, message: Message) -> None:
        record = message.record
        base = bare(self._topics.base(record.topic))
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
        headers["__connect.errors.topic"] = bare(self._topics.base(headers.get("__connect.errors.topic", "")))
        place = f"{base}/{record.partition}/{record.offset}"
        service = base.removeprefix("dlq.")
        self._world.letters.take_letter(service, place, headers, len(record.value or b""), record.timestamp_ms / 1000)
        self._world.touch("letters")


def seen_of(message: Message, topics: Topics) -> Seen:
    """A message as the folds take it."""
    record, envelope = message.record, message.envelope
    base = bare(topics.base(record.topic))
    return Seen(
        base,
        f"{base}/{record.partition}/{record.offset}",
        (record.key or b"").decode("utf-8", "replace"),
        message.event,
        envelope.id,
        envelope.causation_id or "",
        envelope.time_s,
        record.timestamp_ms / 1000,
    )


def place_of(tp: TopicPartition, offset: int, topics: Topics) -> str:
    """The place of a record as people know it."""
    return f"{bare(topics.base(tp.topic))}/{tp.partition}/{offset}"


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
