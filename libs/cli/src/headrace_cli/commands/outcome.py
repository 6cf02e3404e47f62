"""`headrace outcome send|import|list`."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from headrace_cli.session import Session, run
from headrace_cli.terminal.numbers import INT32
from headrace_cli.terminal.render import console, harmless, show, show_result

if TYPE_CHECKING:
    from headrace_cli.outcomes.files import Imported

app = typer.Typer(help="Outcomes: the ground truth of earlier requests.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SHOWN = 20


@app.callback()
def _group() -> None:
    """Outcomes: the ground truth of earlier requests."""


@app.command("send")
def send(
    deployment: Annotated[str, typer.Argument(help="The deployment that was asked.")],
    unit: Annotated[str, typer.Option(help="What the request was about.")],
    label: Annotated[str, typer.Option(help="0 or 1, the name of a class, or a number.")],
    request: Annotated[
        str | None, typer.Option(help="The request's id: the outcome then belongs to that request.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="When it became known; now by default.")] = None,
    corrects: Annotated[str | None, typer.Option(help="The id of the outcome that it corrects.")] = None,
    ident: Annotated[
        str | None, typer.Option("--id", help="Its own id; a repeat with the same id changes nothing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send the outcome of one request, and print the outcome's id, which a correction names."""
    from headrace_cli.outcomes.files import send_one  # late: it imports numpy

    given = {"unit": unit, "label": label, "at": at, "request_id": request, "corrects": corrects, "id": ident}
    sent = run(lambda session: send_one(session, deployment, given, secrets.token_hex(16)))
    line = f"outcome {sent.id}: {sent.unit} is {sent.label}"
    show_result({"id": sent.id, "unit": sent.unit, "label": sent.label, "at_s": sent.at_s}, as_json=as_json, line=line)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV (.csv, .csv.gz, .tsv) or Parquet.")],
    deployment: Annotated[str, typer.Option(help="The deployment that was asked.")],
    unit: Annotated[str, typer.Option(help="Column of the unit that a request was about.")],
    label: Annotated[str, typer.Option(help="Column of the label.")],
    at: Annotated[str, typer.Option(help="Column of when it became known.")],
    request: Annotated[str | None, typer.Option(help="Column of the request's id.")] = None,
    corrects: Annotated[str | None, typer.Option(help="Column of the id of the outcome that a row corrects.")] = None,
    ident: Annotated[str | None, typer.Option("--id", help="Column of ids; derived from each row by default.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Send nothing if a row is bad.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send outcomes from a file. A repeated or interrupted import sends nothing twice."""
    from headrace_cli.outcomes.files import Wanted
    from headrace_cli.outcomes.files import import_file as put

    wanted = Wanted(file, deployment, unit, label, at, request, corrects, ident, strict)

    async def work(session: Session) -> "Imported":
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=1.0)
            return await put(session, wanted, lambda what, share: bar.update(task, description=what, completed=share))

    done = run(work)
    counts = {"rows": done.rows, "sent": done.sent, "there_already": done.there_already, "bad": len(done.bad)}
    if not as_json:
        _show_bad(done.bad)
    line = f"{done.rows:,} rows: {done.sent:,} sent, {done.there_already:,} were there already, {len(done.bad):,} bad"
    show_result(counts | {"reasons": done.bad[:_SHOWN]}, as_json=as_json, line=line)


def _show_bad(bad: list[str]) -> None:
    errors = Console(stderr=True)
    for sentence in bad[:_SHOWN]:
        errors.print(harmless(sentence), markup=False, highlight=False, soft_wrap=True)
    if len(bad) > _SHOWN:
        errors.print(f"and {len(bad) - _SHOWN:,} more")


@app.command("list")
def list_outcomes(
    deployment: Annotated[str, typer.Argument(help="The deployment of the outcomes.")],
    number: Annotated[int, typer.Option("-n", "--number", min=0, max=INT32, help="How many of the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest outcomes, and count how all of them were used: as a label, beyond the horizon, of no request, ..."""
    from headrace_cli.outcomes.files import newest

    async def work(session: Session) -> tuple[list[dict[str, Any]], dict[str, int]]:
        return await newest(session, deployment, number)

    rows, counts = run(work)
    if as_json:
        show_result({"outcomes": rows, "became": counts}, as_json=True, line="")
        return
    columns = ["known", "unit", "label", "request_id", "corrects", "id", "became"]
    show(rows, columns, as_json=False, empty="no outcomes yet: `headrace outcome send` sends one")
    if counts:
        parts = [f"{count:,} {fate.replace('_', ' ')}" for fate, count in sorted(counts.items())]
        console.print(f"all {sum(counts.values()):,}: {', '.join(parts)}", markup=False)
