"""Which versions the fallback chain passes over: those of which an open finding says that they do worse than the prior."""

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import PassedOver, RouteChanged
from headrace.registry.state import Registry
from headrace.step import Step
from headrace_registry.core import routes
from headrace_registry.core.machine import Fact, step_of

KIND = "worse_than_prior"


def on_finding(state: Registry, finding: FindingOpened | FindingResolved) -> Step[Registry, Fact]:
    """The route that follows from a finding; nothing where it is of another kind, changes nothing, or names no routed version."""
    entry, deployment = state.entry(finding.deployment), finding.deployment
    if finding.kind != KIND or entry.route is None:
        return step_of(state)
    is_known = any(found.finding == finding.finding for found in entry.route.passed_over)
    if isinstance(finding, FindingResolved):
        if not is_known:
            return step_of(state)
        route = routes.standing_again(entry, deployment, finding.finding, finding.reason)
        return step_of(state, [RouteChanged(deployment, route)])
    if is_known or finding.version is None or not routes.names(entry.route, finding.version):
        return step_of(state)
    found = PassedOver(finding.version, finding.finding, finding.summary)
    return step_of(state, [RouteChanged(deployment, routes.passing_over(entry, deployment, found))])
