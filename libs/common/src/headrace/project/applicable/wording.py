"""How `apply` words its messages: durations and kinds as users write them, and the likely meaning of a misspelt
name.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from headrace.stats.losses import BINARY, CLASSES, NUMBER

KINDS = {BINARY: "Binary", CLASSES: "Multiclass", NUMBER: "Regression"}
A_LABEL = "label=Binary('late', horizon='24h')"
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60))


def duration(seconds: float) -> str:
    """A duration as a user writes it, in the largest unit that keeps it short.

    >>> duration(734_400), duration(43_200), duration(90), duration(0), duration(5400)
    ('8.5d', '12h', '90s', '0s', '90m')
    """
    for unit, size_s in _UNITS:
        if seconds >= size_s and (seconds * 2) % size_s == 0 and (seconds % size_s == 0 or unit == "d"):
            return f"{seconds / size_s:g}{unit}"
    return f"{seconds:g}s"


def unknown(name: str, known: Iterable[str]) -> str:
    """What a message says about a name that is not on a closed list.

    >>> unknown("drfit", ("drift", "skew"))
    "got 'drfit': did you mean 'drift'? There are drift, skew"
    """
    close = get_close_matches(name, list(known), 1)
    meant = f": did you mean {close[0]!r}? There are" if close else "; there are"
    return f"got {name[:80]!r}{meant} {', '.join(known)}"
