"""What is published with facts: under which ids, and which parts of the current state they changed.

Ids derive from the cause and the state, so that a replay repeats them and no fact is ever counted twice.
"""

from typing import Any

from headrace.events.registry import CommandRefused, ModelVersion, Route, RouteChanged, TimedOut
from headrace.log.envelope import derived_id
from headrace.registry.state import Entry, Registry


def fact_id(state: Registry, fact: Any) -> str:
    """The id of a fact that follows from this state."""
    if isinstance(fact, CommandRefused):
        return derived_id("refused", fact.deployment, fact.command_id)
    return derived_id("fact", fact.deployment, state.entry(fact.deployment).facts)


def timed_out_id(state: Registry, event: TimedOut) -> str:
    """The id of a wait that ran out: the same until anything happens to the deployment."""
    return derived_id("timed-out", event.rollout, event.what, state.entry(event.deployment).facts)


def changed_versions(before: Entry, after: Entry) -> dict[int, ModelVersion]:
    """The versions that are not as they were."""
    return {
        version: found
        for version in after.versions
        if (found := after.model_version(version))
        != (before.model_version(version) if version in before.versions else None)
    }


def version_id(deployment: str, version: int, entry: Entry) -> str:
    """The id of a version's current state."""
    return derived_id("model", deployment, version, entry.facts)


def changed_route(after: Entry, facts: tuple[Any, ...]) -> Route | None:
    """The current route, where one of the facts changed it; else None."""
    return after.route if any(isinstance(fact, RouteChanged) for fact in facts) else None


def route_id(deployment: str, route: Route) -> str:
    """The id of a deployment's current route."""
    return derived_id("route", deployment, route.revision)
