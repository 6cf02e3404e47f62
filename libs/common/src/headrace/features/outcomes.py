"""Which outcome is the label of which request: the one join of monitor, trainer and CLI.

| an outcome                   | belongs to                                                          |
|------------------------------|---------------------------------------------------------------------|
| names its request            | that request, before any other; known by `at + horizon`             |
| has a unit alone             | every request of its unit whose `[at, at + horizon]` holds `known`  |
| has `corrects`               | what the corrected outcome belongs to                               |

Of several outcomes the earliest counts, and of one instant the first on the log. Only corrections change a value: the
newest that was known by then, and never before the outcome that it corrects. A repeated id changes nothing. Outcomes
that became known beyond the horizon are counted and not used. So the label of a request whose horizon has passed never
changes.

An outcome that names its request may be dated before it by `SKEW_S`, since two clocks differ. Ids are compared within
their unit, whose outcomes lie on one partition, in order.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.events.definition import LabelDefinition
from headrace.features.per_key import Line, numbered
from headrace.instants import MAX_AHEAD_S

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Table = NDArray[np.void]

SKEW_S = MAX_AHEAD_S
# An outcome in memory: hashes of unit, id, request and corrected outcome (0: none), in the order of the log.
OUTCOME: Any = np.dtype([
    ("unit", "<u8"), ("known_s", "<f8"), ("value", "<f8"), ("id", "<u8"), ("request", "<u8"), ("corrects", "<u8")
])  # fmt: skip
OUTCOME_BYTES = OUTCOME.itemsize
_PACK = struct.Struct("<QddQQQ").pack
_MASK = 2**64 - 1

# The fate of an outcome, by number and by name.
USED, SECOND, REPEATED, BEYOND, STRAY, UNKNOWN = range(6)
FATES = ("used", "second", "repeated", "beyond_horizon", "of_no_request", "corrects_nothing")


def key_of(text: str | None) -> int:
    """A text as 8 bytes, 0 for none. NB: it is valid in this process only, and must never be stored."""
    return (hash(text) & _MASK or 1) if text else 0


class KnownOutcome(NamedTuple):
    """An outcome of a unit with a numeric label. `known_s`: when it became known; `request_id`: the request that it
    names.
    """

    unit: str
    value: float
    known_s: float
    id: str = ""
    request_id: str | None = None
    corrects: str | None = None


def packed(
    unit: str, value: float, known_s: float, ident: str = "", request_id: str | None = None, corrects: str | None = None
) -> bytes:
    """An outcome as one row of `OUTCOME`. `known_s`: when it became known. Without `ident` it repeats no other."""
    return _PACK(key_of(unit), known_s, value, key_of(ident), key_of(request_id), key_of(corrects))


def table_of(rows: bytes | bytearray) -> Table:
    """Packed rows as a table. NB: it is a copy, since a bytearray with a view of it cannot grow."""
    return np.frombuffer(bytes(rows), dtype=OUTCOME)


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests as columns of shape (n,): unit and id as hashed by `key_of`, and the instant."""

    unit: Keys
    at_s: Floats
    id: Keys

    def __len__(self) -> int:
        return len(self.unit)


def asked(units: Sequence[str], at_s: Floats, ids: Sequence[str]) -> Asked:
    """Requests from their units, instants and ids."""
    unit = np.fromiter(map(key_of, units), dtype=np.uint64, count=len(units))
    return Asked(unit, at_s, np.fromiter(map(key_of, ids), dtype=np.uint64, count=len(ids)))


@dataclass(frozen=True, slots=True)
class Joined:
    """Per request its label and where it comes from, shape (n,) each.

    `labels`: NaN for none. `first_s`: when the first label became known, inf for never. `source`: the place of the
    outcome in the table, -1 for none.
    """

    labels: Floats
    first_s: Floats
    source: Ints


def labels_of(label: LabelDefinition, asked: Asked, outcomes: Table, clock_s: float = np.inf) -> Joined:
    """The labels of requests as known at `clock_s`, by the table above. After the horizon a missing one may mean
    negative.

    >>> outcomes = table_of(packed("u", 1.0, 55.0) + packed("u", 0.0, 70.0))
    >>> requests = asked(["u", "u"], np.array([0.0, 50.0]), ["r1", "r2"])
    >>> labels_of(LabelDefinition("late", "binary", 60.0), requests, outcomes).labels
    array([1., 1.])
    """
    over_s = asked.at_s + label.horizon_s
    until_s = np.minimum(over_s, clock_s)
    log = _log_of(asked, outcomes)
    source, first_s = _sources(log, asked, over_s, until_s)
    labels = np.full(len(asked), np.nan)
    has = source >= 0
    labels[has] = log.outcomes["value"][source[has]]
    if len(log.fixes):
        _correct(labels, log, source, until_s)
    if label.absent == "negative":
        labels[~has & (over_s <= clock_s)] = 0.0
    source[has] = log.place[source[has]]
    return Joined(labels, first_s, source)


def fates_of(label: LabelDefinition, asked: Asked, outcomes: Table) -> NDArray[np.int8]:
    """The fate of each outcome once all horizons have passed, shape (m,), see `FATES`."""
    over_s = asked.at_s + label.horizon_s
    log = _log_of(asked, outcomes)
    source, _ = _sources(log, asked, over_s, over_s)
    fate = np.where(outcomes["corrects"] != 0, UNKNOWN, STRAY).astype(np.int8)
    fate[log.repeated] = REPEATED
    own = np.full(len(log.outcomes), STRAY, dtype=np.int8)
    own[log.plain] = _plain_fates(log, asked, over_s)
    own[source[source >= 0]] = USED
    last_s = np.full(len(log.outcomes), -np.inf)
    np.maximum.at(last_s, source[source >= 0], over_s[source >= 0])
    own[log.fixes] = np.where(
        log.root < 0,
        UNKNOWN,
        np.where((own[log.root] == USED) & (log.fixed_s > last_s[log.root]), BEYOND, own[log.root]),
    )
    fate[log.place] = own
    return fate


def counts_of(fates: NDArray[np.int8]) -> dict[str, int]:
    """The number of outcomes per fate.

    >>> counts_of(np.array([USED, USED, BEYOND], dtype=np.int8))["used"]
    2
    """
    found = np.bincount(fates, minlength=len(FATES))
    return {name: int(count) for name, count in zip(FATES, found, strict=True)}


@dataclass(frozen=True, slots=True)
class _Log:
    """The outcomes of the units with requests, each id once.

    `place`: their places in the given table. `unit`, `asked`: numbers of the units of outcomes and requests. `plain`,
    `fixes`: places of outcomes and of corrections. `root`, `fixed_s`: per correction the outcome at the end of its
    chain (-1: none), and since when it counts. `repeated`: places of repeats in the given table.
    """

    outcomes: Table
    place: Ints
    unit: Ints
    asked: Ints
    plain: Ints
    fixes: Ints
    root: Ints
    fixed_s: Floats
    repeated: Ints


def _log_of(asked: Asked, outcomes: Table) -> _Log:
    units, of_asked = np.unique(asked.unit, return_inverse=True)
    mine = np.flatnonzero(np.isin(outcomes["unit"], units))
    unit = np.searchsorted(units, outcomes["unit"][mine]).astype(np.int64)
    again = _repeats(unit, outcomes["id"][mine])
    repeated, place, unit = mine[again], mine[~again], unit[~again]
    kept = outcomes[place]
    fixes = np.flatnonzero(kept["corrects"] != 0)
    root, fixed_s = _roots(unit, kept, fixes)
    plain = np.flatnonzero(kept["corrects"] == 0)
    return _Log(kept, place, unit, of_asked.astype(np.int64), plain, fixes, root, fixed_s, repeated)


def _repeats(unit: Ints, ids: Keys) -> NDArray[np.bool_]:
    """Whether an id occurred before for the same unit."""
    again, in_order = np.zeros(len(ids), dtype=bool), np.sort(ids)
    if not ((in_order[1:] == in_order[:-1]) & (in_order[1:] != 0)).any():
        return again
    order = np.lexsort((ids, unit))
    same = (ids[order][1:] == ids[order][:-1]) & (unit[order][1:] == unit[order][:-1]) & (ids[order][1:] != 0)
    again[order[1:][same]] = True
    return again


def _roots(unit: Ints, outcomes: Table, fixes: Ints) -> tuple[Ints, Floats]:
    """Per correction the outcome at the end of its chain, -1 where there is none, and since when the correction
    counts.
    """
    if not len(fixes):
        return np.empty(0, np.int64), np.empty(0)
    (of_ids, of_fixes) = numbered((unit, outcomes["id"]), (unit[fixes], outcomes["corrects"][fixes]))
    order = np.argsort(np.where(outcomes["id"] != 0, of_ids, -1), kind="stable")
    at = np.minimum(np.searchsorted(np.where(outcomes["id"] != 0, of_ids, -1)[order], of_fixes), len(outcomes) - 1)
    named = order[at]
    parent = np.arange(len(outcomes) + 1)
    parent[fixes] = np.where((of_ids[named] == of_fixes) & (outcomes["id"][named] != 0), named, len(outcomes))
    known_s = np.append(outcomes["known_s"], -np.inf)
    # Each round doubles the distance that a chain is followed. A chain that has not ended by then is a circle.
    for _ in range(len(fixes).bit_length() + 1):
        known_s = np.maximum(known_s, known_s[parent])
        parent = parent[parent]
    root = parent[fixes]
    is_end = (root < len(outcomes)) & (outcomes["corrects"][np.minimum(root, len(outcomes) - 1)] == 0)
    return np.where(is_end, root, -1), known_s[fixes]


def _sources(log: _Log, asked: Asked, over_s: Floats, until_s: Floats) -> tuple[Ints, Floats]:
    """Per request the outcome that gives its label as known by `until_s` (-1: none), and when the first became
    known.
    """
    is_named = log.outcomes["request"][log.plain] != 0
    by_unit, named = log.plain[~is_named], log.plain[is_named]
    known_s = np.append(log.outcomes["known_s"], np.inf)
    of_unit = _first(log.unit[by_unit], by_unit, known_s, log.asked, asked.at_s, over_s)
    if not len(named):
        found = of_unit
        first_s = known_s[of_unit]
    else:
        of_named, of_asked = numbered((log.unit[named], log.outcomes["request"][named]), (log.asked, asked.id))
        own = _first(of_named, named, known_s, of_asked, asked.at_s - SKEW_S, over_s)
        found = np.where(known_s[own] <= until_s, own, of_unit)
        first_s = np.minimum(known_s[own], known_s[of_unit])
    return np.where(known_s[found] <= until_s, found, -1), first_s


def _first(keys: Ints, places: Ints, known_s: Floats, wanted: Ints, from_s: Floats, over_s: Floats) -> Ints:
    """Per wanted key the place of its outcome that became known first in [from, over]; -1 where there is none."""
    line = Line.of(keys, known_s[places])
    at = line.position(wanted, from_s, "left")
    found = np.append(places[line.order], -1)[at]
    fits = np.append(keys[line.order], -1)[at] == wanted
    return np.where(fits & (known_s[found] <= over_s), found, -1)


def _correct(labels: Floats, log: _Log, source: Ints, until_s: Floats) -> None:
    """Replace labels by the newest correction known by then; of one instant the last on the log counts."""
    sound = np.flatnonzero(log.root >= 0)
    line = Line.of(log.root[sound], log.fixed_s[sound])
    at = line.position(source, until_s, "right") - 1
    roots, places = log.root[sound][line.order], log.fixes[sound][line.order]
    rows = np.flatnonzero((at >= 0) & (source >= 0))
    rows = rows[roots[at[rows]] == source[rows]]
    labels[rows] = log.outcomes["value"][places[at[rows]]]


def _plain_fates(log: _Log, asked: Asked, over_s: Floats) -> NDArray[np.int8]:
    """SECOND for an outcome that belongs to a request, BEYOND where its request was too long before, else STRAY."""
    known_s, request = log.outcomes["known_s"][log.plain], log.outcomes["request"][log.plain]
    is_named = request != 0
    of_told, of_asked = numbered((log.unit[log.plain], request), (log.asked, asked.id))
    fate = np.full(len(log.plain), STRAY, dtype=np.int8)
    for chosen, keys, wanted, skew_s in (
        (~is_named, log.asked, log.unit[log.plain], 0.0),
        (is_named, of_asked, of_told, SKEW_S),
    ):
        begun = _count(keys, asked.at_s - skew_s, wanted, known_s, "right")
        over = _count(keys, over_s, wanted, known_s, "left")
        fate[chosen & (over > 0)] = BEYOND
        fate[chosen & (begun > over)] = SECOND
    return fate


def _count(keys: Ints, at_s: Floats, wanted: Ints, by_s: Floats, side: Literal["left", "right"]) -> Ints:
    """Per wanted key the number of its entries before an instant (`right`: including it)."""
    line = Line.of(keys, at_s)
    before = line.position(wanted, np.full(len(wanted), -np.inf), "left")
    return line.position(wanted, by_s, side) - before
