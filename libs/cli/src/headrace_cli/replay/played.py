"""Runs one replay, from its options to its report."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from headrace.asking.feeding import Applied
from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.hosting.exclusive import Alone, of_replay
from headrace.log.port import TopicPartition
from headrace_cli.replay.fed import Fed, Source, read_file
from headrace_cli.replay.figures import Figures, counts
from headrace_cli.replay.gathering import Gathered, dead_letters_since, ends_now, ends_of_dead_letters, gather
from headrace_cli.replay.history import Counted, History
from headrace_cli.replay.history import Mapping as Columns
from headrace_cli.replay.ids import Ids, Sent, find_sent
from headrace_cli.replay.meanwhile import meanwhile_of
from headrace_cli.replay.recorded import Recorded
from headrace_cli.replay.running import Replay
from headrace_cli.replay.spool import Event, Spool, StreamRecord
from headrace_cli.replay.streams import Stream, feeding, streams_of
from headrace_cli.session import Session
from headrace_cli.tables.files import Table
from headrace_cli.terminal.render import instant


class Bar(Protocol):
    """Shows progress."""

    def report(self, line: str) -> None:
        """Print a line above the bar. Does not block."""
        ...

    def part(self, what: str, total: float | None) -> None:
        """Begin a new part of the work. `total`: its amount, None if unknown. Does not block."""
        ...

    def reached(self, done: float, at: str) -> None:
        """Show how much of the part is done. `at`: the instant that it has reached. Does not block."""
        ...


@dataclass(frozen=True)
class Wanted:
    """The options of a replay: `file`, or the history of `source` on the log; `target`: the deployment that is asked."""

    file: Path | None
    source: str
    target: str
    unit: str | None = None
    at: str | None = None
    label: str | None = None
    known: str | None = None
    speed: float | None = None
    run: str = ""
    strict: bool = False
    events: tuple[str, ...] = ()

    def refuse(self) -> None:
        """Raise `Misconfigured` for options that cannot be combined."""
        columns = {"--unit": self.unit, "--at": self.at, "--label": self.label, "--known": self.known}
        if self.file is None:
            given = [name for name, value in columns.items() if value is not None]
            if given:
                raise Misconfigured(f"{', '.join(given)} names columns of a file: give the FILE too")
            if self.target == self.source:
                raise Misconfigured(
                    "give a FILE to replay, or --to NAME to send this deployment's requests to another one"
                )
            return
        needed = [name for name in ("--unit", "--at") if columns[name] is None]
        if needed:
            raise Misconfigured(f"{' and '.join(needed)} COLUMN must be given: the unit of a request, and its instant")


@dataclass(frozen=True)
class Played:
    """The result of a replay."""

    figures: Figures
    report: dict[str, Any]


@dataclass(frozen=True)
class _Source:
    """A history in the spool."""

    ids: Ids
    counted: Counted


async def play(session: Session, wanted: Wanted, bar: Bar) -> Played:
    """Run the replay, wait for all decisions, and read the results back from the log."""
    project, target = _deployment(session, wanted.target)
    streams = streams_of(wanted.events, project, session.topics)
    with closing(Spool[Event]()) as spool, closing(Spool[StreamRecord]()) as stream_spool:
        source = await _fill(session, wanted, target, spool, bar)
        _report_counted(wanted, source.counted, target, bar)
        fed = Fed(session, _read(wanted, streams, stream_spool, session.clock.now_s(), bar), stream_spool, Applied())
        _report_features(project, target, streams, bar)
        letters = await ends_of_dead_letters(session)
        async with _alone(session, wanted, streams, bar) as places:
            replay = Replay(session, target, source.ids, bar.report, fed, places)
            starts, records_sent = await _run(replay, spool, fed, wanted, bar)
            events_sent = replay.events_sent
        span = spool.first_s, spool.last_s
    bar.part("reading back", None)
    gathered = await gather(session, target, source.ids, starts)
    meanwhile = await meanwhile_of(session, target.name, starts, 0 if starts else gathered.began_ms)
    await fed.find(lambda done, total: None)
    figures = Figures(gathered)
    return Played(figures, {**_about(wanted, source, span), **_counts(gathered, fed), "records_sent": records_sent,
        "events_sent": events_sent, "dead_lettered": await dead_letters_since(session, letters), "holds": replay.holds, "held_s": round(replay.held_s, 1),
        **meanwhile.report(), **figures.report()})  # fmt: skip


def _counts(gathered: Gathered, fed: Fed) -> dict[str, Any]:
    """The counts of requests and events together, because a duplicate of either is a fault."""
    found, files = counts(gathered), [source.report() for source in fed.sources]
    return found | {"duplicated": found["duplicated"] + sum(file["duplicated"] for file in files), "events": files}


def _read(
    wanted: Wanted, streams: Sequence[Stream], spool: Spool[StreamRecord], now_s: float, bar: Bar
) -> list[Source]:
    found = []
    for shard, stream in enumerate(streams):
        bar.part(f"reading {stream.table.path.name}"[-18:], None)
        source = read_file(stream, shard, spool, now_s, bar.report)
        _report_bad(wanted, source.counted, str(stream.table.path), bar)
        found.append(source)
    return found


@asynccontextmanager
async def _alone(session: Session, wanted: Wanted, streams: Sequence[Stream], bar: Bar) -> AsyncIterator[list[Alone]]:
    """Hold the exclusive right to replay to this deployment and to send these streams."""
    named = [(stream.name, stream.topic) for stream in streams]
    places = of_replay(session.log, session.topics, wanted.target, named)
    bar.part("waiting for others", None)
    try:
        for place in places:
            await place.take(bar.report)
        yield places
    finally:
        for place in places:
            await place.leave()


async def _fill(
    session: Session, wanted: Wanted, target: DeploymentDefinition, spool: Spool[Event], bar: Bar
) -> _Source:
    if wanted.file is None:
        recorded = Recorded(session, _deployment(session, wanted.source)[1], target)
        bar.part("reading the log", 1.0)
        digest = await recorded.digest()
        counted = await recorded.fill(spool, lambda done, total: bar.reached(done / max(total, 1), ""))
        return _Source(Ids.of(target.name, digest, wanted.run, ("log",)), counted)
    columns = Columns(wanted.unit or "", wanted.at or "", wanted.label, wanted.known)
    history = History(Table(wanted.file), target, columns, session.clock.now_s())
    for note in history.notes():
        bar.report(note)
    bar.part(f"reading {wanted.file.name}"[-18:], None)
    counted = history.fill(spool, lambda rows: bar.reached(0, f"{rows:,} rows"))
    mapping = (columns.unit, columns.at, str(columns.label), str(columns.known))
    return _Source(Ids.of(target.name, history.table.digest(), wanted.run, mapping), counted)


def _report_counted(wanted: Wanted, counted: Counted, target: DeploymentDefinition, bar: Bar) -> None:
    _report_bad(wanted, counted, str(wanted.file or "the log"), bar)
    if counted.bad == counted.rows:
        raise Misconfigured(
            f"none of the {counted.rows:,} rows can be replayed{': ' + counted.reasons[0] if counted.reasons else ''}"
        )
    if counted.beyond and target.label is not None:
        bar.report(
            f"{counted.beyond:,} labels became known beyond the horizon of {target.label.horizon_s:,.0f} s: counted, not used"
        )
    if counted.unknown:
        bar.report(f"{counted.unknown:,} labels have no instant at which they became known: not sent")


def _report_bad(wanted: Wanted, counted: Counted, file: str, bar: Bar) -> None:
    """Report bad rows. Raises `Misconfigured` if no row may be left out."""
    for line in counted.reasons:
        bar.report(line)
    if counted.bad and wanted.strict:
        raise Misconfigured(
            f"{counted.bad:,} of {counted.rows:,} rows of {file} cannot be read, the first: {counted.reasons[0]}; nothing was sent"
        )
    if counted.bad:
        bar.report(
            f"{counted.bad:,} of {counted.rows:,} rows of {file} cannot be read and are left out (--strict refuses them)"
        )


def _report_features(
    project: ProjectDefinition, target: DeploymentDefinition, streams: Sequence[Stream], bar: Bar
) -> None:
    missing = [name for name in feeding(project, target) if name not in {stream.name for stream in streams}]
    if missing:
        bar.report(
            f"the features of {target.name} are computed from {', '.join(missing)}: without their history (--events"
            f" {missing[0]}=FILE) requests find only what the log holds for their instants, perhaps nothing"
        )


async def _sent(session: Session, ids: Ids, bar: Bar) -> Sent:
    bar.part("what is sent", 1.0)
    return await find_sent(session.log, session.topics, ids, lambda done, total: bar.reached(done / max(total, 1), ""))


async def _run(
    replay: Replay, spool: Spool[Event], fed: Fed, wanted: Wanted, bar: Bar
) -> tuple[dict[TopicPartition, int], int]:
    """Send the remaining rows. Returns the offsets from which to read back, and how many records were sent. If it ends early, print how to continue."""
    starts = await ends_now(replay.session)
    sent = await _sent(replay.session, replay.ids, bar)
    bar.part("what is sent", 1.0)
    await fed.find(lambda done, total: bar.reached(done / max(total, 1), ""))
    if sent.requests.count or sent.outcomes.count:
        bar.report(f"{sent.requests.count:,} of the requests are on the log already: continuing from there")
        fed.refuse_forgotten()
        starts = {}
    left = spool.count - sent.requests.count - sent.outcomes.count + fed.left
    bar.part("playing", max(left, 1))
    reached = {"at": ""}

    def progressed(at_s: float, count: int) -> None:
        reached["at"] = instant(at_s)[:16]
        bar.reached(count, f"{reached['at']}  {count:,} of {left:,}")

    is_done = False
    try:
        count = await replay.run(spool.events(), sent, wanted.speed, progressed)
        is_done = True
    finally:
        if not is_done:
            bar.report(
                f"ended at {reached['at'] or 'the beginning'}: the same command continues from there, and sends nothing twice"
            )
    return starts, count


def _about(wanted: Wanted, source: _Source, span: tuple[float, float]) -> dict[str, Any]:
    first_s, last_s = span
    return {
        "deployment": wanted.source,
        "to": wanted.target,
        "file": None if wanted.file is None else str(wanted.file),
        "ids": f"{source.ids.prefix}*",
        "rows": source.counted.rows,
        "bad_rows": source.counted.bad,
        "bad": source.counted.reasons,
        "labels_beyond_horizon": source.counted.beyond,
        "from": instant(first_s),
        "until": instant(last_s),
    }


def _deployment(session: Session, name: str) -> tuple[ProjectDefinition, DeploymentDefinition]:
    """The deployment of this name. Raises `Misconfigured` with the declared ones if there is none."""
    found = session.projects.deployment(name)
    if found is None:
        known = ", ".join(sorted(deployment.name for _, deployment in session.projects.deployments())) or "none"
        raise Misconfigured(f"no applied project declares {name!r} (declared: {known})")
    return found
