"""Latency digests: counts of durations in fixed buckets, which can be added, subtracted and read as quantiles.

The bounds are those that OpenTelemetry's semantic conventions (1.44) give for `messaging.process.duration`. They never
change while a process runs, so that two digests of one instance are subtracted bucket by bucket. A duration belongs to
the first bucket whose bound is not below it, as in Prometheus; the last bucket has no bound.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
BUCKETS = len(BOUNDS_S) + 1


class Digest:
    """A growing digest. `counts`: durations per bucket, of that bucket alone, `BUCKETS` numbers; `total`: their sum.

    `bounds`: other bounds, for other things than durations.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = BOUNDS_S) -> None:
        self.bounds = tuple(bounds)
        self.counts, self.total = [0] * (len(self.bounds) + 1), 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value `times` times. A negative duration, of two clocks that differ, counts as 0.

        >>> digest = Digest()
        >>> digest.add(0.005), digest.add(0.006, 3), digest.counts[:3]
        (None, None, [1, 3, 0])
        """
        found = max(value, 0.0)
        self.counts[bisect_left(self.bounds, found)] += times
        self.total += found * times

    def add_all(self, values: Sequence[float]) -> None:
        """Count many values. It costs a third of as many calls of `add`."""
        counts, bounds = self.counts, self.bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.total += sum(values)


def between(older: Sequence[int], newer: Sequence[int]) -> tuple[int, ...]:
    """The counts of the interval between two digests of one instance. An empty `older` is the start of the instance.

    >>> between((1, 2, 0), (1, 5, 1)), between((), (1, 5, 1))
    ((0, 3, 1), (1, 5, 1))
    """
    if not older:
        return tuple(newer)
    return tuple(new - old for old, new in zip(older, newer, strict=True))


def added(digests: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The counts of several digests together; () for none.

    >>> added([(1, 2, 0), (0, 1, 4)])
    (1, 3, 4)
    """
    return tuple(map(sum, zip(*digests, strict=True)))


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """The quantile of a digest in seconds, by linear interpolation within its bucket; None for an empty digest.

    `counts`: per bucket, `BUCKETS` of them, or () for an empty digest. `share`: 0..1. What lies in the last bucket
    counts as its lower bound of 10 s, as in Prometheus: then the quantile is at least that.

    >>> quantile_s([0, 100, 10] + [0] * 12, 0.5), quantile_s([0, 50, 10] + [0] * 12, 0.95)
    (0.00775, 0.0205)
    >>> quantile_s([0] * 14 + [1], 0.5), quantile_s([0] * 15, 0.5)
    (10.0, None)
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must lie in 0..1, got {share} (percent?)")
    rank, below = share * sum(counts), 0
    if not sum(counts):
        return None
    for (low_s, high_s), count in zip(pairwise((0.0, *BOUNDS_S)), counts, strict=False):
        if count and below + count >= rank:
            return low_s + (high_s - low_s) * max(0.0, rank - below) / count
        below += count
    return BOUNDS_S[-1]
