"""What a receiver must be sent next, from the records of `alerts`. No I/O here: records in, deliveries out.

A webhook is sent what is news: an alert that begins, and its end. A record that changes the count, the link or the mark of a
silence is no news, and neither is one that was delivered before. While an alert is silenced nothing is sent of it; if it
still fires when the silence is over and was not sent before, it is sent then.

Alertmanager is sent the state: what fires, again and again (it believes an alert only for a while), and what has ended, once.
It is told the silences too (`silencing`), and keeps quiet by itself.

The dead-man record goes to Alertmanager and to receivers of kind `watchdog`, each as it comes and while it is fresh. A dead
man's switch is not sent it while no other receiver takes alerts: it must call then, since nothing else reaches anybody.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.events.alerts import AlertChanged
from headrace.hosting.alerts import WATCHDOG_MISSED_S, is_watchdog
from headrace_cli.forwarding.bodies import group_of

# Alerts in one body.
MOST_AT_ONCE = 100
# How often Alertmanager is sent what fires, and how long it believes that without being sent it again.
RESEND_S, BELIEVED_S = 60.0, 300.0
# The alerts whose state is remembered; beyond it the oldest are forgotten, which repeats them at worst.
MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of an alert. `appended_s`: since the epoch. `is_old`: it was there before this receiver was first set."""

    alert: AlertChanged
    appended_s: float
    is_old: bool = False


class Desk(Protocol):
    """Decides what one receiver is sent."""

    def begin(self, before: Iterable[Seen]) -> None:
        """Start anew. `before`: the records that the receiver has already taken."""
        ...

    def take(self, records: Sequence[Seen], now_s: float) -> list[tuple[AlertChanged, ...]]:
        """The deliveries that follow from these records, in order. `now_s`: since the epoch."""
        ...


@dataclass
class News:
    """The desk of a webhook. `_told`: per fingerprint the beginning and severity that was sent; `_hidden`: the alerts that began silently."""

    namespace: str = ""
    _told: dict[str, tuple[str, str]] = field(default_factory=dict)
    _hidden: dict[str, None] = field(default_factory=dict)

    def begin(self, before: Iterable[Seen]) -> None:
        """See `Desk`."""
        self._told, self._hidden = {}, {}
        for seen in before:
            self._is_news(seen)

    def take(self, records: Sequence[Seen], now_s: float) -> list[tuple[AlertChanged, ...]]:
        """See `Desk`."""
        groups: dict[tuple[tuple[str, str], ...], list[AlertChanged]] = {}
        for seen in records:
            if self._is_news(seen):
                key = tuple(sorted(group_of(seen.alert, self.namespace).items()))
                groups.setdefault(key, []).append(seen.alert)
        return [part for found in groups.values() for part in parts(found)]

    def _is_news(self, seen: Seen) -> bool:
        alert, found = seen.alert, seen.alert.fingerprint
        if is_watchdog(alert):
            return False
        if alert.status != "firing":
            was_told, was_hidden = self._told.pop(found, None), found in self._hidden
            self._hidden.pop(found, None)
            # NB: while the receiver was away, compaction may have left the end alone: it is sent.
            return alert.silence is None and (was_told is not None or not (was_hidden or seen.is_old))
        now = alert.starts_at, alert.labels.get("severity", "")
        if self._told.get(found) == now:
            return False
        if alert.silence is not None:
            _keep(self._hidden, found, None)
            return False
        self._hidden.pop(found, None)
        _keep(self._told, found, now)
        return True


@dataclass
class State:
    """The desk of an Alertmanager. `_firing`: what fires by now, with the append time of its record; `sent_s`: when all of it was last sent."""

    _firing: dict[str, Seen] = field(default_factory=dict)
    _sent_s: float = float("-inf")

    def begin(self, before: Iterable[Seen]) -> None:
        """See `Desk`."""
        self._firing, self._sent_s = {}, float("-inf")
        for seen in before:
            self._fold(seen)

    def take(self, records: Sequence[Seen], now_s: float) -> list[tuple[AlertChanged, ...]]:
        """See `Desk`. What fires is sent again when it is time."""
        for seen in records:
            self._fold(seen)
        newest = {seen.alert.fingerprint: seen for seen in records if not seen.is_old or seen.alert.status == "firing"}
        if not 0 <= now_s - self._sent_s < RESEND_S:
            self._sent_s = now_s
            newest = {**self._firing, **newest}
        return parts([seen.alert for seen in newest.values() if not _is_missed(seen, now_s)])

    def until(self, now_s: float) -> dict[str, float]:
        """Until when each firing alert is believed."""
        return {
            found: seen.appended_s + WATCHDOG_MISSED_S if is_watchdog(seen.alert) else now_s + BELIEVED_S
            for found, seen in self._firing.items()
        }

    def _fold(self, seen: Seen) -> None:
        if seen.alert.status == "firing":
            _keep(self._firing, seen.alert.fingerprint, seen)
        else:
            self._firing.pop(seen.alert.fingerprint, None)


@dataclass
class Heartbeat:
    """The desk of a dead man's switch: the newest dead-man record, while it is fresh. `reaches_nobody`: no alert would be delivered."""

    reaches_nobody: Callable[[], bool] = lambda: False

    def begin(self, before: Iterable[Seen]) -> None:
        """See `Desk`."""

    def take(self, records: Sequence[Seen], now_s: float) -> list[tuple[AlertChanged, ...]]:
        """See `Desk`."""
        beats = [seen for seen in records if is_watchdog(seen.alert) and not _is_missed(seen, now_s)]
        return [(beats[-1].alert,)] if beats and not self.reaches_nobody() else []


def parts(alerts: Sequence[AlertChanged]) -> list[tuple[AlertChanged, ...]]:
    """The same alerts, at most `MOST_AT_ONCE` together."""
    return [tuple(alerts[n : n + MOST_AT_ONCE]) for n in range(0, len(alerts), MOST_AT_ONCE)]


def _is_missed(seen: Seen, now_s: float) -> bool:
    """Whether it is a dead-man record that is too old to be a sign of life."""
    return is_watchdog(seen.alert) and now_s - seen.appended_s > WATCHDOG_MISSED_S


def _keep(held: dict, key: str, value: object) -> None:
    held.pop(key, None)
    held[key] = value
    if len(held) > MOST_KNOWN:
        del held[next(iter(held))]
