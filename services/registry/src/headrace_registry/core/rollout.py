"""How a version takes traffic, and how it is taken away again: the machine as a table.

One rollout at a time per deployment. It begins by warming the version on every inference instance. From then on only two
things move it: verdicts (what follows from one is decided by policy in `steps`) and operators. A paused rollout stays at
its share whatever the verdicts say, harm excepted; one that gets no verdict for `silence_s` is held, and goes on with
the next verdict; after twice that it is aborted. Harm, found by evidence at any time, takes all traffic away at once and
rejects the version for ever; after a promotion it does so while the rollback window lasts. A trained version waits while
another is under way (the newest takes the place of the one that waited), and for its approval where that is asked for.
The first version of a deployment has nothing to be compared with: it switches as soon as it is warm.

`TABLE` says what follows from a message in a phase. A pair that is not in it is an illegal transition: a command is
refused with the reason, an observation changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from headrace.envelope import derived_id
from headrace.events import type_name
from headrace.events.registry import (
    AbortRollout,
    AliasMoved,
    CommandRefused,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutResumed,
    RolloutStarted,
    RouteChanged,
    StartRollout,
)
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.project.definition import RolloutDefinition
from headrace.registry.state import HELD, PAUSED, RUNNING, SWITCHED, WARMING, Entry, Registry, Rollout, apply
from headrace_registry.core import routes
from headrace_registry.core.steps import (
    Advance,
    Begin,
    Finish,
    Harm,
    Next,
    Switch,
    failing,
    first_step,
    harm_of,
    next_step,
)

Facts = list[Any]
# Where no applied project declares the deployment any more.
UNDECLARED = RolloutDefinition("blue_green")
DEFAULT_SHARES = {"canary": (0.01, 0.05, 0.25, 1.0), "ab_test": (0.5,)}


@dataclass(frozen=True, slots=True)
class Warmed:
    """Every live inference instance has the version under rollout warm."""


@dataclass(frozen=True, slots=True)
class Unloadable:
    """An inference instance cannot load `version`."""

    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Silent:
    """No verdict has come for `for_s` of wall time."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Approved:
    """A version was approved: it may be what one that waits has waited for."""


@dataclass(frozen=True, slots=True)
class Case:
    """One message to one deployment. `ident`: the id of the command; `plan`: the deployment's policy as it is applied now."""

    deployment: str
    entry: Entry
    message: Any
    ident: str = ""
    plan: RolloutDefinition = UNDECLARED

    @property
    def rollout(self) -> Rollout:
        """The rollout under way."""
        assert self.entry.rollout is not None, "the table leads here from phases with a rollout only"
        return self.entry.rollout


def decide(
    state: Registry,
    deployment: str,
    message: Any,
    ident: str = "",
    plan: RolloutDefinition = UNDECLARED,
) -> Facts:
    """What follows from a message; when a rollout ends by it, the version that waits begins."""
    case = Case(deployment, state.entry(deployment), message, ident, plan)
    facts = _look_up(case)
    return facts + _next_in_line(state, case, facts)


def phase_of(entry: Entry) -> str:
    """`idle`, `paused`, `held`, or the step of the running rollout."""
    rollout = entry.rollout
    if rollout is None:
        return "idle"
    return rollout.step if rollout.standing == RUNNING else rollout.standing


def _look_up(case: Case) -> Facts:
    phase, message = phase_of(case.entry), type_name(type(case.message))
    handler = TABLE.get((phase, message))
    if handler is not None:
        return handler(case)
    if isinstance(case.message, Warmed | Unloadable | Silent | Approved | VerdictGiven):
        return []
    return _refused(case, _why_not(case.entry, phase))


def _why_not(entry: Entry, phase: str) -> str:
    if entry.rollout is None:
        return "no rollout is under way"
    what = f"the rollout of version {entry.rollout.version} is {phase}"
    if phase == WARMING:
        return f"{what}: wait until every inference instance has it warm, or abort it"
    return f"{what}: `headrace rollout status` shows what it waits for"


def _refused(case: Case, reason: str) -> Facts:
    return [CommandRefused(case.deployment, type_name(type(case.message)), case.ident, reason)]


def on_start(case: Case) -> Facts:
    """Begin, or say why not; what the trainer asks for waits where an operator is refused."""
    command: StartRollout = case.message
    reason = _unfit(case.entry, command)
    if reason is not None:
        return _refused(case, reason)
    busy = _busy(case)
    if busy is None:
        return _begun(case, command.version, _plan(case.plan, command.policy), command.reason, command.by)
    if command.by == "trainer":
        return [RolloutQueued(case.deployment, command.version, busy, command.by)]
    return _refused(case, busy)


def _unfit(entry: Entry, command: StartRollout) -> str | None:
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


def _busy(case: Case) -> str | None:
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


def _begun(case: Case, version: int, plan: RolloutDefinition, reason: str, by: str) -> Facts:
    ident = derived_id("rollout", case.deployment, version, case.ident, case.entry.facts)[:16]
    control = case.entry.aliases.get("champion")
    if control is None:
        plan = replace(plan, policy="blue_green")
    started = RolloutStarted(case.deployment, ident, version, plan.policy, reason, plan, control, by)
    return [started, RouteChanged(case.deployment, routes.warming(case.entry, case.deployment, version, ident))]


def _next_in_line(state: Registry, case: Case, facts: Facts) -> Facts:
    after = state
    for fact in facts:
        after = apply(after, fact)
    entry = after.entry(case.deployment)
    queued = entry.queued
    if queued is None or entry.rollout is not None or not _has_become_free(case, facts):
        return []
    command = StartRollout(case.deployment, queued.version, queued.reason, queued.by)
    waiting = Case(case.deployment, entry, command, f"queued-{queued.version}", case.plan)
    if _unfit(entry, command) is not None or _busy(waiting) is not None:
        return []
    reason = entry.versions[queued.version].reason
    return _begun(waiting, queued.version, case.plan, reason, queued.by)


def _has_become_free(case: Case, facts: Facts) -> bool:
    ends = (RolloutCompleted, RolloutAborted)
    return any(isinstance(fact, ends) for fact in facts) or isinstance(case.message, Approved)


def on_retry(case: Case) -> Facts:
    """The last rollout once more, by the same plan."""
    command: RetryRollout = case.message
    last = case.entry.last
    if last is None or last.outcome != "aborted":
        return _refused(case, "the last rollout was not aborted: there is nothing to try again")
    if last.is_harmful:
        return _refused(case, f"version {last.rollout.version} did harm ({last.reason}) and is never released again")
    again = StartRollout(case.deployment, last.rollout.version, command.reason, command.by)
    unfit = _unfit(case.entry, again)
    if unfit is not None:
        return _refused(case, unfit)
    return _begun(case, again.version, last.rollout.plan, command.reason, command.by)


def on_warmed(case: Case) -> Facts:
    """The first step."""
    return _follow(case, first_step(case.rollout), None)


def on_verdict(case: Case) -> Facts:
    """Whatever the policy makes of it."""
    verdict: VerdictGiven = case.message
    if not _is_about(case.rollout, verdict):
        return []
    return _follow(case, next_step(case.rollout, verdict), verdict)


def on_verdict_while_paused(case: Case) -> Facts:
    """Harm counts always."""
    verdict: VerdictGiven = case.message
    harm = harm_of(verdict) if _is_about(case.rollout, verdict) else None
    return [] if harm is None else _follow(case, harm, verdict)


def on_verdict_while_held(case: Case) -> Facts:
    """It speaks again: go on."""
    rollout, verdict = case.rollout, case.message
    if not _is_about(rollout, verdict):
        return []
    resumed = RolloutResumed(case.deployment, rollout.id, rollout.version, "verdicts come again")
    return [resumed, *_follow(case, next_step(rollout, verdict), verdict)]


def _is_about(rollout: Rollout, verdict: VerdictGiven) -> bool:
    return (verdict.rollout, verdict.version) == (rollout.id, rollout.version)


def _follow(case: Case, chosen: Next, verdict: VerdictGiven | None) -> Facts:
    rollout, deployment = case.rollout, case.deployment
    evidence = verdict.evidence if verdict is not None else ()
    clock_s = verdict.clock_s if verdict is not None else None
    match chosen:
        case Advance(step, share, number, reason):
            advanced = RolloutAdvanced(deployment, rollout.id, rollout.version, step, share, number, clock_s, evidence)
            return [advanced, RouteChanged(deployment, routes.shared(case.entry, deployment, rollout, share, reason))]
        case Begin(since_s):
            step, share = rollout.step, rollout.share
            return [RolloutAdvanced(deployment, rollout.id, rollout.version, step, share, rollout.number, since_s)]
        case Switch(reason):
            return _switched(case, reason, evidence, clock_s)
        case Finish(reason):
            back = routes.taken_back(case.entry, deployment, rollout, reason, is_harmful=False)
            at_s = clock_s or 0.0
            ended = RolloutCompleted(deployment, rollout.id, rollout.version, at_s, False, reason, evidence)
            return [ended, RouteChanged(deployment, back)]
        case Harm(reason):
            assert verdict is not None
            return _aborted(case, reason, failing(verdict), clock_s, is_harmful=True)
        case _:
            return []


def _switched(case: Case, reason: str, evidence: Sequence[Evidence], clock_s: float | None) -> Facts:
    rollout, deployment, aliases = case.rollout, case.deployment, case.entry.aliases
    new, old = rollout.version, aliases.get("champion")
    why = case.entry.versions[new].reason if rollout.plan.policy == "blue_green" else reason
    at_s = clock_s if clock_s is not None else _clock_s(case.entry, rollout)
    number = rollout.number if rollout.step == WARMING else rollout.number + 1
    facts: Facts = [RolloutAdvanced(deployment, rollout.id, new, SWITCHED, 1.0, number, clock_s, tuple(evidence))]
    if old is not None:
        facts.append(AliasMoved(deployment, "previous", old, aliases.get("previous"), why))
    facts.append(AliasMoved(deployment, "champion", new, old, why))
    facts.append(RouteChanged(deployment, routes.switched(case.entry, deployment, rollout, why)))
    facts.append(RolloutCompleted(deployment, rollout.id, new, at_s, True, reason, tuple(evidence)))
    return facts


def _clock_s(entry: Entry, rollout: Rollout) -> float:
    """The newest instant of the deployment's clock that is known without a verdict."""
    return rollout.since_s if rollout.since_s is not None else entry.versions[rollout.version].lineage.request_to_s


def _aborted(
    case: Case, reason: str, evidence: Sequence[Evidence] = (), clock_s: float | None = None, *, is_harmful: bool
) -> Facts:
    rollout, deployment = case.rollout, case.deployment
    back = routes.taken_back(case.entry, deployment, rollout, reason, is_harmful=is_harmful)
    aborted = RolloutAborted(deployment, rollout.id, rollout.version, reason, is_harmful, tuple(evidence), clock_s)
    return [aborted, RouteChanged(deployment, back)]


def on_unloadable(case: Case) -> Facts:
    """An instance refused the version: it must not take traffic."""
    message: Unloadable = case.message
    if message.version != case.rollout.version:
        return []
    return _aborted(case, f"version {message.version} cannot be loaded: {message.reason}", is_harmful=True)


def on_abort(case: Case) -> Facts:
    """An operator stops it."""
    command: AbortRollout = case.message
    return _aborted(case, f"aborted by {command.by}: {command.reason}", is_harmful=False)


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
        return _refused(case, f"version {rollout.version} is under rollout, not {command.version}: look again")
    if rollout.step == WARMING:
        return _refused(case, _why_not(case.entry, WARMING))
    return _switched(case, f"promoted by {command.by}: {command.reason}", (), rollout.since_s)


def on_silence(case: Case) -> Facts:
    """Hold where it is."""
    reason = f"no verdict for {case.message.for_s:.0f} s: is the monitor running?"
    return [RolloutPaused(case.deployment, case.rollout.id, case.rollout.version, reason, held=True)]


def on_silence_while_held(case: Case) -> Facts:
    """Nobody watches it: give the traffic back."""
    return _aborted(case, f"no verdict for {case.message.for_s:.0f} s", is_harmful=False)


def on_verdict_when_idle(case: Case) -> Facts:
    """After a promotion the version is judged while the rollback window lasts."""
    verdict: VerdictGiven = case.message
    entry, last = case.entry, case.entry.last
    if last is None or last.outcome != "promoted" or not _is_about(last.rollout, verdict):
        return []
    if entry.aliases.get("champion") != verdict.version:
        return []
    if verdict.clock_s - last.clock_s > last.rollout.plan.rollback_window_s:
        is_paired = last.rollout.plan.policy != "blue_green" and entry.route is not None and entry.route.shadows
        return [RouteChanged(case.deployment, routes.unpaired(entry, case.deployment))] if is_paired else []
    harm = harm_of(verdict)
    if harm is None or not entry.may_serve(entry.aliases.get("previous")):
        return []
    return _rolled_back(case, verdict.version, harm.reason, "monitor", failing(verdict), verdict.clock_s)


def on_roll_back(case: Case) -> Facts:
    """An operator takes back a promotion."""
    command: RollBack = case.message
    aliases = case.entry.aliases
    champion, before = aliases.get("champion"), aliases.get("previous")
    if champion != command.expected:
        return _refused(case, f"champion is {champion}, not {command.expected} as expected: look again, then decide")
    if not case.entry.may_serve(before):
        return _refused(case, f"there is no version before {champion} that may serve: release another one")
    reason = f"rolled back by {command.by}: {command.reason}"
    return _rolled_back(case, command.expected, reason, command.by, (), None)


def on_roll_back_while_rolling(case: Case) -> Facts:
    """A rollout in the way: which of the two is meant must be said."""
    version = case.rollout.version
    return _refused(
        case,
        f"a rollout of version {version} is under way: `headrace rollout abort {case.deployment}` takes its traffic away; only a promoted version is rolled back",
    )


def _rolled_back(
    case: Case, bad: int, reason: str, by: str, evidence: Sequence[Evidence], clock_s: float | None
) -> Facts:
    entry, deployment = case.entry, case.deployment
    to = entry.aliases["previous"]
    older = entry.older if entry.older != bad and entry.may_serve(entry.older) else None
    facts: Facts = [
        RolledBack(deployment, bad, to, reason, by, tuple(evidence), clock_s),
        AliasMoved(deployment, "champion", to, bad, reason),
    ]
    if older is not None:
        facts.append(AliasMoved(deployment, "previous", older, None, reason))
    facts.append(RouteChanged(deployment, routes.rolled_back(entry, deployment, bad, to, older, reason)))
    return facts


_MOVING = {
    "pause.rollout": on_pause,
    "promote.rollout": on_promote,
    "abort.rollout": on_abort,
    "start.rollout": on_start,
    "roll.back": on_roll_back_while_rolling,
    "unloadable": on_unloadable,
    "verdict.given": on_verdict,
    "silent": on_silence,
}
_STANDING = {**_MOVING, "resume.rollout": on_resume}

Handler = Callable[[Case], Facts]


def _table(phases: Mapping[str, Mapping[str, Handler | None]]) -> dict[tuple[str, str], Handler]:
    return {
        (phase, message): handler
        for phase, handlers in phases.items()
        for message, handler in handlers.items()
        if handler is not None
    }


TABLE: dict[tuple[str, str], Handler] = _table(
    {
        "idle": {
            "start.rollout": on_start,
            "retry.rollout": on_retry,
            "roll.back": on_roll_back,
            "verdict.given": on_verdict_when_idle,
        },
        WARMING: {**_MOVING, "promote.rollout": None, "verdict.given": None, "silent": None, "warmed": on_warmed},
        "shadowing": _MOVING,
        "canary": _MOVING,
        "testing": _MOVING,
        PAUSED: {**_STANDING, "pause.rollout": None, "verdict.given": on_verdict_while_paused, "silent": None},
        HELD: {**_STANDING, "verdict.given": on_verdict_while_held, "silent": on_silence_while_held},
    }
)
