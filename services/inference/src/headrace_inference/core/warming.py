"""Which versions an instance keeps loaded: all that a route names, in whatever role, and no others."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from headrace.events.registry import Route

Name = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to load next (champions first, so that traffic waits least) and what to let go."""

    load: tuple[Name, ...]
    unload: tuple[Name, ...]


def wanted_by(route: Route) -> tuple[int, ...]:
    """The versions that a route names, those with traffic first."""
    rungs = (route.previous, route.baseline)
    named = [
        *route.shares,
        *(version for version in rungs if version is not None),
        *route.overrides.values(),
        *route.warm,
        *route.shadows,
    ]
    return tuple(dict.fromkeys(named))


def plan_loads(routes: Iterable[Route], known: Set[Name], loaded: Set[Name], refused: Mapping[Name, str]) -> Plan:
    """Compare what routes want with what is there. `known`: versions that the registry has told of; `refused`: ones that
    cannot be loaded, and why (they stay on the wanted list, but are not tried again).
    """
    wanted = [(route.deployment, version) for route in routes for version in wanted_by(route)]
    load = [name for name in wanted if name in known and name not in loaded and name not in refused]
    return Plan(tuple(dict.fromkeys(load)), tuple(sorted(loaded - set(wanted))))
