"""What the acts of the demo share: own broker, all services, the story as it happens, and the player."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from headrace.bus.views import View
from headrace.errors import HeadraceError
from headrace_broker import free_port
from headrace_broker.jars import kafka_jars
from headrace_cli.applying import apply_project
from headrace_cli.demo.story import TOPICS, Story
from headrace_cli.local import Local
from headrace_cli.render import instant
from headrace_cli.session import Session

if TYPE_CHECKING:
    from headrace_flights.player import Player

BACKFILL_FROM_S = datetime(2013, 1, 1, tzinfo=UTC).timestamp()
LIVE_FROM_S = datetime(2013, 4, 1, tzinfo=UTC).timestamp()
LIVE_TO_S = datetime(2013, 5, 1, tzinfo=UTC).timestamp()
BACKFILL_STEP_S = 6 * 3600.0
LIVE_STEP_S = 20 * 60.0
QUIET_WITHIN_S = 60.0


@dataclass
class Stage:
    """One demo run in one folder."""

    folder: Path
    console: Console

    def clear(self) -> Local:
        """An empty folder, and the jars at hand (fetching them prints its own progress)."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        kafka_jars()
        return Local(self.folder.absolute())

    async def start(self, local: Local, *, fresh: bool = True) -> dict[str, Any]:
        """Broker and services; `fresh`: with an empty log."""
        process = local.start(free_port(), fresh=fresh)
        with self.console.status("starting a real Kafka and seven services"):
            return await local.await_started(process)

    async def apply(self, session: Session, reference: str) -> None:
        """Apply a project, and wait until this session knows it too."""
        applied = await apply_project(session, reference)
        self.console.print(
            f"project {applied['project']} applied: {len(applied['changes'])} parts, {len(applied['topics_created'])} topics made"
        )
        stop = asyncio.Event()
        following = asyncio.create_task(session.projects.run(stop))
        async with asyncio.timeout(QUIET_WITHIN_S):
            while not self._knows(session, applied):
                await asyncio.sleep(0.05)
        stop.set()
        await following

    def _knows(self, session: Session, applied: dict[str, Any]) -> bool:
        found = session.projects.applied.get(applied["project"])
        return found is not None and found.digest == applied["digest"]

    @asynccontextmanager
    async def telling(self, session: Session, bar: Progress) -> AsyncIterator[Story]:
        """What happens from now on, told line by line as it happens."""
        story = Story(lambda line: bar.console.print(line, highlight=False))
        view = View(session.log, session.codec, [session.topics.name(base) for base in TOPICS], story.take, start="end")
        async with _followed(view):
            yield story

    @asynccontextmanager
    async def player(
        self, session: Session, story: Story, paced_by: tuple[str, ...] = ("inference",)
    ) -> AsyncIterator["Player"]:
        """The player of the flights, paced by what inference says that it has applied, held by the story."""
        from headrace_flights.player import Applied, Player
        from headrace_flights.schedule import Schedule

        schedule, applied = await asyncio.to_thread(Schedule), Applied()
        deployment = session.projects.deployment("flight-delay")
        if deployment is None:
            raise HeadraceError("the flights project was not applied")
        health = View(session.log, session.codec, [session.topics.name("ops.health")], applied.take, committed=False)
        async with _followed(health):
            yield Player(
                session.log,
                session.topics,
                schedule,
                applied,
                partitions=deployment[0].raw[0].partitions,
                settle_s=deployment[1].settle_s,
                go=story.go,
                paced_by=paced_by,
            )


@asynccontextmanager
async def _followed(view: View) -> AsyncIterator[None]:
    await view.start()
    following = asyncio.create_task(view.follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await view.stop()


def new_bar(console: Console) -> Progress:
    """A progress bar per part of an act; its tasks have the fields `act`, `at` and `sent`."""
    columns = (
        TextColumn("{task.fields[act]:>10}"),
        BarColumn(),
        TextColumn("{task.fields[at]} {task.fields[sent]:>9,} sent"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


def add_part(bar: Progress, act: str, from_s: float, to_s: float) -> Any:
    """A part of an act on the bar; returns what a player's `progress` wants."""
    task: TaskID = bar.add_task("", total=to_s - from_s, act=act, at="", sent=0)

    def told(at_s: float, requests: int, messages: int) -> None:
        bar.update(task, completed=at_s - from_s, at=instant(at_s)[:16], sent=requests + messages)

    return told


async def until_quiet(session: Session) -> None:
    """Until every request has its decision and the services have read what was sent, or the limit is reached."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + QUIET_WITHIN_S
    requests = await session.log.partitions(session.topics.name("inference.requests"))
    raw = [
        tp
        for stream in session.projects.definitions[0].raw
        for tp in await session.log.partitions(session.topics.of_raw(stream.name))
    ]
    while loop.time() < give_up_s:
        done = [await _is_read(session, "inference", requests), await _is_read(session, "pipeline", raw)]
        if all(done):
            return
        await asyncio.sleep(0.2)


async def _is_read(session: Session, service: str, partitions: list) -> bool:
    ends = await session.log.end_offsets(partitions)
    reached = await session.log.committed(session.topics.group(service), partitions)
    return all(reached.get(tp, 0) >= end for tp, end in ends.items())
