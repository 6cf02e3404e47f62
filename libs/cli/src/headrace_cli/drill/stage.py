"""The run of a drill: its own installation, project and models, then the acts."""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError
from headrace.events.registry import RegisterVersion, RolloutAborted, RolloutCompleted, SetAlias, VersionRegistered
from headrace.features.rows import pin_signature
from headrace.log.codec import Message
from headrace.models import artifacts
from headrace_broker import free_port
from headrace_broker.jars import kafka_jars
from headrace_cli.drill.acts import Act, Outcome, Scene, perform
from headrace_cli.drill.load import Pulses
from headrace_cli.evidence.registry import ask, await_facts
from headrace_cli.installation.local import Local
from headrace_cli.projects.apply import apply_project
from headrace_cli.session import Session
from headrace_cli.terminal.render import console
from headrace_cli.terminal.waiting import Workers, wait_for

PROJECT = "headrace_cli.drill.project:project"
NEEDED = ("inference", "feature", "registry", "monitor")


@dataclass
class Stage:
    """One drill in one folder. `report`: gets each outcome as it comes. `seconds`: how long the faults last."""

    folder: Path
    report: Callable[[str], None]
    seconds: float

    def clear(self) -> Local:
        """Empty the folder and fetch the jars."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        kafka_jars()
        return Local(self.folder.absolute())

    async def start(self, local: Local) -> dict[str, Any]:
        """Start broker and services."""
        return await local.await_started(local.start(free_port(), fresh=True))

    async def play(self, session: Session, local: Local, acts: Sequence[Act]) -> list[Outcome]:
        """Set up, then run the acts in their order."""
        await apply_project(session, PROJECT)
        await _until_ready(session)
        pulses, stop = Pulses(session), asyncio.Event()
        # NB: features cover complete panes, so pulses that they must cover at once lie some panes back.
        await pulses.send(time.time() - 900)
        pulsing = asyncio.create_task(pulses.run(stop))
        try:
            scene = await self._scene(session, local, pulses)
            outcomes = []
            for act in acts:
                outcomes.append(await perform(act, scene))
                self.report(_line(outcomes[-1]))
        finally:
            stop.set()
            await pulsing
        return outcomes

    async def _scene(self, session: Session, local: Local, pulses: Pulses) -> Scene:
        from headrace_cli.drill import models  # late: scikit-learn

        await _release(session, models.sturdy(6), "a tree that accepts all inputs")
        await _set_baseline(session, models.sturdy(4))
        fragile = await asyncio.to_thread(models.fragile)
        champion = await _release(session, fragile, "a model with the faults of the drill")

        async def heavy() -> int:
            return await _release(session, models.heavy(), "slow in proportion to the load")

        return Scene(session, local, pulses, champion, heavy, self.seconds)


async def _set_baseline(session: Session, data: bytes) -> None:
    registered = await _register(session, data, "a tree of inputs only", inputs_only=True, rollout=False)
    await ask(session, SetAlias("drill", "baseline", registered, None, "the drill's baseline", "drill"))


async def _release(session: Session, data: bytes, reason: str) -> int:
    """Register a model and wait until it has the traffic; returns its version."""
    facts = session.topics.name("registry.facts")
    partitions = await session.log.partitions(facts)
    reader = await session.log.reader(partitions, await session.log.end_offsets(partitions))
    try:
        version = await _register(session, data, reason)

        def find(messages: Sequence[Message]) -> int | None:
            for message in messages:
                match message.event:
                    case RolloutCompleted(version=found) if found == version:
                        return version
                    case RolloutAborted(version=found, reason=why) if found == version:
                        raise HeadraceError(f"the drill's version {version} was not released: {why}")
            return None

        return await await_facts(session, reader, find, lambda: f"the drill's version {version} to be released")
    finally:
        await reader.close()


async def _register(
    session: Session, data: bytes, reason: str, *, inputs_only: bool = False, rollout: bool = True
) -> int:
    found = session.projects.deployment("drill")
    if found is None:
        raise HeadraceError("the drill's project was not applied")
    place = await artifacts.publish(session.log, session.topics, data, "skops", session.clock.now_s(), "drill")
    command = RegisterVersion(
        deployment="drill",
        model="drill",
        place=place,
        model_digest=place.digest[:32],
        signature=pin_signature(*found, {}, inputs_only=inputs_only),
        reason=reason,
        rollout=rollout,
        by="drill",
    )
    facts = await ask(session, command)
    return next(fact.version for fact in facts if isinstance(fact, VersionRegistered))


async def _until_ready(session: Session) -> None:
    """Wait until the services that the drill needs are ready, and the project is known here."""
    stop = asyncio.Event()
    following = asyncio.create_task(session.projects.run(stop))
    try:
        await session.projects.wait(stop)
        workers = Workers(Local.here().pids)
        await wait_for(
            lambda: _are_ready(session),
            what=lambda: "the services of the drill",
            report=_report,
            is_busy=workers.are_busy,
        )
    finally:
        stop.set()
        await following


async def _are_ready(session: Session) -> bool | None:
    reports = [message.event for message in (await session.current_of("ops.health")).values()]
    return True if set(NEEDED) <= {report.service for report in reports if report.ready} else None


def _report(line: str) -> None:
    console.print(line, highlight=False)


def _line(outcome: Outcome) -> str:
    answers = ", ".join(f"{count} {by}" for by, count in outcome.answers.items())
    back = "not recovered" if outcome.recovered_s is None else f"recovered in {outcome.recovered_s:.1f} s"
    mark = "[green]well[/]" if outcome.is_well else f"[red]{'; '.join(outcome.faults)}[/]"
    return f"[bold]{outcome.act}[/] {outcome.about}: {answers}; {back}; {mark}"
