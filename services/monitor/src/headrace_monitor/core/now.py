"""The time of one step. A core never asks a clock: it is given the time."""

from typing import NamedTuple


class Now(NamedTuple):
    """One moment by both clocks of this machine, in seconds.

    `wall_s`: since the epoch; alerts are stamped with it. `monotonic_s`: of the monotonic clock; waits are measured by it.
    """

    wall_s: float
    monotonic_s: float
