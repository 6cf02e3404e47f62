"""Charts, estimates, columns, ledgers, what switches brought, rates of A/A arms and back-tests: the newest `KEPT` windows of
each deployment, packed.

Of a window are kept the charts of all requests, and of segments those nearest to their limit, `MOST_CHARTS` in all, and the
estimates of the version that has most of them. What a window was estimated to be stays until its labels came.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from headrace.events.audit import AuditReported
from headrace.events.backtests import BacktestReported
from headrace.events.charts import ChartPoint, ColumnSeen, Estimated
from headrace.events.efficacy import EfficacyReported
from headrace.events.monitor import BudgetReported, WindowClosed, WindowEstimated
from headrace_console.core.documents import ChartSeen, ColumnRow, EstimateSeen, MonitoredWindow

KEPT, MOST_CHARTS, MOST_ESTIMATES, MOST_COLUMNS = 240, 24, 8, 100
# What is taken of `monitor.windows`.
Measured = WindowClosed | WindowEstimated | BudgetReported | EfficacyReported | AuditReported
_Report = TypeVar("_Report", BudgetReported, EfficacyReported, AuditReported)
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(MonitoredWindow).decode


@dataclass
class Held:
    """What is held of a deployment. `windows`: packed, by their end. `columns`: of the newest window that compared any."""

    windows: OrderedDict[float, bytes] = field(default_factory=OrderedDict)
    columns: tuple[ColumnRow, ...] = ()
    columns_to_s: float | None = None
    ledger: BudgetReported | None = None
    efficacy: EfficacyReported | None = None
    audit: AuditReported | None = None
    backtest: BacktestReported | None = None

    def points(self) -> dict[float, MonitoredWindow]:
        """The windows, oldest first."""
        return {to_s: _unpack(self.windows[to_s]) for to_s in sorted(self.windows)}

    def newest_chart(self, key: str) -> ChartSeen | None:
        """A chart in the newest window that has it; None where none has."""
        seen = (_unpack(self.windows[to_s]).charts.get(key) for to_s in sorted(self.windows, reverse=True))
        return next((found for found in seen if found is not None), None)


class Monitored:
    """What is held of all deployments."""

    def __init__(self) -> None:
        self._of: dict[str, Held] = {}

    def of(self, deployment: str) -> Held | None:
        """What is held of a deployment; None for nothing."""
        return self._of.get(deployment)

    def take(self, event: Measured) -> None:
        """Take a record of the monitor."""
        if isinstance(event, WindowClosed) and not (event.charts or event.columns or event.estimates):
            return
        held = self._of.setdefault(event.deployment, Held())
        match event:
            case BudgetReported():
                held.ledger = _newer(held.ledger, event)
            case EfficacyReported():
                held.efficacy = _newer(held.efficacy, event)
            case AuditReported():
                held.audit = _newer(held.audit, event)
            case WindowEstimated():
                known = held.windows.get(event.to_s)
                if known is None:
                    _keep(held, event.to_s, MonitoredWindow({}, estimates_of(event.estimates)))
            case WindowClosed():
                before = held.windows.get(event.to_s)
                estimates = estimates_of(event.estimates) or (_unpack(before).estimates if before is not None else {})
                _keep(held, event.to_s, MonitoredWindow(charts_of(event.charts), estimates))
                if event.columns and event.to_s >= (held.columns_to_s or 0.0):
                    held.columns, held.columns_to_s = columns_of(event.columns), event.to_s

    def take_backtest(self, deployment: str, event: object) -> None:
        """Take the newest back-test of a deployment; anything else takes the one before away."""
        self._of.setdefault(deployment, Held()).backtest = event if isinstance(event, BacktestReported) else None


def _newer(before: _Report | None, after: _Report) -> _Report:
    return after if before is None or after.at_s >= before.at_s else before


def _keep(held: Held, to_s: float, window: MonitoredWindow) -> None:
    held.windows[to_s] = _pack(window)
    while len(held.windows) > KEPT:
        del held.windows[min(held.windows)]


def charts_of(points: Iterable[ChartPoint]) -> dict[str, ChartSeen]:
    """The charts of a window by `chart`, or `chart@segment`: of several versions the one with the most rows."""
    found: dict[str, ChartPoint] = {}
    for point in sorted(points, key=lambda one: one.rows):
        found[f"{point.chart}@{point.segment}" if point.segment else point.chart] = point
    near = sorted(found, key=lambda key: ("@" in key, -_share(found[key]), key))[:MOST_CHARTS]
    return {key: msgspec.convert(found[key], ChartSeen, from_attributes=True) for key in near}


def _share(point: ChartPoint) -> float:
    return point.statistic / point.limit if point.limit else 0.0


def estimates_of(estimates: Iterable[Estimated]) -> dict[str, EstimateSeen]:
    """The estimates of a window by metric, of the version that has most of them."""
    by_version: dict[int, dict[str, Estimated]] = {}
    for one in estimates:
        by_version.setdefault(one.version, {})[one.metric] = one
    found = max(by_version.values(), key=len, default={})
    return {
        metric: msgspec.convert(found[metric], EstimateSeen, from_attributes=True)
        for metric in list(found)[:MOST_ESTIMATES]
    }


def columns_of(columns: Iterable[ColumnSeen]) -> tuple[ColumnRow, ...]:
    """The columns of a window: those that moved first, then by how far they lie from the training rows."""
    ordered = sorted(columns, key=lambda one: (not one.is_moved, -one.psi))
    return tuple(msgspec.convert(one, ColumnRow, from_attributes=True) for one in ordered[:MOST_COLUMNS])
