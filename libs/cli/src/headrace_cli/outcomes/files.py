"""Outcomes from the command line: one, or a file of them, with each row once however often the file is imported. Also how the
outcomes on the log were used.

The id of an imported row is derived from its contents (deployment, unit, instant, label, request, what it corrects), unless a
column holds ids. A row whose id is on the log is not sent again, so an interrupted import continues.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.asking.outcome_writer import Observer
from headrace.asking.outcomes import Observed, observed, refuse
from headrace.asking.requests import Unfit
from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved
from headrace.evidence.labelled import fates_by_place
from headrace.log.codec import Message, header
from headrace.log.envelope import derived_id
from headrace.log.port import Record
from headrace.log.reading import pin_offsets, read_up_to
from headrace_cli.session import Session
from headrace_cli.tables.cells import instant as instant_cell
from headrace_cli.tables.cells import label_among, text
from headrace_cli.tables.files import BadRow, Column, Row, Table
from headrace_cli.terminal.render import instant

SOURCE = "import"
_BATCH, _WITHIN_S = 2000, 60.0
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to import, and its columns: `unit`, `label`, `at`, and the optional others."""

    path: Path
    deployment: str
    unit: str
    label: str
    at: str
    request: str | None = None
    corrects: str | None = None
    ident: str | None = None
    is_strict: bool = False


@dataclass
class Imported:
    """The result of an import. `bad`: one sentence per row that was left out, in their order."""

    rows: int = 0
    sent: int = 0
    there_already: int = 0
    bad: list[str] = field(default_factory=list)


def taking(session: Session, name: str) -> DeploymentDefinition:
    """The deployment, if it takes outcomes. Raises `Misconfigured` otherwise."""
    found = session.projects.deployment(name)
    try:
        refuse(name, None if found is None else found[1])
    except Unfit as error:
        known = ", ".join(d.name for _, d in session.projects.deployments() if d.label is not None) or "none"
        raise Misconfigured(f"{error} (those that take outcomes: {known})") from None
    assert found is not None
    return found[1]


async def send_one(session: Session, name: str, given: dict[str, Any], ident: str) -> Observed:
    """Put one outcome on the log."""
    deployment = taking(session, name)
    classes = () if deployment.label is None else deployment.label.classes
    try:
        outcome = observed(given | {"label": label_among(classes)(given["label"])}, ident, session.clock.now_s())
        refuse(name, deployment, outcome)
    except Unfit as error:
        raise Misconfigured(str(error)) from None
    observer = Observer(session.log, session.topics, "cli")
    try:
        await observer.send(name, [outcome])
    finally:
        await observer.close()
    return outcome


async def import_file(session: Session, wanted: Wanted, progress: Progress = lambda what, share: None) -> Imported:
    """Put the rows of a file on the log that are not there yet. With `is_strict` nothing is sent if a row is bad."""
    deployment, table, done = taking(session, wanted.deployment), Table(wanted.path), Imported()
    total = sum(1 for _ in table.rows(_columns(wanted, deployment)))
    if wanted.is_strict:
        bad = [found for found in _rows(session, wanted, table, deployment) if isinstance(found, str)]
        if bad:
            raise Misconfigured(f"nothing is imported: {len(bad):,} bad rows, the first: {bad[0]}")
    there = await _there(session, progress)
    observer, batch = Observer(session.log, session.topics, SOURCE), list[Observed]()
    try:
        for found in _rows(session, wanted, table, deployment):
            done.rows += 1
            if isinstance(found, str):
                done.bad.append(found)
            elif _key(found.unit, found.id) in there:
                done.there_already += 1
            else:
                there.add(_key(found.unit, found.id))
                batch.append(found)
            if len(batch) >= _BATCH:
                await observer.send(wanted.deployment, batch, _WITHIN_S)
                done.sent, batch = done.sent + len(batch), []
                progress("sending", done.rows / max(total, 1))
        if batch:
            await observer.send(wanted.deployment, batch, _WITHIN_S)
            done.sent += len(batch)
    finally:
        await observer.close()
    return done


async def _there(session: Session, progress: Progress) -> set[int]:
    """The keys of all outcomes that imports have put on the log."""
    found: set[int] = set()

    def take(record: Record) -> None:
        if header(record.headers, "ce_source") == SOURCE:
            found.add(_key((record.key or b"").decode("utf-8", "replace"), header(record.headers, "ce_id") or ""))

    ends = await pin_offsets(session.log, [session.topics.name("inference.outcomes")])
    await read_up_to(session.log, ends, take, lambda done, total: progress("reading the log", done / max(total, 1)), {})
    return found


def _key(unit: str, ident: str) -> int:
    """NB: ids are per unit: two units may have outcomes with the same id."""
    return hash((unit, ident))


def _columns(wanted: Wanted, deployment: DeploymentDefinition) -> Sequence[Column]:
    classes = () if deployment.label is None else deployment.label.classes
    named = (wanted.request, wanted.corrects, wanted.ident)
    first = [Column(wanted.unit, text), Column(wanted.label, label_among(classes)), Column(wanted.at, instant_cell)]
    return [*first, *(Column(name, text) for name in named if name is not None)]


def _rows(session: Session, wanted: Wanted, table: Table, deployment: DeploymentDefinition) -> Iterator[Observed | str]:
    """Each row as an outcome, or as a sentence with the reason why it is not one."""
    fields = ["unit", "label", "at"]
    named = {"request_id": wanted.request, "corrects": wanted.corrects, "id": wanted.ident}
    fields += [name for name, column in named.items() if column is not None]
    now_s = session.clock.now_s()
    for row in table.rows(_columns(wanted, deployment)):
        outcome = (
            row.reason if isinstance(row, BadRow) else _outcome_of(wanted.deployment, deployment, fields, row, now_s)
        )
        yield f"{table.place} {row.line}: {outcome}" if isinstance(outcome, str) else outcome


def _outcome_of(
    name: str, deployment: DeploymentDefinition, fields: Sequence[str], row: Row, now_s: float
) -> Observed | str:
    given = dict(zip(fields, row.cells, strict=True))
    ident = derived_id("outcome-import", name, *(given.get(field) for field in fields))
    try:
        if given["at"] is None:
            return "at is missing: when did it become known?"
        outcome = observed(given, ident, now_s)
        refuse(name, deployment, outcome)
    except Unfit as error:
        return str(error)
    return outcome


async def newest(session: Session, name: str, most: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The newest outcomes of a deployment, and counts of how all of them were used."""
    deployment = taking(session, name)
    decisions = [m.event for m in await session.all_of("inference.decisions") if isinstance(m.event, DecisionMade)]
    outcomes: list[Message] = [
        message
        for message in await session.all_of("inference.outcomes")
        if isinstance(message.event, OutcomeObserved) and message.event.deployment == name
    ]
    fates = fates_by_place(deployment, decisions, outcomes)
    counts: dict[str, int] = {}
    for fate in fates:
        counts[fate] = counts.get(fate, 0) + 1
    rows = [_row(message, fate) for message, fate in zip(outcomes, fates, strict=True)]
    return sorted(rows, key=lambda row: row["known"])[-most:] if most > 0 else [], counts


def _row(message: Message, fate: str) -> dict[str, Any]:
    event = message.event
    return {
        "known": instant(message.envelope.time_s),
        "unit": event.unit,
        "label": event.label,
        "request_id": event.request_id,
        "corrects": event.corrects,
        "id": message.envelope.id,
        "became": fate.replace("_", " "),
    }
