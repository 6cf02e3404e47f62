"""What a switch of the champion brought: the new and the previous version on the same requests."""

import msgspec


class Paired(msgspec.Struct, frozen=True):
    """Two versions on the same labelled requests of a window. `version` answered, `other` scored along.

    `gain`: the sum over the requests of how much lower the bounded score of `version` is than that of `other` (Brier; for
    numbers the absolute error as a share of the declared range).
    """

    version: int
    other: int
    rows: int
    gain: float


class EfficacyKept(msgspec.Struct, frozen=True):
    """The efficacy figure of the newest switch, as far as it has come.

    `since_s`: the start of the first window with both versions, None before. `days`: the start of each day, its requests
    and the sum of their gains. `reported_s`: the end of the newest reported window. `low`: the newest reported lower bound.
    """

    version: int
    previous: int
    since_s: float | None = None
    days: tuple[tuple[float, int, float], ...] = ()
    reported_s: float = -1e18
    low: float | None = None


class EfficacyReported(msgspec.Struct, frozen=True):
    """What `version` gained per request over `previous`, the champion before it, on the same requests since the switch.

    `gain`: the mean of how much lower its bounded score is (Brier; for numbers the absolute error as a share of the
    declared range); below 0 it does worse. `low`, `high`: bounds of 90 % by blocks of a day that hold at every look, None
    with fewer than two days. `days`: with such requests. `is_final`: the days that were asked for are over, or another
    version is champion.
    """

    deployment: str
    version: int
    previous: int
    since_s: float
    at_s: float
    days: int
    requests: int
    gain: float
    low: float | None = None
    high: float | None = None
    is_final: bool = False
