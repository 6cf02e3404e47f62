"""What a route becomes: pure changes, each a revision of its own.

While a version is compared with its control, both are shadows of the route: whoever of them does not answer scores along,
so that every request is scored by both.
"""

from msgspec.structs import replace

from headrace.events.registry import PassedOver, Route
from headrace.registry.state import Entry, Rollout


def route_of(entry: Entry, deployment: str) -> Route:
    """The route as it stands; an empty one (the prior answers) when there is none yet."""
    return entry.route or Route(deployment, {}, deployment, 0)


def warming(entry: Entry, deployment: str, version: int, rollout: str) -> Route:
    """The route as it is, with one more version to keep warm."""
    route = route_of(entry, deployment)
    warm = tuple(sorted({*route.warm, version}))
    return _next(route, warm=warm, rollout=rollout, reason=f"warming version {version}")


def shared(entry: Entry, deployment: str, rollout: Rollout, share: float, reason: str) -> Route:
    """`share` of the units to the version and the rest to its control, each scoring along with the other."""
    route, control = route_of(entry, deployment), rollout.control
    assert control is not None  # without a champion there is nothing to compare with: it is switched at once
    shares = {control: 1.0 - share, rollout.version: share} if share > 0 else {control: 1.0}
    return _next(route, shares=shares, shadows=(control, rollout.version), reason=reason)


def switched(entry: Entry, deployment: str, rollout: Rollout, reason: str) -> Route:
    """All traffic to the new version; the old one stays warm as `previous`, and scores along if that is wanted."""
    route, new, old = route_of(entry, deployment), rollout.version, rollout.control
    is_compared = rollout.plan.policy != "blue_green" or rollout.plan.shadow_previous
    shadows = (old,) if is_compared and old is not None else ()
    warm = _warm(route, new, old)
    return _next(
        route, shares={new: 1.0}, champion=new, previous=old, shadows=shadows, warm=warm, rollout="", reason=reason
    )


def restored(entry: Entry, deployment: str, rollout: Rollout, reason: str, *, is_harmful: bool) -> Route:
    """As it was before the rollout; a harmful version is named nowhere any more."""
    before = rollout.before or Route(deployment, {}, deployment, 0)
    route = replace(route_of(entry, deployment), shares=before.shares, shadows=before.shadows)
    if is_harmful:
        route = _without(route, rollout.version)
    return _next(route, warm=_warm(route, route.champion, route.previous), rollout="", reason=reason)


def rolled_back(entry: Entry, deployment: str, bad: int, to: int, previous: int | None, reason: str) -> Route:
    """All traffic to the version before; the bad one is named nowhere any more."""
    route = _without(route_of(entry, deployment), bad)
    warm = _warm(route, to, previous)
    return _next(
        route, shares={to: 1.0}, champion=to, previous=previous, shadows=(), warm=warm, rollout="", reason=reason
    )


def _without(route: Route, version: int) -> Route:
    """A route that does not name a version beside the champion."""
    return replace(
        route,
        shadows=tuple(found for found in route.shadows if found != version),
        overrides={tenant: found for tenant, found in route.overrides.items() if found != version},
        previous=None if route.previous == version else route.previous,
        baseline=None if route.baseline == version else route.baseline,
    )


def unpaired(entry: Entry, deployment: str) -> Route:
    """The rollback window is over: the old version does not score along any more."""
    return _next(route_of(entry, deployment), shadows=(), reason="the rollback window is over")


def with_baseline(entry: Entry, deployment: str, version: int, reason: str) -> Route:
    """`version` is the baseline of the fallback chain from now on."""
    return _next(route_of(entry, deployment), baseline=version, reason=reason)


def with_override(entry: Entry, deployment: str, tenant: str, version: int | None, reason: str) -> Route:
    """All requests of `tenant` to `version`; None: by the route again."""
    route = route_of(entry, deployment)
    overrides = {found: named for found, named in route.overrides.items() if found != tenant}
    if version is not None:
        overrides[tenant] = version
    rolling = entry.rollout.version if entry.rollout is not None else None
    warm = _warm(replace(route, overrides=overrides), route.champion, route.previous, rolling)
    return _next(route, overrides=overrides, warm=warm, reason=reason)


def passing_over(entry: Entry, deployment: str, found: PassedOver) -> Route:
    """A version answers nothing any more; what the fallback chain has below it does."""
    route = route_of(entry, deployment)
    return _next(route, passed_over=(*route.passed_over, found), reason=f"version {found.version} is passed over")


def standing_again(entry: Entry, deployment: str, finding: str, reason: str) -> Route:
    """What a finding had passed over answers again."""
    route = route_of(entry, deployment)
    left = tuple(found for found in route.passed_over if found.finding != finding)
    return _next(route, passed_over=left, reason=reason)


def names(route: Route | None, version: int) -> bool:
    """Whether a route names a version in any role."""
    if route is None:
        return False
    roles = (route.champion, route.previous, route.baseline, *route.shares, *route.shadows, *route.warm)
    return version in roles or version in route.overrides.values()


def _warm(route: Route, *versions: int | None) -> tuple[int, ...]:
    """These versions and those of the tenants."""
    wanted = dict.fromkeys([*versions, *sorted(route.overrides.values())])
    return tuple(version for version in wanted if version is not None)


def _next(route: Route, **changes: object) -> Route:
    """One revision later. Who is named nowhere any more is not passed over either: else it would score along for ever."""
    found = replace(route, revision=route.revision + 1, **changes)
    return replace(found, passed_over=tuple(over for over in found.passed_over if names(found, over.version)))
