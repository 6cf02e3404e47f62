"""Alarms from dead letters: that there are new ones, and that clocks of senders are wrong.

`DeadLettered` is over when no new one came for a minute while its service went on consuming: silence of a service that is
stopped is no recovery. `ClockSkew` fires when ten records of a topic within five minutes were refused for an instant that
lies too far ahead, and is over after five minutes without one.
"""

from collections import deque
from dataclasses import dataclass, field

from headrace_monitor.core.alarm import Alarm
from headrace_monitor.core.services import Services

QUIET_S = 60.0
SKEW_COUNT, SKEW_S = 10, 300.0
# The field that a refusal for a far instant names.
INSTANT_FIELDS = ("ce_time", "available_at")


def dead_lettered(service: str) -> Alarm:
    """Records of a service's inputs could not be read."""
    summary = f"records that {service} cannot read are in dlq.{service}"
    return Alarm("DeadLettered", {"service": service}, "warning", summary, f"headrace dlq list --service {service}")


def clock_skew(topic: str, count: int = SKEW_COUNT) -> Alarm:
    """Senders to a topic are ahead of the log."""
    summary = f"{count} records of {topic} within {SKEW_S / 60:.0f} minutes lie further ahead than 5 minutes: a sender's clock is wrong"
    return Alarm("ClockSkew", {"topic": topic}, "warning", summary, f"headrace topic tail {topic}")


@dataclass
class DeadLetters:
    """When the newest came, by service, and how many records that service had handled by then. Seconds of the monotonic clock."""

    _newest: dict[str, tuple[float, int]] = field(default_factory=dict)
    _skewed: dict[str, deque[float]] = field(default_factory=dict)

    def take(self, service: str, now_s: float, services: Services) -> None:
        """One came."""
        self._newest[service] = (now_s, _handled(service, services))

    def take_skewed(self, topic: str, now_s: float) -> Alarm | None:
        """A record of a topic was refused for its instant; the alarm when there are many."""
        recent = self._skewed.setdefault(topic, deque(maxlen=SKEW_COUNT))
        recent.append(now_s)
        if len(recent) == SKEW_COUNT and now_s - recent[0] <= SKEW_S:
            return clock_skew(topic)
        return None

    def over(self, now_s: float, services: Services) -> list[Alarm]:
        """Alarms that are over."""
        quiet = [
            service
            for service, (last_s, handled) in self._newest.items()
            if now_s - last_s > QUIET_S and _consumes(service, handled, services)
        ]
        for service in quiet:
            del self._newest[service]
        calm = [topic for topic, recent in self._skewed.items() if now_s - recent[-1] > SKEW_S]
        for topic in calm:
            del self._skewed[topic]
        return [*map(dead_lettered, quiet), *map(clock_skew, calm)]


def _handled(service: str, services: Services) -> int:
    return sum(report.handled_total for report in services.newest(service))


def _consumes(service: str, handled: int, services: Services) -> bool:
    """Whether a service goes on with its inputs, or has read them all."""
    live = services.live(service)
    if services.stopped_of(service) or not live:
        return False
    return _handled(service, services) != handled or not any(sum(report.lag.values()) for report in live)
