"""Reads a cell of a user's table as a `number`, `text`, `scalar`, `instant` or `label`, whatever its type in the file.

| read as   | of a text                                        | of a typed value              | missing                         |
|-----------|--------------------------------------------------|-------------------------------|---------------------------------|
| `number`  | a decimal number, `.` as its point               | a number, bool as 0 or 1      | empty, NA, N/A, NaN, null, None |
| `text`    | itself                                           | a whole number as its digits  | empty                           |
| `scalar`  | itself                                           | itself                        | empty                           |
| `instant` | RFC 3339 (without a zone: UTC), or epoch seconds | a timestamp, or epoch seconds | empty, NA, NaT, null, None      |
| `label`   | a number if it is one, else itself               | itself                        | as for `number`                 |
"""

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from headrace.errors import HeadraceError
from headrace.instants import EARLIEST_S, LATEST_S, instant_s

Read = Callable[[Any], Any]

_MISSING = frozenset(("", "na", "n/a", "nan", "nat", "null", "none", "<na>"))


class BadCell(HeadraceError):
    """A cell is not of its column's type; the message has the expected and the actual value."""


def number(cell: Any) -> float | None:
    """A finite number; None for a missing one.

    >>> number("2.5"), number(" "), number("NA"), number(3), number(float("nan"))
    (2.5, None, None, 3.0, None)
    """
    if _is_missing(cell):
        return None
    found = _number(cell)
    if found is None:
        raise BadCell(f"must be a number, got {_shown(cell)}")
    if not math.isfinite(found):
        raise BadCell(f"must be a finite number, got {_shown(cell)}")
    return found


def text(cell: Any) -> str | None:
    """A text; a whole number as its digits, whatever its type; None for an empty one.

    >>> text("UA"), text(7.0), text(7), text(True), text("")
    ('UA', '7', '7', 'true', None)
    """
    found = scalar(cell)
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, bool):
        return str(found).lower()
    return str(int(found)) if float(found).is_integer() else str(found)


def scalar(cell: Any) -> float | int | str | bool | None:
    """A value as it is; None for an empty one.

    >>> scalar("UA"), scalar(7), scalar(True), scalar("")
    ('UA', 7, True, None)
    """
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, str | bool | int | float):
        return cell
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    raise BadCell(f"must be a number or text, got {type(cell).__name__}")


def instant(cell: Any) -> float | None:
    """Seconds since the epoch; None for a missing one.

    >>> instant("2013-04-01T02:00:00+02:00"), instant("2013-04-01"), instant("1364774400"), instant("")
    (1364774400.0, 1364774400.0, 1364774400.0, None)
    """
    if _is_missing(cell):
        return None
    found = _seconds(cell)
    if found is None:
        raise BadCell(
            f"must be an instant such as 2013-04-01T12:00:00Z, or seconds since the epoch, got {_shown(cell)}"
        )
    if not EARLIEST_S <= found <= LATEST_S:
        hint = ": are these milliseconds or finer?" if found > LATEST_S else ""
        raise BadCell(f"must lie in the years 1..9999, in seconds since the epoch, got {_shown(cell)}{hint}")
    return found


def label(cell: Any) -> float | str | bool | None:
    """A label: a number if it is one, else the text; None for a missing one.

    >>> label("1"), label("dog"), label(True), label("NA")
    (1.0, 'dog', True, None)
    """
    if _is_missing(cell):
        return None
    if isinstance(cell, bool):
        return cell
    found = _number(cell)
    return scalar(cell) if found is None else found  # type: ignore[return-value]  # numbers are floats here


def label_among(classes: Sequence[str]) -> Read:
    """Reads labels that may be names of classes: "01" is the class 01 if there is one.

    >>> label_among(("01", "02"))("01"), label_among(())("01")
    ('01', 1.0)
    """
    names = frozenset(classes)

    def read(cell: Any) -> float | str | bool | None:
        return cell if isinstance(cell, str) and cell in names else label(cell)

    return read


def _is_missing(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    return cell is None or (isinstance(cell, float | Decimal) and math.isnan(cell))


def _number(cell: Any) -> float | None:
    """The number; None if it is not one. NB: Python reads 1_000 as a number, other programs do not."""
    if not isinstance(cell, str | int | float | Decimal) or (isinstance(cell, str) and "_" in cell):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def _seconds(cell: Any) -> float | None:
    if isinstance(cell, bool):
        return None
    if isinstance(cell, datetime):
        return instant_s(cell)
    if isinstance(cell, date):
        return instant_s(datetime(cell.year, cell.month, cell.day))
    if not isinstance(cell, str):
        return _finite(_number(cell))
    written = cell.strip()
    if len(written) == 8 and written.isdigit():
        raise BadCell(f"may be a date or seconds since the epoch, got {written!r}: write 2013-04-01 or 1364774400.0")
    seconds = _finite(_number(written))
    if seconds is not None:
        return seconds
    try:
        return instant_s(datetime.fromisoformat(written))
    except (ValueError, OverflowError):
        return None


def _finite(found: float | None) -> float | None:
    return found if found is not None and math.isfinite(found) else None


def _shown(cell: Any) -> str:
    written = repr(cell)
    return written if len(written) <= 80 else f"{written[:75]}[...]"
