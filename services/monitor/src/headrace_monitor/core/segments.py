"""Which part of the requests explains a finding most: selection against the rest, over the parts that columns make.

A figure per request (a loss above the expected one, or 1 where something is broken) is compared with what it usually is in the
same part, so that requests that are always hard explain nothing. With d the figure less the usual one, a part of n requests
stands out from the m others by

    z = (mean d - mean d of the others) / sqrt(max(v / n + w / m, s (1 / n + 1 / m)) + v / u)

v, w and s are the variances of the part, of the others and of all, u the usual requests of the part. Parts are categories, and
every range of neighbouring eighths of a number. Requests count as independent, and many parts are tried, so z must lie beyond
one in a thousand after Bonferroni's correction. The part must also account for three tenths of the change, and for half as much
again as its share of the requests. Of those that do, the one of the highest z is named; where none does, none is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from headrace.events.monitor import PartsSeen, Segment
from headrace_monitor.core.window_sample import Column

Floats = NDArray[np.float64]

LEAST_ROWS = 30
LEAST_EXPLAINS, LEAST_CONCENTRATION = 0.3, 1.5
_CHANCE = 0.001
_EIGHTHS = 8
# The commonest values of a category that are parts of their own, and columns whose usual figures are kept.
MOST_VALUES, MOST_COLUMNS = 24, 60
# A window's weight after the next one: the newest 30 windows or so count.
_FADE = 0.97


@dataclass(frozen=True, slots=True)
class Parts:
    """The requests divided by one column. `codes`: shape (n,), the part of each, -1 for none.

    `edges`, `values`: as in `PartsSeen`; the last part holds those without a value.
    """

    column: str
    codes: NDArray[np.int64]
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] | None = None

    @property
    def count(self) -> int:
        """How many parts there are, with the last one."""
        return (len(self.edges) + 1 if self.values is None else len(self.values)) + 1

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The parts that may be named, as [first, last): single ones, and neighbours where the column is a number."""
        yield self.count - 1, self.count
        for first in range(self.count - 1):
            last = self.count if self.values is None else first + 2
            yield from ((first, end) for end in range(first + 1, last) if (first, end) != (0, self.count - 1))

    def name(self, first: int, last: int) -> str:
        """A range of parts in words: a category, `low to high` (`high` not within), `below high`, `low and more`, or `no value`."""
        if first == self.count - 1:
            return "no value"
        if self.values is not None:
            return self.values[first]
        low, high = (
            f"{edge:.4g}" for edge in (self.edges[max(first - 1, 0)], self.edges[min(last, len(self.edges)) - 1])
        )
        return f"below {high}" if first == 0 else f"{low} and more" if last == self.count - 1 else f"{low} to {high}"


def divided(column: Column, seen: PartsSeen | None) -> Parts:
    """The parts that a column makes. `seen`: those of earlier windows, which stay as they are."""
    known = ~np.isnan(column.values)
    if column.words is not None:
        values = _values(column, known, (seen.values if seen is not None else None) or ())
        place = {value: code for code, value in enumerate(values)}
        lookup = np.array([place.get(word, -1) for word in column.words] or [-1], dtype=np.int64)
        codes = np.full(len(known), len(values), dtype=np.int64)
        codes[known] = lookup[column.values[known].astype(np.int64)]
        return Parts(column.name, codes, values=values)
    edges = (seen.edges if seen is not None else ()) or _edges(column.values[known])
    codes = np.searchsorted(np.array(edges), column.values, side="right")
    codes[~known] = len(edges) + 1
    return Parts(column.name, codes.astype(np.int64), edges=edges)


def _values(column: Column, known: NDArray[np.bool_], before: tuple[str, ...]) -> tuple[str, ...]:
    counts = np.bincount(column.values[known].astype(np.int64), minlength=len(column.words or ()))
    common = [
        (column.words or ())[place] for place in np.argsort(-counts, kind="stable") if counts[place] >= LEAST_ROWS
    ]
    new = [word for word in common if word not in before]
    # NB: a value that was renamed comes under a new name: there is room for those of this window beside the usual ones.
    return (*before, *new[:MOST_VALUES])


def _edges(values: Floats) -> tuple[float, ...]:
    if not len(values):
        return ()
    return tuple(np.unique(np.quantile(values, np.arange(1, _EIGHTHS) / _EIGHTHS)).tolist())


def segment_of(
    parts: Sequence[Parts], figure: Floats, usual: Mapping[str, PartsSeen]
) -> tuple[Segment, NDArray[np.bool_]] | None:
    """The part that explains a finding most, and which requests it holds, shape (n,); None where none stands out.

    `figure`: shape (n,), NaN for requests that do not count. `usual`: what the figure usually is, by column; a column that
    is not there is usually 0 (an excess over the expected loss, a share that is broken).
    """
    counts = ~np.isnan(figure)
    if counts.sum() < 2 * LEAST_ROWS:
        return None
    found = [one for part in parts for one in _judged(part, figure, counts, usual.get(part.column))]
    limit = float(-ndtri(_CHANCE / max(len(found), 1)))
    fit = [one for one in found if one.z >= limit and _accounts(one.segment)]
    if not fit:
        return None
    best = max(fit, key=lambda one: one.z)
    return best.segment, counts & best.holds


@dataclass(frozen=True, slots=True)
class _Judged:
    z: float
    segment: Segment
    parts: Parts
    first: int
    last: int

    @property
    def holds(self) -> NDArray[np.bool_]:
        return (self.parts.codes >= self.first) & (self.parts.codes < self.last)


def _accounts(segment: Segment) -> bool:
    return segment.explains >= max(LEAST_EXPLAINS, LEAST_CONCENTRATION * segment.share)


def _judged(parts: Parts, figure: Floats, counts: NDArray[np.bool_], usual: PartsSeen | None) -> list[_Judged]:
    """Each part of a column with its z, of those with rows enough."""
    change = figure - _baseline(parts, usual)
    whole = change[counts]
    if not len(whole) or float(whole.sum()) <= 0:
        return []
    spread, found = float(whole.var()), []
    for first, last in parts.ranges():
        inside = counts & (parts.codes >= first) & (parts.codes < last)
        n, m = int(inside.sum()), int(counts.sum() - inside.sum())
        if n < LEAST_ROWS or m < LEAST_ROWS:
            continue
        mine, rest = change[inside], change[counts & ~inside]
        v, w = float(mine.var()), float(rest.var())
        known = sum(usual.rows[first:last]) if usual is not None else 0.0
        square = max(v / n + w / m, spread * (1 / n + 1 / m)) + (v / known if known >= LEAST_ROWS else 0.0)
        if square <= 0:
            continue
        z = (float(mine.mean()) - float(rest.mean())) / square**0.5
        explains = float(mine.sum() / whole.sum())
        figures = float(figure[inside].mean()), float(figure[counts & ~inside].mean()), min(explains, 1.0)
        segment = Segment(parts.column, parts.name(first, last), n, n / (n + m), *figures)
        found.append(_Judged(z, segment, parts, first, last))
    return found


def _baseline(parts: Parts, usual: PartsSeen | None) -> Floats:
    """What the figure of each request usually is: in its part, and of all where the part is new; shape (n,)."""
    if usual is None or sum(usual.rows) < LEAST_ROWS:
        return np.zeros(len(parts.codes))
    rows, sums = _fitted(parts, usual)
    mean = sums.sum() / rows.sum()
    # The last entry is for requests of no part.
    return np.append(np.where(rows >= LEAST_ROWS, sums / np.maximum(rows, 1e-9), mean), mean)[parts.codes]


def _fitted(parts: Parts, seen: PartsSeen) -> tuple[Floats, Floats]:
    """The usual rows and sums in the order of `parts`, which may have more values than were seen before."""
    more = (0.0,) * (parts.count - len(seen.rows))
    return np.array([*seen.rows[:-1], *more, seen.rows[-1]]), np.array([*seen.sums[:-1], *more, seen.sums[-1]])


def usual_of(seen: Iterable[PartsSeen], columns: Mapping[str, Column]) -> dict[str, PartsSeen]:
    """What is usual by column, of the columns that are still there and of the same kind."""
    return {
        one.column: one
        for one in seen
        if one.column in columns and (one.values is None) == (columns[one.column].words is None)
    }


def after_window(usual: Mapping[str, PartsSeen], parts: Sequence[Parts], figure: Floats) -> tuple[PartsSeen, ...]:
    """What the figure is in each part after one more usual window; of the first `MOST_COLUMNS` columns.

    Values of which hardly any request is left are forgotten, and no more than `MOST_VALUES` are kept.
    """
    counts, found = ~np.isnan(figure), []
    for part in parts[:MOST_COLUMNS]:
        inside = counts & (part.codes >= 0)
        rows = np.bincount(part.codes[inside], minlength=part.count).astype(np.float64)
        sums = np.bincount(part.codes[inside], weights=figure[inside], minlength=part.count).astype(np.float64)
        if (seen := usual.get(part.column)) is not None:
            before_rows, before_sums = _fitted(part, seen)
            rows, sums = rows + _FADE * before_rows, sums + _FADE * before_sums
        found.append(_kept(part, rows, sums))
    return tuple(found)


def _kept(part: Parts, rows: Floats, sums: Floats) -> PartsSeen:
    places = np.arange(part.count)
    if part.values is not None:
        common = np.argsort(-rows[:-1], kind="stable")[:MOST_VALUES]
        places = np.append(np.sort(common[rows[common] >= 1.0]), part.count - 1)
    values = None if part.values is None else tuple(part.values[place] for place in places[:-1])
    return PartsSeen(part.column, tuple(rows[places].tolist()), tuple(sums[places].tolist()), part.edges, values)
