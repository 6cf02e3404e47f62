"""`headrace dlq list|show`: records that could not be read, and why."""

from typing import Annotated, Any

import typer
from rich.text import Text

from headrace.errors import Misconfigured
from headrace.hosting.stops import read_stops, way_on
from headrace.log.codec import header
from headrace.log.port import Record
from headrace.log.untyped import untyped
from headrace_cli.commands.topic import stopped_row
from headrace_cli.session import Session, run
from headrace_cli.terminal.numbers import INT64
from headrace_cli.terminal.render import cell, console, harmless, show

app = typer.Typer(help="Dead letters: records that could not be read, kept unchanged.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_PREFIX = "__connect.errors."


@app.callback()
def _group() -> None:
    """Dead letters."""


@app.command("list")
def list_letters(
    service: Annotated[str | None, typer.Option(help="Only of this service.")] = None, as_json: AsJson = False
) -> None:
    """List dead letters with their origin and reason, and the partitions that are stopped.

    `stands_for`: how many records a sampled dead letter represents; `cut`: which of its parts were too long to keep.
    """

    async def work(session: Session) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        services = [service] if service else session.topics.services
        _refuse_unknown(service, session.topics.services)
        letters = [_row(name, record) for name in services for record in await _records(session, name)]
        stopped = await read_stops(session.log, session.codec, session.topics)
        return letters, [stopped_row(session.topics, s) for s in stopped.values() if s.service in services]

    letters, stopped = run(work)
    columns = ["service", "offset", "from", "field", "reason"]
    columns += [name for name in ("stands_for", "cut") if any(row[name] for row in letters)]
    show(letters, columns, as_json=as_json, empty="no dead letters")
    for row in [] if as_json else stopped:
        console.print(
            f"stopped: {row['topic']}/{row['partition']} at offset {row['offset']}: {way_on(row['topic'])}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@app.command("show")
def show_letter(
    service: str, offset: Annotated[int, typer.Argument(min=0, max=INT64)], as_json: AsJson = False
) -> None:
    """Show one dead letter in full: bytes, headers, reason."""

    async def work(session: Session) -> dict[str, Any]:
        _refuse_unknown(service, session.topics.services)
        found = [record for record in await _records(session, service) if record.offset == offset]
        if not found:
            raise Misconfigured(f"dlq.{service} has no offset {offset}: `headrace dlq list --service {service}`")
        (record,) = found
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
        value = untyped(record.value, headers.get("content-type", ""))
        texts = {"key": _text(record.key), "value": _text(record.value)}
        return {**_row(service, record), **texts, "decoded": value, "headers": headers}

    found = run(work)
    if as_json:
        console.print_json(data=found)
        return
    for name, value in found.items():
        console.print(Text(name, "bold").append(f"  {harmless(cell(value))}", "not bold"), soft_wrap=True)


async def _records(session: Session, service: str) -> list[Record]:
    partitions = await session.log.partitions(session.topics.dlq(service))
    ends = await session.log.end_offsets(partitions)
    reader = await session.log.reader(partitions, "beginning")
    found: list[Record] = []
    try:
        while any([await reader.position(tp) < ends[tp] for tp in partitions]):
            found += await reader.fetch(0.5)
    finally:
        await reader.close()
    return found


def _row(service: str, record: Record) -> dict[str, Any]:
    def named(name: str) -> str | None:
        return header(record.headers, f"{_PREFIX}{name}")

    return {
        "service": service,
        "offset": record.offset,
        "from": f"{named('topic')}/{named('partition')}/{named('offset')}",
        "field": header(record.headers, "headrace.field"),
        "reason": named("exception.message"),
        "stands_for": header(record.headers, "headrace.stands_for"),
        "cut": header(record.headers, "headrace.cut"),
    }


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else repr(raw)[2:-1]


def _refuse_unknown(service: str | None, services: tuple[str, ...]) -> None:
    if service is not None and service not in services:
        raise Misconfigured(f"no service is called {service!r}; there are {', '.join(services)}")
