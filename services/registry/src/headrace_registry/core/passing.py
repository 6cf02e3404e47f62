"""Which versions the ladder passes over: by the monitor's findings that one does worse than the prior, as long as they are open."""

from typing import Any

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import PassedOver, RouteChanged
from headrace.registry.state import Registry
from headrace_registry.core import routes

KIND = "worse_than_prior"


def on_finding(state: Registry, finding: FindingOpened | FindingResolved) -> list[Any]:
    """The route that follows from a finding; nothing where it is of another kind, changes nothing, or names no routed version."""
    entry = state.entry(finding.deployment)
    if finding.kind != KIND or entry.route is None:
        return []
    is_there = any(found.finding == finding.finding for found in entry.route.passed_over)
    if isinstance(finding, FindingResolved):
        if not is_there:
            return []
        route = routes.standing_again(entry, finding.deployment, finding.finding, finding.reason)
        return [RouteChanged(finding.deployment, route)]
    if is_there or finding.version is None or not routes.names(entry.route, finding.version):
        return []
    found = PassedOver(finding.version, finding.finding, finding.summary)
    return [RouteChanged(finding.deployment, routes.passing_over(entry, finding.deployment, found))]
