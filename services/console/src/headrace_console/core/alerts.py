"""Alerts and silences: what fires, what was resolved lately, and which alerts a silence covers."""

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.events.alerts import AlertChanged
from headrace.log.envelope import parse_instant
from headrace_console.core.documents import AlertRow, Alerts, Mark, Offer, SilenceRow
from headrace_console.core.seen import Seen

KEPT = 1_000
RESOLVED_SHOWN = 50
_MARKS: dict[str, Mark] = {"critical": "page", "warning": "attention"}


class Alarms:
    """The newest record of each alert, and the silences."""

    def __init__(self) -> None:
        self.alerts: dict[str, tuple[AlertChanged, str]] = {}
        self.silences: dict[str, tuple[Any, str]] = {}

    def take(self, seen: Seen) -> None:
        """Take an alert, a silence, or the end of either."""
        if seen.topic == "alerts":
            self._take_alert(seen)
        elif seen.event is None:
            self.silences.pop(seen.key, None)
        else:
            self.silences.pop(seen.key, None)
            self.silences[seen.key] = (seen.event, seen.place)
            while len(self.silences) > KEPT:
                del self.silences[next(iter(self.silences))]

    def _take_alert(self, seen: Seen) -> None:
        self.alerts.pop(seen.key, None)
        if not isinstance(seen.event, AlertChanged):
            return
        self.alerts[seen.key] = (seen.event, seen.place)
        if len(self.alerts) > KEPT:
            resolved = (key for key, (alert, _) in self.alerts.items() if alert.status != "firing")
            del self.alerts[next(resolved, next(iter(self.alerts)))]

    def firing(self) -> dict[str, tuple[AlertChanged, str]]:
        """The alerts that fire, by fingerprint."""
        return {key: found for key, found in self.alerts.items() if found[0].status == "firing"}

    def silencing(self, alert: AlertChanged, now_s: float) -> SilenceRow | None:
        """The silence that covers an alert now; of several the one that lasts longest."""
        rows = [row_of_silence(key, found, place) for key, (found, place) in self.silences.items()]
        covering = [row for row in rows if row.starts_s <= now_s < row.ends_s and _matches(row.matchers, alert.labels)]
        return max(covering, key=_end_s) if covering else None


def mark_of(alert: AlertChanged) -> Mark:
    """How pressing a firing alert is."""
    return _MARKS.get(alert.labels.get("severity", ""), "attention")


def about_of(alert: AlertChanged) -> str:
    """What an alert is about: its deployment, else its service, else any label."""
    labels = alert.labels
    named = labels.get("deployment") or labels.get("service") or labels.get("topic")
    return named or next((text for name, text in labels.items() if name not in ("alertname", "severity")), "")


def document(alarms: Alarms, now_s: float) -> Alerts:
    """The document `alerts`."""
    firing = alarms.firing()
    resolved = [(key, found) for key, found in alarms.alerts.items() if key not in firing]
    shown = [*firing.items(), *resolved[-RESOLVED_SHOWN:]]
    silences = {key: row_of_silence(key, found, place) for key, (found, place) in alarms.silences.items()}
    return Alerts(
        {key: row_of(alert, place, alarms.silencing(alert, now_s)) for key, (alert, place) in shown},
        {key: row for key, row in silences.items() if row.ends_s > now_s},
    )


def row_of(alert: AlertChanged, place: str, silence: SilenceRow | None) -> AlertRow:
    """An alert in the list."""
    is_firing = alert.status == "firing"
    name = alert.labels.get("alertname", "")
    return AlertRow(
        alert.fingerprint,
        name,
        alert.labels.get("severity", ""),
        mark_of(alert) if is_firing else "ok",
        alert.status,
        about_of(alert),
        alert.annotations.get("summary", ""),
        _instant(alert.starts_at) or 0.0,
        _instant(alert.ends_at),
        alert.annotations.get("command", ""),
        alert.annotations.get("runbook_url", ""),
        f"by {silence.by}: {silence.reason}" if silence is not None and is_firing else "",
        place,
        alert.labels,
        (silence_offer(alert),) if is_firing and silence is None else (),
    )


def silence_offer(alert: AlertChanged) -> Offer:
    """The offer to silence an alert."""
    name, about = alert.labels.get("alertname", ""), about_of(alert)
    sentence = f"Send no notification of {name} about {about} for the chosen time; it stays on this page"
    return Offer(
        "silence", "silence", sentence, "operator", alert.labels.get("deployment", ""), None, alert.fingerprint
    )


def row_of_silence(key: str, silence: Any, place: str) -> SilenceRow:
    """A silence in the list."""
    found: Mapping[str, Any] = msgspec.to_builtins(silence)
    matchers = {str(name): str(text) for name, text in found.get("matchers", {}).items()}
    sentence = f"End the silence of {', '.join(matchers.values()) or key}"
    return SilenceRow(
        key,
        matchers,
        float(found.get("starts_s", 0.0)),
        float(found.get("ends_s", 0.0)),
        str(found.get("by", "")),
        str(found.get("reason", "")),
        place,
        (Offer("unsilence", "end silence", sentence, "operator", target=key),),
    )


def _end_s(row: SilenceRow) -> float:
    return row.ends_s


def _matches(matchers: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return bool(matchers) and all(labels.get(name) == text for name, text in matchers.items())


def _instant(text: str) -> float | None:
    return parse_instant(text) if text else None
