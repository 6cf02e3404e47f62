"""The output of commands: tables for people, JSON for programs.

Texts from others (keys, reasons, names) are printed as they are: they are never read as markup, and their control
characters do not reach the terminal.
"""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# The width of a table in a file or pipe, where no terminal limits it.
_WIDE = 200
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def show(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str, title: str = ""
) -> None:
    """Rows as a table with these columns, or as a JSON array with everything; `empty` is printed if there is no row."""
    if as_json:
        print(json.dumps(list(rows), indent=2, default=str))
        return
    if not rows:
        console.print(empty)
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*[plain_text(row.get(column)) for column in columns])
    put(table, title)


def put(table: Table, title: str = "") -> None:
    """Print a table below its title. NB: rich would wrap its own title to the table's width."""
    if title:
        console.print(Text(title, "italic"), soft_wrap=True)
    console.print(table)


def show_result(value: Mapping[str, Any], *, as_json: bool, line: str) -> None:
    """Print one result: a line for people, an object for programs."""
    if as_json:
        print(json.dumps(value, indent=2, default=str))
    else:
        console.print(harmless(line), markup=False, emoji=False)


def harmless(text: str) -> str:
    """A text without control characters: one that clears the screen or moves the cursor is shown instead of executed.

    >>> print(harmless("gone\\x1b[2J"))
    gone\\x1b[2J
    """
    return text.translate(_CONTROLS)


def cell(value: Any) -> str:
    """The text of a value in a table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value)) or "-"
    return str(value)


def plain_text(value: Any) -> Text:
    """A value in a table as plain text, without markup."""
    return Text(harmless(cell(value)))


def instant(time_s: float) -> str:
    """The text of an instant in UTC, to the second."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def finite(value: Any) -> Any:
    """Plain values for JSON, in which there is no infinity: None in its place.

    >>> finite({"a": [1.0, math.inf]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {name: finite(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
