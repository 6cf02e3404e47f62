"""Alerts on the log: an episode of each begins once and ends once, whoever asks for it how often."""

from collections.abc import Collection, Iterable, Sequence

from headrace.clock import Clock
from headrace.events.alerts import AlertChanged
from headrace.log.codec import out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace_monitor.core.alarm import Alarm, fire, resolve


class Alerts:
    """The newest state of each, by fingerprint."""

    def __init__(self, topics: Topics, clock: Clock, service: str) -> None:
        self._topic, self._clock, self._service = topics.name("alerts"), clock, service
        self._known: dict[str, AlertChanged] = {}

    def restore(self, event: AlertChanged) -> None:
        """From history."""
        self._known[event.fingerprint] = event

    @property
    def firing(self) -> list[AlertChanged]:
        """Those that are on."""
        return [alert for alert in self._known.values() if alert.status == "firing"]

    def begin(self, alarm: Alarm) -> list[Out]:
        """It is on."""
        known = self._known.get(alarm.fingerprint)
        if known is not None and known.status == "firing":
            return []
        return [self._write(fire(alarm, self._clock.now_s()))]

    def end(self, fingerprint: str) -> list[Out]:
        """It is over, if it was on."""
        known = self._known.get(fingerprint)
        if known is None or known.status != "firing":
            return []
        return [self._write(resolve(known, self._clock.now_s()))]

    def change(self, begun: Iterable[Alarm], ended: Iterable[Alarm]) -> list[Out]:
        """Some are on, others are over."""
        return [
            *(written for alarm in begun for written in self.begin(alarm)),
            *(written for alarm in ended for written in self.end(alarm.fingerprint)),
        ]

    def set_to(self, on: Sequence[Alarm], names: Collection[str], *, may_end: bool) -> list[Out]:
        """Of these names exactly the alarms in `on` are on; none is ended unless it `may_end`."""
        outs = self.change(on, ())
        wanted = {alarm.fingerprint for alarm in on}
        if may_end:
            for alert in self.firing:
                if alert.labels["alertname"] in names and alert.fingerprint not in wanted:
                    outs += self.end(alert.fingerprint)
        return outs

    def _write(self, alert: AlertChanged) -> Out:
        self._known[alert.fingerprint] = alert
        ident = derived_id(alert.fingerprint, alert.status, alert.starts_at, alert.ends_at)
        return out(self._topic, alert.fingerprint, alert, Envelope(ident, "", self._service, self._clock.now_s()))
