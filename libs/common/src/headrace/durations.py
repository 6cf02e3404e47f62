"""Durations as people write them: `15m`, `3h`, `180d`."""

import math
import re

from headrace.errors import Misconfigured

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds(text: str | float) -> float:
    """Seconds of a duration; a plain number is in seconds already. Raises `Misconfigured` for anything else.

    >>> seconds("15m"), seconds("1h30m"), seconds(5)
    (900.0, 5400.0, 5.0)
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        try:
            found = float(text)
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            return found
    if not isinstance(text, str):
        raise Misconfigured(f"a duration is written like 15m, 3h or 180d, or is a number of seconds, got {text!r:.80}")
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise Misconfigured(f"a duration is written like 15m, 3h or 180d, got {text!r:.80}")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
