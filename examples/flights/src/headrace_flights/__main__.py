"""`python -m headrace_flights --to 2013-02-01`: plays the year into a running Headrace; an interrupted run continues where it stopped.

With `--files FOLDER` nothing is played: the same history is written as files for `headrace replay`.
"""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.asking.feeding import Applied
from headrace.errors import HeadraceError
from headrace.hosting.exclusive import of_replay
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace.log.views import View
from headrace.project.compile import compile_project
from headrace.registry.under_way import TOPICS, Holding
from headrace_flights.files import write_files
from headrace_flights.player import BACKFILL_AHEAD_S, LIVE_AHEAD_S, Player
from headrace_flights.project import project
from headrace_flights.schedule import EPOCH_S, Schedule


# long: one option a line
async def play(to_s: float, speed: float | None) -> None:
    """Play from the end of the log up to `to_s`; with a speed as if live, else as history."""
    settings = Settings.load()
    log, topics = KafkaLog(settings), topics_of(settings)
    await connect(log, 10.0)
    definition, applied, holding = compile_project(project), Applied(), Holding(project.deployments[0].name)
    health = View(log, Codec(topics), [topics.name("ops.health")], applied.take, committed=False)
    facts = View(
        log, Codec(topics), [topics.name(noun) for noun in TOPICS], lambda m: holding.take(m.event, m.envelope.id)
    )
    following = [asyncio.create_task(await _followed(view)) for view in (health, facts)]

    places = of_replay(log, topics, holding.deployment, [(raw.name, topics.of_raw(raw.name)) for raw in definition.raw])

    async def hold() -> None:
        for place in places:
            await place.hold()
        while holding.waits_for:
            await asyncio.sleep(0.02)

    feature_delay_s, partitions = definition.deployments[0].feature_delay_s, definition.raw[0].partitions
    player = Player(
        log,
        topics,
        Schedule(),
        applied,
        partitions=partitions,
        feature_delay_s=feature_delay_s,
        hold=hold,
        paced_by=("inference", "monitor"),
    )
    try:
        for place in places:
            await place.take(lambda line: print(line, file=sys.stderr))
        from_s = await player.resume(EPOCH_S)
        step_s, ahead_s = (1200.0, LIVE_AHEAD_S) if speed else (6 * 3600.0, BACKFILL_AHEAD_S)
        with Progress(
            BarColumn(), TextColumn("{task.fields[at]} {task.fields[sent]:,} sent"), TimeElapsedColumn()
        ) as bar:
            part = bar.add_task("", total=max(to_s - from_s, 1.0), at="", sent=0)

            def progressed(at_s: float, requests: int, messages: int) -> None:
                at = datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
                bar.update(part, completed=at_s - from_s, at=at, sent=requests + messages)

            await player.play(from_s, to_s, step_s=step_s, ahead_s=ahead_s, speed=speed, progress=progressed)
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        for view in (health, facts):
            await view.stop()
        await player.close()
        for place in places:
            await place.leave()
        await log.stop()


async def _followed(view: View) -> Coroutine[Any, Any, None]:
    """Start a view; returns the coroutine that follows it."""
    await view.start()
    return view.follow()


def _instant_s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def main() -> int:
    """Read the arguments and play; an error is printed as one sentence."""
    parser = argparse.ArgumentParser(description="Play real flights into a running Headrace (apply the project first).")
    parser.add_argument("--to", type=_instant_s, required=True, help="a day: requests before it")
    parser.add_argument("--from", dest="from_s", type=_instant_s, default=EPOCH_S, help="a day (with --files)")
    parser.add_argument(
        "--files", type=Path, help="write the files that `headrace replay` takes here, and play nothing"
    )
    parser.add_argument("--speed", type=float, help="event seconds per second; as fast as possible by default")
    arguments = parser.parse_args()
    if arguments.files is not None:
        write_files(Schedule(), arguments.from_s, arguments.to, arguments.files)
        print(f"requests.parquet, movements.parquet and weather.parquet are in {arguments.files}")
        return 0
    try:
        asyncio.run(play(arguments.to, arguments.speed))
    except HeadraceError as error:
        print(f"flights: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
