"""The demo's run: own broker, all services, the flights project, the player; then the report."""

import asyncio
import json
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from headrace.bus.views import View
from headrace.errors import HeadraceError
from headrace_broker import free_port
from headrace_broker.jars import kafka_jars
from headrace_cli.applying import apply_project
from headrace_cli.demo.report import build_report
from headrace_cli.demo.story import TOPICS, Story
from headrace_cli.local import Local
from headrace_cli.render import instant
from headrace_cli.session import Session

BACKFILL_FROM_S = datetime(2013, 1, 1, tzinfo=UTC).timestamp()
LIVE_FROM_S = datetime(2013, 4, 1, tzinfo=UTC).timestamp()
LIVE_TO_S = datetime(2013, 5, 1, tzinfo=UTC).timestamp()
LABELS_TO_S = LIVE_TO_S + 12 * 3600.0
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

    async def start(self, local: Local) -> dict[str, Any]:
        """Broker and services."""
        process = local.start(free_port(), fresh=True)
        with self.console.status("starting a real Kafka and seven services"):
            return await local.await_started(process)

    async def play(self, session: Session, speed: float | None) -> dict[str, Any]:
        """Back-fill, live replay, report."""
        applied = await apply_project(session, "flights")
        self.console.print(
            f"project flights applied: {len(applied['changes'])} parts, {len(applied['topics_created'])} topics made"
        )
        await self._await_applied(session)
        with _bar(self.console) as bar:
            story = Story(lambda line: bar.console.print(line, highlight=False))
            view = View(session.log, session.codec, [session.topics.name(base) for base in TOPICS], story.take)
            await view.start()
            following = asyncio.create_task(view.follow())
            try:
                began_s = time.monotonic()
                sent = await self._replay(session, story, bar, speed)
                wall_s = time.monotonic() - began_s
                await _until_quiet(session)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await view.stop()
        with self.console.status("reading the report back from the log"):
            report = await build_report(session, LIVE_FROM_S, wall_s, sent)
        (self.folder / "report.json").write_text(json.dumps(report, indent=2))
        return report

    async def _await_applied(self, session: Session) -> None:
        stop = asyncio.Event()
        following = asyncio.create_task(session.projects.run(stop))
        await session.projects.wait(stop)
        stop.set()
        await following

    async def _replay(self, session: Session, story: Story, bar: Progress, speed: float | None) -> int:
        from headrace_flights.player import BACKFILL_AHEAD_S, LIVE_AHEAD_S, Applied, Player
        from headrace_flights.schedule import Schedule

        schedule, applied = await asyncio.to_thread(Schedule), Applied()
        health = View(session.log, session.codec, [session.topics.name("ops.health")], applied.take, committed=False)
        await health.start()
        following = asyncio.create_task(health.follow())
        deployment = session.projects.deployment("flight-delay")
        if deployment is None:
            raise HeadraceError("the flights project was not applied")
        settle_s, partitions = deployment[1].settle_s, deployment[0].raw[0].partitions
        player = Player(
            session.log, session.topics, schedule, applied, partitions=partitions, settle_s=settle_s, go=story.go
        )
        try:
            task = bar.add_task("", total=LIVE_FROM_S - BACKFILL_FROM_S, act="back-fill", at="", sent=0)
            told = _progress(bar, task, BACKFILL_FROM_S, player)
            await player.play(
                BACKFILL_FROM_S, LIVE_FROM_S, step_s=BACKFILL_STEP_S, ahead_s=BACKFILL_AHEAD_S, progress=told
            )
            task = bar.add_task("", total=LIVE_TO_S - LIVE_FROM_S, act="live", at="", sent=0)
            told = _progress(bar, task, LIVE_FROM_S, player)
            await player.play(
                LIVE_FROM_S, LIVE_TO_S, step_s=LIVE_STEP_S, ahead_s=LIVE_AHEAD_S, speed=speed, progress=told
            )
            await player.finish(LABELS_TO_S)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await health.stop()
        return player.requests_sent + player.messages_sent


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.fields[act]:>9}"),
        BarColumn(),
        TextColumn("{task.fields[at]} {task.fields[sent]:>9,} sent"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


def _progress(bar: Progress, task: TaskID, from_s: float, player: Any) -> Any:
    def told(at_s: float, requests: int, messages: int) -> None:
        bar.update(task, completed=at_s - from_s, at=instant(at_s)[:16], sent=requests + messages)

    return told


async def _until_quiet(session: Session) -> None:
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
