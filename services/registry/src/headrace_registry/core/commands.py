"""What operators and the trainer ask of a rollout: done, or refused with the reason."""

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
from headrace.registry.approvals import approver_of
from headrace.registry.state import WARMING, Entry, Registry
from headrace.step import Step
from headrace_registry.core.compatibility import control_mismatch
from headrace_registry.core.machine import About, Fact, refused, running, step_of, why_not
from headrace_registry.core.transitions import aborted, begun, rolled_back, switched

DEFAULT_SHARES = {"canary": (0.01, 0.05, 0.25, 1.0), "ab_test": (0.5,)}


def on_start(state: Registry, command: StartRollout, about: About) -> Step[Registry, Fact]:
    """Begin, or refuse with the reason. What the trainer asks for waits where an operator would be refused."""
    entry, plan = state.entry(about.deployment), _plan(about.plan, command.policy)
    reason = why_unfit(entry, command) or why_incomparable(entry, command.version, plan)
    if reason is not None:
        return refused(state, command, about.ident, reason)
    waits_for = why_wait(entry, command, about.plan)
    if waits_for is None:
        return step_of(state, begun(entry, about, command.version, plan, command.reason, command.by))
    if command.by == "trainer":
        return step_of(state, [RolloutQueued(about.deployment, command.version, waits_for, command.by)])
    return refused(state, command, about.ident, waits_for)


def why_unfit(entry: Entry, command: StartRollout) -> str | None:
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


def why_incomparable(entry: Entry, version: int, plan: RolloutDefinition) -> str | None:
    """Why a plan that compares a version with the champion cannot do so; None when it can, or compares nothing."""
    champion = entry.versions.get(entry.aliases.get("champion", 0))
    if plan.policy == "blue_green" or champion is None:
        return None
    return control_mismatch(entry.versions[version], champion)


def why_wait(entry: Entry, command: StartRollout, plan: RolloutDefinition) -> str | None:
    """Why a rollout must wait (for another one, or for an approval); None when it need not."""
    if entry.rollout is not None:
        return f"a rollout of version {entry.rollout.version} is under way: wait for it, or abort it"
    if plan.approval and approver_of(plan, entry, command.version) is None:
        author = entry.approvals.get(command.version)
        what = "not approved" if author is None else f"approved by its author {author} only, and another person must"
        return f"version {command.version} is {what}: `headrace model approve {command.deployment} {command.version}`"
    return None


def _plan(plan: RolloutDefinition, policy: str | None) -> RolloutDefinition:
    """The deployment's plan, or another policy for this once with what it lacks filled in."""
    if policy is None or policy == plan.policy:
        return plan
    return replace(plan, policy=policy, shares=DEFAULT_SHARES.get(policy, ()))


def on_retry(state: Registry, command: RetryRollout, about: About) -> Step[Registry, Fact]:
    """The last rollout once more, by the same plan."""
    entry = state.entry(about.deployment)
    last = entry.last
    if last is None or last.outcome != "aborted":
        return refused(state, command, about.ident, "the last rollout was not aborted: there is nothing to try again")
    version, plan = last.rollout.version, last.rollout.plan
    if last.is_harmful:
        reason = f"version {version} did harm ({last.reason}) and is never released again"
        return refused(state, command, about.ident, reason)
    again = StartRollout(about.deployment, version, command.reason, command.by)
    unfit = why_unfit(entry, again) or why_incomparable(entry, version, plan)
    if unfit is not None:
        return refused(state, command, about.ident, unfit)
    return step_of(state, begun(entry, about, version, plan, command.reason, command.by))


def on_abort(state: Registry, command: AbortRollout, about: About) -> Step[Registry, Fact]:
    """An operator stops it."""
    reason = f"aborted by {command.by}: {command.reason}"
    entry, rollout = state.entry(about.deployment), running(state, about)
    return step_of(state, aborted(entry, about.deployment, rollout, reason, cause="operator"))


def on_pause(state: Registry, command: PauseRollout, about: About) -> Step[Registry, Fact]:
    """An operator keeps it at its share."""
    rollout, reason = running(state, about), f"paused by {command.by}: {command.reason}"
    return step_of(state, [RolloutPaused(about.deployment, rollout.id, rollout.version, reason)])


def on_resume(state: Registry, command: ResumeRollout, about: About) -> Step[Registry, Fact]:
    """An operator lets it go on."""
    rollout, reason = running(state, about), f"resumed by {command.by}: {command.reason}"
    return step_of(state, [RolloutResumed(about.deployment, rollout.id, rollout.version, reason)])


def on_promote(state: Registry, command: PromoteRollout, about: About) -> Step[Registry, Fact]:
    """An operator does not wait for evidence."""
    entry, rollout = state.entry(about.deployment), running(state, about)
    if command.version != rollout.version:
        reason = f"version {rollout.version} is under rollout, not {command.version}: look again"
        return refused(state, command, about.ident, reason)
    if rollout.step == WARMING:
        return refused(state, command, about.ident, why_not(entry, WARMING))
    reason = f"promoted by {command.by}: {command.reason}"
    return step_of(state, switched(entry, about.deployment, rollout, reason, (), None))


def on_roll_back(state: Registry, command: RollBack, about: About) -> Step[Registry, Fact]:
    """An operator takes a promotion back."""
    entry = state.entry(about.deployment)
    champion, before = entry.aliases.get("champion"), entry.aliases.get("previous")
    if champion != command.expected:
        reason = f"champion is {champion}, not {command.expected} as expected: look again, then decide"
        return refused(state, command, about.ident, reason)
    if not entry.may_serve(before):
        reason = f"there is no version before {champion} that may serve: release another one"
        return refused(state, command, about.ident, reason)
    reason = f"rolled back by {command.by}: {command.reason}"
    return step_of(state, rolled_back(entry, about.deployment, command.expected, reason, command.by))


def on_roll_back_while_rolling(state: Registry, command: RollBack, about: About) -> Step[Registry, Fact]:
    """A rollout is under way: the operator must choose which of the two is meant."""
    version = running(state, about).version
    return refused(
        state,
        command,
        about.ident,
        f"a rollout of version {version} is under way: `headrace rollout abort {about.deployment}` takes its traffic away;"
        " only a promoted version is rolled back",
    )
