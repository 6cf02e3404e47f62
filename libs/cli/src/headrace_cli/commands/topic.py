"""`headrace topic apply|list|tail|show|stops|resume|skip`."""

import asyncio
import contextlib
import getpass
import json
import socket
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from headrace.errors import Fatal, Misconfigured, Poison
from headrace.events.ops import PartitionResumed, PartitionStopped
from headrace.evidence.records import full_name, read_record
from headrace.hosting.stops import read_stops, stop_record
from headrace.log.admin import drifted, ensure_topics
from headrace.log.codec import header
from headrace.log.port import Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.untyped import untyped
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.numbers import INT32, INT64, MOST_SHOWN
from headrace_cli.terminal.reasons import Reason
from headrace_cli.terminal.render import console, harmless, instant, show, show_result

app = typer.Typer(help="Topics: as declared in schemas/topics.yaml.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Topics."""


@app.command("apply")
def apply_topics(as_json: AsJson = False) -> None:
    """Create missing topics; refuse topics that differ from their declaration, with the way out."""

    async def work(session: Session) -> tuple[list[str], list[str]]:
        specs = [*session.topics.specs(), *(s for p in session.projects.definitions for s in session.topics.specs(p))]
        unique = list({spec.name: spec for spec in specs}.values())
        return await ensure_topics(session.log, unique), await drifted(session.log, unique)

    made, others = run(work)
    stands = f"{len(made)} topics created" if made else "all topics are as declared"
    line = "; ".join([f"{len(made)} topics created", *others]) if others else stands
    show_result({"created": made, "drifted": others}, as_json=as_json, line=line)


@app.command("list")
def list_topics(as_json: AsJson = False) -> None:
    """List the topics of this namespace with their records."""

    async def work(session: Session) -> list[dict[str, Any]]:
        return [await _row(session, name) for name in await session.log.list_topics() if _is_ours(session.topics, name)]

    show(
        run(work),
        ["topic", "partitions", "records", "cleanup", "owner"],
        as_json=as_json,
        empty="no topics: `headrace up`",
    )


def _is_ours(topics: Topics, name: str) -> bool:
    with contextlib.suppress(Misconfigured):
        return bool(topics.rule(name))
    return False


async def _row(session: Session, name: str) -> dict[str, Any]:
    partitions = await session.log.partitions(name)
    begins, ends = await session.log.begin_offsets(partitions), await session.log.end_offsets(partitions)
    rule = session.topics.rule(name)
    return {
        "topic": session.topics.base(name),
        "partitions": len(partitions),
        "records": sum(ends[tp] - begins[tp] for tp in partitions),
        "cleanup": rule.cleanup,
        "owner": rule.owner,
    }


@app.command("tail")
def tail(
    name: Annotated[str, typer.Argument(help="A topic, with or without its version: inference.decisions")],
    number: Annotated[int, typer.Option("-n", min=1, max=MOST_SHOWN, help="How many records from the end.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Continue with new records.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the newest records of a topic, decoded."""

    async def work(session: Session) -> None:
        full = full_name(session.topics, name)
        partitions = await session.log.partitions(full)
        ends = await session.log.end_offsets(partitions)
        records = await _newest(session, ends, number)
        for record in sorted(records, key=lambda r: (r.timestamp_ms, r.partition, r.offset))[-number:]:
            _print(session, record, as_json)
        if follow:
            await _follow(session, ends, as_json)

    run(work)


@app.command("show")
def show_record(
    place: Annotated[str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="registry.facts/0/12")],
    as_json: AsJson = False,
) -> None:
    """Show one record: its headers, and its content as it is written."""
    found = run(lambda session: read_record(session.log, session.codec, session.topics, place))
    if as_json:
        return print(json.dumps(plain(found), indent=2, default=str))
    about = {
        "record": found.place, "key": found.key, "type": found.kind, "id": found.id, "source": found.source,
        "event time": instant(found.event_s), "appended": instant(found.wall_s), "caused by": found.cause,
        "story": found.correlation, "made from": found.origin, "bytes": f"{found.size_bytes:,}", "says": found.sentence,
        "unreadable": found.unread,
    }  # fmt: skip
    for name, value in about.items():
        if value:
            console.print(Text.assemble((f"{name:<11}", "dim"), harmless(value)), soft_wrap=True)
    body = found.value if isinstance(found.value, str) else json.dumps(found.value, indent=2, default=str)
    return console.print(harmless(body), highlight=False, markup=False, soft_wrap=True)


Partition = Annotated[
    int | None,
    typer.Option("--partition", min=0, max=INT32, help="Only this partition; by default all that are stopped."),
]
By = Annotated[str | None, typer.Option("--by", help="Who decides this; you by default.")]
Stoppable = Annotated[str, typer.Argument(help="A topic, with or without its version: raw.movements")]


@app.command("stops")
def stops(as_json: AsJson = False) -> None:
    """List the partitions that are stopped because too many of their records cannot be read."""

    async def work(session: Session) -> list[dict[str, Any]]:
        found = await read_stops(session.log, session.codec, session.topics)
        return [stopped_row(session.topics, stopped) for stopped in found.values()]

    show(run(work), list(STOP_COLUMNS), as_json=as_json, empty="no partition is stopped")


STOP_COLUMNS = ("service", "topic", "partition", "offset", "reason")


def stopped_row(topics: Topics, stopped: PartitionStopped) -> dict[str, Any]:
    """A stopped partition as a row."""
    return {
        "service": stopped.service,
        "topic": topics.base(stopped.topic),
        "partition": stopped.partition,
        "offset": stopped.offset,
        "reason": stopped.reason,
    }


@app.command("resume")
def resume(name: Stoppable, partition: Partition = None, by: By = None, reason: Reason = "let go on by hand", as_json: AsJson = False) -> None:  # fmt: skip
    """Continue to read stopped partitions from where they stopped; the limit counts from zero again."""

    async def work(session: Session) -> list[PartitionResumed]:
        chosen = await _chosen(session, name, partition)
        return [_resumed(s, s.offset, "resume", by, reason) for s in chosen]

    _let_go_on(work, as_json)


@app.command("skip")
def skip(
    name: Stoppable,
    partition: Partition = None,
    to: Annotated[int | None, typer.Option("--to", min=0, max=INT64, help="The offset to continue at; the current end by default.")] = None,
    by: By = None,
    reason: Reason = "passed over by hand",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Continue to read stopped partitions at a later offset; the records in between are never handled."""

    async def work(session: Session) -> list[PartitionResumed]:
        chosen = await _chosen(session, name, partition)
        ends = await session.log.end_offsets([TopicPartition(s.topic, s.partition) for s in chosen])
        if to is not None and len(chosen) > 1:
            stopped = ", ".join(str(s.partition) for s in chosen)
            raise Misconfigured(f"partitions {stopped} of {name} are stopped: choose one with --partition")
        return [_resumed(s, _target(s, ends, to), "skip", by, reason) for s in chosen]

    _let_go_on(work, as_json)


def _resumed(stopped: PartitionStopped, offset: int, how: str, by: str | None, reason: str) -> PartitionResumed:
    service, topic, partition = stopped.service, stopped.topic, stopped.partition
    return PartitionResumed(service, topic, partition, offset, how, _author(by), reason, stopped.topic_id)


def _target(stopped: PartitionStopped, ends: dict[TopicPartition, int], to: int | None) -> int:
    end = ends[TopicPartition(stopped.topic, stopped.partition)]
    if to is None:
        return max(end, stopped.offset)
    if not stopped.offset < to <= end:
        raise Misconfigured(
            f"--to must lie in {stopped.offset + 1}..{end} (it is stopped at {stopped.offset}), got {to}"
        )
    return to


async def _chosen(session: Session, name: str, partition: int | None) -> list[PartitionStopped]:
    full = full_name(session.topics, name)
    if full not in await session.log.list_topics():
        raise Misconfigured(f"there is no topic {name}: `headrace topic list`")
    stopped = list((await read_stops(session.log, session.codec, session.topics)).values())
    return choose_stopped(stopped, session.topics, full, partition)


def choose_stopped(
    stopped: Sequence[PartitionStopped], topics: Topics, full: str, partition: int | None
) -> list[PartitionStopped]:
    """The stopped partitions of a topic; raises `Misconfigured` when there are none."""
    chosen = [s for s in stopped if s.topic == full and partition in (None, s.partition)]
    if not chosen:
        wanted = topics.base(full) if partition is None else f"partition {partition} of {topics.base(full)}"
        others = ", ".join(f"{topics.base(s.topic)}/{s.partition}" for s in stopped)
        raise Misconfigured(f"{wanted} is not stopped; {f'stopped are {others}' if others else 'nothing is'}")
    return chosen


def _let_go_on(work: Any, as_json: bool) -> None:
    async def write(session: Session) -> list[dict[str, Any]]:
        events: list[PartitionResumed] = await work(session)
        producer = await session.log.producer()
        try:
            await producer.send([stop_record(session.topics, event) for event in events])
        finally:
            await producer.close()
        return [
            {"topic": session.topics.base(e.topic), "partition": e.partition, "offset": e.offset, "how": e.how, "by": e.by}
            for e in events
        ]  # fmt: skip

    gone_on = run(write)
    lines = "; ".join(f"{row['topic']}/{row['partition']} continues at offset {row['offset']}" for row in gone_on)
    show_result({"resumed": gone_on}, as_json=as_json, line=f"{lines} (by {gone_on[0]['by']})")


def _author(by: str | None) -> str:
    return by or f"{getpass.getuser()}@{socket.gethostname()}"


async def _newest(session: Session, ends: dict[TopicPartition, int], number: int) -> list[Record]:
    begins = await session.log.begin_offsets(ends)
    # NB: control records take offsets too, so this reads a little further back.
    starts = {tp: max(begins[tp], end - 2 * number - 5) for tp, end in ends.items()}
    reader = await session.log.reader(list(ends), starts)
    found: list[Record] = []
    try:
        while any([await reader.position(tp) < end for tp, end in ends.items()]):
            found += await reader.fetch(0.5)
    finally:
        await reader.close()
    return found


async def _follow(session: Session, starts: dict[TopicPartition, int], as_json: bool) -> None:
    reader = await session.log.reader(list(starts), starts)
    try:
        while True:
            for record in await reader.fetch(0.5):
                _print(session, record, as_json)
    except asyncio.CancelledError:
        await reader.close()
        raise


def _print(session: Session, record: Record, as_json: bool) -> None:
    line = _described(session, record)
    if as_json:
        print(json.dumps(line, default=str))
        return
    body = json.dumps(line["event"], default=str)
    short = body if len(body) <= 400 else f"{body[:400]}..."
    parts = [(line["time"], "dim"), (line["type"], "cyan"), (line["place"], "dim"), (line["key"], "")]
    console.print(Text(" ").join(Text(harmless(text), style) for text, style in parts))
    console.print(f"  {harmless(short)}", highlight=False, markup=False)
    if "reason" in line:
        console.print(f"  {harmless(line['reason'])}", style="red", highlight=False, markup=False)


def _described(session: Session, record: Record) -> dict[str, Any]:
    place = f"{record.partition}/{record.offset}"
    key = (record.key or b"").decode("utf-8", "replace")
    try:
        message = session.codec.decode(record)
    except (Poison, Fatal) as error:
        return {
            "time": instant(record.timestamp_ms / 1000),
            "type": "unreadable",
            "place": place,
            "key": key,
            "event": _untyped(record),
            "reason": str(error),
        }
    envelope = message.envelope
    kind = envelope.type or (type(message.event).__name__ if message.event is not None else "raw")
    event = plain(message.event) if message.event is not None else _untyped(record)
    return {
        "time": instant(envelope.time_s),
        "type": kind,
        "id": envelope.id,
        "cause": envelope.causation_id,
        "place": place,
        "key": key,
        "event": event,
    }


def _untyped(record: Record) -> Any:
    return untyped(record.value, header(record.headers, "content-type") or "")
