"""Instants from outside: what they mean without a zone, and how far ahead of the log they may lie.

`ce_time` and `available_at` may lie at most `MAX_AHEAD_S` after the append time of their record. A business instant (a
booking for next week) is not limited. An instant without a zone is UTC, whatever the machine's TZ is.
"""

import math
from datetime import UTC, datetime

MAX_AHEAD_S = 300.0
# The years 1..9999, which can be written again as text.
EARLIEST_S, LATEST_S = -62_135_596_800.0, 253_402_300_799.0


def utc(value: datetime) -> datetime:
    """The same instant with a zone; without one it is UTC.

    >>> utc(datetime(2013, 3, 10, 12, 30)).isoformat()
    '2013-03-10T12:30:00+00:00'
    """
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def instant_s(value: datetime | float) -> float:
    """Seconds since the epoch of a datetime (UTC when it has no zone) or of a number of seconds."""
    return utc(value).timestamp() if isinstance(value, datetime) else float(value)


def why_not(time_s: float, append_ms: int, name: str = "ce_time") -> str | None:
    """Why an instant of a record appended at `append_ms` (milliseconds since the epoch) is refused; None when it is
    valid.

    >>> why_not(1000.0, 1_000_000), why_not(1301.0, 1_000_000)
    (None, 'ce_time 1970-01-01T00:21:41+00:00 lies 301 s past the append time, at most 300 s are allowed: is the clock of the sender right?')
    """
    if not math.isfinite(time_s) or not EARLIEST_S <= time_s <= LATEST_S:
        return f"{name} must lie in the years 1..9999 UTC, got {time_s!r}"
    ahead_s = time_s - append_ms / 1000
    if ahead_s <= MAX_AHEAD_S:
        return None
    text = datetime.fromtimestamp(time_s, UTC).isoformat()
    return (
        f"{name} {text} lies {ahead_s:,.0f} s past the append time, at most {MAX_AHEAD_S:.0f} s are allowed:"
        " is the clock of the sender right?"
    )
