"""Alerts and silences: what fires, what was resolved lately, and which alerts a silence covers."""

from headrace.events.alerts import AlertChanged, SilenceSet
from headrace.hosting import silences as rules
from headrace.hosting.alerts import is_watchdog
from headrace.log.envelope import format_instant, parse_instant
from headrace_console.core.documents import AlertRow, Alerts, Mark, Offer, SilenceRow
from headrace_console.core.seen import Seen

KEPT = 1_000
RESOLVED_SHOWN = 50
_MARKS: dict[str, Mark] = {"critical": "page", "warning": "attention"}


class Alarms:
    """The newest record of each alert, and the silences (see `headrace.hosting.silences`)."""

    def __init__(self) -> None:
        self.alerts: dict[str, tuple[AlertChanged, str]] = {}
        self.silences: dict[str, SilenceSet] = {}
        self._places: dict[str, str] = {}

    def take(self, seen: Seen) -> None:
        """Take an alert, a silence, or the end of either."""
        if seen.topic == "alerts":
            self._take_alert(seen)
            return
        self.silences = rules.taken(self.silences, seen.event, seen.key, seen.appended_s)
        self._places = {key: place for key, place in self._places.items() if key in self.silences}
        if seen.key in self.silences:
            self._places[seen.key] = seen.place

    def place_of(self, silence: str) -> str:
        """Where a silence was set."""
        return self._places.get(silence, "")

    def _take_alert(self, seen: Seen) -> None:
        self.alerts.pop(seen.key, None)
        if not isinstance(seen.event, AlertChanged) or is_watchdog(seen.event):
            return
        self.alerts[seen.key] = (seen.event, seen.place)
        if len(self.alerts) > KEPT:
            resolved = (key for key, (alert, _) in self.alerts.items() if alert.status != "firing")
            del self.alerts[next(resolved, next(iter(self.alerts)))]

    def firing(self) -> dict[str, tuple[AlertChanged, str]]:
        """The alerts that fire, by fingerprint."""
        return {key: found for key, found in self.alerts.items() if found[0].status == "firing"}

    def silencing(self, alert: AlertChanged, now_s: float) -> SilenceSet | None:
        """The silence that covers an alert now; of several the one that lasts longest."""
        return rules.covering(self.silences.values(), alert.labels, now_s)


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
    standing = rules.in_force(alarms.silences, now_s)
    return Alerts(
        {key: row_of(alert, place, alarms.silencing(alert, now_s)) for key, (alert, place) in shown},
        {key: row_of_silence(found, alarms.place_of(key)) for key, found in standing.items()},
    )


def row_of(alert: AlertChanged, place: str, silence: SilenceSet | None) -> AlertRow:
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
        words_of(silence) if silence is not None and is_firing else "",
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


def matchers_of(alert: AlertChanged) -> dict[str, str]:
    """The labels by which an alert is silenced: all of them but its severity."""
    return {name: text for name, text in alert.labels.items() if name != "severity"}


def row_of_silence(silence: SilenceSet, place: str) -> SilenceRow:
    """A silence in the list."""
    offers = (unsilence_offer(silence),)
    return SilenceRow(
        silence.id, silence.matchers, silence.starts_s, silence.ends_s, silence.by, silence.reason, place, offers
    )


def unsilence_offer(silence: SilenceSet) -> Offer:
    """The offer to end a silence."""
    what = " ".join(silence.matchers.values())
    return Offer("unsilence", "end silence", f"End the silence of {what} now", "operator", target=silence.id)


def words_of(silence: SilenceSet) -> str:
    """How long a silence lasts, by whom it was set, and why."""
    return f"until {format_instant(int(silence.ends_s))} by {silence.by}: {silence.reason}"


def _instant(text: str) -> float | None:
    return parse_instant(text) if text else None
