"""Facts that begin and end alarms, and the alarms that they must give."""

from typing import Any

from headrace.events.monitor import FindingOpened
from headrace.events.ops import HealthReported
from headrace.hosting.alerts import Alarm
from headrace.log.port import Record
from headrace_monitor.core.liveness import Liveness

# findings


def opened(kind: str, about: str = "") -> FindingOpened:
    return FindingOpened("f", "d", kind, "it is so", 5.0, about=about)


FINDINGS = "headrace finding show d"


# serving


def breaker(reason: str) -> Alarm:
    about = {"deployment": "d", "version": "3"}
    return Alarm(
        "BreakerOpen",
        about,
        "critical",
        f"version 3 of d is not asked any more: {reason}",
        "headrace topic tail inference.facts",
    )


def reported(instance: str = "i", service: str = "inference", **more: Any) -> HealthReported:
    return HealthReported(service, instance, True, **more)


# liveness


def beat(liveness: Liveness, at_s: float, service: str = "feature", instance: str = "i", **more: Any) -> None:
    record = Record("ops.health.v1", 0, 0, b"k", b"", (), int(at_s * 1000))
    liveness.on_record(HealthReported(service, instance, True, **more), record)


def service(name: str, summary: str) -> Alarm:
    return Alarm("ServiceDown", {"service": name}, "critical", summary, "headrace status")
