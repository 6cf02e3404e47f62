"""Current state: each version, and the route of each deployment."""

import msgspec

from headrace.events.registry.version_facts import VersionRegistered


class RouteChanged(msgspec.Struct, frozen=True):
    """The route of a deployment from now on (the fact; `Route` on registry.routes is the state)."""

    deployment: str
    route: "Route"


class ModelVersion(msgspec.Struct, frozen=True):
    """Current state of one version. `tags`: its current tags.

    `stage`: `registered`, `warming`, `rolling_out`, `champion`, `retired`, `rejected`, `archived` or `deleted`.
    """

    registered: VersionRegistered
    stage: str
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    approved_by: str = ""


class PassedOver(msgspec.Struct, frozen=True):
    """A version that answers no request for now, whatever the shares are; it is a shadow instead.

    `finding`: the id of the finding that caused it, with its `reason` as text.
    """

    version: int
    finding: str
    reason: str


class Route(msgspec.Struct, frozen=True):
    """Current route of a deployment.

    `shares`: traffic per version, with the sum 1 (empty: there is no version yet, and the prior answers). `shadows`:
    versions that score without answering. `warm`: versions to keep loaded. `overrides`: versions per tenant. `rollout`:
    the id of the running rollout. `previous`: the step below the champion. `revision`: counts changes. `passed_over`:
    versions that steps of the fallback chain pass over because of open findings.
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
        """The versions that the route names in any role, those with traffic first. They are kept loaded."""
        steps = [version for version in (self.previous, self.baseline) if version is not None]
        found = [*self.shares, *steps, *self.overrides.values(), *self.warm, *self.shadows]
        return tuple(dict.fromkeys(found))
