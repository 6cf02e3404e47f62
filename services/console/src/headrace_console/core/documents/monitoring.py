"""How a deployment is monitored: its charts, its estimates, the columns that moved, the ledger of its pages, what its
newest switch brought, the rates of its A/A arm, and the newest back-test of its policies.
"""

import msgspec

from headrace.events.audit import AuditReported
from headrace.events.backtests import BacktestReported
from headrace.events.efficacy import EfficacyReported
from headrace.events.monitor import BudgetReported
from headrace_console.core.documents.series import SeriesMark


class ChartSeen(msgspec.Struct, frozen=True):
    """The figure of a chart in a window, as in `ChartPoint`."""

    version: int
    value: float
    error: float
    rows: int
    expected: float | None = None
    spread: float | None = None
    statistic: float = 0.0
    limit: float | None = None
    detectable: float | None = None
    within_windows: int | None = None


class EstimateSeen(msgspec.Struct, frozen=True):
    """A metric of the champion that was estimated without labels, with bounds of 90 %, as in `Estimated`."""

    version: int
    value: float
    low: float
    high: float
    method: str
    realised: float | None = None


class ColumnRow(msgspec.Struct, frozen=True):
    """A column in the newest window beside the training rows, as in `ColumnSeen`."""

    column: str
    version: int
    rows: int
    null_share: float
    unknown_share: float
    psi: float
    ks: float | None
    p_value: float
    is_moved: bool
    distinct: int | None = None
    usual_distinct: int | None = None


class MonitoredWindow(msgspec.Struct, frozen=True):
    """A window. `charts`: by `chart`, or `chart@column=value` of a segment. `estimates`: by metric."""

    charts: dict[str, ChartSeen] = {}
    estimates: dict[str, EstimateSeen] = {}


class Monitoring(msgspec.Struct, frozen=True):
    """What the monitor sees of a deployment. `windows`: by their end, event time (digits). `charts`, `metrics`: those that
    any window has, in the order in which they are shown. `columns`: of the newest window that compared any, `columns_to_s`.
    `left_out`: charts of segments beyond those that are shown. `declared`: the detectors that the project declares.
    `audit_share`: of the units that are the A/A arm, 0 for none. `classes`: the names of the label's classes, which charts name by their place.
    """

    charts: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    windows: dict[str, MonitoredWindow] = {}
    columns: dict[str, ColumnRow] = {}
    columns_to_s: float | None = None
    ledger: BudgetReported | None = None
    efficacy: EfficacyReported | None = None
    audit: AuditReported | None = None
    marks: dict[str, SeriesMark] = {}
    declared: tuple[str, ...] = ()
    left_out: int = 0
    backtest: BacktestReported | None = None
    audit_share: float = 0.0
    classes: tuple[str, ...] = ()
