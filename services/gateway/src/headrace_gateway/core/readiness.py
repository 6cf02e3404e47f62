"""Whether the gateway can ask, and whether a deployment can answer: its champion is loaded on an inference instance that lives.

An instance lives while its last report is at most `LIVE_S` old and does not say that it stops; it reports each second.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.events.definition import DeploymentDefinition
from headrace.events.ops import HealthReported
from headrace.events.registry import Route
from headrace_edge.rules.replies import Reply, as_json

LIVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Reported:
    """The last report of an instance, and when it was received (monotonic)."""

    report: HealthReported
    at_s: float


def why_cannot_ask(is_ready: bool, trouble: str | None) -> str | None:
    """Why no question can be asked now; None when one can. `is_ready`, `trouble`: of the asker.

    A part of the process that fails otherwise (a heartbeat that the broker does not take) delays no question.
    """
    return None if is_ready else trouble or "answers cannot be received yet"


def why_unready(why_not: str | None, is_healthy: bool, failures: Iterable[str]) -> str | None:
    """Why the gateway does not do its work; None when it does. `why_not`: see `why_cannot_ask`; the others are of its health."""
    if why_not is None and is_healthy:
        return None
    reasons = dict.fromkeys(reason for reason in (why_not, *failures) if reason)
    return "; ".join(reasons) or "it is stopping"


def readiness(named: dict[str, Any], why: str | None) -> Reply:
    """The answer to whether something is ready: 200, or 503 with the reason `why`. `named`: what the body names beside."""
    if why is not None:
        return as_json(503, named | {"ready": False, "reason": why})
    return as_json(200, named | {"ready": True})


def living(reports: Iterable[Reported], now_s: float) -> list[HealthReported]:
    """The inference instances that live now."""
    return [
        found.report
        for found in reports
        if found.report.service == "inference" and not found.report.stopping and now_s - found.at_s <= LIVE_S
    ]


def loaded_on(instances: Iterable[HealthReported], deployment: str) -> list[int]:
    """Versions of a deployment that a living instance has loaded, ascending."""
    names = {name for instance in instances for name in instance.warmed}
    found = (name.rpartition("/") for name in names)
    return sorted(int(version) for owner, _, version in found if owner == deployment and version.isdecimal())


def why_not_ready(
    deployment: DeploymentDefinition,
    route: Route | None,
    instances: Iterable[HealthReported],
    version: int | None = None,
) -> str | None:
    """Why a deployment (or one `version` of it) is not ready; None when it is. `instances`: those that live.

    `route`: None where no version takes traffic yet.
    """
    alive = list(instances)
    if not alive:
        return f"no inference instance has reported within the last {LIVE_S:g} s"
    loaded = loaded_on(alive, deployment.name)
    wanted = version if version is not None else _champion(route)
    if wanted is None:
        has_prior = any(step.kind == "prior" for step in deployment.fallback)
        return None if has_prior else "no version takes traffic yet, and there is no prior"
    if wanted not in loaded:
        known = ", ".join(map(str, loaded)) or "none"
        return _degraded(deployment.name, alive) or f"degraded: version {wanted} is not loaded (loaded: {known})"
    return None if version is not None else _degraded_everywhere(deployment.name, alive)


def _champion(route: Route | None) -> int | None:
    """The version that should answer: the champion, else the one with most traffic."""
    if route is None:
        return None
    return route.champion or _largest(route.shares)


def _largest(shares: Mapping[int, float]) -> int | None:
    return max(shares, key=shares.__getitem__) if shares else None


def _degraded(deployment: str, instances: Iterable[HealthReported]) -> str | None:
    reasons = [found.degraded[deployment] for found in instances if deployment in found.degraded]
    return f"degraded: {reasons[0]}" if reasons else None


def _degraded_everywhere(deployment: str, instances: list[HealthReported]) -> str | None:
    """The reason where every instance is degraded. While one of them is not, its units are still served in full."""
    return _degraded(deployment, instances) if all(deployment in found.degraded for found in instances) else None
