"""`headrace replay`: sends a file of history, or the requests of another deployment, to a deployment."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.errors import Misconfigured
from headrace_cli.session import Session, run
from headrace_cli.terminal.numbers import FASTEST
from headrace_cli.terminal.render import cell, console, harmless, instant, show

if TYPE_CHECKING:
    from headrace_cli.replay.played import Played


def add_to(app: typer.Typer) -> None:
    """Add `replay` to the top level."""
    app.command("replay")(replay)


# long: one option a line
def replay(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV (.csv, .csv.gz, .tsv) or Parquet; by default the requests of --deployment on the log."
        ),
    ] = None,
    deployment: Annotated[str, typer.Option(help="The deployment whose history it is, and which is asked.")] = "",
    unit: Annotated[str | None, typer.Option(help="Column of what a request is about.")] = None,
    at: Annotated[str | None, typer.Option(help="Column of a request's instant.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label; cells may be empty.")] = None,
    known: Annotated[
        str | None, typer.Option(help="When labels became known: a column, or +1h (after the request).")
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STREAM=FILE[:AT[:KEY]]",
            help="History of a raw stream or source from which features are computed, sent in step: AT is the column of the instant of"
            " a message, KEY the column of its key. May be repeated.",
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Ask this deployment instead of --deployment.")] = None,
    speed: Annotated[
        float | None,
        typer.Option(min=0.001, max=FASTEST, help="Event seconds per second: 1 is real time, 86400 a day per second."),
    ] = None,
    run_name: Annotated[str, typer.Option("--run", help="A name; with another name the same file is sent again.")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Send nothing if a row cannot be read.")] = False,
    plot: Annotated[Path | None, typer.Option(help="The SVG file; DEPLOYMENT-replay.svg by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Send history as requests, outcomes and source events in event time, and show the results.

    The replay waits while a version is trained or released, so that a year in ten minutes gives the decisions of a real year. After an
    interruption the same command continues: what is on the log is not sent again. A column with the name of an input is that input.
    """
    from headrace_cli.replay.played import Wanted, play  # late: it imports numpy and more

    if not deployment:
        raise Misconfigured("--deployment NAME is required: it names the deployment whose history it is")
    wanted = Wanted(
        file, deployment, to or deployment, unit, at, label, known, speed, run_name, strict, tuple(events or ())
    )
    wanted.refuse()

    async def work(session: Session) -> "Played":
        with _bar() as bar:
            return await play(session, wanted, bar)

    began_s = time.monotonic()
    played = run(work)
    path = plot or Path(f"{wanted.target}-replay.svg")
    played.report["plot"] = str(path) if _draw(played, path, wanted.target) else None
    played.report["wall_s"] = round(time.monotonic() - began_s, 1)
    if as_json:
        print(json.dumps(played.report, indent=2, default=str))
    else:
        _show(played.report, played)
    raise SystemExit(0 if played.report["lost"] == 0 and played.report["duplicated"] == 0 else 1)


class _Bar:
    """The output of a running replay: its progress, and lines for people."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._task = bar, bar.add_task("", total=None, what="connecting", at="")

    def report(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(harmless(line), style="dim", markup=False, highlight=False, soft_wrap=True)

    def part(self, what: str, total: float | None) -> None:
        """Begin a new part."""
        self._bar.reset(self._task, total=total, what=what, at="")

    def reached(self, done: float, at: str) -> None:
        """Show how much of the part is done."""
        self._bar.update(self._task, completed=done, at=at)


@contextmanager
def _bar() -> Iterator[_Bar]:
    columns = (TextColumn("{task.fields[what]:>18}"), BarColumn(), TextColumn("{task.fields[at]}"), TimeElapsedColumn())
    # NB: on stderr, because stdout is for the report at the end.
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar)


def _draw(played: "Played", path: Path, name: str) -> bool:
    """Write the chart, if there is anything to show."""
    from headrace_cli.replay.plot import svg

    figures = played.figures
    if not len(figures.loss) or not played.report["labelled"]:
        return False
    path.write_text(svg(figures, f"replay to {name}", played.report["loss"] or "loss"))
    return True


def _show(report: dict[str, Any], played: "Played") -> None:
    from headrace_cli.replay.meanwhile import lines
    from headrace_cli.replay.plot import course, sparkline

    _line(
        f"{report['to']}: {report['requests']:,} requests were sent, {report['decisions']:,} decided, {report['lost']:,} lost,"
        f" {report['duplicated']:,} twice; {report['labelled']:,} have a label; this run sent {report['records_sent']:,} records"
    )
    for file in report["events"]:
        _line(
            f"{file['stream']}: {file['events']:,} of the {file['rows']:,} events of {file['file']} are on the log, {file['duplicated']:,} twice"
        )
    answers = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report["answers"].items()))
    _line(f"answers: {answers or 'none'}; bad rows: {report['bad_rows']:,}")
    if report["dead_lettered"]:
        by_service = ", ".join(f"{count:,} by {service}" for service, count in sorted(report["dead_lettered"].items()))
        _line(f"dead letters during the replay: {by_service}: `headrace dlq list` shows the reasons")
    for line in lines(report):
        _line(line)
    if not report["labelled"]:
        return
    columns = ["answered_mostly_by", "from", "to", "requests", "rows", "loss", "prior_loss", "auc"]
    console.print()
    show(
        report["intervals"], columns, as_json=False, empty="", title=f"before and after each switch ({report['loss']})"
    )
    console.print()
    columns = ["version", "answered", "rows", "loss", "prior_loss", "auc"]
    versions = [one | {"version": one["version"] or "prior"} for one in report["versions"]]
    show(versions, columns, as_json=False, empty="", title="each version, on all rows that it scored")
    for switch in report["switches"]:
        _line(_switch_line(switch))
    line = sparkline(course(played.figures))
    console.print()
    _line(
        f"loss  {line}  {instant(float(played.figures.at_s.min()))[:10]} .. {instant(float(played.figures.at_s.max()))[:10]}"
    )
    if report["plot"]:
        _line(f"the chart is {report['plot']}")


def _switch_line(switch: dict[str, Any]) -> str:
    was = "the prior" if switch["was"] is None else f"version {switch['was']}"
    head = f"{switch['at'][:16]}  version {switch['version']} in place of {was}"
    same = switch["same_rows"]
    if same is None:
        return f"{head}; no row was scored by both"
    spread = "" if same["difference_95"] is None else f", difference 95 %: {cell(same['difference_95'])}"
    return f"{head}; on the same {same['rows']:,} rows {cell(same['loss'])} against {cell(same['loss_of_previous'])}{spread}"


def _line(text: str) -> None:
    console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)
