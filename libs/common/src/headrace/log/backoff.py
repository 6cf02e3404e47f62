"""The delays between attempts: doubling up to a limit. They are not random: retries are few, and tests must repeat."""

from collections.abc import Iterator


def delays_s(first_s: float, most_s: float) -> Iterator[float]:
    """Endless delays in seconds.

    >>> from itertools import islice
    >>> list(islice(delays_s(0.5, 3.0), 5))
    [0.5, 1.0, 2.0, 3.0, 3.0]
    """
    delay_s = first_s
    while True:
        yield min(delay_s, most_s)
        delay_s = min(delay_s * 2, most_s)
