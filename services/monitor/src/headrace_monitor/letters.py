"""Dead letters of all services, and the clocks of senders that some of them tell of: as alerts."""

from headrace.clock import Clock
from headrace.events.alerts import AlertChanged
from headrace.log.codec import Message, header
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace_monitor.alerts import Alerts
from headrace_monitor.core.dead import INSTANT_FIELDS, DeadLetters, dead_lettered
from headrace_monitor.core.services import Services


class Letters:
    """When a letter came is by the monotonic clock."""

    def __init__(self, topics: Topics, clock: Clock, services: Services, alerts: Alerts) -> None:
        self._topics, self._clock, self._services, self._alerts = topics, clock, services, alerts
        self._dead = DeadLetters()

    @property
    def topics(self) -> list[str]:
        """Where they lie."""
        return [self._topics.dlq(service) for service in self._topics.services]

    def restore(self, event: AlertChanged) -> None:
        """An alert from history: as if its letter had come now."""
        if event.labels.get("alertname") == "DeadLettered" and event.status == "firing":
            self._dead.take(event.labels["service"], self._clock.monotonic_s(), self._services)

    def take(self, message: Message) -> list[Out]:
        """A dead letter."""
        service = self._topics.base(message.record.topic).split(".")[1]
        self._dead.take(service, self._clock.monotonic_s(), self._services)
        outs = self._alerts.begin(dead_lettered(service))
        if header(message.record.headers, "headrace.field") in INSTANT_FIELDS:
            outs += self.take_skewed(header(message.record.headers, "__connect.errors.topic") or "?")
        return outs

    def take_skewed(self, topic: str) -> list[Out]:
        """A record of a topic was refused for its instant."""
        alarm = self._dead.take_skewed(self._topics.base(topic), self._clock.monotonic_s())
        return [] if alarm is None else self._alerts.begin(alarm)

    def look(self, now_s: float) -> list[Out]:
        """End the alerts of what has gone quiet."""
        return self._alerts.change((), self._dead.over(now_s, self._services))
