"""Faults that are planted into a history, to see after how long a policy finds them.

| written                                  | what it does from its instant on                                          |
|------------------------------------------|---------------------------------------------------------------------------|
| `flip=.3@2013-06-01..3d`                 | 30 % of the labels are turned around; of several classes, the next class  |
| `null=carrier_delay.late_share_3h@...`   | a column has no value; `null=carrier_delay.*` for all that begin so       |
| `scale=distance_miles:1.609@...`         | a column in another unit                                                  |
| `power=2@...`                            | answers are squared: too low probabilities in the same order              |
| `silent=1@...`                           | no label comes, of this share of the requests                             |

The end (`..3d`, or `..2013-06-04`) may be left out: then the fault lasts until the end of the history.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.instants import instant_s
from headrace.log.envelope import derived_id, format_instant
from headrace.stats.losses import CLASSES, NUMBER
from headrace_backtest.history import Bools, History

KINDS = ("flip", "null", "scale", "power", "silent")
_HOW = "a fault is written flip=.3@2013-06-01..3d, with one of flip, null, scale, power, silent"


@dataclass(frozen=True, slots=True)
class Plant:
    """A fault in [from_s, to_s). `column`: of `null` and `scale`. `amount`: a share, a factor or a power."""

    text: str
    kind: str
    from_s: float
    to_s: float
    amount: float = 1.0
    column: str = ""


def parse(text: str) -> Plant:
    """A fault as it is written.

    >>> found = parse("scale=distance:1.6@2013-06-01..3d")
    >>> found.column, found.amount, found.to_s - found.from_s
    ('distance', 1.6, 259200.0)
    """
    what, at, when = text.partition("@")
    kind, is_given, argument = what.partition("=")
    if kind not in KINDS or not at or not is_given or not argument:
        raise Misconfigured(f"{_HOW}, got {text!r:.100}")
    begin, _, end = when.partition("..")
    from_s = instant_of(begin)
    to_s = math.inf if not end else _end_of(end, from_s)
    if to_s <= from_s:
        raise Misconfigured(f"{text!r:.100} ends before it begins")
    if kind == "null":
        return Plant(text, kind, from_s, to_s, column=argument)
    column, _, amount = argument.rpartition(":") if kind == "scale" else ("", "", argument)
    if kind == "scale" and not column:
        raise Misconfigured(f"scale=COLUMN:FACTOR@..., got {text!r:.100}")
    return Plant(text, kind, from_s, to_s, _amount(kind, amount, text), column)


def instant_of(text: str) -> float:
    """Seconds since the epoch of a day or an instant, in UTC without a zone.

    >>> instant_of("2013-06-01") == instant_of("2013-06-01T00:00:00+00:00")
    True
    """
    try:
        return instant_s(datetime.fromisoformat(text))
    except ValueError:
        raise Misconfigured(f"a day is written 2013-06-01, an instant 2013-06-01T12:00:00Z, got {text!r:.80}") from None


def refuse_outside(plants: Sequence[Plant], from_s: float, to_s: float) -> None:
    """Raise `Misconfigured` for a fault that touches nothing of the stretch [from_s, to_s) that is replayed."""
    for plant in plants:
        if plant.from_s >= to_s or plant.to_s <= from_s:
            raise Misconfigured(
                f"{plant.text!r:.100} lies outside what is replayed, {format_instant(from_s)} to {format_instant(to_s)}:"
                " nothing would be planted"
            )


def planted(history: History, plants: Sequence[Plant]) -> History:
    """The history with these faults in it. Raises `Misconfigured` for a column that it does not have."""
    for plant in plants:
        history = _with(history, plant)
    return history


def _end_of(text: str, from_s: float) -> float:
    try:
        return from_s + seconds(text)
    except Misconfigured:
        return instant_of(text)


def _amount(kind: str, text: str, whole: str) -> float:
    try:
        found = float(text)
    except ValueError:
        raise Misconfigured(f"{kind} takes a number, got {whole!r:.100}") from None
    if kind in ("flip", "silent") and not 0 < found <= 1:
        raise Misconfigured(f"{kind} takes a share in 0..1, got {text} (percent?)")
    if not math.isfinite(found) or found <= 0:
        raise Misconfigured(f"{kind} takes a number above 0, got {text}")
    return found


def _with(history: History, plant: Plant) -> History:
    within = (history.at_s >= plant.from_s) & (history.at_s < plant.to_s)
    match plant.kind:
        case "flip":
            return replace(history, labels=_flipped(history, within & _chosen(history, plant)))
        case "silent":
            lost = within & _chosen(history, plant)
            labels, known_s = np.where(lost, np.nan, history.labels), np.where(lost, math.inf, history.known_s)
            return replace(history, labels=labels, known_s=known_s, is_told=history.is_told & ~lost)
        case "power":
            powers = history.powers if len(history.powers) else np.ones(len(history))
            return replace(history, powers=np.where(within, plant.amount, powers))
        case _:
            return _with_columns(history, plant, within)


def _with_columns(history: History, plant: Plant, within: Bools) -> History:
    names = [column.name for column in history.signature.columns]
    begin = plant.column.removesuffix("*")
    places = [
        n for n, name in enumerate(names) if name == plant.column or (begin != plant.column and name.startswith(begin))
    ]
    if not places:
        raise Misconfigured(f"no column is called {plant.column!r:.80}: rows have {', '.join(names)}")
    matrix = history.matrix.copy()
    for place in places:
        column = matrix[within, place]
        matrix[within, place] = np.full_like(column, np.nan) if plant.kind == "null" else column * plant.amount
    return replace(history, matrix=matrix)


def _flipped(history: History, chosen: Bools) -> np.ndarray:
    labels = history.labels
    if history.kind == NUMBER:
        known = labels[~np.isnan(labels)]
        turned = known.min() + known.max() - labels if len(known) else labels
    elif history.kind == CLASSES:
        turned = (labels + 1) % history.classes
    else:
        turned = 1.0 - labels
    return np.where(chosen, turned, labels)


def _chosen(history: History, plant: Plant) -> Bools:
    """A share of the requests by a hash of their ids: the same in every run."""
    if plant.amount >= 1:
        return np.ones(len(history), dtype=bool)
    limit = int(plant.amount * 2**32)
    return np.array([int(derived_id(plant.kind, ident)[:8], 16) < limit for ident in history.ids], dtype=bool)
