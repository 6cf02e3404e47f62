"""Alarms about how requests are answered, from what inference instances tell: a breaker that opens, load that is shed, a version that
cannot be loaded.

An alarm fires while any instance is in that state, and resolves when the last one has left it; an instance that warms
the version anew has been restarted, with its breaker closed, one that reports no more is in no state, and of a version
that the route names no more nothing is asked.
"""

from collections.abc import Iterable

from headrace.events.alerts import AlertChanged
from headrace.events.inference import (
    BreakerChanged,
    OverloadChanged,
    VersionLoadFailed,
    VersionUnloadable,
    VersionWarmed,
)
from headrace.events.ops import HealthReported
from headrace.events.registry import Route
from headrace_monitor.core.alarm import Alarm

InferenceFact = BreakerChanged | OverloadChanged | VersionWarmed | VersionLoadFailed | VersionUnloadable
Alarms = list[Alarm]

OF_INSTANCES = ("BreakerOpen", "Overload", "VersionLoadFailed")


class Serving:
    """Which instances are in which unsound state."""

    def __init__(self) -> None:
        self._unsound: dict[str, set[str]] = {}
        self._named: dict[str, frozenset[str]] = {}

    def on_route(self, route: Route) -> None:
        """Which versions a deployment has now."""
        self._named[route.deployment] = frozenset(map(str, route.named))

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
            case VersionLoadFailed():
                return self._set(_load_failed(fact), fact.instance, True)
            case VersionUnloadable():
                return self._set(_load_failed(fact), fact.instance, False)
            case VersionWarmed():
                breaker = self._set(_breaker_open(fact.deployment, fact.version, ""), fact.instance, False)[1]
                failed = _load_failed(fact)
                is_known = failed.fingerprint in self._unsound
                return [], [*breaker, *(self._set(failed, fact.instance, False)[1] if is_known else [])]

    def remember(self, fingerprint: str) -> None:
        """An alert that fires since before this monitor started; of which instances is not known."""
        self._unsound.setdefault(fingerprint, set())

    def gone(self, firing: Iterable[AlertChanged], live: Iterable[HealthReported]) -> list[str]:
        """Fingerprints of firing alerts in whose state no living instance is: those that were are replaced, or said so unheard, or the
        version is none of its deployment's any more.

        `live`: newest reports of the instances that report now; without any, nothing is known.
        """
        reports = list(live)
        names = {report.instance for report in reports}
        if not names:
            return []
        found = []
        for alert in firing:
            instances = self._unsound.get(alert.fingerprint)
            if instances is not None:
                instances &= names
            if self._is_named_no_more(alert) or (
                not instances and not any(_says(report, alert.labels) for report in reports)
            ):
                found.append(alert.fingerprint)
        return found

    def _is_named_no_more(self, alert: AlertChanged) -> bool:
        # NB: a route that is not known yet says nothing.
        named = self._named.get(alert.labels.get("deployment", ""))
        return named is not None and alert.labels.get("version", "") not in {"", *named}

    def _set(self, alarm: Alarm, instance: str, is_unsound: bool) -> tuple[Alarms, Alarms]:
        instances = self._unsound.setdefault(alarm.fingerprint, set())
        if is_unsound:
            instances.add(instance)
            return [alarm], []
        instances.discard(instance)
        return [], [] if instances else [alarm]


def _says(report: HealthReported, labels: dict[str, str]) -> bool:
    """Whether an instance's own report shows what an alert is about; a failed load shows as a version that is not warm."""
    version = f"{labels.get('deployment')}/{labels.get('version')}"
    match labels.get("alertname"):
        case "BreakerOpen":
            return version in report.breakers
        case "Overload":
            return report.overload.get(labels.get("deployment", ""), 0) > 0
        case _:
            return version not in report.warmed and labels.get("deployment") in report.degraded


def _breaker_open(deployment: str, version: int, reason: str) -> Alarm:
    about = {"deployment": deployment, "version": str(version)}
    summary = f"version {version} of {deployment} is not asked any more: {reason}"
    return Alarm("BreakerOpen", about, "critical", summary, "headrace topic tail inference.facts")


def _load_failed(fact: VersionLoadFailed | VersionUnloadable | VersionWarmed) -> Alarm:
    about = {"deployment": fact.deployment, "version": str(fact.version)}
    summary = f"version {fact.version} of {fact.deployment} could not be loaded"
    match fact:
        case VersionLoadFailed(goes_on=True):
            summary = f"version {fact.version} of {fact.deployment} is not loaded yet: {fact.reason}"
        case VersionLoadFailed():
            summary += f" (try {fact.attempt}, again in {fact.retry_after_s:.0f} s): {fact.reason}"
    return Alarm("VersionLoadFailed", about, "warning", summary, "headrace status")


def _overload(fact: OverloadChanged) -> Alarm:
    dropped = {1: "shadows do not score", 2: "the baseline is not asked"}.get(fact.level, "requests are refused")
    summary = f"{fact.deployment} sheds load: {dropped}; requests wait {fact.waiting_s:.2f} s"
    return Alarm("Overload", {"deployment": fact.deployment}, "critical", summary, "headrace status")
