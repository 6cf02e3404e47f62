"""What the registry knows, as a fold over its own facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.events.registry import (
    AliasMoved,
    ModelVersion,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    Route,
    RouteChanged,
    VersionRegistered,
)

WARMING, SWITCHED = "warming", "switched"


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout under way. `step`: `warming` until every inference instance has the version warm."""

    id: str
    version: int
    step: str = WARMING


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is known of one deployment."""

    versions: Mapping[int, VersionRegistered] = field(default_factory=dict)
    stages: Mapping[int, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    route: Route | None = None
    rollout: Rollout | None = None

    def model_version(self, version: int) -> ModelVersion:
        """The current state of one version, for readers that want no history."""
        aliases = tuple(sorted(alias for alias, named in self.aliases.items() if named == version))
        return ModelVersion(self.versions[version], self.stages.get(version, "registered"), aliases)


@dataclass(frozen=True, slots=True)
class Registry:
    """Entries per deployment, and the commands that were carried out."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    commands: frozenset[str] = frozenset()

    def entry(self, deployment: str) -> Entry:
        """The deployment's entry; an empty one when nothing is known."""
        return self.entries.get(deployment, Entry())


def apply(state: Registry, fact: Any) -> Registry:
    """The state after a fact; facts that change nothing here leave it as it is."""
    deployment = getattr(fact, "deployment", None)
    if deployment is None:
        return state
    entry = _apply_to_entry(state.entry(deployment), fact)
    commands = state.commands | {fact.command_id} if isinstance(fact, VersionRegistered) else state.commands
    return Registry({**state.entries, deployment: entry}, commands)


def _apply_to_entry(entry: Entry, fact: Any) -> Entry:
    match fact:
        case VersionRegistered():
            return replace(
                entry,
                versions={**entry.versions, fact.version: fact},
                stages={**entry.stages, fact.version: "registered"},
            )
        case AliasMoved(alias=alias, version=version):
            return replace(entry, aliases={**entry.aliases, alias: version}, stages=_stages(entry, alias, version))
        case RolloutStarted(rollout=ident, version=version):
            return replace(entry, rollout=Rollout(ident, version), stages={**entry.stages, version: "warming"})
        case RolloutAdvanced(rollout=ident, version=version, step=step):
            return replace(entry, rollout=Rollout(ident, version, step))
        case RolloutCompleted():
            return replace(entry, rollout=None)
        case RolloutAborted(version=version, harmful=harmful):
            return replace(
                entry, rollout=None, stages={**entry.stages, version: "rejected" if harmful else "registered"}
            )
        case RouteChanged(route=route):
            return replace(entry, route=route)
        case _:
            return entry


def _stages(entry: Entry, alias: str, version: int) -> Mapping[int, str]:
    if alias != "champion":
        return entry.stages
    retired = {found: "retired" if stage == "champion" else stage for found, stage in entry.stages.items()}
    return {**retired, version: "champion"}
