"""What an alert is about, by its name and labels, and what each of its records changes.

The monitor writes a finding and its alert at once, to two topics, and either may be first: an alert waits for its finding.
An alert of a roll-back is about the newest one that was there when it began. While an alert fires, a change of its
silence is a record too: it is a step of its own, and no new alert.
"""

from collections import OrderedDict

from headrace.errors import Poison
from headrace.events.alerts import AlertChanged
from headrace.events.monitor import FindingOpened
from headrace.events.registry import RolledBack, RolloutAborted
from headrace.evidence.steps import sentence
from headrace.hosting.alerts import INPUTS_BROKEN, OF_FINDINGS, OF_ROLLOUTS, ROLLED_BACK
from headrace.log.codec import Message
from headrace.log.envelope import parse_instant

# The kind of finding that an alert is about.
_KINDS = {alarm: kind for kind, alarm in OF_FINDINGS.items()} | {INPUTS_BROKEN: "contract"}

# How long, in append time, an alert waits for its finding; and how many may wait.
WITHIN_S, MOST = 5.0, 50
# The alerts and the roll-backs whose episode is remembered.
_MOST_SEEN, _MOST_HARMS = 500, 200


class EarlyAlerts:
    """The newest waiting alert per kind of finding, at most `MOST`."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Message] = OrderedDict()

    def hold(self, kind: str, alert: Message) -> None:
        """Keep an alert for a finding of this kind."""
        self._held[kind] = alert
        self._held.move_to_end(kind)
        if len(self._held) > MOST:
            self._held.popitem(last=False)

    def claim(self, kinds: tuple[str, ...], finding: Message) -> Message | None:
        """The alert that waited for this finding, of which it is one of `kinds`; None for none."""
        for kind in kinds:
            alert = self._held.pop(kind, None)
            if alert is not None and finding.record.timestamp_ms - alert.record.timestamp_ms <= WITHIN_S * 1000:
                return alert
        return None


class SeenAlerts:
    """What was last seen of each alert, at most `_MOST_SEEN`."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def text_of(self, alert: AlertChanged) -> str:
        """A record of an alert in one line; "" for one that changes nothing."""
        key = alert_key(alert)
        now = (alert.status, "" if alert.silence is None else f"{alert.silence.id} {alert.silence.ends_at}")
        before = self._seen.get(key)
        self._seen[key] = now
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        if before == now:
            return ""
        if before is None or now[0] != "firing" or before[0] != "firing":
            return sentence(alert)
        name, silence = alert.labels.get("alertname", ""), alert.silence
        if silence is None:
            return f"silence of alert {name} ended"
        return f"alert {name} silenced until {silence.ends_at} by {silence.by}: {silence.reason}"


class Harms:
    """The newest roll-backs, each with the key of its episode."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, message: Message) -> tuple[str, ...]:
        """The key of a roll-back; none for another record."""
        event = message.event
        if not (isinstance(event, RolledBack) or (isinstance(event, RolloutAborted) and event.harmful)):
            return ()
        key = f"harm:{message.envelope.id}"
        self._held[key] = (message.record.timestamp_ms / 1000, event.version)
        if len(self._held) > _MOST_HARMS:
            self._held.popitem(last=False)
        return (key,)

    def key_for(self, alert: AlertChanged) -> str | None:
        """The key of the newest roll-back, of the version that the alert names, that was there when the alert began."""
        if alert.labels.get("alertname") != ROLLED_BACK:
            return None
        named, began_s = alert.labels.get("version"), _began_s(alert)
        mine = {key: at_s for key, (at_s, version) in self._held.items() if named in (None, str(version))}
        before = [key for key, at_s in mine.items() if began_s is None or at_s <= began_s + WITHIN_S]
        return next(reversed(before or list(mine)), None)


def alert_key(alert: AlertChanged) -> str:
    """One alert from its beginning to its end; one whose text changes meanwhile is about something new."""
    return f"alert:{alert.fingerprint}:{alert.starts_at}:{alert.annotations.get('summary', '')}"


def _began_s(alert: AlertChanged) -> float | None:
    try:
        return parse_instant(alert.starts_at)
    except Poison:
        return None


def kind_of(alert: AlertChanged) -> str:
    """The kind of finding that an alert is about, with what it concerns if that is named; `rollout` for those of rollouts."""
    labels = alert.labels
    name = labels.get("alertname", "")
    if name in OF_ROLLOUTS:
        return "rollout"
    kind = _KINDS.get(name, labels.get("finding", ""))
    return f"{kind} {labels['about']}" if "about" in labels else kind


def kinds_of(found: FindingOpened) -> tuple[str, str]:
    """By what its alert may name it, the closest first."""
    return f"{found.kind} {found.about}", found.kind
