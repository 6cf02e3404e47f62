"""A version that does worse than the prior is passed over while the finding is open."""

import dataclasses

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import Route, RouteChanged
from headrace.registry.state import Registry, Rollout, apply
from headrace.testing.registry import CANARY
from headrace_registry.core.passed_over import on_finding
from headrace_registry.core.routes import switched

ROUTED = apply(Registry(), RouteChanged("d", Route("d", {3: 1.0}, "d", 4, champion=3, previous=2)))


def opened(version: int = 3, kind: str = "worse_than_prior") -> FindingOpened:
    return FindingOpened("f", "d", kind, "it does worse", 5.0, version)


def test_the_route_names_who_is_passed_over_and_why_until_the_finding_is_resolved() -> None:
    (changed,) = on_finding(ROUTED, opened()).facts
    route = changed.route
    assert [(found.version, found.finding, found.reason) for found in route.passed_over] == [(3, "f", "it does worse")]
    assert (route.champion, route.shares, route.revision) == (3, {3: 1.0}, 5)
    down = apply(ROUTED, changed)
    assert on_finding(down, opened()).facts == ()
    (back,) = on_finding(down, FindingResolved("f", "d", "worse_than_prior", "better again", 9.0)).facts
    assert (back.route.passed_over, back.route.revision) == ((), 6)


def test_who_is_named_nowhere_any_more_is_not_passed_over_either() -> None:
    down = apply(ROUTED, on_finding(ROUTED, opened()).facts[0]).entry("d")
    rollout = Rollout("r", 4, CANARY, 3)
    after = dataclasses.replace(down, route=switched(down, "d", rollout, "better"))
    assert after.route is not None
    assert [found.version for found in after.route.passed_over] == [3]
    last = switched(after, "d", dataclasses.replace(rollout, version=5, control=4), "better still")
    assert (last.previous, last.passed_over) == (4, ())


def test_other_findings_and_versions_that_are_not_routed_change_nothing() -> None:
    assert on_finding(ROUTED, opened(kind="drift")).facts == ()
    assert on_finding(ROUTED, opened(version=9)).facts == ()
    assert on_finding(Registry(), opened()).facts == ()
    assert on_finding(ROUTED, FindingResolved("f", "d", "worse_than_prior", "better", 9.0)).facts == ()
