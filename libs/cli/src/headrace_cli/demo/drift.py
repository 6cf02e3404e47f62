"""The first act: back-fill, a first version, a live month with a drift, a retrain, and the switch to the new version."""

import json
import time
from typing import Any

from headrace_cli.demo.report import build_report
from headrace_cli.demo.stage import (
    BACKFILL_FROM_S,
    BACKFILL_STEP_S,
    LIVE_FROM_S,
    LIVE_STEP_S,
    LIVE_TO_S,
    Stage,
    add_part,
    new_bar,
    until_quiet,
)
from headrace_cli.session import Session

REPORT = "report.json"


async def play(stage: Stage, session: Session, speed: float | None) -> dict[str, Any]:
    """January to April 2013, and the report."""
    from headrace_flights.files import LABELS_AFTER_S
    from headrace_flights.player import BACKFILL_AHEAD_S, LIVE_AHEAD_S

    await stage.apply(session, "flights")
    began_s = time.monotonic()
    with new_bar(stage.console) as bar:
        async with stage.narrating(session, bar) as narration, stage.player(session, narration) as player:
            progressed = add_part(bar, "back-fill", BACKFILL_FROM_S, LIVE_FROM_S)
            await player.play(
                BACKFILL_FROM_S, LIVE_FROM_S, step_s=BACKFILL_STEP_S, ahead_s=BACKFILL_AHEAD_S, progress=progressed
            )
            progressed = add_part(bar, "live", LIVE_FROM_S, LIVE_TO_S)
            await player.play(
                LIVE_FROM_S, LIVE_TO_S, step_s=LIVE_STEP_S, ahead_s=LIVE_AHEAD_S, speed=speed, progress=progressed
            )
            await player.finish(LIVE_TO_S + LABELS_AFTER_S)
            wall_s = time.monotonic() - began_s
            await until_quiet(stage, session)
    with stage.console.status("reading the report back from the log"):
        report = await build_report(session, LIVE_FROM_S, wall_s, player.requests_sent + player.messages_sent)
    (stage.folder / REPORT).write_text(json.dumps(report, indent=2))
    return report
