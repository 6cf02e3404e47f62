"""Alerts as episodes: each is opened once, and resolved. The shape is Alertmanager's.

The monitor writes all alerts except those of the supervisor. One of them, the `Watchdog`, is the dead-man record: it always
fires, and is written again every `WATCHDOG_EVERY_S`. Who misses it knows that no other alert would come either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from msgspec.structs import replace

from headrace.events.alerts import AlertChanged
from headrace.log.envelope import derived_id, format_instant

# Written by the supervisor, which outlives the monitor; all others are the monitor's.
OF_SUPERVISOR = ("MonitorDown", "DiskAlmostFull")
# Which alert a finding of the monitor opens, by the kind of the finding.
OF_FINDINGS = {
    "drift": "ModelDrift", "skew": "FeatureSkew", "traffic": "SourceStopped", "contract": "SourceChanged",
    "labels": "LabelsMissing", "worse_than_prior": "ModelWorseThanPrior",
}  # fmt: skip
# The same kind of finding as of a source, but of the requests and features of a deployment.
INPUTS_BROKEN = "InputsBroken"
# About rollouts.
UNJUDGED, AWAITS_APPROVAL = "RolloutUnjudged", "RolloutAwaitsApproval"
ROLLED_BACK, ABORTED = "RolloutRolledBack", "RolloutAborted"
OF_ROLLOUTS = (UNJUDGED, AWAITS_APPROVAL, ROLLED_BACK, ABORTED)
# The dead-man record: its name, how often it is written, and after how long it is missed.
WATCHDOG = "Watchdog"
WATCHDOG_EVERY_S, WATCHDOG_MISSED_S = 30.0, 120.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """A possible alert: its name, labels, severity, a summary in one sentence, and the command that shows more.

    `notes`: further annotations.
    """

    name: str
    about: dict[str, str]
    severity: str
    summary: str
    command: str
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """An id that is the same for every episode of the same alarm."""
        return derived_id(self.name, *sorted(self.about.items()))[:16]


def alarm_name(kind: str, about: str = "") -> str:
    """The alert of a finding; "" for a kind that raises none. `about`: its subject.

    >>> alarm_name("contract", "landings.delay_min"), alarm_name("contract", "inputs.hour"), alarm_name("inputs")
    ('SourceChanged', 'InputsBroken', '')
    """
    return INPUTS_BROKEN if kind == "contract" and about.startswith("inputs.") else OF_FINDINGS.get(kind, "")


def runbook_of(name: str) -> str:
    """What to do about an alert: a path in the repository.

    >>> runbook_of("ModelDrift")
    'docs/runbooks/ModelDrift.md'
    """
    return f"docs/runbooks/{name}.md"


def linked(alert: AlertChanged, folder: str) -> AlertChanged:
    """The alert with an absolute link to its runbook. `folder`: where the runbooks can be read, "" keeps the path.

    >>> alert = fire(Alarm("ModelDrift", {}, "warning", "", ""), 0.0)
    >>> linked(alert, "https://ops.example/runbooks/").annotations["runbook_url"]
    'https://ops.example/runbooks/ModelDrift.md'
    """
    path = alert.annotations.get("runbook_url", "")
    if not folder or urlsplit(path).scheme:
        return alert
    link = f"{folder.rstrip('/')}/{path.rpartition('/')[2]}"
    return replace(alert, annotations={**alert.annotations, "runbook_url": link})


def is_watchdog(alert: AlertChanged) -> bool:
    """Whether it is the dead-man record, which always fires and asks nobody to act."""
    return alert.labels.get("alertname") == WATCHDOG


def fire(alarm: Alarm, now_s: float) -> AlertChanged:
    """The record that opens an alert."""
    annotations = {
        "summary": alarm.summary,
        "command": alarm.command,
        "runbook_url": runbook_of(alarm.name),
        **alarm.notes,
    }
    labels = {"alertname": alarm.name, "severity": alarm.severity, **alarm.about}
    return AlertChanged("firing", labels, annotations, format_instant(now_s), "", alarm.fingerprint)


def resolve(alert: AlertChanged, now_s: float) -> AlertChanged:
    """The record that resolves an alert."""
    return AlertChanged(
        "resolved", alert.labels, alert.annotations, alert.starts_at, format_instant(now_s), alert.fingerprint
    )
