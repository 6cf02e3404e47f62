"""What services say of themselves on `ops.health` and `ops.stops`, and which alarms follow.

Silence is judged by the log, not by this machine's clock: a service is down when nothing of it was appended for 10 s
before the newest report read, and this monitor reports each second too. So a monitor that was frozen, or a broker that
was away, knows nothing, and says nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.events.ops import HealthReported, PartitionResumed, PartitionStopped
from headrace.hosting.health import FAILED
from headrace.log.codec import Message
from headrace_monitor.core.alarm import Alarm

SILENT_S = 10.0
# An instance that was silent for so long is not asked about any more; the newest one of a service is remembered.
FORGOTTEN_S = 3600.0
# So many ends within so long that nobody asked for are no accident: it is restarted, and ends again.
MOST_ENDS, ENDS_WITHIN_S = 4, 300.0

# Alarms that are on exactly while the state says so.
OF_STATE = ("DeploymentDegraded", "TransactionOpen", "StateOverBound", "PartitionStopped")


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
class Services:
    """Who reported what, and when, in append time."""

    read_to_s: float = 0.0
    _seen: dict[str, dict[str, tuple[float, HealthReported]]] = field(default_factory=dict)
    _stops: dict[str, PartitionStopped] = field(default_factory=dict)
    # Per service and process (instance, start): when it last reported, and whether it ended by design.
    _lives: dict[str, dict[tuple[str, float], tuple[float, bool]]] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """A heartbeat, or a partition that stopped or goes on."""
        event, at_s = message.event, message.record.timestamp_ms / 1000
        match event:
            case HealthReported():
                self.read_to_s = max(self.read_to_s, at_s)
                instances = self._seen.setdefault(event.service, {})
                instances[event.instance] = (at_s, event)
                self._note_life(event, at_s)
                if len(instances) > 1:
                    self._forget(instances)
            case PartitionStopped():
                self._stops[f"{event.service}/{event.topic}/{event.partition}"] = event
            case PartitionResumed():
                self._stops.pop(f"{event.service}/{event.topic}/{event.partition}", None)
            case None if message.record.key is not None:
                self._stops.pop(message.record.key.decode("utf-8", "replace"), None)

    def down(self) -> dict[str, bool]:
        """Per service that ever reported whether no instance of it does; one that stopped by design is not down."""
        return {service: not self._is_up(list(found.values())) for service, found in self._seen.items()}

    def ends(self, service: str) -> int:
        """How many processes of a service ended in the last minutes without having been asked to."""
        lives = self._lives.get(service, {}).values()
        return sum(not designed and SILENT_S < self.read_to_s - at_s <= ENDS_WITHIN_S for at_s, designed in lives)

    def live(self, service: str | None = None) -> list[HealthReported]:
        """The newest reports of instances that report now, of one service or of all."""
        return [
            report
            for name, instances in self._seen.items()
            if service in (None, name)
            for at_s, report in instances.values()
            if self.read_to_s - at_s <= SILENT_S and not report.stopping
        ]

    def newest(self, service: str) -> list[HealthReported]:
        """What each known instance of a service said last, silent or not."""
        return [report for _, report in self._seen.get(service, {}).values()]

    @property
    def stopped(self) -> frozenset[str]:
        """The places (`topic/partition`) that some service reads no further."""
        return frozenset(f"{stop.topic}/{stop.partition}" for stop in self._stops.values())

    def stopped_of(self, service: str) -> bool:
        """Whether a service has a stopped partition."""
        return any(stop.service == service for stop in self._stops.values())

    def alarms(self) -> list[Alarm]:
        """Those of `OF_STATE` that are on now."""
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
        return _is_designed(report) or self.read_to_s - newest_s <= SILENT_S

    def _note_life(self, report: HealthReported, at_s: float) -> None:
        lives = self._lives.setdefault(report.service, {})
        life = (report.instance, report.started_s)
        if life not in lives:  # the moment to forget: lives are short where there are many
            for old in [old for old, (last_s, _) in lives.items() if last_s < at_s - ENDS_WITHIN_S]:
                del lives[old]
        lives[life] = (at_s, _is_designed(report))

    def _forget(self, instances: dict[str, tuple[float, HealthReported]]) -> None:
        """Instances that were replaced long ago."""
        newest_s = max(at_s for at_s, _ in instances.values())
        gone = [name for name, (at_s, _) in instances.items() if at_s < newest_s - FORGOTTEN_S]
        for name in gone:
            del instances[name]


def _is_designed(report: HealthReported) -> bool:
    """Whether it is the last report of a process that was asked to end, or begins anew by itself."""
    return report.stopping and FAILED not in report.failing
