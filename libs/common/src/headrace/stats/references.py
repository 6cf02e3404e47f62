"""What is normal for a version: rows by column, and its scores. Live rows are compared with it.

How far rows of one block of time (an evaluation window) lie from the others is measured on the rows themselves, twice: a
block against all other blocks, and against those before it. The second knows seasons: tomorrow is never in the middle of the
history. Of both the one counts that allows more. The first twentieth of the time is left out of the shares of nulls that are
usual: features have no values yet where the log begins.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.events.references import ColumnReference, VersionReference
from headrace.events.registry import ColumnPin
from headrace.stats.bins import codes_of, edges_of, places_of, places_of_codes
from headrace.stats.distances import LEAST_ROWS, chi_square
from headrace.stats.distinct import distinct_sketch
from headrace.stats.sketches import sketch_of
from headrace.stats.stretches import usual_of

MOST_COLUMNS = 200
SCORE = "score"
_DAY_S = 86_400.0
_FEWEST_BLOCKS = 5
_USUAL_ROWS = 50
_BEGINNING = 0.05
# So many blocks before one are the least that it is compared with.
_BEFORE = 7
# The quantile by which two measures of the blocks are compared: so many standard deviations of the logarithm.
_FAR = 3.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def described(
    columns: Sequence[ColumnPin],
    matrix: NDArray[np.float32],
    at_s: Floats,
    window_s: float,
    scores: tuple[NDArray[np.float32], Floats] | None = None,
    defaulted: NDArray[np.bool_] | None = None,
) -> VersionReference:
    """The reference of rows at ascending instants `at_s` (n,), float32 (n, columns): their first `MOST_COLUMNS` columns.

    `window_s`: the width of an evaluation window. `scores`: of what rows, with their instants; None where they are not compared.
    `defaulted`: where a default stands for a feature without a value, of the shape of `matrix`; None where that is not known, or
    never so. There is at least one row. It has no `windows`.
    """
    block_s = block_of(at_s, window_s)
    return VersionReference(
        rows=len(at_s),
        from_s=float(at_s[0]),
        to_s=float(at_s[-1]),
        block_s=block_s,
        block_rows=float(np.median(_rows_per_block(at_s, block_s))),
        columns=tuple(
            replace(
                column_of(column.name, matrix[:, place], at_s, block_s, is_category=column.vocabulary is not None),
                **({} if defaulted is None or column.default is None else _missing(defaulted[:, place], at_s)),
            )
            for place, column in enumerate(columns[:MOST_COLUMNS])
        ),
        scores=None if scores is None else column_of(SCORE, *scores, block_s),
    )


def left_out(columns: Sequence[ColumnPin]) -> str:
    """Which columns a reference says nothing of, in words; "" when it describes all."""
    more = [column.name for column in columns[MOST_COLUMNS:]]
    return f"the last {len(more):,} columns are not compared with live rows, from {more[0]} on" if more else ""


def block_of(at_s: Floats, window_s: float) -> float:
    """The width of a block: an evaluation window, doubled until half of the blocks hold 50 rows, while at least ten of them are left.

    >>> block_of(np.arange(100) * 3600.0, 3600.0)
    28800.0
    """
    block_s, whole_s = window_s, float(at_s[-1] - at_s[0])
    while np.median(_rows_per_block(at_s, block_s)) < _USUAL_ROWS and 2 * block_s * 10 <= whole_s:
        block_s *= 2
    return block_s


def column_of(
    name: str, values: NDArray[np.float32], at_s: Floats, block_s: float, *, is_category: bool = False
) -> ColumnReference:
    """A column of rows at ascending instants `at_s`; both (n,). Of a category the values are its codes."""
    edges, codes = ((), codes_of(values)) if is_category else (edges_of(values), ())
    places = places_of_codes(values, codes) if is_category else places_of(values, edges)
    bins = len(codes) + 2 if is_category else len(edges) + 1
    counts = np.bincount(places[places >= 0], minlength=bins).astype(np.float64)
    spread, tail = spread_of(_by_block(places, at_s, block_s, bins))
    is_null = np.isnan(values)
    later = _later(at_s)
    there, usual = values[~is_null], usual_of(is_null[later], at_s[later])
    return ColumnReference(
        name,
        "category" if is_category else "number",
        tuple((counts / max(counts.sum(), 1.0)).tolist()),
        edges,
        codes,
        null_share=float(is_null.mean()),
        most_null=usual.day,
        most_null_hours=usual.hours,
        spread=spread,
        tail=tail,
        distinct_sketch=distinct_sketch(values),
        **({} if is_category or not len(there) else _numbers(values, at_s, there)),
    )


def _missing(is_missing: NDArray[np.bool_], at_s: Floats) -> dict[str, Any]:
    later = _later(at_s)
    usual = usual_of(is_missing[later], at_s[later])
    return {"most_missing": usual.day, "most_missing_hours": usual.hours}


def _later(at_s: Floats) -> NDArray[np.bool_]:
    """Which rows do not lie where the log begins."""
    return at_s >= at_s[0] + _BEGINNING * (at_s[-1] - at_s[0])


def _numbers(values: NDArray[np.float32], at_s: Floats, there: NDArray[np.float32]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "low": float(there.min()), "high": float(there.max()), "sketch": sketch_of(values)
    }  # fmt: skip
    if there.min() <= 0:
        return found
    logs = np.log(there.astype(np.float64))
    days = np.floor(at_s[~np.isnan(values)] / _DAY_S).astype(np.int64)
    _, day, rows = np.unique(days, return_inverse=True, return_counts=True)
    means = (np.bincount(day, weights=logs) / rows)[rows >= LEAST_ROWS]
    if not len(means):
        return found
    mean = float(logs.mean())
    return found | {
        "log_mean": mean, "log_std": float(logs.std()), "log_apart": float(np.abs(means - mean).max())
    }  # fmt: skip


def _rows_per_block(at_s: Floats, block_s: float) -> Ints:
    return np.unique(np.floor(at_s / block_s), return_counts=True)[1]


def _by_block(places: Ints, at_s: Floats, block_s: float, bins: int) -> Floats:
    """Counts per block and bin, (blocks, bins), of the blocks in which at least 20 rows have a value."""
    kept = places >= 0
    found, block = np.unique(np.floor(at_s[kept] / block_s), return_inverse=True)
    counts = np.bincount(block * bins + places[kept], minlength=len(found) * bins).reshape(-1, bins)
    return counts[counts.sum(axis=1) >= LEAST_ROWS].astype(np.float64)


def spread_of(blocks: Floats) -> tuple[float, float | None]:
    """`spread` and `tail` of a column, see `ColumnReference`. `blocks`: counts (blocks, bins), oldest first."""
    if len(blocks) < _FEWEST_BLOCKS:
        return 1.0, None
    whole = blocks.sum(axis=0)
    before = np.cumsum(blocks, axis=0) - blocks
    measured = [_logs(blocks, whole - blocks), _logs(blocks[_BEFORE:], before[_BEFORE:])]
    known = [_normal(logs) for logs in measured if len(logs) >= _FEWEST_BLOCKS]
    if not known:
        return 1.0, None
    middle, deviation = max(known, key=lambda found: found[0] + _FAR * found[1])
    return math.exp(middle), deviation


def _logs(blocks: Floats, others: Floats) -> Floats:
    """The logarithm of Pearson's statistic per degree of freedom, of each block against the others, at least 0.

    Hours and carriers of a timetable lie nearer to each other than independent rows. How much nearer says nothing of the far end.
    """
    rows = others.sum(axis=1)
    # NB: half a row more per bin: what first appears in a block is seldom, not impossible.
    shares = (others + 0.5) / (rows + 0.5 * blocks.shape[1])[:, None]
    statistic, freedom = chi_square(blocks, shares, rows)
    kept = (freedom > 0) & (statistic > 0)
    return np.log(np.maximum(statistic[kept] / freedom[kept], 1.0))


def _normal(logs: Floats) -> tuple[float, float]:
    """Mean, and the standard deviation of the next one: larger, the fewer there are."""
    count = len(logs)
    return float(logs.mean()), float(logs.std(ddof=1) * math.sqrt(1 + 1 / count) * (count - 1) / (count - 3))
