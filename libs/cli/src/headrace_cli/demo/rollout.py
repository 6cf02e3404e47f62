"""The second act: a challenger is shadowed, released to 1, 5, 25 and 100 % and promoted; a bad version is rolled back by
its labels, another one by its errors.

It continues from a copy of the first act's log. If there is none, it plays January to April again first, fast.
"""

import asyncio
import json
import secrets
import shutil
import time
from typing import Any

from rich.progress import Progress

from headrace.errors import HeadraceError
from headrace.events.registry import GateResult, Lineage, RegisterVersion, Waiver
from headrace.events.training import RetrainRequested
from headrace.events.verdicts import FAIL
from headrace.models import artifacts, skops_format
from headrace.models.digest import model_digest
from headrace_cli.demo import drift
from headrace_cli.demo.bad_versions import BadVersion, gather, look_ahead, raising
from headrace_cli.demo.narration import Narration
from headrace_cli.demo.rollout_report import build_rollout_report
from headrace_cli.demo.stage import (
    BACKFILL_FROM_S,
    BACKFILL_STEP_S,
    LIVE_STEP_S,
    LIVE_TO_S,
    Stage,
    add_part,
    new_bar,
    until_quiet,
)
from headrace_cli.installation.folder import BROKER_FOLDER, LOG_FORMAT, format_of
from headrace_cli.installation.local import Local, refuse_running
from headrace_cli.session import Session

NAME = "flight-delay"
PROJECT = "headrace_flights.rollout:project"
REPORT = "rollout.json"
OPERATOR = "demo operator"
DAY_S = 86_400.0
# How much event time each part may take; a part that has not ended by then is reported as not ended.
GOOD_S, BAD_S, RAISING_S = 35 * DAY_S, 20 * DAY_S, 3 * DAY_S


def prepare(stage: Stage) -> tuple[Local, bool]:
    """The installation's folder, and whether it holds the log of a complete first act."""
    home = stage.folder / "rollout"
    refuse_running(Local(home.absolute()))
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    has_log = (stage.folder / drift.REPORT).exists() and format_of(stage.folder) == LOG_FORMAT
    if has_log:
        shutil.copytree(stage.folder / BROKER_FOLDER, home / BROKER_FOLDER)
    return Local(home.absolute()), has_log


async def play(stage: Stage, session: Session, *, has_log: bool) -> dict[str, Any]:
    """May and June 2013, and the report."""
    if not has_log:
        await _play_the_months_before(stage, session)
    began_s = time.monotonic()
    await stage.apply(session, PROJECT)
    with new_bar(stage.console) as bar:
        async with (
            stage.narrating(session, bar) as narration,
            stage.player(session, narration, paced_by=("inference", "monitor")) as player,
        ):
            at_s = max(LIVE_TO_S, await player.resume(BACKFILL_FROM_S))
            act = _Act(stage, session, narration, player, bar, at_s)
            challenger = await act.begin(act.ask_for_a_version())
            await act.until_ended("canary", challenger, GOOD_S)
            gathered = await gather(session, NAME, act.at_s)
            bad = await act.begin(
                act.register(await asyncio.to_thread(look_ahead, gathered), "it saw the future", True)
            )
            await act.until_ended("look ahead", bad, BAD_S)
            broken = await act.begin(act.register(await asyncio.to_thread(raising, gathered), "it raises", False))
            await act.until_ended("raising", broken, RAISING_S)
            await player.close()
            # NB: the rollback ends the replay within a step whose requests are not decided yet.
            await until_quiet(stage, session)
    with stage.console.status("reading the report back from the log"):
        parts = {"canary": challenger, "look ahead": bad, "raising": broken}
        report = await build_rollout_report(session, NAME, parts, time.monotonic() - began_s)
    (stage.folder / REPORT).write_text(json.dumps(report, indent=2))
    return report


async def _play_the_months_before(stage: Stage, session: Session) -> None:
    """January to April without pacing by the clock, to get the log of the first act."""
    from headrace_flights.player import BACKFILL_AHEAD_S

    stage.console.print("there is no log of the first act: January to April is played first, fast")
    await stage.apply(session, "flights")
    with new_bar(stage.console) as bar:
        async with stage.narrating(session, bar) as narration, stage.player(session, narration) as player:
            progressed = add_part(bar, "before", BACKFILL_FROM_S, LIVE_TO_S)
            await player.play(
                BACKFILL_FROM_S, LIVE_TO_S, step_s=BACKFILL_STEP_S, ahead_s=BACKFILL_AHEAD_S, progress=progressed
            )
            await player.close()


class _Act:
    """One replay that continues from part to part. `at_s`: the instant that it has reached."""

    def __init__(
        self, stage: Stage, session: Session, narration: Narration, player: Any, bar: Progress, at_s: float
    ) -> None:
        self.stage = stage
        self.session, self.narration, self.player, self.bar, self.at_s = session, narration, player, bar, at_s

    async def ask_for_a_version(self) -> None:
        """A manual retrain request, as `headrace training request` sends it."""
        event = RetrainRequested(NAME, "manual", "a fresh version for May", OPERATOR, None, self.at_s)
        await self.session.send("training.requests", NAME, event, f"manual-{secrets.token_hex(8)}", self.at_s)

    async def register(self, bad: BadVersion, reason: str, is_waived: bool) -> None:
        """Register a bad version; its failed gate is waived by a named operator."""
        session, digest = self.session, model_digest(bad.model)
        data = skops_format.dump(bad.model)
        place = await artifacts.publish(session.log, session.topics, data, skops_format.FORMAT, self.at_s, "cli")
        found = session.projects.deployment(NAME)
        assert found is not None
        detail = f"{bad.alike_share:.0%} of its rows equal what serving saw"
        gate = GateResult("parity_with_serving", FAIL, bad.alike_share, 0.999, digest, detail)
        command = RegisterVersion(
            deployment=NAME,
            model=found[1].model,
            place=place,
            model_digest=digest,
            signature=bad.signature,
            lineage=Lineage(request_to_s=self.at_s),
            gates=(gate,) if is_waived else (),
            waivers=(Waiver(gate.gate, OPERATOR, "its AUC on the holdout is the best ever seen"),) if is_waived else (),
            reason=reason,
            trained_rows=bad.rows,
            by=OPERATOR,
        )
        await session.send("registry.commands", NAME, command, f"register-{secrets.token_hex(8)}", self.at_s)

    async def begin(self, asking: Any) -> int:
        """Request a version and wait until its rollout has begun; the replay waits. Returns the version."""
        narration = self.narration
        before, refused_before = set(narration.begun), len(narration.refusals)
        await asking

        async def begun() -> int | None:
            if len(narration.refusals) > refused_before:
                raise HeadraceError(f"no rollout begins: {narration.refusals[-1]}")
            return next(iter(set(narration.begun) - before), None)

        def what() -> str:
            return f"a rollout to begin ({narration.stage or 'a version is trained, registered and warmed'})"

        return await self.stage.wait_for(begun, what, lambda: (narration.fact_count, narration.stage))

    async def until_ended(self, part: str, version: int, most_s: float) -> None:
        """Continue until the version's rollout has ended, or its time is over."""
        from headrace_flights.player import LIVE_AHEAD_S

        progressed = add_part(self.bar, part, self.at_s, self.at_s + most_s)
        await self.player.play(
            self.at_s,
            self.at_s + most_s,
            step_s=LIVE_STEP_S,
            ahead_s=LIVE_AHEAD_S,
            progress=progressed,
            stop_when=lambda: version in self.narration.ended,
        )
        self.at_s = self.player.at_s
