"""`headrace rollout simulate`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from headrace_cli.session import Session, run
from headrace_cli.simulation.recorded import MOST_DECISIONS
from headrace_cli.simulation.report import Report
from headrace_cli.simulation.running import simulate_rollouts
from headrace_cli.terminal.render import console, harmless, show


def simulate(
    deployment: Annotated[str, typer.Argument(help="The deployment whose decisions and labels are replayed.")],
    plan: Annotated[
        Path | None,
        typer.Option(
            help="A TOML or JSON file of fields of a rollout (margin, season, ...) in place of the project's."
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=20, max=10_000, help="Simulated rollouts per version.")] = 200,
    decisions: Annotated[
        int, typer.Option(min=1_000, max=20_000_000, help="How many of the newest records of decisions are read.")
    ] = MOST_DECISIONS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay the deployment's own decisions and labels through the tests of a rollout, as versions that are as good, worse or broken."""

    async def work(session: Session) -> Report:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as bar:
            task = bar.add_task("reading the log", total=1.0)

            def progress(share: float, text: str) -> None:
                bar.update(task, completed=share, description=text)

            return await simulate_rollouts(session, deployment, plan, runs, decisions, progress)

    report = run(work)
    if as_json:
        return print(json.dumps(report.values(), indent=2))
    _line(report.head)
    show(report.rows(), report.columns, as_json=False, empty="no version could be made")
    for line in report.foot:
        _line(line)
    return None


def _line(text: str) -> None:
    console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)
