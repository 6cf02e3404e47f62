"""Reads files of raw streams and sources: which stream a file belongs to, and the record of each row.

| `--events`                 | a row is                                                                                        |
|----------------------------|-------------------------------------------------------------------------------------------------|
| `STREAM=FILE:AT[:KEY]`     | a message of a raw stream, its columns as an object; sent at the instant in AT, keyed by KEY     |
| `SOURCE=FILE`              | an event of a source that no pipeline writes, held to its contract; sent when it may be used     |

Parquet keeps its types. A CSV has none: a column holds numbers if each of its cells is a JSON number, booleans if each is true or
false, else text. An empty cell is null. Without KEY all messages go to the first partition, so that their order is kept.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace.errors import Misconfigured, Poison
from headrace.events.definition import DeploymentDefinition, ProjectDefinition, RawStreamDefinition, SourceDefinition
from headrace.features.plan import entrance
from headrace.instants import instant_s, utc, why_not
from headrace.log.port import MAX_VALUE_BYTES
from headrace.log.topics import Topics
from headrace.project.compile_streams import event_struct
from headrace_cli.replay.history import MOST_REASONS, Counted
from headrace_cli.replay.spool import Spool, StreamRecord
from headrace_cli.tables import cells
from headrace_cli.tables.files import BadRow, Column, Row, Table

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_FLAGS = {"true": True, "false": False}
# The readers for the fields of a source; booleans are read as they are.
_BY_KIND = {"number": cells.number, "integer": cells.number, "text": cells.text, "instant": cells.instant}


class Given(NamedTuple):
    """One `--events`, parsed. `columns`: AT and KEY after the file."""

    stream: str
    file: Path
    columns: tuple[str, ...] = ()

    @staticmethod
    def parse(words: str) -> "Given":
        """Read `STREAM=FILE[:AT[:KEY]]`; a file's name may contain colons."""
        stream, is_there, rest = words.partition("=")
        if not (stream and is_there and rest):
            raise Misconfigured(
                f"--events takes STREAM=FILE:AT[:KEY], such as movements=movements.csv:at, got {words!r}"
            )
        for count in (0, 1, 2):
            file, *columns = rest.rsplit(":", count)
            if Path(file).is_file() and all(columns):
                return Given(stream, Path(file), tuple(columns))
        raise Misconfigured(f"--events {words}: there is no file {rest.split(':')[0]}")


@dataclass(frozen=True)
class Stream:
    """A raw stream or a source of the project, and a file of its history. `is_viewed`: views are computed from it."""

    name: str
    topic: str
    table: Table
    declared: RawStreamDefinition | SourceDefinition
    at: str = ""
    key: str | None = None
    is_viewed: bool = True

    @property
    def is_raw(self) -> bool:
        """Whether a pipeline reads it."""
        return isinstance(self.declared, RawStreamDefinition)

    @property
    def after_s(self) -> float:
        """How long after its domain time a record may be used."""
        source = self.declared
        return source.available_after_s if isinstance(source, SourceDefinition) and not source.available_at else 0.0

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The parts of its ids other than its file."""
        return ("events", self.at, self.key or "")


def streams_of(given: Sequence[str], project: ProjectDefinition, topics: Topics) -> list[Stream]:
    """The given streams. Raises `Misconfigured` with the existing ones for an unknown stream."""
    return [_stream(Given.parse(words), project, topics) for words in given]


def feeding(project: ProjectDefinition, deployment: DeploymentDefinition) -> list[str]:
    """The raw streams, and the sources that no pipeline writes, from which a deployment's features come."""
    sources = {project.view(binding.view).source for binding in deployment.features}
    raw = {pipeline.raw for pipeline in project.pipelines if sources & set(pipeline.sources)}
    written = {source for pipeline in project.pipelines for source in pipeline.sources}
    return sorted(raw | (sources - written))


def _stream(given: Given, project: ProjectDefinition, topics: Topics) -> Stream:
    viewed = {view.source for view in project.views}
    for raw in project.raw:
        if raw.name == given.stream:
            readers = [found for found in project.pipelines if found.raw == raw.name]
            if not readers:
                raise Misconfigured(f"--events {raw.name}: no pipeline reads it, so it would have no effect")
            fed = {source for found in readers for source in found.sources}
            return _raw(given, raw, topics.of_raw(raw.name), bool(fed & viewed))
    for source in project.sources:
        if source.name == given.stream:
            return _source(given, source, project, topics)
    known = ", ".join([found.name for found in (*project.raw, *project.sources)]) or "none"
    raise Misconfigured(f"--events {given.stream}: {project.name} has no such raw stream or source (it has: {known})")


def _raw(given: Given, raw: RawStreamDefinition, topic: str, is_viewed: bool) -> Stream:
    if not given.columns:
        raise Misconfigured(
            f"--events {given.stream}={given.file} must name the column of the instant at which a message came:"
            f" {given.stream}={given.file}:COLUMN"
        )
    table, (at, *key) = Table(given.file), given.columns
    table.need(given.columns)
    return Stream(raw.name, topic, table, raw, at, key[0] if key else None, is_viewed)


def _source(given: Given, source: SourceDefinition, project: ProjectDefinition, topics: Topics) -> Stream:
    writers = [found for found in project.pipelines if source.name in found.sources]
    if writers:
        origins = ", ".join(f"{found.raw} (by {found.name})" for found in writers)
        raise Misconfigured(f"--events {source.name}: pipelines write it from {origins}: give the file of that stream")
    if given.columns:
        raise Misconfigured(
            f"--events {source.name}={given.file}: a source's own fields hold the key and the instants of its events:"
            f" omit :{':'.join(given.columns)}"
        )
    table = Table(given.file)
    table.need([field.name for field in source.fields if not field.nullable])
    is_viewed = source.name in {view.source for view in project.views}
    return Stream(source.name, topics.of_source(source.name), table, source, is_viewed=is_viewed)


class Events:
    """Reads the rows of a stream's file as records. `shard`: its number among the files."""

    def __init__(self, stream: Stream, shard: int, now_s: float) -> None:
        self.stream, self._shard, self._now_ms = stream, shard, round(now_s * 1000)
        declared = stream.declared
        if isinstance(declared, SourceDefinition):
            kept = {field.name for field in declared.fields}
            self.names = [name for name in stream.table.columns if name in kept]
            self._make: Callable[[Row], StreamRecord | str] = _EventOf(declared, self.names, shard, self._now_ms)
            self._ahead: list[Column] = []
        else:
            self.names = [name for name in stream.table.columns if name]
            self._make = self._message
            self._ahead = [Column(stream.at, cells.instant)]
            self._ahead += [Column(stream.key, cells.text)] if stream.key is not None else []
        self._encode = msgspec.msgpack.encode if _is_msgpack(declared) else msgspec.json.encode

    def fill(self, spool: Spool[StreamRecord], report: Callable[[str], None]) -> Counted:
        """Read every row into `spool`."""
        counted, table = Counted(), self.stream.table
        for row in table.rows([*self._ahead, *self._read(report)]):
            counted.rows += 1
            made = row.reason if isinstance(row, BadRow) else self._make(row)
            if isinstance(made, StreamRecord):
                spool.add(made)
                continue
            counted.bad += 1
            if counted.bad <= MOST_REASONS:
                counted.reasons.append(f"{table.path}, {table.place} {row.line}: {made}")
        return counted

    def _read(self, report: Callable[[str], None]) -> list[Column]:
        """Every column, and how its cells are read; those of a CSV are read once for that."""
        declared = self.stream.declared
        if isinstance(declared, SourceDefinition):
            by_kind = {field.name: _BY_KIND.get(field.kind, _as_it_is) for field in declared.fields}
            return [Column(name, by_kind[name]) for name in self.names]
        if self.stream.table.place == "row":
            return [Column(name, _as_it_is) for name in self.names]
        kinds = _kinds(self.stream.table, self.names)
        numbers = [name for name in self.names if kinds[name] is _number]
        report(
            f"{self.stream.table.path.name}: numbers are {', '.join(numbers) or 'no columns'}, the others are texts or booleans"
        )
        return [Column(name, kinds[name]) for name in self.names]

    def _message(self, row: Row) -> StreamRecord | str:
        at_s, key = row.cells[0], row.cells[1] if self.stream.key is not None else None
        if at_s is None:
            return f"{self.stream.at} is missing: a message needs an instant"
        reason = why_not(at_s, self._now_ms, self.stream.at)
        if reason is not None:
            return reason
        value = self._encode(dict(zip(self.names, row.cells[len(self._ahead) :], strict=True)))
        return _too_large(value) or StreamRecord(at_s, self._shard, row.number, at_s, key, value)


class _EventOf:
    """Reads rows as events of a source, checked against its contract."""

    def __init__(self, source: SourceDefinition, names: Sequence[str], shard: int, now_ms: int) -> None:
        self._source, self._names, self._shard, self._now_ms = source, names, shard, now_ms
        self._struct, self._enter = event_struct(source), entrance(source)

    def __call__(self, row: Row) -> StreamRecord | str:
        fields = dict(zip(self._names, row.cells, strict=True))
        try:
            event = msgspec.convert(fields, self._struct, strict=False)
        except msgspec.ValidationError as error:
            return str(error)
        time_s, key = self._enter(event, self._now_ms), getattr(event, self._source.key)
        if isinstance(time_s, Poison):
            return time_s.reason
        if key is None:
            return f"{self._source.key} is missing: it is the key of the event"
        at_s = instant_s(getattr(event, self._source.available_at or self._source.event_time))
        value = msgspec.msgpack.encode(event)
        return _too_large(value) or StreamRecord(time_s, self._shard, row.number, at_s, str(key), value)


def _too_large(value: bytes) -> str | None:
    return (
        None
        if len(value) <= MAX_VALUE_BYTES
        else f"it has {len(value):,} bytes, at most {MAX_VALUE_BYTES:,} are allowed"
    )


def _is_msgpack(declared: RawStreamDefinition | SourceDefinition) -> bool:
    return isinstance(declared, SourceDefinition) or declared.format == "msgpack"


def _kinds(table: Table, names: Sequence[str]) -> dict[str, cells.Read]:
    """How the cells of each column of a CSV are read, from all its cells."""
    could_be = {name: [_number, _flag] for name in names}
    for row in table.rows([Column(name, _as_it_is) for name in names]):
        if isinstance(row, BadRow):
            continue
        for name, cell in zip(names, row.cells, strict=True):
            if cell is not None and could_be[name]:
                could_be[name] = [read for read in could_be[name] if _can(read, cell)]
    return {name: found[0] if found else _as_it_is for name, found in could_be.items()}


def _can(read: cells.Read, cell: str) -> bool:
    try:
        read(cell)
    except cells.BadCell:
        return False
    return True


def _number(cell: Any) -> int | float | None:
    if cell in (None, ""):
        return None
    if not _NUMBER.fullmatch(cell):
        raise cells.BadCell(f"must be a number, got {cell!r}")
    return msgspec.json.decode(cell)


def _flag(cell: Any) -> bool | None:
    if cell in (None, ""):
        return None
    if cell not in _FLAGS:
        raise cells.BadCell(f"must be true or false, got {cell!r}")
    return _FLAGS[cell]


def _as_it_is(cell: Any) -> Any:
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, datetime):
        return utc(cell)
    if cell == "" or (isinstance(cell, float) and cell != cell):
        return None
    return cell
