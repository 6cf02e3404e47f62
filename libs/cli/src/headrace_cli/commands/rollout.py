"""`headrace rollout start|simulate|status|pause|resume|promote|abort|retry|rollback|tenant`."""

import asyncio
import json
from typing import Annotated, Any

import typer
from rich.live import Live

from headrace.errors import Misconfigured
from headrace.events.registry import (
    AbortRollout,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RolledBack,
    RolloutStarted,
    SetOverride,
    StartRollout,
)
from headrace.log.views import View
from headrace_cli.commands.simulation import simulate
from headrace_cli.evidence.registry import ask, entry_of, fold, me
from headrace_cli.evidence.rollouts import TOPICS, Board
from headrace_cli.projects.expectations import Expectations, expect
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.numbers import INT32
from headrace_cli.terminal.reasons import Reason
from headrace_cli.terminal.render import console, show_result

app = typer.Typer(help="Rollouts: how a version takes traffic.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it ends.")]
POLICIES = ("blue_green", "canary", "ab_test", "shadow")
_REFRESH_S = 0.25


@app.callback()
def _group() -> None:
    """Rollouts: how a version takes traffic."""


app.command("simulate")(simulate)


@app.command("start")
def start(
    deployment: str,
    version: Annotated[int, typer.Argument(min=0, max=INT32)],
    policy: Annotated[
        str | None,
        typer.Option(help="blue_green, canary, ab_test or shadow, for this rollout only, instead of the project's."),
    ] = None,
    reason: Reason = "started by hand",
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Release a version, after printing what to expect of the rollout."""
    chosen = policy.replace("-", "_") if policy else None
    if chosen is not None and chosen not in POLICIES:
        raise Misconfigured(f"--policy must be one of {', '.join(POLICIES)}, got {policy!r}")

    async def work(session: Session) -> tuple[Expectations, RolloutStarted]:
        expected = await expect(session, deployment, chosen)
        if not as_json:
            for line in [*expected.lines, *(f"note: {note}" for note in expected.notes)]:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        facts = await ask(session, StartRollout(deployment, version, reason, me(), chosen))
        return expected, next(fact for fact in facts if isinstance(fact, RolloutStarted))

    expected, started = run(work)
    line = f"rollout {started.rollout} of version {version} has begun with policy {started.policy}: `headrace rollout status {deployment} --watch`"
    show_result(plain(started) | {"expected": expected.values()}, as_json=as_json, line=line)
    if watch:
        run(lambda session: _follow(session, deployment, as_json))


@app.command("status")
def status(
    deployment: Annotated[str | None, typer.Argument(help="A deployment; all by default.")] = None,
    watch: Watch = False,
    as_of: Annotated[
        str | None, typer.Option(help="The state at an offset of registry.facts, or at an instant of append time.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of rollouts, with the newest evidence."""
    if watch:
        return run(lambda session: _follow(session, deployment, as_json))

    async def work(session: Session) -> Board:
        return await _board(session, deployment, as_of)

    board = run(work)
    if as_json:
        return print(json.dumps(board.rows(deployment), indent=2, default=str))
    return console.print(board.picture(deployment))


async def _board(session: Session, deployment: str | None, as_of: str | None) -> Board:
    if deployment is not None:
        await entry_of(session, deployment, as_of)
    board = Board()
    if as_of is not None:
        board.fold = await fold(session, as_of)
        return board
    for base in TOPICS:
        for message in await session.all_of(base):
            board.take(message)
    return board


async def _follow(session: Session, deployment: str | None, as_json: bool) -> None:
    """Show the rollout until it ends, or Ctrl-C."""
    if deployment is not None:
        await entry_of(session, deployment)
    board = Board()
    view = View(session.log, session.codec, [session.topics.name(base) for base in TOPICS], board.take)
    await view.start()
    following = asyncio.create_task(view.follow())
    try:
        await (_print_changes if as_json else _show_live)(board, deployment)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await view.stop()


async def _show_live(board: Board, deployment: str | None) -> None:
    with Live(board.picture(deployment), console=console, auto_refresh=False) as live:
        while True:
            live.update(board.picture(deployment), refresh=True)
            if deployment is not None and board.is_over(deployment):
                return
            await asyncio.sleep(_REFRESH_S)


async def _print_changes(board: Board, deployment: str | None) -> None:
    printed = -1
    while True:
        if board.changes != printed:
            printed = board.changes
            print(json.dumps(board.rows(deployment), default=str), flush=True)
        if deployment is not None and board.is_over(deployment):
            return
        await asyncio.sleep(_REFRESH_S)


@app.command("pause")
def pause(deployment: str, reason: Reason, as_json: AsJson = False) -> None:
    """Keep the current share whatever the verdicts are, unless they show harm."""
    _send(PauseRollout(deployment, reason, me()), as_json, f"the rollout of {deployment} is paused")


@app.command("resume")
def resume(deployment: str, reason: Reason = "resumed by hand", as_json: AsJson = False) -> None:
    """Continue a paused rollout."""
    _send(ResumeRollout(deployment, reason, me()), as_json, f"the rollout of {deployment} continues")


@app.command("abort")
def abort(deployment: str, reason: Reason, as_json: AsJson = False) -> None:
    """Stop the rollout; the champion keeps all traffic."""
    _send(AbortRollout(deployment, reason, me()), as_json, f"the rollout of {deployment} is aborted")


@app.command("retry")
def retry(deployment: str, reason: Reason = "tried again by hand", as_json: AsJson = False) -> None:
    """Start the last rollout again, if it was aborted without harm."""
    _send(RetryRollout(deployment, reason, me()), as_json, f"the rollout of {deployment} begins again")


@app.command("promote")
def promote(
    deployment: str,
    reason: Reason,
    version: Annotated[
        int | None,
        typer.Option(min=0, max=INT32, help="The version that must be under rollout; the current one by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the version under rollout champion now, without waiting for evidence."""

    async def work(session: Session) -> tuple[int, list[Any]]:
        entry = await entry_of(session, deployment)
        chosen = version if version is not None else (entry.rollout.version if entry.rollout else 0)
        return chosen, await ask(session, PromoteRollout(deployment, chosen, reason, me()))

    chosen, facts = run(work)
    show_result({"facts": plain(facts)}, as_json=as_json, line=f"version {chosen} is champion of {deployment}")


@app.command("rollback")
def rollback(
    deployment: str,
    reason: Reason,
    expected: Annotated[
        int | None,
        typer.Option(min=0, max=INT32, help="The version that must be champion; the current one by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give all traffic back to the version before; the current champion is rejected permanently."""

    async def work(session: Session) -> list[Any]:
        entry = await entry_of(session, deployment)
        champion = expected if expected is not None else entry.aliases.get("champion", 0)
        return await ask(session, RollBack(deployment, champion, reason, me()))

    facts = run(work)
    back = next(fact for fact in facts if isinstance(fact, RolledBack))
    line = f"version {back.to} is champion of {deployment} again; version {back.version} is rejected"
    show_result({"facts": plain(facts)}, as_json=as_json, line=line)


@app.command("tenant")
def tenant(
    deployment: str,
    tenant: str,
    version: Annotated[
        int | None, typer.Option(min=0, max=INT32, help="The version that answers it; by default the route again.")
    ] = None,
    reason: Reason = "set by hand",
    as_json: AsJson = False,
) -> None:
    """Send all requests of a tenant to one version, whatever the route says."""
    line = f"{tenant} is answered by " + ("the route" if version is None else f"version {version}")
    _send(SetOverride(deployment, tenant, version, reason, me()), as_json, line)


def _send(command: Any, as_json: bool, line: str) -> None:
    facts = run(lambda session: ask(session, command))
    show_result({"facts": plain(facts)}, as_json=as_json, line=line)
