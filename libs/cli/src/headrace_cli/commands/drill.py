"""`headrace drill`: faults on purpose, under load, on an installation of its own."""

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from headrace.errors import Misconfigured
from headrace_broker import free_port
from headrace_cli.session import session
from headrace_cli.terminal.numbers import DAY_S
from headrace_cli.terminal.render import console, put

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    """Add `drill` to the top level."""
    app.command("drill")(drill)


def drill(
    only: Annotated[list[str] | None, typer.Option(help="Only this act; may be given more than once.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=DAY_S, help="How long each fault lasts.")] = 6.0,
    folder: Annotated[Path, typer.Option(help="The folder for its broker and logs; it is emptied first.")] = Path(
        "build/drill"
    ),
    as_json: AsJson = False,
) -> None:
    """Cause faults in models, features, services and load, and show that every request is answered in time or refused.

    It uses its own broker, services and models; yours are not touched.
    """
    from headrace_cli.drill.acts import ACTS  # late: its imports take a while

    names = [act.name for act in ACTS]
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        raise Misconfigured(f"there is no act {unknown[0]!r}; there are: {', '.join(names)}")
    chosen = [act for act in ACTS if not only or act.name in only]
    outcomes = _played(chosen, seconds, folder, as_json)
    if as_json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        put(_table(outcomes), "drill")
        console.print("\nwhy, by the decisions on the log:")
        for outcome in outcomes:
            for reason, count in outcome.reasons.items():
                console.print(f"  {outcome.act:8} {count:6,} x {reason}", highlight=False, markup=False)
    raise SystemExit(0 if all(outcome.is_well for outcome in outcomes) else 1)


def _played(acts: list[Any], seconds: float, folder: Path, as_json: bool) -> list[Any]:
    from headrace_cli.drill.stage import Stage

    stage = Stage(folder, (lambda _: None) if as_json else lambda line: console.print(line, highlight=False), seconds)
    local = stage.clear()
    _set_apart(local.home)

    async def run() -> list[Any]:
        await stage.start(local)
        async with session() as opened:
            return await stage.play(opened, local, acts)

    try:
        return asyncio.run(run())
    finally:
        local.stop()


def _set_apart(home: Path) -> None:
    """Ignore all settings of the user's own installation: broker, namespace and settings file."""
    for name in [name for name in os.environ if name.startswith(("HEADRACE_", "KAFKA_"))]:
        del os.environ[name]
    os.environ |= {
        "HEADRACE_HOME": str(home),
        "HEADRACE_CONFIG": str(home / "headrace.toml"),
        "HEADRACE_GATEWAY_PORT": str(free_port()),
        "HEADRACE_CONSOLE_PORT": "0",
    }


def _table(outcomes: list[Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("act", "asked", "answered by", "worst s", "recovered s", "alerts", "held"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        answers = ", ".join(f"{by} {count:,}" for by, count in outcome.answers.items())
        back = "never" if outcome.recovered_s is None else f"{outcome.recovered_s:.1f}"
        result = "yes" if outcome.is_well else "; ".join(outcome.faults)
        table.add_row(
            outcome.act,
            f"{outcome.asked:,}",
            answers,
            f"{outcome.worst_s:.2f}",
            back,
            ", ".join(outcome.alerts),
            result,
        )
    return table
