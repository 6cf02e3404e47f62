"""Into which bins a column's values fall: numbers by quantiles of the reference, categories by their codes.

A value that many rows share (no rain) has a bin of its own. Of a category the codes of at least one row in a hundred have
a bin each, at most 30 of them; the others share one, and unknown values (NaN) have the last.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_BINS = 10
MOST_CODES = 30
LEAST_CODE_SHARE = 0.01


def edges_of(values: NDArray[np.float32], most: int = MOST_BINS) -> tuple[float, ...]:
    """The inner edges of at most about `most` bins of equal share, ascending; () when all values are the same. NaN is no value.

    Bin k holds the values from edge k - 1 (inclusive) to edge k. A value that takes more than a bin is one by itself.

    >>> edges_of(np.array([1, 1, 1, 1, 1, 1, 2, 3, 4, 5], np.float32), 4)
    (1.0000001192092896, 2.75)
    """
    there = values[~np.isnan(values)]
    if not len(there):
        return ()
    found = np.quantile(there, np.arange(1, most) / most).astype(np.float32)
    edges, times = np.unique(found, return_counts=True)
    above = np.nextafter(edges[times > 1], np.float32(np.inf), dtype=np.float32)
    edges = np.unique(np.concatenate([edges, above]))
    return tuple(edges[(edges > there.min()) & (edges <= there.max())].tolist())


def codes_of(values: NDArray[np.float32]) -> tuple[int, ...]:
    """The codes of a category that have a bin of their own, ascending.

    >>> codes_of(np.array([0] * 150 + [2] * 150 + [1, np.nan], np.float32))
    (0, 2)
    """
    codes, counts = np.unique(values[~np.isnan(values)].astype(np.int64), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CODES]
    frequent = order[counts[order] >= LEAST_CODE_SHARE * len(values)]
    return tuple(sorted(codes[frequent].tolist()))


def places_of(values: NDArray[np.float32], edges: Sequence[float]) -> NDArray[np.int64]:
    """The bin of each number, shape (n,); NaN has none, which is -1."""
    found = np.searchsorted(np.asarray(edges, np.float32), values, side="right").astype(np.int64)
    found[np.isnan(values)] = -1
    return found


def places_of_codes(values: NDArray[np.float32], codes: Sequence[int]) -> NDArray[np.int64]:
    """The bin of each code, shape (n,): those with a bin of their own, then all others, then the unknown ones (NaN)."""
    ordered = np.asarray(codes, np.int64)
    found = np.full(len(values), len(ordered) + 1, np.int64)
    is_known = ~np.isnan(values)
    known = values[is_known].astype(np.int64)
    places = np.searchsorted(ordered, known)
    is_own = ordered[np.minimum(places, len(ordered) - 1)] == known if len(ordered) else np.zeros(len(known), bool)
    found[is_known] = np.where(is_own, places, len(ordered))
    return found
