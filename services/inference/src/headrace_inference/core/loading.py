"""Which versions an instance keeps loaded: all that a route names, in any role, and no others."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Never

from headrace.events.ops import LOAD_REASON_CHARS, FailedLoads
from headrace.events.registry import Route
from headrace.step import Step
from headrace_inference.core.batch import Name


@dataclass(frozen=True, slots=True)
class Plan:
    """What to load next (champions first, so that traffic waits least) and what to unload."""

    load: tuple[Name, ...]
    unload: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Tries:
    """The tries of a version so far. `due_s`: when to try again, on the monotonic clock; `crashes`: children that crashed on it."""

    failures: int = 0
    due_s: float = 0.0
    crashes: int = 0


# A load that goes on is published each time it has taken so long again.
PATIENCE_S = 120.0
# A champion that has failed so often in a row waits in line like any other: two that take a minute to fail would leave no turn to the rest.
FAILURES_AHEAD = 3
# Of how many failed loads of one version the instants are reported, the newest ones.
FAILURES_KEPT = 16


def plan_loads(
    routes: Iterable[Route],
    known: Set[Name],
    loaded: Set[Name],
    refused: Set[Name],
    tries: Mapping[Name, Tries] = MappingProxyType({}),
    now_s: float = 0.0,
) -> Plan:
    """Compare what the routes name with what is loaded. The first version of each deployment goes before the second of any other. Among
    each of these, what was never tried goes before what has failed, which may fail again and take long, and what has been due for
    longest before the others. So each gets its turn, even when others fail again and again.

    `known`: versions that are registered; `refused`: those that are never tried again here; `tries`: those that have failed, each left
    alone until it is due; `now_s`: on the monotonic clock.
    """
    by_route = [[(route.deployment, version) for version in route.named] for route in routes]
    ahead = {name for names in by_route for name in names[:1] if failures_of(tries, name) < FAILURES_AHEAD}

    def turn(name: Name) -> tuple[bool, float]:
        return name not in ahead, tries[name].due_s if name in tries else -math.inf

    firsts, others = [names[:1] for names in by_route], [names[1:] for names in by_route]
    wanted = dict.fromkeys(itertools.chain(*firsts, *others))
    later = {name for name, found in tries.items() if found.due_s > now_s}
    passed_over = loaded | refused | later
    load = [name for name in wanted if name in known and name not in passed_over]
    return Plan(tuple(sorted(load, key=turn)), tuple(sorted(loaded - wanted.keys())))


def failures_of(tries: Mapping[Name, Tries], name: Name) -> int:
    """How often in a row a version could not be loaded."""
    return tries[name].failures if name in tries else 0


def champion_of(route: Route) -> int | None:
    """The version that answers most of a deployment's requests, None before there is one.

    >>> champion_of(Route("d", {1: 0.9, 2: 0.1}, "salt", 1))
    1
    """
    if route.champion is not None:
        return route.champion
    return max(route.shares, key=route.shares.__getitem__) if route.shares else None


def degraded(routes: Iterable[Route], why_not: Callable[[Name], str | None]) -> dict[str, str]:
    """The deployments whose champion cannot answer, and why: the fallback does. `why_not`: of a version, None when it can.

    >>> degraded([Route("d", {1: 1.0}, "salt", 1)], lambda name: "not loaded yet")
    {'d': 'version 1: not loaded yet'}
    """
    champions = [(route.deployment, version) for route in routes if (version := champion_of(route)) is not None]
    reasons = [(name, why_not(name)) for name in champions]
    return {name[0]: f"version {name[1]}: {reason}" for name, reason in reasons if reason is not None}


FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


def wait_s(attempt: int) -> float:
    """How long to wait after a failure; `attempt`: which one in a row it was, from 1. The wait doubles, and tries never end.

    >>> [wait_s(attempt) for attempt in (1, 2, 3, 7, 1000)]
    [1.0, 2.0, 4.0, 60.0, 60.0]
    """
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(attempt - 1, 10))


def failed_again(before: FailedLoads | None, cause: str, reason: str, at_s: float) -> FailedLoads:
    """What is reported of a version after one more load of it failed, at `at_s` (seconds since the epoch).

    >>> failed_again(FailedLoads((1.0,), "time", "slow"), "memory", "no room", 2.0)
    FailedLoads(at_s=(1.0, 2.0), cause='memory', reason='no room')
    """
    at_s_before = before.at_s if before is not None else ()
    return FailedLoads((*at_s_before, at_s)[-FAILURES_KEPT:], cause, reason[:LOAD_REASON_CHARS])


def on_failure(tries: Tries, now_s: float) -> Step[Tries, Never]:
    """A version could not be loaded. `now_s`, and when to try it again, are on the monotonic clock.

    >>> on_failure(Tries(failures=2), 100.0)
    Step(state=Tries(failures=3, due_s=104.0, crashes=0), facts=(), wake_at_s=104.0)
    """
    due_s = now_s + wait_s(tries.failures + 1)
    return Step(replace(tries, failures=tries.failures + 1, due_s=due_s), (), due_s)


def on_room(tries: Tries, now_s: float) -> Step[Tries, Never]:
    """Another version was unloaded: one that found no room may find some now."""
    due_s = min(tries.due_s, now_s)
    return Step(replace(tries, due_s=due_s), (), due_s)
