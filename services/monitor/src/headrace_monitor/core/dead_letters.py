"""Alarms that follow from dead letters: that there are new ones, that they are many, and that the clock of a sender is wrong.

`DeadLettered` is over when no new dead letter came for a minute while its service went on consuming: a service that is
stopped and silent has not recovered. `DeadLettersGrow` fires when a hundred came within five minutes: then it is no single
record that cannot be read, but a producer. It ends with `DeadLettered`. `ClockSkew` fires when ten records of a topic within five minutes were refused because
their instant lies too far ahead, and is over after five minutes without one.
"""

from collections import deque
from dataclasses import dataclass, field

from headrace.hosting.alerts import Alarm
from headrace_monitor.core.liveness import Liveness

QUIET_S = 60.0
SKEW_COUNT, SKEW_S = 10, 300.0
GROW_COUNT, GROW_S = 100, 300.0
# The fields that a refusal names when an instant lies too far ahead.
INSTANT_FIELDS = ("ce_time", "available_at")


def dead_lettered(service: str) -> Alarm:
    """Some records of the inputs of a service could not be read."""
    summary = f"records that {service} cannot read are in dlq.{service}"
    return Alarm("DeadLettered", {"service": service}, "warning", summary, f"headrace dlq list --service {service}")


def dead_letters_grow(service: str) -> Alarm:
    """Many records of the inputs of a service could not be read."""
    summary = f"{service} could not read {GROW_COUNT} records within {GROW_S / 60:.0f} minutes: a producer writes what nobody can read"
    return Alarm("DeadLettersGrow", {"service": service}, "critical", summary, f"headrace dlq list --service {service}")


def clock_skew(topic: str, count: int = SKEW_COUNT) -> Alarm:
    """Senders to a topic are ahead of the log. `topic`: its name without the namespace."""
    summary = f"{count} records of {topic} within {SKEW_S / 60:.0f} minutes lie further ahead than 5 minutes: a sender's clock is wrong"
    return Alarm("ClockSkew", {"topic": topic}, "warning", summary, f"headrace topic tail {topic}")


@dataclass
class DeadLetters:
    """The newest dead letter of each service, and the newest refused instants of each topic.

    `_newest`: when it came, in seconds of the monotonic clock, and how many records the service had handled by then.
    """

    _newest: dict[str, tuple[float, int]] = field(default_factory=dict)
    _skewed: dict[str, deque[float]] = field(default_factory=dict)
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, service: str, now_s: float, liveness: Liveness) -> list[Alarm]:
        """Note a dead letter of a service. `now_s`: of the monotonic clock. Returns the alarms that are on from now."""
        self._newest[service] = (now_s, _handled(service, liveness))
        recent = self._recent.setdefault(service, deque(maxlen=GROW_COUNT))
        recent.append(now_s)
        are_many = len(recent) == GROW_COUNT and now_s - recent[0] <= GROW_S
        return [dead_lettered(service), *([dead_letters_grow(service)] if are_many else [])]

    def add_refused_instant(self, topic: str, now_s: float) -> Alarm | None:
        """Note that a record of a topic was refused for its instant; returns the alarm when there are many."""
        recent = self._skewed.setdefault(topic, deque(maxlen=SKEW_COUNT))
        recent.append(now_s)
        if len(recent) == SKEW_COUNT and now_s - recent[0] <= SKEW_S:
            return clock_skew(topic)
        return None

    def pop_over(self, now_s: float, liveness: Liveness) -> list[Alarm]:
        """Forget what has gone quiet; returns the alarms that are over."""
        quiet = [
            service
            for service, (last_s, handled) in self._newest.items()
            if now_s - last_s > QUIET_S and _consumes(service, handled, liveness)
        ]
        for service in quiet:
            del self._newest[service], self._recent[service]
        calm = [topic for topic, recent in self._skewed.items() if now_s - recent[-1] > SKEW_S]
        for topic in calm:
            del self._skewed[topic]
        return [*map(dead_lettered, quiet), *map(dead_letters_grow, quiet), *map(clock_skew, calm)]


def _handled(service: str, liveness: Liveness) -> int:
    return sum(report.handled_total for report in liveness.newest(service))


def _consumes(service: str, handled: int, liveness: Liveness) -> bool:
    """Whether a service goes on with its inputs, or has read all of them."""
    live = liveness.live(service)
    if liveness.has_stopped_partition(service) or not live:
        return False
    return _handled(service, liveness) != handled or not any(sum(report.lag.values()) for report in live)
