"""What a person may do now, and the command that an act becomes.

| act       | when                                                    | needs    | command           |
|-----------|---------------------------------------------------------|----------|-------------------|
| pause     | a rollout runs                                          | operator | `PauseRollout`    |
| resume    | a rollout is paused                                     | operator | `ResumeRollout`   |
| abort     | a rollout is there                                      | operator | `AbortRollout`    |
| promote   | a rollout is past its warming                           | operator | `PromoteRollout`  |
| retry     | the last rollout was aborted without harm, none is there | operator | `RetryRollout`    |
| roll_back | no rollout is there, and `previous` may serve           | operator | `RollBack`        |
| approve   | a version waits for its approval                        | approver | `ApproveVersion`  |

The offer only says what would be done; the registry decides, and may refuse. A reason is always given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import (
    AbortRollout,
    ApproveVersion,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
)
from headrace.registry.state import RUNNING, WARMING, Entry
from headrace_console.core.documents import Act, Offer, Role

REASON_CHARS = 500
ROLES: tuple[Role, ...] = ("viewer", "operator", "approver")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an act is not done. `status`: of HTTP."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts. `role`: None for a stranger."""

    name: str
    role: Role | None = None


def allows(role: Role | None, needs: Role) -> bool:
    """Whether a role includes another.

    >>> allows("approver", "operator"), allows("viewer", "operator"), allows(None, "viewer")
    (True, False, False)
    """
    return role is not None and ROLES.index(role) >= ROLES.index(needs)


def rollout_offers(name: str, entry: Entry, definition: DeploymentDefinition | None) -> tuple[Offer, ...]:
    """What may be done about the running rollout, or about the version that waits for one."""
    rollout = entry.rollout
    if rollout is None:
        return _approval(name, entry, definition)
    version, control = rollout.version, rollout.control
    rest = f"v{control} keeps all traffic" if control is not None else "the fallback answers"
    offers = [*_approval(name, entry, definition)]
    if rollout.standing == RUNNING:
        stay = f"Hold v{version} at {rollout.share:.4g} of the traffic whatever the verdicts are, except for harm"
        offers.append(Offer("pause", "pause", stay, "operator", name, version))
    else:
        offers.append(Offer("resume", "resume", f"Let the rollout of v{version} go on", "operator", name, version))
    if rollout.step != WARMING:
        gives = f"Give all traffic of {name} to v{version} now, without waiting for evidence"
        offers.append(Offer("promote", "promote", gives, "operator", name, version))
    ends = f"End the rollout of v{version}; {rest}, and v{version} may be tried again"
    offers.append(Offer("abort", "abort", ends, "operator", name, version))
    return tuple(offers)


def deployment_offers(name: str, entry: Entry) -> tuple[Offer, ...]:
    """What may be done about a deployment without a running rollout."""
    if entry.rollout is not None:
        return ()
    champion, previous = entry.aliases.get("champion"), entry.aliases.get("previous")
    offers = []
    if champion is not None and entry.may_serve(previous):
        back = f"Give all traffic of {name} back to v{previous}; v{champion} will be rejected for ever"
        offers.append(Offer("roll_back", f"roll back to v{previous}", back, "operator", name, champion))
    last = entry.last
    if last is not None and last.outcome == "aborted" and not last.is_harmful and entry.may_serve(last.rollout.version):
        again = f"Start the rollout of v{last.rollout.version} again"
        offers.append(Offer("retry", "try again", again, "operator", name, last.rollout.version))
    return tuple(offers)


def awaited(entry: Entry, definition: DeploymentDefinition | None) -> int | None:
    """The version that waits for a person's approval; None for none."""
    rollout, queued = entry.rollout, entry.queued
    if rollout is not None and rollout.awaits_approval and rollout.version not in entry.approvals:
        return rollout.version
    asks = definition is not None and definition.rollout.approval
    if queued is not None and asks and queued.version not in entry.approvals:
        return queued.version
    return None


def _approval(name: str, entry: Entry, definition: DeploymentDefinition | None) -> tuple[Offer, ...]:
    version = awaited(entry, definition)
    if version is None:
        return ()
    registered = entry.versions.get(version)
    author = registered.by if registered is not None and asks_another(definition) else ""
    sentence = f"Allow v{version} of {name} to take traffic"
    return (Offer("approve", "approve", sentence, "approver", name, version, needs_another=author),)


def asks_another(definition: DeploymentDefinition | None) -> bool:
    """Whether who approves must be another than who made the version."""
    return bool(definition is not None and getattr(definition.rollout, "approval_by_another", False))


def needs_of(act: Act) -> Role:
    """The least role for an act."""
    return "approver" if act.act == "approve" else "operator"


def refuse(act: Act, person: Person) -> Refused | None:
    """Why a person may not do this at all, whatever the state is; None when he may."""
    if person.role is None:
        return Refused(401, "sign in with your key first")
    if not allows(person.role, needs_of(act)):
        return Refused(403, f"{act.act} needs the role {needs_of(act)}; {person.name} is {person.role}")
    if not 1 <= len(act.reason.strip()) <= REASON_CHARS:
        return Refused(400, f"a reason of 1 to {REASON_CHARS} characters is needed, got {len(act.reason.strip())}")
    return None


def command_of(act: Act, person: Person, entry: Entry, offers: Sequence[Offer]) -> msgspec.Struct | Refused:
    """The command of an act on a deployment, or why it is not offered now."""
    offer = next((found for found in offers if found.act == act.act), None)
    if offer is None:
        return Refused(409, f"{act.act} is not possible now for {act.deployment or 'this'}")
    if act.version is not None and act.version != offer.version:
        return Refused(409, f"{act.act} is about version {offer.version} now, not about version {act.version}")
    name, reason, by, version = act.deployment, act.reason.strip(), person.name, offer.version or 0
    match act.act:
        case "pause":
            return PauseRollout(name, reason, by)
        case "resume":
            return ResumeRollout(name, reason, by)
        case "abort":
            return AbortRollout(name, reason, by)
        case "promote":
            return PromoteRollout(name, version, reason, by)
        case "retry":
            return RetryRollout(name, reason, by)
        case "roll_back":
            return RollBack(name, version, reason, by)
        case "approve":
            return ApproveVersion(name, version, reason, by)
        case _:
            return Refused(400, f"{act.act} is no act on a deployment")
