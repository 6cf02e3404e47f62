"""Reads users' tables row by row in bounded memory: CSV (also `.tsv`, `.gz`) and Parquet. `cells` reads a cell.

A row that cannot be read is a `BadRow` with its line and the reason; the other rows are read. A file that cannot be read at
all raises `Misconfigured`.
"""

import csv
import difflib
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from headrace.errors import Misconfigured
from headrace_cli.tables.cells import BadCell, Read

_CHUNK_ROWS = 16_384
_BLOCK_BYTES = 1 << 20
_SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Column:
    """A column to read, and how its cells are read: `number`, `text`, `scalar`, `instant` or `label`."""

    name: str
    read: Read


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number`: counted from 1. `line`: where it begins in a CSV, its number in a Parquet. `cells`: of the wanted columns."""

    number: int
    line: int
    cells: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    number: int
    line: int
    reason: str


class Table:
    """A file of rows. `columns`: their names in its order; `place`: how its rows are counted, `line` or `row`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise Misconfigured(f"there is no file {path}" if not path.exists() else f"{path} is not a file")
        suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
        self._is_parquet = suffixes[-1:] in ([".parquet"], [".pq"])
        self._is_packed = suffixes[-1:] == [".gz"]
        if not self._is_parquet and not {".csv", ".tsv", ".txt"} & set(suffixes):
            raise Misconfigured(
                f"{path} is neither CSV nor Parquet by its name: name it .csv, .csv.gz, .tsv or .parquet"
            )
        self.place = "row" if self._is_parquet else "line"
        self._separator = ","
        self.columns: tuple[str, ...] = self._parquet_columns() if self._is_parquet else self._csv_columns()
        twice = sorted({name for name in self.columns if name and self.columns.count(name) > 1})
        if twice:
            raise Misconfigured(f"{path} has two columns with the same name: {', '.join(twice)}")

    def need(self, names: Sequence[str]) -> None:
        """Raise `Misconfigured` if a column is missing, naming all missing and all present ones."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            alike = {name: difflib.get_close_matches(name, self.columns, 1) for name in missing}
            missing = ", ".join(f"{name} (is it {near[0]}?)" if near else name for name, near in alike.items())
            raise Misconfigured(f"{self.path} has no column {missing}; it has: {', '.join(self.columns)}")

    def rows(self, wanted: Sequence[Column]) -> Iterator[Row | BadRow]:
        """Every row, with the cells of the wanted columns as they are read; those that cannot be read are `BadRow`s."""
        self.need([column.name for column in wanted])
        lines = self._parquet_rows(wanted) if self._is_parquet else self._csv_rows(wanted)
        for number, (line, cells) in enumerate(lines, start=1):
            yield _read(number, line, cells, wanted)

    def digest(self) -> str:
        """A digest of the file's bytes."""
        found = hashlib.blake2b(digest_size=16)
        with self.path.open("rb") as opened:
            while block := opened.read(_BLOCK_BYTES):
                found.update(block)
        return found.hexdigest()

    def _csv_columns(self) -> tuple[str, ...]:
        with self._opened() as opened:
            first = opened.readline()
            if not first.strip():
                raise Misconfigured(f"{self.path} is empty: its first line must name the columns")
            # NB: names hold no separators, so the candidate that splits the line most often is the separator.
            self._separator = max(_SEPARATORS, key=first.count)
            opened.seek(0)
            return tuple(name.strip() for name in next(self._reader(opened)))

    def _csv_rows(self, wanted: Sequence[Column]) -> Iterator[tuple[int, Sequence[Any] | str]]:
        places = [self.columns.index(column.name) for column in wanted]
        width = len(self.columns)
        with self._opened() as opened:
            reader = self._reader(opened)
            next(reader)
            line = reader.line_num + 1
            for fields in self._fields(reader):
                if len(fields) == width:
                    yield line, [fields[place] for place in places]
                elif fields:
                    yield line, f"it has {len(fields)} fields, the header names {width}"
                line = reader.line_num + 1

    def _fields(self, reader: Any) -> Iterator[list[str]]:
        try:
            yield from reader
        except csv.Error as error:
            raise Misconfigured(
                f"{self.path}, after line {reader.line_num}: {error}: is a quote opened and not closed?"
            ) from None

    def _reader(self, opened: IO[str]) -> Any:
        return csv.reader(opened, delimiter=self._separator)

    @contextmanager
    def _opened(self) -> Iterator[IO[str]]:
        try:
            opening = gzip.open if self._is_packed else open
            with opening(self.path, "rt", encoding="utf-8-sig", newline="") as opened:
                yield opened  # type: ignore[misc]  # in text mode
        except UnicodeDecodeError as error:
            raise Misconfigured(
                f"{self.path} is not UTF-8 ({error.reason}): `iconv -f LATIN1 -t UTF-8` converts it"
            ) from None
        except (OSError, EOFError, zlib.error) as error:
            raise Misconfigured(f"{self.path} cannot be read: {error}") from None

    def _parquet_columns(self) -> tuple[str, ...]:
        import polars as pl  # late: most commands do not need it

        try:
            return tuple(pl.read_parquet_schema(self.path))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Misconfigured(f"{self.path} cannot be read as Parquet: {error}") from None

    def _parquet_rows(self, wanted: Sequence[Column]) -> Iterator[tuple[int, Sequence[Any] | str]]:
        import polars as pl

        names = [column.name for column in wanted]
        unique = list(dict.fromkeys(names))
        places = [unique.index(name) for name in names]
        start = 0
        try:
            while len(chunk := pl.scan_parquet(self.path).select(unique).slice(start, _CHUNK_ROWS).collect()):
                for number, cells in enumerate(chunk.iter_rows(), start=start + 1):
                    yield number, [cells[place] for place in places]
                start += len(chunk)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Misconfigured(f"{self.path} cannot be read after row {start}: {error}") from None


def _read(number: int, line: int, cells: Sequence[Any] | str, wanted: Sequence[Column]) -> Row | BadRow:
    if isinstance(cells, str):
        return BadRow(number, line, cells)
    found = []
    for cell, column in zip(cells, wanted, strict=True):
        try:
            found.append(column.read(cell))
        except BadCell as error:
            return BadRow(number, line, f"{column.name} {error}")
    return Row(number, line, tuple(found))
