"""Users' tables: how their cells are read, and the errors of those that cannot be read."""

import gzip
import tracemalloc
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from headrace.errors import Misconfigured
from headrace_cli.tables import cells
from headrace_cli.tables.files import BadRow, Column, Row, Table

APRIL_S = 1364774400.0


def written(tmp_path: Path, content: str, name: str = "rows.csv") -> Table:
    path = tmp_path / name
    path.write_text(content)
    return Table(path)


def test_cells_are_read_as_what_their_column_must_hold(tmp_path: Path) -> None:
    table = written(tmp_path, "unit,at,price,city\n7,2013-04-01 00:00:00,1.5,Rome\n8,1364774400,NA,\n")
    wanted = [
        Column("unit", cells.text),
        Column("at", cells.instant),
        Column("price", cells.number),
        Column("city", cells.scalar),
    ]
    assert list(table.rows(wanted)) == [
        Row(1, 2, ("7", APRIL_S, 1.5, "Rome")),
        Row(2, 3, ("8", APRIL_S, None, None)),
    ]


def test_parquet_reads_the_same_from_its_own_types(tmp_path: Path) -> None:
    at = [datetime(2013, 4, 1), datetime(2013, 4, 1, 1)]
    frame = pl.DataFrame({"unit": [7.0, 8.5], "at": at, "day": [date(2013, 4, 1), None], "late": [True, None]})
    frame = frame.with_columns(zoned=pl.col("at").dt.replace_time_zone("Europe/Rome"))
    frame.write_parquet(tmp_path / "rows.parquet")
    table = Table(tmp_path / "rows.parquet")
    wanted = [
        Column("unit", cells.text),
        Column("at", cells.instant),
        Column("day", cells.instant),
        Column("late", cells.label),
        Column("zoned", cells.instant),
    ]
    assert list(table.rows(wanted)) == [
        Row(1, 1, ("7", APRIL_S, APRIL_S, True, APRIL_S - 7200)),
        Row(2, 2, ("8.5", APRIL_S + 3600, None, None, APRIL_S - 3600)),
    ]


def test_a_bad_row_has_its_line_and_the_others_go_on(tmp_path: Path) -> None:
    table = written(tmp_path, 'name,price\n"two\nlines",1\nb,cheap\nc\nd,inf\n\ne,2\n')
    rows = list(table.rows([Column("price", cells.number)]))
    assert rows == [
        Row(1, 2, (1.0,)),
        BadRow(2, 4, "price must be a number, got 'cheap'"),
        BadRow(3, 5, "it has 1 fields, the header names 2"),
        BadRow(4, 6, "price must be a finite number, got 'inf'"),
        Row(5, 8, (2.0,)),
    ]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("yesterday", "must be an instant such as 2013-04-01T12:00:00Z, or seconds since the epoch, got 'yesterday'"),
        ("20130401", "may be a date or seconds since the epoch, got '20130401': write 2013-04-01 or 1364774400.0"),
        (
            "1364774400000",
            "must lie in the years 1..9999, in seconds since the epoch, got '1364774400000': are these milliseconds or finer?",
        ),
        ("1_364", "must be an instant such as 2013-04-01T12:00:00Z, or seconds since the epoch, got '1_364'"),
        (True, "must be an instant such as 2013-04-01T12:00:00Z, or seconds since the epoch, got True"),
    ],
)
def test_an_ambiguous_instant_is_refused_and_never_guessed(cell: object, expected: str) -> None:
    with pytest.raises(cells.BadCell) as caught:
        cells.instant(cell)
    assert str(caught.value) == expected


def test_instants_keep_their_zone_and_none_is_utc() -> None:
    at = datetime(2013, 4, 1, 0, 0, tzinfo=UTC)
    assert [cells.instant(found) for found in (at, "2013-04-01T05:30:00+05:30", 1364774400, "1364774400.0")] == [
        APRIL_S
    ] * 4


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        ("", "rows.csv", "is empty: its first line must name the columns"),
        ("a,a\n1,2\n", "rows.csv", "has two columns with the same name: a"),
        ("PAR1 no", "rows.parquet", "cannot be read as Parquet"),
        ("a,b\n", "rows.xlsx", "is neither CSV nor Parquet by its name: name it .csv, .csv.gz, .tsv or .parquet"),
        ("a,b\n", "rows.csv.gz", "cannot be read: Not a gzipped file"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_sentence(
    tmp_path: Path, content: str, name: str, expected: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        written(tmp_path, content, name)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    table = written(tmp_path, "unit_id,at\n1,2\n")
    with pytest.raises(Misconfigured, match=r"has no column unit-id \(is it unit_id\?\), price; it has: unit_id, at"):
        next(table.rows([Column("unit-id", cells.text), Column("price", cells.number)]))


def test_a_file_in_another_encoding_is_refused_with_the_conversion(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("a\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(Misconfigured, match=r"is not UTF-8.*iconv"):
        list(Table(tmp_path / "rows.csv").rows([Column("a", cells.text)]))


def test_a_quote_that_is_never_closed_is_reported(tmp_path: Path) -> None:
    table = written(tmp_path, 'a\n1\n"open' + "x" * 200_000)
    with pytest.raises(Misconfigured, match="is a quote opened and not closed"):
        list(table.rows([Column("a", cells.text)]))


def test_separators_byte_order_marks_and_gzip_are_taken(tmp_path: Path) -> None:
    wanted = [Column("a", cells.number), Column("b", cells.text)]
    semicolons = written(tmp_path, "\ufeffa;b\r\n1;x,y\r\n")
    assert list(semicolons.rows(wanted)) == [Row(1, 2, (1.0, "x,y"))]
    with gzip.open(tmp_path / "rows.tsv.gz", "wt") as opened:
        opened.write("a\tb\n1\tx\n")
    assert list(Table(tmp_path / "rows.tsv.gz").rows(wanted)) == [Row(1, 2, (1.0, "x"))]


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    one, other = written(tmp_path, "a\n1\n"), written(tmp_path, "a\n2\n", "other.csv")
    assert one.digest() == written(tmp_path, "a\n1\n", "copy.csv").digest() != other.digest()


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"a": range(100_000), "b": [f"unit-{n}" for n in range(100_000)]})
    (frame.write_parquet if name.endswith("parquet") else frame.write_csv)(tmp_path / name)
    wanted = [Column("a", cells.number), Column("b", cells.text)]
    tracemalloc.start()
    count = sum(1 for _ in Table(tmp_path / name).rows(wanted))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 100_000
    assert most_bytes < 4_000_000
