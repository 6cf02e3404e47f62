"""What is so now: each version, and the route of each deployment."""

import msgspec

from headrace.events.registry.version_facts import VersionRegistered


class RouteChanged(msgspec.Struct, frozen=True):
    """The route of a deployment from now on (the fact; `Route` on registry.routes is the state)."""

    deployment: str
    route: "Route"


class ModelVersion(msgspec.Struct, frozen=True):
    """Current state of one version. `stage`: `registered`, `warming`, `rolling_out`, `champion`, `retired`, `rejected`,
    `archived` or `deleted`. `tags`: as they are now."""

    registered: VersionRegistered
    stage: str
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    approved_by: str = ""


class PassedOver(msgspec.Struct, frozen=True):
    """A version that no request is answered by for now, whatever the shares say: it scores along. `finding`: why, with its `reason` in words."""

    version: int
    finding: str
    reason: str


class Route(msgspec.Struct, frozen=True):
    """Current route of a deployment.

    `shares`: traffic per version, sums to 1 (empty: no version yet, the prior answers). `shadows`: versions that score
    along. `warm`: versions to keep loaded. `overrides`: versions per tenant. `rollout`: the id of the one under way. `previous`: the step below the champion.
    `revision` counts changes. `passed_over`: versions that steps of the fallback chain pass over, by findings that are open.
    """

    deployment: str
    shares: dict[int, float]
    salt: str
    revision: int
    champion: int | None = None
    previous: int | None = None
    baseline: int | None = None
    shadows: tuple[int, ...] = ()
    warm: tuple[int, ...] = ()
    reason: str = ""
    overrides: dict[str, int] = {}
    rollout: str = ""
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def named(self) -> tuple[int, ...]:
        """The versions that it names in whatever role, those with traffic first: what is kept loaded."""
        steps = [version for version in (self.previous, self.baseline) if version is not None]
        found = [*self.shares, *steps, *self.overrides.values(), *self.warm, *self.shadows]
        return tuple(dict.fromkeys(found))
