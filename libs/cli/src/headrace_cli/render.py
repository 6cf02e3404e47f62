"""What commands print: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console()


def show(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str, title: str = ""
) -> None:
    """Rows as a table with these columns, or as a JSON array with everything; `empty` says what no row means."""
    if as_json:
        print(json.dumps(list(rows), indent=2, default=str))
        return
    if not rows:
        console.print(empty)
        return
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*[cell(row.get(column)) for column in columns])
    console.print(table)


def say(value: Mapping[str, Any], *, as_json: bool, line: str) -> None:
    """One result: a line for people, an object for programs."""
    if as_json:
        print(json.dumps(value, indent=2, default=str))
    else:
        console.print(line)


def cell(value: Any) -> str:
    """A value as it stands in a table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value)) or "-"
    return str(value)


def instant(time_s: float) -> str:
    """An instant, to the second, UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
