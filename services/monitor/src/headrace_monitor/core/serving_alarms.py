"""Alarms about how requests are answered: a breaker that opens, load that is shed, a version that cannot be loaded.

They follow from the facts of inference instances. An alarm fires while any instance is in that state, and resolves when the
last one has left it. An instance that warms a version anew has been restarted, with its breaker closed. An instance that
reports no more is in no state, and nobody asks about a version that the route no longer names.
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
from headrace.hosting.alerts import Alarm

InferenceFact = BreakerChanged | OverloadChanged | VersionWarmed | VersionLoadFailed | VersionUnloadable
Alarms = list[Alarm]

OF_INSTANCES = ("BreakerOpen", "Overload", "VersionLoadFailed")


class ServingAlarms:
    """Which instances are in which unhealthy state, by the fingerprint of the alarm."""

    def __init__(self) -> None:
        self._unhealthy: dict[str, set[str]] = {}
        self._named: dict[str, frozenset[str]] = {}

    def on_route(self, route: Route) -> None:
        """Note which versions the route of a deployment names now."""
        self._named[route.deployment] = frozenset(map(str, route.named))

    def alarms_of(self, fact: InferenceFact) -> tuple[Alarms, Alarms]:
        """The alarms that a fact begins, and those that it ends; the state of its instance is remembered."""
        match fact:
            case BreakerChanged(state="half_open"):
                return [], []
            case BreakerChanged():
                alarm = _breaker_open(fact.deployment, fact.version, fact.reason)
                return self._set(alarm, fact.instance, fact.state == "open")
            case OverloadChanged():
                return self._set(_overload(fact), fact.instance, fact.level > 0)
            case VersionLoadFailed():
                return self._set(_load_failed(fact), fact.instance, True)
            case VersionUnloadable():
                return self._set(_load_failed(fact), fact.instance, False)
            case VersionWarmed():
                breaker = self._set(_breaker_open(fact.deployment, fact.version, ""), fact.instance, False)[1]
                failed = _load_failed(fact)
                is_known = failed.fingerprint in self._unhealthy
                return [], [*breaker, *(self._set(failed, fact.instance, False)[1] if is_known else [])]

    def on_history(self, alert: AlertChanged) -> None:
        """Note an alert that fires since before this monitor started; on which instances is not known."""
        if alert.status == "firing" and alert.labels.get("alertname") in OF_INSTANCES:
            self._unhealthy.setdefault(alert.fingerprint, set())

    def over(self, firing: Iterable[AlertChanged], live: Iterable[HealthReported]) -> list[str]:
        """The fingerprints of the firing alerts that no living instance stands behind any more.

        Their instances were replaced, or left the state without a fact that was read, or the route names the version no more.
        `live`: the newest reports of the instances that report now. Without any report nothing is known, so nothing is over.
        """
        reports = list(live)
        names = {report.instance for report in reports}
        if not names:
            return []
        found = []
        for alert in firing:
            instances = self._unhealthy.get(alert.fingerprint)
            if instances is not None:
                instances &= names
            if self._is_unnamed(alert) or (
                not instances and not any(_shows(report, alert.labels) for report in reports)
            ):
                found.append(alert.fingerprint)
        return found

    def _is_unnamed(self, alert: AlertChanged) -> bool:
        """Whether the route of the alert's deployment names its version no more."""
        # NB: a route that was not read yet does not tell which versions it names.
        named = self._named.get(alert.labels.get("deployment", ""))
        return named is not None and alert.labels.get("version", "") not in {"", *named}

    def _set(self, alarm: Alarm, instance: str, is_unhealthy: bool) -> tuple[Alarms, Alarms]:
        instances = self._unhealthy.setdefault(alarm.fingerprint, set())
        if is_unhealthy:
            instances.add(instance)
            return [alarm], []
        instances.discard(instance)
        return [], [] if instances else [alarm]


def _shows(report: HealthReported, labels: dict[str, str]) -> bool:
    """Whether an instance's own report shows the state of an alert. A failed load shows as a version that is not warm."""
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
