"""Alerts as episodes: each opens once, and resolves. The shape is Alertmanager's.

Shared by the monitor, which writes all of them, and the supervisor, which writes what the monitor cannot: that it is away itself.
"""

from dataclasses import dataclass

from headrace.events.alerts import AlertChanged
from headrace.log.envelope import derived_id, format_instant

RUNBOOKS = "docs/runbooks"


@dataclass(frozen=True, slots=True)
class Alarm:
    """What may fire: its name, what it is about, how bad, in one sentence, and the command to look with."""

    name: str
    about: dict[str, str]
    severity: str
    summary: str
    command: str

    @property
    def fingerprint(self) -> str:
        """The same for every episode of the same alarm."""
        return derived_id(self.name, *sorted(self.about.items()))[:16]


def fire(alarm: Alarm, now_s: float) -> AlertChanged:
    """The alarm is on."""
    annotations = {"summary": alarm.summary, "command": alarm.command, "runbook_url": f"{RUNBOOKS}/{alarm.name}.md"}
    labels = {"alertname": alarm.name, "severity": alarm.severity, **alarm.about}
    return AlertChanged("firing", labels, annotations, format_instant(now_s), "", alarm.fingerprint)


def resolve(alert: AlertChanged, now_s: float) -> AlertChanged:
    """It is over."""
    return AlertChanged(
        "resolved", alert.labels, alert.annotations, alert.starts_at, format_instant(now_s), alert.fingerprint
    )
