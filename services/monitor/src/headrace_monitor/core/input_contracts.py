"""Contracts on requests and features, judged by intervals of event time: what is broken is found before any window closes.

A fault is a share of the rows that no stretch of the training rows leads to expect (`headrace.stats.stretches`), by the exact
binomial test (1e-6) against that share and 5 % of the rows more:

| fault     | of                    | limit                                                                       |
|-----------|-----------------------|-----------------------------------------------------------------------------|
| `null`    | rows                  | the highest usual share at this hour of the day, or of 24 hours, and .05    |
| `unknown` | rows, of a category   | the same                                                                    |
| `outside` | rows                  | .05 beyond the training range by more than its width                        |
| `size`    | the last day's values | the mean logarithm moves .25 and three times further than any day's did,    |
|           |                       | while its standard deviation stays: another unit                            |
| `invalid` | requests              | .05                                                                         |
| `stale`   | requests              | .05                                                                         |
| `missing` | requests, of a feature| as for `null`, of the rows that hold the feature's default; where training  |
|           | with a default        | is not known to have counted them it is not judged                          |

Three stretches are judged: the newest interval (as many as hold 20 rows), the last 4 and the last 24; in the longer ones at
least 2 and 3 intervals must be over the limit by themselves, one of them among the newest 4: else the fault is over. Where the day
before is not known, a morning is no day, and its share is not compared with that of 24 hours. Nearly all rows (.9) are
`certain`: found at once. Else a fault of the newest interval must be there in the next one too: one odd hour calls nobody.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from headrace.stats.distances import LEAST_ROWS, binomial_tail
from headrace.stats.profiles import Profile
from headrace.stats.references import SCORE
from headrace.stats.stretches import HOURS, MOST_OF_DAY, SHORT, recent
from headrace_monitor.core.live_inputs import INTERVAL_S, Interval, Offence
from headrace_monitor.core.references import VersionFrame

ALPHA = 1e-6
ROOM = 0.05
_CERTAIN_SHARE = 0.9
_LONGER = ((SHORT, 2), (HOURS, 3))
_GOES_ON = 4
_LEAST_MOVE, _MOVES, _SHAPE = 0.25, 3.0, 0.2
_LEAST_SIZES = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Breach:
    """A column that breaks its contract. `fault`: see above. `measured`, `limit`: the share, or the factor of the size. `is_certain`:
    found at once.
    """

    column: str
    fault: str
    summary: str
    measured: float
    limit: float
    is_certain: bool
    offence: Offence | None = None


@dataclass(frozen=True)
class Judged:
    """What an interval shows. `breaches`: by column. `clean`: the columns of which enough rows came, and that are within their limits.
    `gone`: those with a finding that no row has any more.
    """

    breaches: Mapping[str, Breach]
    clean: frozenset[str]
    gone: frozenset[str] = frozenset()


def judge(
    history: Sequence[Interval],
    frame: VersionFrame | None,
    unjudged: Collection[str] = (),
    lasting: Mapping[str, str] = MappingProxyType({}),
) -> Judged:
    """What the newest of these intervals shows, beside those of the day before it (oldest first).

    `frame`: of the version that answers, None where nothing is known of its rows. `unjudged`: columns that are left out.
    `lasting`: by column the fault of its open finding: no request of this day may show it any more.
    """
    newest = history[-1]
    found: dict[str, Breach] = {}
    clean: set[str] = set()
    asked = [Counted(n.requests, n.from_s) for n in history]
    for fault, what in _OF_REQUESTS.items():
        names = {name for interval in history for name in getattr(interval, fault)}
        names |= {name for name, open_fault in lasting.items() if open_fault == fault}
        for name in sorted(names):
            counts = [getattr(interval, fault)[name] for interval in history]
            hour, day = _limits_of(fault, name, frame, newest.from_s)
            shares = _judged(asked, counts, hour, day) if min(hour, day) < 1 else None
            if shares is not None:
                summary = f"inputs.{name}: {shares.measured:.0%} of the requests {what}"
                found.setdefault(name, _breach(name, fault, summary, shares, newest))
            elif _is_clean(asked, counts, min(hour, day)):
                clean.add(name)
    if frame is not None:
        rows = [interval.profiles.get(frame.version) for interval in history]
        # NB: sizes are those of a day: what was asked in a part of it may be of another size (short flights in the morning).
        is_day = _is_day(history[0].from_s, newest.from_s)
        for breach in [*_of_rows(history, rows, frame), *(_of_sizes(rows, frame) if is_day else ())]:
            found.setdefault(breach.column, breach)
        clean |= _clean_columns(history, rows, frame)
    left = {name: breach for name, breach in found.items() if name not in unjudged}
    gone = _without_rows(newest, frame, lasting) - found.keys()
    clean -= found.keys() | _untold_sizes(history, frame, lasting)
    return Judged(left, frozenset(clean - gone), frozenset(gone))


def _without_rows(newest: Interval, frame: VersionFrame | None, lasting: Mapping[str, str]) -> set[str]:
    """Columns whose finding is about rows, where the version that answers has none of them, or nothing is known of its rows."""
    if frame is None and newest.unknown < LEAST_ROWS:
        return set()
    known = set() if frame is None else {column.name for column in frame.frame.columns}
    return {name for name, fault in lasting.items() if fault not in _OF_REQUESTS and name not in known}


def _untold_sizes(history: Sequence[Interval], frame: VersionFrame | None, lasting: Mapping[str, str]) -> set[str]:
    """Columns whose finding is about their size, which a part of a day does not show to be right again, nor do few values."""
    names = {name for name, fault in lasting.items() if fault == "size"}
    if frame is None or not names:
        return set()
    rows = [one for one in (interval.profiles.get(frame.version) for interval in history) if one is not None]
    values = sum((one.rows - one.nulls for one in rows), np.zeros(len(frame.frame.columns), np.int64))
    is_day = _is_day(history[0].from_s, history[-1].from_s)
    columns = zip(frame.frame.columns, values.tolist(), strict=True)
    return {one.name for one, count in columns if one.name in names and not (is_day and count >= _LEAST_SIZES)}


_OF_REQUESTS = {
    "invalid": "are refused for it",
    "stale": "have features from a silent source",
    "missing": "have no value of it and get its default, more than ever in training",
}


def _limits_of(fault: str, name: str, frame: VersionFrame | None, from_s: float) -> tuple[float, float]:
    """The limits of a fault of requests, of stretches that end with the interval from `from_s` on: of short ones, and of 24 hours."""
    columns = () if frame is None or fault != "missing" else frame.frame.columns
    found = next((column for column in columns if column.name == name and column.most_missing is not None), None)
    if found is None:
        return ROOM, ROOM
    return _at_hour(found.most_missing_hours, from_s) + ROOM, (found.most_missing or 0.0) + ROOM


def _at_hour(usual: Sequence[float], from_s: float) -> float:
    """The usual share of the interval from `from_s` on; 1 where it is not known."""
    return usual[int(from_s // INTERVAL_S) % HOURS % len(usual)] if usual else 1.0


@dataclass(frozen=True, slots=True)
class Counted:
    """How many rows an interval has."""

    rows: int
    from_s: float


@dataclass(frozen=True, slots=True)
class _Share:
    measured: float
    limit: float
    is_certain: bool


def _judged(of: Sequence[Counted], counts: Sequence[int], hour: float, day: float) -> _Share | None:
    """The share that is over its limit, in the shortest stretch that shows it; None where none does."""
    newest = recent([one.rows for one in of])
    if newest:
        rows, count = sum(n.rows for n in of[-newest:]), sum(counts[-newest:])
        if _is_over(count, rows, hour):
            return _Share(count / rows, hour, count >= _CERTAIN_SHARE * rows)
    for length, least in _LONGER:
        if length == HOURS and day < hour and not _is_day(of[0].from_s, of[-1].from_s):
            continue
        limit = day if length == HOURS else hour
        inside = [n for n, one in enumerate(of) if one.from_s > of[-1].from_s - length * INTERVAL_S]
        rows, count = sum(of[n].rows for n in inside), sum(counts[n] for n in inside)
        over = sum(counts[n] > limit * of[n].rows for n in inside)
        goes_on = any(counts[n] > limit * of[n].rows for n in inside[-_GOES_ON:])
        if rows >= LEAST_ROWS and over >= least and goes_on and _is_over(count, rows, limit):
            return _Share(count / rows, limit, is_certain=True)
    return None


def _is_day(first_s: float, newest_s: float) -> bool:
    """Whether intervals from the first to the newest one are most of a day."""
    return first_s <= newest_s - MOST_OF_DAY * INTERVAL_S


def _is_over(count: int, rows: int, limit: float) -> bool:
    return count > limit * rows and binomial_tail(count, rows, limit) < ALPHA


def _is_clean(of: Sequence[Counted], counts: Sequence[int], limit: float) -> bool:
    newest = recent([one.rows for one in of])
    return newest > 0 and sum(counts[-newest:]) <= limit * sum(n.rows for n in of[-newest:])


def _limits(frame: VersionFrame, from_s: float) -> dict[str, tuple[Floats, Floats]]:
    """Per fault the limits per column, of stretches that end with the interval from `from_s` on: of short ones, and of 24 hours."""
    columns = frame.frame.columns
    hour = np.array([_at_hour(column.most_null_hours, from_s) for column in columns]) + ROOM
    day = np.array([column.most_null for column in columns]) + ROOM
    beyond = np.full(len(columns), ROOM)
    return {"null": (hour, day), "outside": (beyond, beyond)}


_COUNTS: Mapping[str, Callable[[Profile], NDArray[np.int64]]] = {
    "null": lambda profile: profile.nulls,
    "outside": lambda profile: profile.outside,
}


def _of_rows(history: Sequence[Interval], rows: Sequence[Profile | None], frame: VersionFrame) -> list[Breach]:
    of = [Counted(0 if one is None else one.rows, i.from_s) for one, i in zip(rows, history, strict=True)]
    found = []
    for fault, (hour, day) in _limits(frame, history[-1].from_s).items():
        counts = _table(rows, frame, fault)
        total = counts.sum(axis=0)
        for place in np.flatnonzero((total > 0) & (np.minimum(hour, day) < 1)).tolist():
            column = frame.frame.columns[place]
            if column.name == SCORE:
                continue
            shares = _judged(of, counts[:, place].tolist(), float(hour[place]), float(day[place]))
            if shares is not None:
                name = "unknown" if fault == "null" and column.kind != "number" else fault
                summary = f"inputs.{column.name}: {shares.measured:.0%} of the rows {_WORDS[name]}"
                found.append(_breach(column.name, name, summary, shares, history[-1], fault))
    return found


_WORDS = {
    "null": "have no value, more than ever in training",
    "unknown": "have a value that training does not know, or none",
    "outside": "lie far outside the range that training had",
}


def _table(rows: Sequence[Profile | None], frame: VersionFrame, fault: str) -> NDArray[np.int64]:
    nothing = np.zeros(len(frame.frame.columns), np.int64)
    return np.array([nothing if one is None else _COUNTS[fault](one) for one in rows])


def _clean_columns(history: Sequence[Interval], rows: Sequence[Profile | None], frame: VersionFrame) -> set[str]:
    of = [Counted(0 if one is None else one.rows, i.from_s) for one, i in zip(rows, history, strict=True)]
    newest = recent([one.rows for one in of])
    if not newest:
        return set()
    count = sum(one.rows for one in of[-newest:])
    is_clean = np.ones(len(frame.frame.columns), bool)
    for fault, (hour, day) in _limits(frame, history[-1].from_s).items():
        # NB: an hour of the night that often has no values does not show that a fault is over.
        is_clean &= _table(rows, frame, fault)[-newest:].sum(axis=0) <= np.minimum(hour, day) * count
    return {column.name for column, fine in zip(frame.frame.columns, is_clean.tolist(), strict=True) if fine}


def _of_sizes(rows: Sequence[Profile | None], frame: VersionFrame) -> list[Breach]:
    """Numbers of another size over the last day, that have kept their shape."""
    known = [one for one in rows if one is not None]
    if not known:
        return []
    counts, sums, squares = np.sum([one.sizes for one in known], axis=0)
    values = sum(one.rows - one.nulls for one in known)
    found = []
    for place in np.flatnonzero((counts >= _LEAST_SIZES) & (counts == values)).tolist():
        column = frame.frame.columns[place]
        moved = size_moved(
            column.log_mean, column.log_std, column.log_apart, counts[place], sums[place], squares[place]
        )
        if moved and column.name != SCORE:
            factor = math.exp(abs(moved))
            change = f"{factor:.3g} times {'larger' if moved > 0 else 'smaller'}"
            summary = f"inputs.{column.name}: the numbers are {change} than in training: another unit?"
            found.append(Breach(column.name, "size", summary, factor, math.exp(_LEAST_MOVE), is_certain=True))
    return found


def size_moved(
    mean: float | None, std: float | None, apart: float | None, count: float, total: float, squares: float
) -> float:
    """By how much the mean logarithm has moved, where the numbers have another unit; else 0.

    `mean`, `std`, `apart`: of the reference, see `ColumnReference`; `count`, `total`, `squares`: of the logarithms of live values.
    """
    if mean is None or std is None or apart is None:
        return 0.0
    moved = total / count - mean
    spread = math.sqrt(max(squares / count - (total / count) ** 2, 0.0))
    is_same_shape = abs(spread - std) <= _SHAPE * std
    return moved if is_same_shape and abs(moved) > max(_LEAST_MOVE, _MOVES * apart) else 0.0


def _breach(
    column: str, fault: str, summary: str, shares: _Share, newest: Interval, noted: str | None = None
) -> Breach:
    offence = newest.offences.get((column, noted or fault))
    return Breach(column, fault, summary, shares.measured, shares.limit, shares.is_certain, offence)
