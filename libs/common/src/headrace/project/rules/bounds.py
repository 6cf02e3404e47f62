"""Bounds of single values: a name, a text, a count, a duration, a share. Each rule yields a sentence when it is
broken.
"""

import math
import re
from collections.abc import Iterable, Iterator
from ctypes import c_float
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
DAY_S = 86_400.0
LONGEST_S = 3660 * DAY_S
# This is below Kafka's limits and ours; a broker of one node has trouble long before.
MOST_PARTITIONS = 1000
MOST_PARTS = 500
MOST_INPUTS = 2000
MOST_FEATURES = 500
MOST_TEXT = 10_000
# A definition must fit into one record, with its headers.
MOST_BYTES = 900_000


def named(kind: str, name: str) -> str:
    """How a sentence begins; an unusual name is quoted.

    >>> named("view", "carrier"), named("source", "My Source/é")
    ('view carrier', "source 'My Source/é'")
    """
    if _NAME.fullmatch(name):
        return f"{kind} {name}"
    return f"{kind} {name[:80]!r}" + ("..." if len(name) > 80 else "")


def name(kind: str, name: str) -> Iterator[str]:
    """Names become topics, keys and addresses."""
    if not _NAME.fullmatch(name):
        yield (
            f"{named(kind, name)}: a {kind}'s name is 1 to 100 letters (a-z), digits, `_`, `.` or `-`, and begins with"
            " a letter or a digit"
        )


def text(what: str, name: str, value: str, most: int = MOST_TEXT, least: int = 0) -> Iterator[str]:
    """A text of `least` to `most` characters.

    Short texts must have no control characters, and names (`least` > 0) no blanks around them, which nobody sees.
    """
    if not least <= len(value) <= most:
        yield f"{what}: {name} must have {least} to {most:,} characters, got {len(value):,}"
    elif any(ord(character) < 32 for character in value) and most < MOST_TEXT:
        yield f"{what}: {name} must not hold control characters, got {value[:80]!r}"
    elif least and value != value.strip():
        yield f"{what}: {name} must not begin or end with a blank, got {value[:80]!r}"


def one_of(what: str, name: str, value: Any, allowed: Iterable[str]) -> Iterator[str]:
    """A value of a closed list."""
    if value not in tuple(allowed):
        yield f"{what}: {name} must be {' or '.join(allowed)}, got {str(value)[:80]!r}"


def count(what: str, name: str, value: int, least: int, most: int) -> Iterator[str]:
    """A whole number within inclusive bounds."""
    if not least <= value <= most:
        yield f"{what}: {name} must lie in {least:,}..{most:,}, got {figure(value)}"


def seconds(what: str, name: str, value: float | None, least_s: float, most_s: float = LONGEST_S) -> Iterator[str]:
    """A duration within inclusive bounds. None is allowed; NaN is not."""
    if value is not None and not least_s <= value <= most_s:
        most = f"{most_s / DAY_S:g} d" if most_s >= DAY_S else f"{most_s:g} s"
        bounds = f"at least {least_s:g} s and at most {most}"
        yield f"{what}: {name} must be {bounds}, got {figure(value)} s"


def share(what: str, name: str, value: float | None) -> Iterator[str]:
    """A share in 0..1, or None."""
    if value is not None and not 0 <= value <= 1:
        yield f"{what}: {name} must lie in 0..1, got {figure(value)} (percent?)"


def finite(what: str, name: str, value: float | None) -> Iterator[str]:
    """A number that is neither NaN nor infinite, or None."""
    if value is not None and not math.isfinite(value):
        yield f"{what}: {name} must be a finite number, got {figure(value)}"


def seen(what: str, name: str, value: float | None) -> Iterator[str]:
    """A number that is finite in float32 too, as a model gets it; or None."""
    yield from finite(what, name, value)
    if value is not None and math.isfinite(value) and math.isinf(c_float(value).value):
        yield f"{what}: {name} must be within float32 (at most 3.403e+38 in size), as a model gets it; got {figure(value)}"


def figure(value: float) -> str:
    """A foreign number for a message, at most 40 characters long."""
    return str(value)[:40]
