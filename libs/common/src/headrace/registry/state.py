"""The state of versions, aliases, routes and rollouts, as a fold over `registry.facts`.

A fact names the state that it follows from: facts of a rollout have its id, a route its revision. A fact that does not
follow from the present state (repeated or late) changes nothing. `Fold` drops repeats of all other facts by their ids.

Memory is bounded: the newest `IDS_KEPT` ids of facts and registrations, and `ENDED_KEPT` ended rollouts per deployment.
A repeat that comes later counts as new. That is harmless: a registration makes one more version of the same bytes,
aliases move by compare-and-set, and a rollout's facts count only while it is running.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import msgspec

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import (
    AliasMoved,
    ApprovalAwaited,
    CommandRefused,
    ModelVersion,
    RollbackWindowBegun,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutResumed,
    RolloutStarted,
    Route,
    RouteChanged,
    VersionApproved,
    VersionArchived,
    VersionDeleted,
    VersionRegistered,
    VersionTagged,
)

WARMING, SHADOWING, CANARY, TESTING, SWITCHED = "warming", "shadowing", "canary", "testing", "switched"
RUNNING, PAUSED, UNJUDGED = "running", "paused", "unjudged"
# Stages in which a version may take no more traffic.
ENDED_STAGES = ("rejected", "archived", "deleted")
IDS_KEPT = 100_000
# The size of one id in the fold: a digest, and its place in a table.
ID_BYTES = 160
ENDED_KEPT = 1_000
_ORDER = {WARMING: 0, SHADOWING: 1, CANARY: 2, TESTING: 2, SWITCHED: 3}


@dataclass(frozen=True, slots=True)
class Rollout:
    """A running rollout.

    `plan` is followed to the end whatever is applied meanwhile. `control`: the champion that `version` is compared
    with. `before`: the route to which an abort returns. `step`: `warming` until every inference instance has loaded the
    version. `since_s`: the deployment's clock when the step began, `begun_s` when the first step began; None while it is
    unknown. `standing`: `running`, `paused` by an operator, or `unjudged`, which is paused until the next verdict.
    `awaits_approval`: only a person's approval is missing.
    """

    id: str
    version: int
    plan: RolloutDefinition
    control: int | None = None
    before: Route | None = None
    step: str = WARMING
    share: float = 0.0
    number: int = 0
    since_s: float | None = None
    standing: str = RUNNING
    reason: str = ""
    by: str = ""
    begun_s: float | None = None
    awaits_approval: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The newest rollout that ended. `outcome`: `promoted`, `completed`, `aborted` or `rolled_back`; `clock_s`: when it
    ended, by the deployment's clock. `has_clock`: see `RolloutCompleted`.
    """

    rollout: Rollout
    outcome: str
    reason: str = ""
    is_harmful: bool = False
    clock_s: float = 0.0
    has_clock: bool = True


@dataclass(frozen=True, slots=True)
class Queued:
    """A trained version that waits for its rollout."""

    version: int
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is known of one deployment.

    `older`: what `previous` named before, and names again when the champion is rolled back. `ended`: the ids of the
    newest rollouts that ended. `facts`: the number of facts taken.
    """

    versions: Mapping[int, VersionRegistered] = field(default_factory=dict)
    stages: Mapping[int, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    approvals: Mapping[int, str] = field(default_factory=dict)
    route: Route | None = None
    rollout: Rollout | None = None
    last: Ended | None = None
    queued: Queued | None = None
    older: int | None = None
    ended: tuple[str, ...] = ()
    facts: int = 0

    def model_version(self, version: int) -> ModelVersion:
        """The current state of one version, for readers that need no history."""
        return ModelVersion(
            self.versions[version],
            self.stages.get(version, "registered"),
            tuple(sorted(alias for alias, named in self.aliases.items() if named == version)),
            dict(self.tags.get(version, {})),
            self.approvals.get(version, ""),
        )

    def may_serve(self, version: int | None) -> bool:
        """Whether a version exists and was not rejected, archived or deleted."""
        return version in self.versions and self.stages.get(version) not in ENDED_STAGES


@dataclass(frozen=True, slots=True)
class Registry:
    """Entries per deployment, and the newest registrations that were carried out, oldest first.

    `versions_bytes`: the encoded size of what is known of all versions; deleting a version frees most of its part.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    commands: Mapping[bytes, None] = field(default_factory=dict)
    versions_bytes: int = 0

    def entry(self, deployment: str) -> Entry:
        """The deployment's entry; an empty one when nothing is known."""
        return self.entries.get(deployment, Entry())

    def has_registered(self, command_id: str) -> bool:
        """Whether a registration was carried out, as far as it is remembered."""
        return _key(command_id) in self.commands


class Fold:
    """The fold with a memory of ids: a fact whose id was taken before changes nothing."""

    def __init__(self) -> None:
        self.state = Registry()
        self._seen: dict[bytes, None] = {}
        self._since_mark: list[bytes] = []

    def take(self, fact: Any, ident: str) -> None:
        """Fold one fact."""
        key = _key(ident)
        if key in self._seen:
            return
        self._seen[key] = None
        if len(self._seen) > IDS_KEPT:
            del self._seen[next(iter(self._seen))]
        self._since_mark.append(key)
        self.state = apply(self.state, fact)

    def mark(self) -> Registry:
        """Return the present state, to which `back` can return."""
        self._since_mark = []
        return self.state

    def back(self, state: Registry) -> None:
        """Return to the state of the last mark, and forget the ids taken since."""
        self.state = state
        for key in self._since_mark:
            self._seen.pop(key, None)
        self._since_mark = []

    @property
    def held_bytes(self) -> int:
        """The approximate size of the remembered ids, of facts and registrations."""
        return (len(self._seen) + len(self.state.commands)) * ID_BYTES


def _key(ident: str) -> bytes:
    """Sixteen bytes of an id, however long it is."""
    return blake2b(ident.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def apply(state: Registry, fact: Any) -> Registry:
    """The state after a fact. Facts that change nothing here leave it as it is."""
    deployment = getattr(fact, "deployment", None)
    if deployment is None or (isinstance(fact, CommandRefused) and deployment not in state.entries):
        return state
    before = state.entry(deployment)
    entry = replace(_apply_to_entry(before, fact), facts=before.facts + 1)
    commands = state.commands
    if isinstance(fact, VersionRegistered):
        commands = {**commands, _key(fact.command_id): None}
        if len(commands) > IDS_KEPT:
            del commands[next(iter(commands))]
    held = state.versions_bytes
    if isinstance(fact, VersionRegistered | VersionDeleted):
        held += _size(entry, fact.version) - _size(before, fact.version)
    return Registry({**state.entries, deployment: entry}, commands, held)


def _size(entry: Entry, version: int) -> int:
    return len(msgspec.msgpack.encode(entry.versions[version])) if version in entry.versions else 0


def _apply_to_entry(entry: Entry, fact: Any) -> Entry:
    match fact:
        case VersionRegistered(version=version) if version not in entry.versions:
            return replace(
                entry,
                versions={**entry.versions, version: fact},
                tags={**entry.tags, version: fact.tags},
                stages={**entry.stages, version: "registered"},
            )
        case VersionTagged(version=version, tags=tags):
            return replace(entry, tags={**entry.tags, version: tags})
        case VersionApproved(version=version, by=by):
            return replace(entry, approvals={**entry.approvals, version: by})
        case VersionArchived(version=version):
            return _unqueued(_staged(entry, version, "archived"), version)
        case VersionDeleted(version=version) if version in entry.versions:
            kept = msgspec.structs.replace(entry.versions[version], profile={}, slices={}, golden=(), gates=())
            return _staged(replace(entry, versions={**entry.versions, version: kept}), version, "deleted")
        case AliasMoved(alias=alias, version=version):
            return _alias(entry, alias, version)
        case RouteChanged(route=route) if entry.route is None or route.revision > entry.route.revision:
            return replace(entry, route=route)
        case RolloutQueued(version=version):
            return replace(entry, queued=Queued(version, fact.reason, fact.by))
        case _:
            return _apply_to_rollout(entry, fact)


def _apply_to_rollout(entry: Entry, fact: Any) -> Entry:
    rollout = entry.rollout
    if isinstance(fact, RolloutStarted):
        return entry if fact.rollout in entry.ended or rollout is not None else _started(entry, fact)
    if isinstance(fact, RolledBack):
        return _rolled_back(entry, fact)
    if isinstance(fact, RollbackWindowBegun):
        return _window_begun(entry, fact)
    if rollout is None or getattr(fact, "rollout", None) != rollout.id:
        return entry
    match fact:
        case RolloutAdvanced():
            return _advanced(entry, rollout, fact)
        case RolloutPaused(unjudged=unjudged, reason=reason):
            return replace(entry, rollout=replace(rollout, standing=UNJUDGED if unjudged else PAUSED, reason=reason))
        case ApprovalAwaited():
            return replace(entry, rollout=replace(rollout, awaits_approval=True))
        case RolloutResumed():
            return replace(entry, rollout=replace(rollout, standing=RUNNING, reason=""))
        case RolloutCompleted(promoted=promoted):
            outcome = "promoted" if promoted else "completed"
            return _over(entry, Ended(rollout, outcome, fact.reason, False, fact.clock_s, fact.has_clock))
        case RolloutAborted(harmful=harmful):
            return _over(entry, Ended(rollout, "aborted", fact.reason, harmful, fact.clock_s or 0.0))
        case _:
            return entry


def _started(entry: Entry, fact: RolloutStarted) -> Entry:
    plan = fact.plan if fact.plan is not None else RolloutDefinition(fact.policy)
    rollout = Rollout(fact.rollout, fact.version, plan, fact.control, entry.route, reason=fact.reason, by=fact.by)
    return _unqueued(_staged(replace(entry, rollout=rollout), fact.version, "warming"), fact.version)


def _advanced(entry: Entry, rollout: Rollout, fact: RolloutAdvanced) -> Entry:
    reported, known = (_ORDER[fact.step], fact.number), (_ORDER[rollout.step], rollout.number)
    if reported < known:
        return entry
    begun_s = rollout.begun_s if rollout.begun_s is not None else fact.clock_s
    if reported == known:
        since_s = rollout.since_s if rollout.since_s is not None else fact.clock_s
        return replace(entry, rollout=replace(rollout, since_s=since_s, begun_s=begun_s))
    moved = replace(
        rollout, step=fact.step, share=fact.share, number=fact.number, since_s=fact.clock_s, begun_s=begun_s
    )
    return _staged(replace(entry, rollout=moved), fact.version, "rolling_out")


def _over(entry: Entry, ended: Ended) -> Entry:
    rollout = ended.rollout
    over = replace(entry, rollout=None, last=ended, ended=(*entry.ended, rollout.id)[-ENDED_KEPT:])
    if ended.outcome == "promoted":
        return over
    return _rejected(over, rollout.version) if ended.is_harmful else _staged(over, rollout.version, "registered")


def _window_begun(entry: Entry, fact: RollbackWindowBegun) -> Entry:
    """The instant of the last switch is known now."""
    last = entry.last
    if last is None or last.has_clock or last.rollout.id != fact.rollout:
        return entry
    return replace(entry, last=replace(last, clock_s=fact.clock_s, has_clock=True))


def _rolled_back(entry: Entry, fact: RolledBack) -> Entry:
    """The version is rejected, and the version that replaces it is no longer `previous`."""
    if entry.aliases.get("champion") != fact.version:
        return entry
    aliases = {alias: named for alias, named in entry.aliases.items() if (alias, named) != ("previous", fact.to)}
    last = entry.last
    if last is not None and last.rollout.version == fact.version:
        last = replace(last, outcome="rolled_back", reason=fact.reason, is_harmful=True)
    return _rejected(replace(entry, aliases=aliases, last=last), fact.version)


def _rejected(entry: Entry, version: int) -> Entry:
    """The version is rejected, and no alias names it any more."""
    aliases = {alias: named for alias, named in entry.aliases.items() if named != version}
    older = None if entry.older == version else entry.older
    return _staged(replace(entry, aliases=aliases, older=older), version, "rejected")


def _alias(entry: Entry, alias: str, version: int) -> Entry:
    if entry.aliases.get(alias) == version:
        return entry
    moved = replace(entry, aliases={**entry.aliases, alias: version})
    if alias == "previous":
        return replace(moved, older=entry.aliases.get("previous"))
    if alias != "champion":
        return moved
    retired = {found: "retired" if stage == "champion" else stage for found, stage in entry.stages.items()}
    return replace(moved, stages={**retired, version: "champion"})


def _staged(entry: Entry, version: int, stage: str) -> Entry:
    return replace(entry, stages={**entry.stages, version: stage})


def _unqueued(entry: Entry, version: int) -> Entry:
    return replace(entry, queued=None) if entry.queued is not None and entry.queued.version == version else entry
