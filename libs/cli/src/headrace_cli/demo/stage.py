"""The parts that the acts of the demo share: their own broker, all services, the narration, and the player."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from headrace.asking.feeding import Applied
from headrace.errors import HeadraceError
from headrace.hosting.settings import Settings
from headrace.log.views import View
from headrace_broker import free_port
from headrace_broker.jars import kafka_jars
from headrace_cli.demo.narration import TOPICS, Narration
from headrace_cli.installation.local import Local, refuse_running
from headrace_cli.installation.services import console_address
from headrace_cli.projects.apply import apply_project
from headrace_cli.session import Session
from headrace_cli.terminal.render import instant
from headrace_cli.terminal.waiting import NothingMoves, Workers, wait_for

if TYPE_CHECKING:
    from headrace_flights.player import Player

T = TypeVar("T")

DEPLOYMENT = "flight-delay"

BACKFILL_FROM_S = datetime(2013, 1, 1, tzinfo=UTC).timestamp()
LIVE_FROM_S = datetime(2013, 4, 1, tzinfo=UTC).timestamp()
LIVE_TO_S = datetime(2013, 5, 1, tzinfo=UTC).timestamp()
BACKFILL_STEP_S = 6 * 3600.0
LIVE_STEP_S = 20 * 60.0
# How long a wait lasts without any progress; a slow machine that makes progress is waited for.
QUIET_WITHIN_S = 120.0


@dataclass
class Stage:
    """One demo run in one folder."""

    folder: Path
    console: Console
    workers: Workers = field(default_factory=lambda: Workers(list))

    def clear(self) -> Local:
        """Empty the folder and fetch the jars, which prints its own progress."""
        refuse_running(Local(self.folder.absolute()))
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        kafka_jars()
        return Local(self.folder.absolute())

    async def start(self, local: Local, *, fresh: bool = True) -> dict[str, Any]:
        """Start broker and services; `fresh`: with an empty log."""
        self.workers = Workers(local.pids)
        process = local.start(free_port(), fresh=fresh)
        with self.console.status("starting a real Kafka and eight services"):
            state = await local.await_started(process)
        address = console_address(Settings.load(), state)
        self.console.print(f"watch it as it happens: [bold]{address}[/]", highlight=False, soft_wrap=True)
        return state

    async def apply(self, session: Session, reference: str) -> None:
        """Apply a project, and wait until this session knows it."""
        applied = await apply_project(session, reference)
        self.console.print(
            f"project {applied['project']} applied: {len(applied['changes'])} parts, {len(applied['topics_created'])} topics created"
        )

        async def knows() -> bool | None:
            await session.projects.catch_up()
            return self._knows(session, applied) or None

        what = f"project {applied['project']} to be known here"
        await self.wait_for(knows, lambda: what, lambda: applied["digest"])

    async def wait_for(
        self, has: Callable[[], Awaitable[T | None]], what: Callable[[], str], sign: Callable[[], Any]
    ) -> T:
        """Wait until `has` finds something, as long as `sign` changes or a process of the installation works. Prints what it waits for."""

        def report(line: str) -> None:
            self.console.print(f"[dim]{line}[/]", highlight=False)

        return await wait_for(
            has, what=what, report=report, sign=sign, is_busy=self.workers.are_busy, quiet_s=QUIET_WITHIN_S
        )

    def _knows(self, session: Session, applied: dict[str, Any]) -> bool:
        found = session.projects.applied.get(applied["project"])
        return found is not None and found.digest == applied["digest"]

    @asynccontextmanager
    async def narrating(self, session: Session, bar: Progress) -> AsyncIterator[Narration]:
        """Print the narration of all events from now on, line by line."""
        narration = Narration(DEPLOYMENT, lambda line: bar.console.print(line, highlight=False))
        view = View(
            session.log, session.codec, [session.topics.name(base) for base in TOPICS], narration.take, start="end"
        )
        async with _followed(view):
            yield narration

    @asynccontextmanager
    async def player(
        self, session: Session, narration: Narration, paced_by: tuple[str, ...] = ("inference",)
    ) -> AsyncIterator["Player"]:
        """The player of the flights, paced by the offsets that inference has applied, and paused by the narration."""
        from headrace_flights.player import Player
        from headrace_flights.schedule import Schedule

        schedule, applied = await asyncio.to_thread(Schedule), Applied()
        deployment = session.projects.deployment(DEPLOYMENT)
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
                feature_delay_s=deployment[1].feature_delay_s,
                hold=narration.hold,
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
    """Add a part of an act to the bar; returns the callback for a player's `progress`."""
    task: TaskID = bar.add_task("", total=to_s - from_s, act=act, at="", sent=0)

    def progressed(at_s: float, requests: int, messages: int) -> None:
        bar.update(task, completed=at_s - from_s, at=instant(at_s)[:16], sent=requests + messages)

    return progressed


async def until_quiet(stage: Stage, session: Session) -> None:
    """Wait until every request has its decision and the services have read all records, or until nothing progresses."""
    requests = await session.log.partitions(session.topics.name("inference.requests"))
    raw = [
        tp
        for stream in session.projects.definitions[0].raw
        for tp in await session.log.partitions(session.topics.of_raw(stream.name))
    ]
    behind = {"inference": requests, "pipeline": raw}
    left: dict[str, int] = {}

    async def is_quiet() -> bool | None:
        for service, partitions in behind.items():
            left[service] = await _unread(session, service, partitions)
        return not any(left.values()) or None

    def what() -> str:
        return ", ".join(f"{service} has {count:,} records left" for service, count in left.items() if count)

    try:
        await stage.wait_for(is_quiet, what, lambda: tuple(left.values()))
    except NothingMoves as error:
        stage.console.print(f"[yellow]{error}[/]: continuing; the remaining requests count as lost")


async def _unread(session: Session, service: str, partitions: list) -> int:
    ends = await session.log.end_offsets(partitions)
    reached = await session.log.committed(session.topics.group(service), partitions)
    return sum(max(end - reached.get(tp, 0), 0) for tp, end in ends.items())
