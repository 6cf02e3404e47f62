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
| silence   | an alert fires                                          | operator | `SilenceSet`      |
| unsilence | a silence stands                                        | operator | `SilenceEnded`    |

The offer only says what would be done; the registry decides, and may refuse. A reason is always given.
"""

import unicodedata
from dataclasses import dataclass

import msgspec

from headrace.events.alerts import SilenceEnded, SilenceSet
from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.events.registry import (
    AbortRollout,
    ApproveVersion,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
)
from headrace.hosting import silences as rules
from headrace.registry.approvals import approver_of, authors_of, may_approve
from headrace.registry.state import RUNNING, WARMING, Entry
from headrace_console.core.alerts import Alarms, matchers_of
from headrace_console.core.documents import Act, Offer
from headrace_edge.rules.people import Person
from headrace_edge.rules.roles import Role

SILENCE_S, LEAST_SILENCE_S = 3600.0, 60.0
# Letters and signs without ink.
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
SILENCING = ("silence", "unsilence")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an act is not done. `status`: of HTTP."""

    status: int
    reason: str


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
    if rollout is not None and rollout.awaits_approval and approver_of(rollout.plan, entry, rollout.version) is None:
        return rollout.version
    if queued is None or definition is None or not definition.rollout.approval:
        return None
    return queued.version if approver_of(definition.rollout, entry, queued.version) is None else None


def _approval(name: str, entry: Entry, definition: DeploymentDefinition | None) -> tuple[Offer, ...]:
    version = awaited(entry, definition)
    if version is None:
        return ()
    plan = _plan(entry, definition)
    authors = authors_of(entry.versions[version]) if plan is not None and plan.approval_by_another else ()
    sentence = f"Allow v{version} of {name} to take traffic"
    return (Offer("approve", "approve", sentence, "approver", name, version, needs_another=", ".join(authors)),)


def _plan(entry: Entry, definition: DeploymentDefinition | None) -> RolloutDefinition | None:
    """The policy by which an approval counts."""
    if entry.rollout is not None:
        return entry.rollout.plan
    return definition.rollout if definition is not None else None


def refuse(act: Act, person: Person | None) -> Refused | None:
    """Why a person may not do this at all, whatever the state is; None when he may. `person`: None for a stranger."""
    if person is None:
        return Refused(401, "sign in with your key first")
    needs = Role.APPROVER if act.act == "approve" else Role.OPERATOR
    if not person.role.includes(needs):
        return Refused(403, f"{act.act} needs the role {needs}; {person.name} is {person.role}")
    if not person.may(needs, act.deployment or None):
        return Refused(403, f"the key of {person.name} is not for {act.deployment}")
    count = len(act.reason.strip())
    if count > rules.REASON_CHARS:
        return Refused(400, f"a reason has {rules.REASON_CHARS} characters at most, got {count}")
    if not any(is_visible(char) for char in act.reason):
        return Refused(400, f"a reason of 1 to {rules.REASON_CHARS} characters is needed, got none that can be seen")
    return None


def is_visible(char: str) -> bool:
    """Whether a person sees a character: no space, control, format or fill character.

    >>> [is_visible(char) for char in ("a", "\u200b", "\u3164", "\u2800")]
    [True, False, False, False]
    """
    return unicodedata.category(char)[0] not in "CZM" and char not in _BLANK


def silence_of(
    act: Act, person: Person, alarms: Alarms, ident: str, now_s: float
) -> SilenceSet | SilenceEnded | Refused:
    """The silence that an act sets, or ends. `ident`: of a new one; `act.for_s`: how long it lasts, an hour when not given."""
    reason = act.reason.strip()
    if act.act == "unsilence":
        if act.target not in rules.in_force(alarms.silences, now_s):
            return Refused(409, f"there is no silence {act.target[:100]!r} (any more)")
        return SilenceEnded(act.target, person.name, reason)
    found = alarms.firing().get(act.target)
    if found is None:
        return Refused(409, f"no alert {act.target[:100]!r} fires (any more)")
    for_s = SILENCE_S if act.for_s is None else act.for_s
    if not LEAST_SILENCE_S <= for_s <= rules.LONGEST_S:
        days = rules.LONGEST_S / 86_400
        return Refused(400, f"a silence lasts {LEAST_SILENCE_S:.0f} s to {days:.0f} days, got {for_s:g} s")
    made = SilenceSet(ident, matchers_of(found[0]), now_s, now_s + for_s, person.name, reason)
    wrong = rules.why_not(made, now_s)
    return made if wrong is None else Refused(400, wrong[0])


def command_of(
    act: Act, person: Person, entry: Entry, definition: DeploymentDefinition | None
) -> msgspec.Struct | Refused:
    """The command of an act on a deployment, or why it is not offered now."""
    offers = [*rollout_offers(act.deployment, entry, definition), *deployment_offers(act.deployment, entry)]
    offer = next((found for found in offers if found.act == act.act), None)
    if offer is None:
        return Refused(409, f"{act.act} is not possible now for {act.deployment or 'this'}")
    if act.version is not None and act.version != offer.version:
        return Refused(409, f"{act.act} is about version {offer.version} now, not about version {act.version}")
    name, reason, by, version = act.deployment, act.reason.strip(), person.name, offer.version or 0
    plan = _plan(entry, definition)
    if act.act == "approve" and plan is not None and not may_approve(plan, entry.versions[version], by):
        return Refused(403, f"version {version} of {name} must be approved by another than {offer.needs_another}")
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
