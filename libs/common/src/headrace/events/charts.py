"""Charts, as a project declares them, and what a closed window shows beside its quality: the figure of each chart, how the
inputs moved, and what was estimated before.
"""

import msgspec

from headrace.events.references import ReferenceWindow


class ChartsDefinition(msgspec.Struct, frozen=True):
    """Charts of what moved, under a budget of pages.

    `pages`: how many false pages all charts together may raise per `period_s` of event time. `segments`: columns of the
    row whose most frequent values have charts of their own. `season_s`: windows are compared with reference windows of
    the same phase, None for with all. `windows`: so many of the first closed windows are the reference where the version
    brings none.
    """

    pages: float
    period_s: float
    segments: tuple[str, ...] = ()
    season_s: float | None = None
    windows: int = 14


class ChartPoint(msgspec.Struct, frozen=True):
    """One figure of a window on one chart. `chart`: `base_rate`, `ranking`, `calibration`, `slope` or `level`.

    `segment`: `column=value`, "" for all requests. `value`, `error`: the figure and its standard error by independent
    rows. `expected`, `spread`: the mean and the standard deviation of the reference windows. `statistic`: of the
    e-detector, `limit`: the value at which it alarms, less what the other sides that share its budget show already. `detectable`: the least lasting change of the figure that is
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
    `ColumnReference`, of this window. `distinct`, `usual_distinct`: how many distinct values this window and the training rows
    have, within 6.5 %, of a category among the known ones; None where that was not counted. `distinct_sketch`: of this window.
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
    distinct: int | None = None
    usual_distinct: int | None = None
    distinct_sketch: bytes = b""


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


class ChartsMemory(msgspec.Struct, frozen=True):
    """What the charts of a deployment have seen of `version`, enough to go on after a restart.

    `statistics`: M of the e-detectors, by chart, `@segment` and side (`level+`, `ranking@carrier=AA-`). `runs`: per
    side the newest windows in a row that speak for a change, as start and logarithm of the e-value. `live`: the first closed windows, where these are the reference.
    `segments`: `column=value`, the most frequent ones; `columns`: what they are of, as declared, None where that is not known.
    `backs`: of the sides that crossed in an open episode the windows
    in a row in which they were as usual. `measured`, `measured_high`: see `BudgetReported`. `pages`: the findings of the
    newest period that paged, and when; `page_count`: all of them since `since_s`. `reported_s`: when the ledger was last
    reported. `standing`: the charts of the windows of a finding that stands, None where none does; of these alone `points`: the
    newest ones.
    """

    version: int | None = None
    statistics: dict[str, float] = {}
    runs: dict[str, tuple[tuple[float, float], ...]] = {}
    live: tuple[ReferenceWindow, ...] = ()
    segments: tuple[str, ...] = ()
    backs: dict[str, int] = {}
    measured: float | None = None
    measured_high: float | None = None
    pages: dict[str, float] = {}
    page_count: int = 0
    since_s: float | None = None
    reported_s: float | None = None
    standing: "ChartsMemory | None" = None
    points: tuple[ChartPoint, ...] = ()
    columns: tuple[str, ...] | None = None
