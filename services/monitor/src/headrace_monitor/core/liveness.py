"""Liveness: which services are down, from what they report on `ops.health` and `ops.stops`, and which alarms follow.

Silence is judged by the log and not by the clock of this machine: a service is down when nothing of it was appended for 10 s
before the newest report that was read, and this monitor reports each second too. So a monitor that was frozen, or whose
broker was away, knows nothing about others and raises nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headrace.events.ops import HealthReported, PartitionResumed, PartitionStopped
from headrace.hosting.alerts import Alarm
from headrace.hosting.health import FAILED
from headrace.log.port import Record

SILENT_S = 10.0
# An instance that was silent for so long is forgotten; the newest instance of a service never is.
FORGOTTEN_S = 3600.0
# So many processes of a service that ended within so long, without having been asked to, are no accident.
MOST_ENDS, ENDS_WITHIN_S = 4, 300.0

# Alarms that are on exactly while the reports say so.
OF_STATE = ("DeploymentDegraded", "TransactionOpen", "StateOverBound", "PartitionStopped")

Alarms = list[Alarm]


def service_down(service: str) -> Alarm:
    """No instance of a service reports."""
    summary = f"no instance of {service} has reported for {SILENT_S:.0f} s"
    return Alarm("ServiceDown", {"service": service}, "critical", summary, "headrace status")


def restarting(service: str, ends: int) -> Alarm:
    """The same alert: instances come, and end before they have done much."""
    summary = (
        f"{service} ended {ends} times in {ENDS_WITHIN_S / 60:.0f} minutes, unasked: it is restarted again and again"
    )
    return Alarm("ServiceDown", {"service": service}, "critical", summary, "headrace status")


@dataclass
class Liveness:
    """The newest report of every instance, and the partitions that services stopped at.

    `read_to_s`: the append time of the newest report that was read, in seconds since the epoch; 0 before the first one.
    `_lives`: per service and process (instance, start), when it last reported and whether it ended because it was asked to.
    `_unready_from_s`: per service and instance, since when it reports that it is not ready.
    """

    read_to_s: float = 0.0
    _seen: dict[str, dict[str, tuple[float, HealthReported]]] = field(default_factory=dict)
    _stops: dict[str, PartitionStopped] = field(default_factory=dict)
    _lives: dict[str, dict[tuple[str, float], tuple[float, bool]]] = field(default_factory=dict)
    _unready_from_s: dict[tuple[str, str], float] = field(default_factory=dict)

    def on_record(self, event: Any, record: Record) -> None:
        """A record of `ops.health` or `ops.stops`. A tombstone (`event` is None) ends the stop that its key names."""
        match event:
            case HealthReported():
                self._on_report(event, record.timestamp_ms / 1000)
            case PartitionStopped():
                self._stops[f"{event.service}/{event.topic}/{event.partition}"] = event
            case PartitionResumed():
                self._stops.pop(f"{event.service}/{event.topic}/{event.partition}", None)
            case None if record.key is not None:
                self._stops.pop(record.key.decode("utf-8", "replace"), None)

    def _on_report(self, report: HealthReported, at_s: float) -> None:
        self.read_to_s = max(self.read_to_s, at_s)
        instances = self._seen.setdefault(report.service, {})
        instances[report.instance] = (at_s, report)
        self._note_life(report, at_s)
        self._note_readiness(report, at_s)
        if len(instances) > 1:
            for name in _forget_replaced(instances):
                self._unready_from_s.pop((report.service, name), None)

    def _note_readiness(self, report: HealthReported, at_s: float) -> None:
        instance = report.service, report.instance
        if report.ready or report.stopping:
            self._unready_from_s.pop(instance, None)
        else:
            self._unready_from_s.setdefault(instance, at_s)

    def unready_s(self, report: HealthReported) -> float:
        """For how long an instance has reported that it is not ready; 0 for one that is."""
        return self.read_to_s - self._unready_from_s.get((report.service, report.instance), self.read_to_s)

    def down(self) -> dict[str, bool]:
        """For each service that ever reported, whether none of its instances does. One that ended when asked to is not down."""
        return {service: not self._is_up(list(found.values())) for service, found in self._seen.items()}

    def ends(self, service: str) -> int:
        """How many processes of a service ended in the last minutes without having been asked to."""
        lives = self._lives.get(service, {}).values()
        return sum(not asked and SILENT_S < self.read_to_s - at_s <= ENDS_WITHIN_S for at_s, asked in lives)

    def live(self, service: str | None = None) -> list[HealthReported]:
        """The newest reports of the instances that report now, of one service or (None) of all."""
        return [
            report
            for name, instances in self._seen.items()
            if service in (None, name)
            for at_s, report in instances.values()
            if self.read_to_s - at_s <= SILENT_S and not report.stopping
        ]

    def newest(self, service: str) -> list[HealthReported]:
        """The newest report of each known instance of a service, whether it is silent now or not."""
        return [report for _, report in self._seen.get(service, {}).values()]

    @property
    def stopped(self) -> frozenset[str]:
        """The places (`topic/partition`) that some service reads no further."""
        return frozenset(f"{stop.topic}/{stop.partition}" for stop in self._stops.values())

    def has_stopped_partition(self, service: str) -> bool:
        """Whether a service has stopped at a record of some partition."""
        return any(stop.service == service for stop in self._stops.values())

    def service_alarms(self) -> tuple[Alarms, Alarms]:
        """The alarms about services that are on, and those that are over."""
        on, over = Alarms(), Alarms()
        for service, is_down in self.down().items():
            ends = self.ends(service)
            if is_down:
                on.append(service_down(service))
            elif ends >= MOST_ENDS:
                on.append(restarting(service, ends))
            else:
                over.append(service_down(service))
        return on, over

    def state_alarms(self) -> Alarms:
        """The alarms of `OF_STATE` that are on now."""
        return [*self._stopped(), *self._degraded(), *self._of_states()]

    def _stopped(self) -> Iterator[Alarm]:
        for stop in self._stops.values():
            place = f"{stop.topic}/{stop.partition}"
            yield Alarm(
                "PartitionStopped",
                {"service": stop.service, "partition": place},
                "critical",
                f"{stop.service} reads {place} no further than offset {stop.offset}: {stop.reason}",
                f"headrace topic resume {stop.topic} --partition {stop.partition}",
            )

    def _degraded(self) -> Iterator[Alarm]:
        found = {name: why for report in self.live() for name, why in report.degraded.items()}
        for name, why in found.items():
            summary = f"{name} is answered by its fallback: {why}"
            yield Alarm("DeploymentDegraded", {"deployment": name}, "critical", summary, "headrace status")

    def _of_states(self) -> Iterator[Alarm]:
        for report in self.live():
            for what in report.failing:
                if what.startswith("transaction:"):
                    place = what.removeprefix("transaction:")
                    about = {"service": report.service, "partition": place}
                    summary = f"an unfinished transaction holds {place} back: {report.reason}"
                    yield Alarm("TransactionOpen", about, "critical", summary, "headrace status")
            for state, held in report.state_bytes.items():
                limit = report.state_limits.get(state, 0)
                if limit and held > limit:
                    summary = f"{report.service} holds {held:,} bytes of {state}, its bound is {limit:,}"
                    about = {"service": report.service, "state": state}
                    yield Alarm("StateOverBound", about, "warning", summary, "headrace status")

    def _is_up(self, instances: list[tuple[float, HealthReported]]) -> bool:
        newest_s, report = max(instances, key=lambda found: found[0])
        return _was_asked_to_end(report) or self.read_to_s - newest_s <= SILENT_S

    def _note_life(self, report: HealthReported, at_s: float) -> None:
        lives = self._lives.setdefault(report.service, {})
        life = (report.instance, report.started_s)
        if life not in lives:
            # A new process is the moment to forget old ones: where there are many, each of them was short.
            for old in [old for old, (last_s, _) in lives.items() if last_s < at_s - ENDS_WITHIN_S]:
                del lives[old]
        lives[life] = (at_s, _was_asked_to_end(report))


def _forget_replaced(instances: dict[str, tuple[float, HealthReported]]) -> list[str]:
    """Drop the instances of a service that were replaced long ago; returns their names."""
    newest_s = max(at_s for at_s, _ in instances.values())
    gone = [name for name, (at_s, _) in instances.items() if at_s < newest_s - FORGOTTEN_S]
    for name in gone:
        del instances[name]
    return gone


def _was_asked_to_end(report: HealthReported) -> bool:
    """Whether this is the last report of a process that was asked to end, or that begins anew by itself."""
    return report.stopping and FAILED not in report.failing
