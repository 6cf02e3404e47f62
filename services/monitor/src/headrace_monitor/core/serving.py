"""Alarms about how requests are answered, from what inference instances tell: a breaker that opens, load that is shed.

An alarm fires while any instance is in that state, and resolves when the last one has left it; an instance that warms
the version anew has been restarted, with its breaker closed.
"""

from headrace.events.inference import BreakerChanged, OverloadChanged, VersionWarmed
from headrace_monitor.core.alarm import Alarm

InferenceFact = BreakerChanged | OverloadChanged | VersionWarmed
Alarms = list[Alarm]


class Serving:
    """Which instances are in which unsound state."""

    def __init__(self) -> None:
        self._unsound: dict[str, set[str]] = {}

    def take(self, fact: InferenceFact) -> tuple[Alarms, Alarms]:
        """The alarms that a fact raises, and those that it ends."""
        match fact:
            case BreakerChanged(state="half_open"):
                return [], []
            case BreakerChanged():
                return self._set(
                    _breaker_open(fact.deployment, fact.version, fact.reason), fact.instance, fact.state == "open"
                )
            case OverloadChanged():
                return self._set(_overload(fact), fact.instance, fact.level > 0)
            case VersionWarmed():
                return self._set(_breaker_open(fact.deployment, fact.version, ""), fact.instance, False)

    def _set(self, alarm: Alarm, instance: str, is_unsound: bool) -> tuple[Alarms, Alarms]:
        instances = self._unsound.setdefault(alarm.fingerprint, set())
        if is_unsound:
            instances.add(instance)
            return [alarm], []
        instances.discard(instance)
        return [], [] if instances else [alarm]


def _breaker_open(deployment: str, version: int, reason: str) -> Alarm:
    about = {"deployment": deployment, "version": str(version)}
    summary = f"version {version} of {deployment} is not asked any more: {reason}"
    return Alarm("BreakerOpen", about, "critical", summary, "headrace topic tail inference.facts")


def _overload(fact: OverloadChanged) -> Alarm:
    dropped = {1: "shadows do not score", 2: "the baseline is not asked"}.get(fact.level, "requests are refused")
    summary = f"{fact.deployment} sheds load: {dropped}; requests wait {fact.waiting_s:.2f} s"
    return Alarm("Overload", {"deployment": fact.deployment}, "critical", summary, "headrace status")
