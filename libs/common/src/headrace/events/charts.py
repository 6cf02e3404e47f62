"""What a closed window shows beside its quality: the figure of each chart, how the inputs moved, and what was estimated before."""

import msgspec


class ChartPoint(msgspec.Struct, frozen=True):
    """One figure of a window on one chart. `chart`: `base_rate`, `ranking`, `calibration`, `slope` or `level`.

    `segment`: `column=value`, "" for all requests. `value`, `error`: the figure and its standard error by independent
    rows. `expected`, `spread`: the mean and the standard deviation of the reference windows. `statistic`: of the
    e-detector, `limit`: the value at which it alarms. `detectable`: the least lasting change of the figure that is
    found within `within_windows` in half of all cases; None where the reference is too short to tell.
    """

    chart: str
    version: int
    value: float
    error: float
    rows: int
    segment: str = ""
    expected: float | None = None
    spread: float | None = None
    statistic: float = 0.0
    limit: float | None = None
    detectable: float | None = None
    within_windows: int | None = None


class ColumnSeen(msgspec.Struct, frozen=True):
    """A column of the rows of a window beside the training rows of the version that served. `column`: `score` for the scores.

    `psi`: population stability index over the reference's bins. `ks`: Kolmogorov-Smirnov distance of a number, None for
    a category. `chi_square`: over the bins. `p_value`: of the distance, corrected for the number of rows and for how
    alike rows of one block are. `is_moved`: it is small after the correction for many columns. `sketch`: as in
    `ColumnReference`, of this window.
    """

    column: str
    version: int
    rows: int
    null_share: float
    psi: float
    ks: float | None
    chi_square: float
    p_value: float
    is_moved: bool
    unknown_share: float = 0.0
    sketch: bytes = b""


class Estimated(msgspec.Struct, frozen=True):
    """A metric of a version in a window, estimated without its labels. `low`, `high`: bounds of 90 %.

    `method`: `cbpe` (of classes) or `dle` (of numbers). `realised`: the metric once the labels came, None before.
    `error`: the standard error that the labels' chance alone gives, as if rows were independent.
    """

    version: int
    metric: str
    value: float
    low: float
    high: float
    method: str
    realised: float | None = None
    error: float = 0.0
