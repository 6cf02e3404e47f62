"""What operators and the trainer ask for: done, or refused with the reason."""

from msgspec.structs import replace

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import (
    AbortRollout,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RolloutPaused,
    RolloutQueued,
    RolloutResumed,
    StartRollout,
)
from headrace.registry.state import WARMING, Entry
from headrace_registry.core.case import Case, Facts, refused, why_not
from headrace_registry.core.outcomes import aborted, begun, rolled_back, switched
from headrace_registry.core.outputs import unlike_control

DEFAULT_SHARES = {"canary": (0.01, 0.05, 0.25, 1.0), "ab_test": (0.5,)}


def on_start(case: Case) -> Facts:
    """Begin, or say why not; what the trainer asks for waits where an operator is refused."""
    command: StartRollout = case.message
    plan = _plan(case.plan, command.policy)
    reason = unfit(case.entry, command) or incomparable(case.entry, command.version, plan)
    if reason is not None:
        return refused(case, reason)
    waits_for = busy(case)
    if waits_for is None:
        return begun(case, command.version, plan, command.reason, command.by)
    if command.by == "trainer":
        return [RolloutQueued(case.deployment, command.version, waits_for, command.by)]
    return refused(case, waits_for)


def unfit(entry: Entry, command: StartRollout) -> str | None:
    """Why a version may not be released at all; None when it may."""
    version, stage = command.version, entry.stages.get(command.version)
    if version not in entry.versions:
        return f"{command.deployment} has no version {version}: `headrace model list` shows those that there are"
    if not entry.may_serve(version):
        return f"version {version} was {stage}, and is never released again"
    if entry.aliases.get("champion") == version:
        return f"version {version} is champion already"
    if command.policy is not None and command.policy not in ("blue_green", "canary", "ab_test", "shadow"):
        return f"the policy must be blue_green, canary, ab_test or shadow, got {command.policy!r}"
    return None


def incomparable(entry: Entry, version: int, plan: RolloutDefinition) -> str | None:
    """Why a plan that compares a version with the champion cannot do so; None when it can, or compares nothing."""
    champion = entry.versions.get(entry.aliases.get("champion", 0))
    if plan.policy == "blue_green" or champion is None:
        return None
    return unlike_control(entry.versions[version], champion)


def busy(case: Case) -> str | None:
    """Why it must wait; None when it need not."""
    command = case.message
    if case.entry.rollout is not None:
        return f"a rollout of version {case.entry.rollout.version} is under way: wait for it, or abort it"
    if case.plan.approval and command.version not in case.entry.approvals:
        return f"version {command.version} is not approved: `headrace model approve {command.deployment} {command.version}`"
    return None


def _plan(plan: RolloutDefinition, policy: str | None) -> RolloutDefinition:
    """The deployment's plan, or another policy for this once with what it lacks filled in."""
    if policy is None or policy == plan.policy:
        return plan
    return replace(plan, policy=policy, shares=DEFAULT_SHARES.get(policy, ()))


def on_retry(case: Case) -> Facts:
    """The last rollout once more, by the same plan."""
    command: RetryRollout = case.message
    last = case.entry.last
    if last is None or last.outcome != "aborted":
        return refused(case, "the last rollout was not aborted: there is nothing to try again")
    if last.is_harmful:
        return refused(case, f"version {last.rollout.version} did harm ({last.reason}) and is never released again")
    again = StartRollout(case.deployment, last.rollout.version, command.reason, command.by)
    reason = unfit(case.entry, again) or incomparable(case.entry, again.version, last.rollout.plan)
    if reason is not None:
        return refused(case, reason)
    return begun(case, again.version, last.rollout.plan, command.reason, command.by)


def on_abort(case: Case) -> Facts:
    """An operator stops it."""
    command: AbortRollout = case.message
    return aborted(case, f"aborted by {command.by}: {command.reason}", cause="operator")


def on_pause(case: Case) -> Facts:
    """An operator holds it where it is."""
    command: PauseRollout = case.message
    reason = f"paused by {command.by}: {command.reason}"
    return [RolloutPaused(case.deployment, case.rollout.id, case.rollout.version, reason)]


def on_resume(case: Case) -> Facts:
    """An operator lets it go on."""
    command: ResumeRollout = case.message
    reason = f"resumed by {command.by}: {command.reason}"
    return [RolloutResumed(case.deployment, case.rollout.id, case.rollout.version, reason)]


def on_promote(case: Case) -> Facts:
    """An operator does not wait for evidence."""
    command: PromoteRollout = case.message
    rollout = case.rollout
    if command.version != rollout.version:
        return refused(case, f"version {rollout.version} is under rollout, not {command.version}: look again")
    if rollout.step == WARMING:
        return refused(case, why_not(case.entry, WARMING))
    return switched(case, f"promoted by {command.by}: {command.reason}", (), rollout.since_s)


def on_roll_back(case: Case) -> Facts:
    """An operator takes back a promotion."""
    command: RollBack = case.message
    aliases = case.entry.aliases
    champion, before = aliases.get("champion"), aliases.get("previous")
    if champion != command.expected:
        return refused(case, f"champion is {champion}, not {command.expected} as expected: look again, then decide")
    if not case.entry.may_serve(before):
        return refused(case, f"there is no version before {champion} that may serve: release another one")
    reason = f"rolled back by {command.by}: {command.reason}"
    return rolled_back(case, command.expected, reason, command.by, (), None)


def on_roll_back_while_rolling(case: Case) -> Facts:
    """A rollout in the way: which of the two is meant must be said."""
    version = case.rollout.version
    return refused(
        case,
        f"a rollout of version {version} is under way: `headrace rollout abort {case.deployment}` takes its traffic away; only a promoted version is rolled back",
    )
