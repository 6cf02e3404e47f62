"""What the monitor reports of itself beyond the common: the figures of the newest closed windows, findings, alerts and pages,
how much its states hold, and what came too late.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from headrace.events.monitor import VersionQuality, WindowClosed
from headrace.hosting import catalogue as of
from headrace.hosting.catalogue import Metric
from headrace.hosting.health import Health
from headrace.hosting.measured import Labels
from headrace.log.codec import Message
from headrace.stats.charts import chart_of
from headrace_monitor.core.budget import pages_left
from headrace_monitor.core.facts import Fact, WindowReported
from headrace_monitor.core.monitoring import Monitoring

FIGURES = (
    "log_loss", "auc", "mean_score", "accuracy", "rmse", "mae", "squared_error", "over_prior", "score",
)  # fmt: skip
SEVERITIES = ("critical", "warning")
# At a start so many of the newest windows of all deployments are read, for their figures alone.
WINDOWS_READ = 1_000


class HealthGauges:
    """Fills in the health record. `spilled`: see `Outside`."""

    def __init__(self, health: Health, core: Monitoring, spilled: Callable[[], tuple[int, int]] | None = None) -> None:
        self._health, self._core, self._spilled = health, core, spilled
        self._newest: dict[str, WindowReported] = {}

    def on_history(self, message: Message) -> None:
        """A record that was written before this start: a window is the newest of its deployment so far."""
        if isinstance(message.event, WindowClosed):
            champion = (message.record.key or b"").rpartition(b"/")[2]
            self.note([WindowReported(message.event, int(champion) if champion.isdigit() else None)])

    def note(self, facts: Iterable[Fact]) -> None:
        """Keep the newest window of each deployment."""
        for fact in facts:
            if isinstance(fact, WindowReported):
                self._newest[fact.window.deployment] = fact

    def report(self, now_s: float) -> None:
        """Set all gauges. `now_s`: since the epoch."""
        declared = self._core.deployments.declared
        self._newest = {name: found for name, found in self._newest.items() if name in declared}
        self._report_windows([found.window for found in self._newest.values()])
        self._report_quality()
        self._report_charts()
        self._report_audits()
        self._report_alarms(now_s)
        self._report_late()
        for state, (held_bytes, limit_bytes) in self._core.holds().items():
            self._health.holds(state, held_bytes, limit_bytes)
        if self._spilled is not None:
            self._health.holds("spilled", *self._spilled())

    def _report_windows(self, windows: Iterable[WindowClosed]) -> None:
        values: dict[Metric, dict[Labels, float | None]] = {
            metric: {} for metric in (of.WINDOW_END, of.DRIFT, of.LABELLED, of.LABEL_DELAY, of.MISSING_VALUES)
        }
        for window in windows:
            key = (window.deployment,)
            values[of.WINDOW_END][key] = window.to_s
            values[of.DRIFT][key] = window.drift_statistic
            values[of.LABELLED][key] = window.labelled / window.requests if window.requests else None
            values[of.LABEL_DELAY][key] = window.label_delay_s
            values[of.MISSING_VALUES][key] = window.missing_share if window.parity_rows else None
        for metric, found in values.items():
            self._health.measured.replace(metric, {key: value for key, value in found.items() if value is not None})

    def _report_quality(self) -> None:
        values: dict[Labels, float] = {}
        for name, found in self._newest.items():
            quality = next((one for one in found.window.qualities if one.version == found.champion), None)
            values |= {(name, figure): value for figure, value in _figures(quality).items()}
        self._health.measured.replace(of.QUALITY, values)

    def _report_charts(self) -> None:
        shares: dict[Labels, float] = {}
        for name, found in self._newest.items():
            for point in found.window.charts:
                if point.limit is not None and not point.segment:
                    key = (name, chart_of(point.chart))
                    shares[key] = max(shares.get(key, 0.0), point.statistic / point.limit)
        self._health.measured.replace(of.CHART, shares)
        watched = self._core.deployments.watched.values()
        left = ((found, found.deployment.charts) for found in watched)
        self._health.measured.replace(
            of.PAGES_LEFT,
            {(one.deployment.name,): pages_left(one.findings.charts, plan) for one, plan in left if plan is not None},
        )

    def _report_audits(self) -> None:
        watched = self._core.deployments.watched.values()
        kept = {found.deployment.name: found.findings.audit for found in watched}
        trials = {name: one for name, one in kept.items() if one is not None}
        self._health.measured.replace(of.AUDIT_TRIALS, {(name,): one.trials for name, one in trials.items()})
        shares: dict[Labels, float] = {
            (name, outcome): count / one.trials
            for name, one in trials.items()
            if one.trials
            for outcome, count in (("false_alarm", one.failed), ("rollback", one.rolled_back))
        }
        self._health.measured.replace(of.AUDIT_RATE, shares)

    def _report_alarms(self, now_s: float) -> None:
        measured, alerting = self._health.measured, self._core.alerting
        watched = self._core.deployments.watched.values()
        kinds = Counter(finding.kind for found in watched for finding in found.findings.open.values())
        severities = Counter(alert.labels.get("severity") for alert in alerting.table.firing)
        measured.replace(of.FINDINGS, {(kind,): count for kind, count in kinds.items()})
        measured.replace(of.ALERTS, {(severity,): severities[severity] for severity in SEVERITIES})
        written_s = alerting.watchdog.at_s
        measured.replace(of.WATCHDOG, {} if written_s is None else {(): written_s})
        measured.replace(of.PAGES, {(): alerting.pages.count(now_s)})

    def _report_late(self) -> None:
        health, deployments = self._health, self._core.deployments
        reported = (health.late_requests, health.late_outcomes, health.late_corrections)
        for counts in reported:
            for name in [name for name in counts if name not in deployments.declared]:
                del counts[name]
        for name, found in deployments.watched.items():
            for counts, late in zip(reported, found.windows.late, strict=True):
                if late:
                    counts[name] = late


def _figures(quality: VersionQuality | None) -> dict[str, float]:
    """The figures that a version has."""
    found = {figure: getattr(quality, figure, None) for figure in FIGURES}
    return {figure: value for figure, value in found.items() if value is not None}
