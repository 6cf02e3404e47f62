"""`headrace monitor backtest|ledger|windows`."""

import json
import secrets
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.instants import instant_s
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.numbers import MOST_SHOWN
from headrace_cli.terminal.render import console, finite, harmless, put, show

app = typer.Typer(
    help="The monitor: closed and open windows, the budget of pages, and what policies would have done.",
    no_args_is_help=True,
)

_MOST_FITS = 1000


@app.callback()
def _group() -> None:
    """The monitor."""


# long: one option a line
@app.command("backtest")
def backtest(
    deployment: Annotated[str, typer.Argument(help="The deployment whose log is replayed.")],
    from_: Annotated[str, typer.Option("--from", help="The first day, or instant, that is replayed (UTC).")],
    to: Annotated[
        str | None, typer.Option(help="The day, or instant, before which it ends; else the log's end.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="A TOML file of named policies (monitoring, retraining); else the project's own policy."),
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT",
            help="Plant a fault: flip=.3@2013-06-01..3d, null=COLUMN@..., scale=COLUMN:1.6@..., power=2@..., silent=1@...",
        ),
    ] = None,
    training: Annotated[str, typer.Option(help="How long a training takes, in event time.")] = "1h",
    fits: Annotated[
        int, typer.Option(min=2, max=_MOST_FITS, help="At most so many versions are fitted for calendars.")
    ] = 60,
    out: Annotated[Path | None, typer.Option(help="A folder for plot.png, rows.parquet and report.json.")] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Show it in the console: it replaces the one of this deployment there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Replay the log through monitor and trainer: what each policy would have found, asked for, and gained by retrains."""
    order: dict[str, Any] = {
        "deployment": deployment,
        "from_s": _instant_s(from_, "--from"),
        "to_s": None if to is None else _instant_s(to, "--to"),
        "policies": "" if policy is None else str(policy.absolute()),
        "plants": plant or [],
        "training_s": seconds(training),
        "fits": fits,
        "rows": "" if out is None else str(out.absolute() / "rows.parquet"),
    }
    report = run(lambda session: _asked(session, order, is_quiet=as_json, publish=publish))
    if out is not None:
        _write(out, report)
    if as_json:
        return print(json.dumps(report, indent=2))
    _show(report, out)
    if publish:
        _line(f"published: the console shows it at /deployments/{deployment}/monitoring#backtest")
    return None


@app.command("ledger")
def ledger(
    deployment: Annotated[str, typer.Argument(help="The deployment whose pages are counted.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The budget of pages: what was stated, spent and is left, and what the charts promise; and the rates of the A/A arm."""
    from headrace_cli.evidence.ledger import lines_of, newest_ledger

    found, audit = run(lambda session: newest_ledger(session, deployment))
    if as_json:
        pages = {} if found is None else plain(found)
        return print(json.dumps({**pages, "audit": None if audit is None else plain(audit)}, indent=2))
    return put(lines_of(found, audit))


@app.command("windows")
def windows(
    deployment: Annotated[str, typer.Argument(help="The deployment whose evaluation windows are shown.")],
    last: Annotated[int, typer.Option("--last", min=1, max=MOST_SHOWN, help="How many of the newest.")] = 7,
    columns: Annotated[
        bool,
        typer.Option("--columns", help="The inputs and scores of the newest closed window beside the training rows."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Closed windows with their figures per version and slice, and charts; open ones with the share of labels that came."""
    from headrace_cli.evidence.windows import plain_windows, read_windows
    from headrace_cli.evidence.windows_shown import show_inputs, show_windows

    found = run(lambda session: read_windows(session, deployment, last))
    if as_json:
        return print(json.dumps(finite(plain_windows(found, plain)), indent=2))
    return show_inputs(found) if columns else show_windows(found)


async def _asked(session: Session, order: dict[str, Any], *, is_quiet: bool, publish: bool) -> dict[str, Any]:
    from headrace_cli.backtest.asking import ask
    from headrace_cli.backtest.publishing import reported

    session.projects.declared(order["deployment"])
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=is_quiet or not console.is_terminal) as bar:
        task = bar.add_task("reading the log", total=1.0)
        found = await ask(order, lambda share, what: bar.update(task, completed=share, description=harmless(what)))
    report = finite(found)
    if publish:
        event = reported(report, order["plants"])
        await session.send("monitor.backtests", event.deployment, event, f"backtest-{secrets.token_hex(8)}")
    return report


def _write(folder: Path, report: dict[str, Any]) -> None:
    from headrace_cli.backtest.plot import png

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / "plot.png").write_bytes(png(report))


def _show(report: dict[str, Any], out: Path | None) -> None:
    from headrace_cli.backtest import shown

    _line(shown.head(report))
    show(shown.rows(report), shown.COLUMNS, as_json=False, empty="")
    if retrains := shown.retrain_rows(report):
        console.print()
        show(retrains, shown.RETRAIN_COLUMNS, as_json=False, empty="", title="retrains that answered")
    console.print()
    for line in (*shown.curves(report), *shown.feet(report)):
        _line(line)
    if out is not None:
        _line(f"written to {out}: plot.png, rows.parquet, report.json")


def _line(text: str) -> None:
    console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)


def _instant_s(text: str, name: str) -> float:
    try:
        return instant_s(datetime.fromisoformat(text))
    except ValueError:
        raise Misconfigured(
            f"{name} is a day or an instant, such as 2013-06-01 or 2013-06-01T12:00Z, got {text!r:.80}"
        ) from None
