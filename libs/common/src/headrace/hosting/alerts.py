"""Alerts as episodes: each is opened once, and resolved. The shape is Alertmanager's.

The monitor writes all alerts except those of the supervisor.
"""

from dataclasses import dataclass

from headrace.events.alerts import AlertChanged
from headrace.log.envelope import derived_id, format_instant

# Written by the supervisor, which outlives the monitor; all others are the monitor's.
OF_SUPERVISOR = ("MonitorDown", "DiskAlmostFull")
# Which alert a finding of the monitor opens, by the kind of the finding.
OF_FINDINGS = {
    "drift": "ModelDrift", "skew": "FeatureSkew", "traffic": "SourceStopped", "contract": "SourceChanged",
    "labels": "LabelsMissing", "worse_than_prior": "ModelWorseThanPrior",
}  # fmt: skip
# About rollouts.
UNJUDGED, AWAITS_APPROVAL = "RolloutUnjudged", "RolloutAwaitsApproval"
ROLLED_BACK, ABORTED = "RolloutRolledBack", "RolloutAborted"
OF_ROLLOUTS = (UNJUDGED, AWAITS_APPROVAL, ROLLED_BACK, ABORTED)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A possible alert: its name, labels, severity, a summary in one sentence, and the command that shows more."""

    name: str
    about: dict[str, str]
    severity: str
    summary: str
    command: str

    @property
    def fingerprint(self) -> str:
        """An id that is the same for every episode of the same alarm."""
        return derived_id(self.name, *sorted(self.about.items()))[:16]


def runbook_of(name: str) -> str:
    """What to do about an alert: a path in the repository.

    >>> runbook_of("ModelDrift")
    'docs/runbooks/ModelDrift.md'
    """
    return f"docs/runbooks/{name}.md"


def fire(alarm: Alarm, now_s: float) -> AlertChanged:
    """The record that opens an alert."""
    annotations = {"summary": alarm.summary, "command": alarm.command, "runbook_url": runbook_of(alarm.name)}
    labels = {"alertname": alarm.name, "severity": alarm.severity, **alarm.about}
    return AlertChanged("firing", labels, annotations, format_instant(now_s), "", alarm.fingerprint)


def resolve(alert: AlertChanged, now_s: float) -> AlertChanged:
    """The record that resolves an alert."""
    return AlertChanged(
        "resolved", alert.labels, alert.annotations, alert.starts_at, format_instant(now_s), alert.fingerprint
    )
