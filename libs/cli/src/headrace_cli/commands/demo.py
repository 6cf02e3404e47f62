"""`headrace demo`: real flights through every service."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from headrace.errors import Misconfigured
from headrace_cli.commands.deployment import read_findings
from headrace_cli.evidence.history import show_finding
from headrace_cli.evidence.ledger import lines_of, newest_ledger
from headrace_cli.session import Session, session
from headrace_cli.terminal.numbers import FASTEST
from headrace_cli.terminal.render import cell, console, put

ACTS = ("drift", "rollout")
_KEYS = (
    "requests", "decisions", "lost", "duplicated", "outcomes_joined", "dead_lettered", "auc_before", "auc_after", "log_loss_before",
    "log_loss_after", "log_loss_difference_95", "parity_tiles", "parity_as_of", "max_feature_lag_event_s", "wall_s", "events_per_s",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add `demo` to the top level."""
    app.command("demo")(demo)


def demo(
    act: Annotated[str, typer.Option(help=f"Which act: {', '.join(ACTS)}.")] = "drift",
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=FASTEST,
            help="Event seconds per second in the live part; as fast as possible by default.",
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="The folder for its broker, logs and report; it is emptied first.")
    ] = Path("build/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON at the end.")] = False,
) -> None:
    """Send real flights through a real broker and all services, and show what the system does automatically.

    drift: January to April 2013; a drift is found and a new version takes the traffic. rollout: from May on; one version is
    released step by step, and two bad ones are rolled back.
    """
    if act not in ACTS:
        raise Misconfigured(f"there is no act {act!r}; there are: {', '.join(ACTS)}")
    _refuse_without_flights()
    from headrace_cli.demo.stage import (
        Stage,
    )  # late: it imports scikit-learn, which slows down the daily commands

    stage = Stage(folder, console)
    report = _rollout(stage) if act == "rollout" else _drift(stage, speed)
    if as_json:
        print(json.dumps(report, indent=2))
    elif act == "rollout":
        _show_rollouts(report, folder)
    else:
        _show(report, folder)
    is_well = report["lost"] == 0 and report["duplicated"] == 0 and report.get("as_expected", True)
    raise SystemExit(0 if is_well else 1)


def _drift(stage: Any, speed: float | None) -> dict[str, Any]:
    from headrace_cli.demo import drift
    from headrace_cli.demo.stage import DEPLOYMENT

    async def work(local: Any) -> dict[str, Any]:
        await stage.start(local)
        async with session() as opened:
            report = await drift.play(stage, opened, speed)
            await _show_monitored(opened, DEPLOYMENT)
            return report

    return _run(stage.clear(), work)


async def _show_monitored(opened: Session, deployment: str) -> None:
    """Print each finding of drift with what it rests on, and the ledger of pages, under the commands that print them."""
    for found in (await read_findings(opened)).of(deployment, only_open=False):
        if found.kind == "drift":
            console.print(f"\n[bold]headrace finding show {found.finding[:8]}[/]", highlight=False)
            show_finding(found)
    ledger, audit = await newest_ledger(opened, deployment)
    console.print(f"\n[bold]headrace monitor ledger {deployment}[/]", highlight=False)
    put(lines_of(ledger, audit))


def _rollout(stage: Any) -> dict[str, Any]:
    from headrace_cli.demo import rollout

    local, has_log = rollout.prepare(stage)

    async def work(local: Any) -> dict[str, Any]:
        await stage.start(local, fresh=not has_log)
        async with session() as opened:
            return await rollout.play(stage, opened, has_log=has_log)

    return _run(local, work)


def _run(local: Any, work: Callable[[Any], Coroutine[Any, Any, dict[str, Any]]]) -> dict[str, Any]:
    """Run an act, and end everything that it started."""
    os.environ["HEADRACE_HOME"] = str(local.home)
    try:
        return asyncio.run(work(local))
    finally:
        local.stop()


def _refuse_without_flights() -> None:
    try:
        import headrace_flights  # noqa: F401 - is it installed?
    except ImportError:
        raise Misconfigured("the flights example is not installed: run `make setup`") from None


def _show(report: dict[str, Any], folder: Path) -> None:
    versions = Table(box=None, pad_edge=False)
    columns = ("id", "reason", "trained_rows", "scored_rows", "auc", "log_loss")
    for column in columns:
        versions.add_column(column.replace("_", " "))
    for version in report["versions"]:
        versions.add_row(*[cell(version[column]) for column in columns])
    figures = Table(box=None, pad_edge=False, show_header=False)
    for key in _KEYS:
        figures.add_row(key.replace("_", " "), cell(report[key]))
    console.print()
    put(versions, "versions (quality on all live requests that each scored)")
    console.print()
    console.print(figures)
    console.print(f"\nthe report is {folder}/report.json, the log is kept in {folder}/kafka")
    _look_again(folder)


def _show_rollouts(report: dict[str, Any], folder: Path) -> None:
    table = Table(box=None, pad_edge=False)
    columns = (
        "part",
        "version",
        "outcome",
        "event_days",
        "labels",
        "decisions_assigned",
        "decisions_failed",
        "ms_to_end",
    )
    for column in columns:
        table.add_column(column.replace("_", " "))
    for found in report["rollouts"]:
        table.add_row(*[cell(found[column]) for column in columns])
    figures = Table(box=None, pad_edge=False, show_header=False)
    for key in ("requests", "decisions", "lost", "duplicated", "wall_s"):
        figures.add_row(key.replace("_", " "), cell(report[key]))
    console.print()
    put(table, "rollouts")
    console.print()
    console.print(figures)
    console.print(f"\nthe report is {folder}/rollout.json, the log is kept in {folder}/rollout/kafka")
    _look_again(folder / "rollout")


def _look_again(home: Path) -> None:
    console.print(f"to look at it again: export HEADRACE_HOME={home}; headrace up", highlight=False, soft_wrap=True)
