"""`headrace demo`: real flights through every service."""

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from headrace.errors import Misconfigured
from headrace_cli.render import cell, console
from headrace_cli.session import session

ACTS = ("drift",)
_KEYS = (
    "requests", "decisions", "lost", "duplicated", "outcomes_joined", "dead_lettered", "auc_before", "auc_after", "log_loss_before",
    "log_loss_after", "log_loss_difference_95", "parity_tiles", "parity_as_of", "max_feature_lag_event_s", "wall_s", "events_per_s",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Put `demo` on the top level."""
    app.command("demo")(demo)


def demo(
    act: Annotated[str, typer.Option(help=f"Which story: {', '.join(ACTS)}.")] = "drift",
    speed: Annotated[
        float | None,
        typer.Option(help="Event seconds per second in the live part; as fast as possible when not given."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where its broker, logs and report go; emptied first.")] = Path(
        "build/demo"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON at the end.")] = False,
) -> None:
    """Play January to April 2013 through a real broker and all services, and show what the system does by itself."""
    if act not in ACTS:
        raise Misconfigured(f"there is no act {act!r}; there are: {', '.join(ACTS)}")
    _refuse_without_flights()
    from headrace_cli.demo.stage import (
        Stage,
    )  # late: it brings scikit-learn, which the daily commands need not wait for

    stage = Stage(folder, console)
    local = stage.clear()
    os.environ["HEADRACE_HOME"] = str(local.home)
    try:
        report = asyncio.run(_run(stage, local, speed))
    finally:
        local.stop()
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _show(report, folder)
    raise SystemExit(0 if report["lost"] == 0 and report["duplicated"] == 0 else 1)


async def _run(stage: Any, local: Any, speed: float | None) -> dict[str, Any]:
    await stage.start(local)
    async with session() as opened:
        return await stage.play(opened, speed)


def _refuse_without_flights() -> None:
    try:
        import headrace_flights  # noqa: F401 - is it installed?
    except ImportError:
        raise Misconfigured("the flights example is not installed: run `make setup`") from None


def _show(report: dict[str, Any], folder: Path) -> None:
    versions = Table(
        title="versions (quality on all live requests that each scored)", title_justify="left", box=None, pad_edge=False
    )
    columns = ("id", "reason", "trained_rows", "scored_rows", "auc", "log_loss")
    for column in columns:
        versions.add_column(column.replace("_", " "))
    for version in report["versions"]:
        versions.add_row(*[cell(version[column]) for column in columns])
    figures = Table(box=None, pad_edge=False, show_header=False)
    for key in _KEYS:
        figures.add_row(key.replace("_", " "), cell(report[key]))
    console.print()
    console.print(versions)
    console.print()
    console.print(figures)
    console.print(f"\nthe report is {folder}/report.json, the log is kept in {folder}/kafka")
