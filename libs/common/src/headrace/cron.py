"""Calendar schedules in event time: the instants of a cron expression, in UTC.

The five fields are minute, hour, day of the month, month and day of the week (`0 3 * * 1`: Mondays at 03:00). Debian's
rules hold, `L` and `#` included, see the library `cronsim`.
"""

import math
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

MOST_CHARACTERS = 100
# The least gap is looked for among so many instants: daily ones of three years, weekly ones of twenty.
_LOOKED_AT = 1_000
_FROM_S = 946_684_800.0


def why_not(expression: str) -> str | None:
    """Why a text is no schedule; None when it is one.

    >>> why_not("0 3 * * 1"), why_not("0 3 * *")
    (None, "a cron expression has five fields (minute, hour, day, month, day of the week), got '0 3 * *'")
    >>> why_not("61 3 * * 1"), why_not("0 0 30 2 *")
    ("cron '61 3 * * 1': bad minute", "cron '0 0 30 2 *': bad day-of-month")
    """
    if len(expression) > MOST_CHARACTERS or len(expression.split()) != 5:
        fields = "five fields (minute, hour, day, month, day of the week)"
        return f"a cron expression has {fields}, got {expression[:MOST_CHARACTERS]!r}"
    try:
        CronSim(expression, datetime.fromtimestamp(_FROM_S, UTC))
    except CronSimError as error:
        return f"cron {expression!r}: {str(error).lower()}"
    return None


def next_s(expression: str, after_s: float) -> float:
    """The first instant of a valid expression after `after_s`, in seconds since the epoch; inf when there is none.

    >>> format(datetime.fromtimestamp(next_s("0 3 * * 1", 0.0), UTC), "%a %Y-%m-%d %H:%M")
    'Mon 1970-01-05 03:00'
    """
    try:
        # NB: whole seconds, so that an instant does not follow itself.
        return next(CronSim(expression, datetime.fromtimestamp(math.floor(after_s), UTC))).timestamp()
    except (StopIteration, OverflowError, ValueError, OSError):
        return math.inf


def least_gap_s(expression: str) -> float:
    """The least time between two of its next instants, in seconds.

    >>> least_gap_s("0 3 * * 1") / 86_400, least_gap_s("0 3 * * 1,3") / 86_400
    (7.0, 2.0)
    """
    instants, gap_s = CronSim(expression, datetime.fromtimestamp(_FROM_S, UTC)), math.inf
    before = next(instants)
    for _ in range(_LOOKED_AT):
        found = next(instants)
        gap_s, before = min(gap_s, (found - before).total_seconds()), found
    return gap_s
