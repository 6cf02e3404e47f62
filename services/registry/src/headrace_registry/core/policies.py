"""What a rollout does next, by its policy, when its version is warm and on each verdict about it.

    blue_green   nothing: it switched as soon as it was warm; afterwards it is judged while the rollback window lasts
    canary       shadowing -> shares[0] -> ... -> switched; given up after `give_up_s`
    ab_test      testing with one share for `duration_s`, then the winner by rule; by hand, given up after `give_up_s`
    shadow       shadowing for `duration_s`, then completed, without effect

A canary's step ends when the verdict on it has guardrails PASS and labels not FAIL, `min_decisions` units were decided in it
and `step_s` of the deployment's clock have passed. In shadowing no unit is assigned to the version, so guardrails need only not to fail.
The last step gives the version all traffic, and needs one thing more:

    labels PASS       | unlabelled | without_labels | approved | then
    ------------------|------------|----------------|----------|------------------------------------------
    yes               |            |                |          | switch
    no                | no         |                |          | wait for labels
    no                | yes        | promote        |          | switch
    no                | yes        | approval       | yes      | switch
    no                | yes        | approval       | no       | wait for a person (`ApprovalAwaited`, once)

Not knowing leaves the share as it is, until the rollout is given up (`undecided`) or a newer version takes its place (`superseding`). A step
without any request waits for them without end.
"""

from dataclasses import dataclass

from headrace.events.registry import AbortCause
from headrace.events.verdicts import FAIL, PASS, Evidence, VerdictGiven, evidence_text
from headrace.registry.state import CANARY, SHADOWING, TESTING, Rollout
from headrace_registry.core.undecided import is_overdue, why_undecided


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing changes."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The clock of the present step is known now."""

    clock_s: float


@dataclass(frozen=True, slots=True)
class Advance:
    """Go on to a step with `share` of the traffic."""

    step: str
    share: float
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Make the version champion."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """End without a switch and without harm."""

    reason: str


@dataclass(frozen=True, slots=True)
class Await:
    """Only a person's approval is missing."""

    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """End without a switch and without harm; it may be tried again."""

    reason: str
    cause: AbortCause


@dataclass(frozen=True, slots=True)
class Harm:
    """Take all traffic away from the version."""

    reason: str


Next = Stay | Begin | Advance | Switch | Finish | Await | End | Harm


def choose_first_step(rollout: Rollout) -> Advance | Switch:
    """What follows when the version is warm on every live instance."""
    plan = rollout.plan
    if plan.policy == "blue_green" or rollout.control is None:
        return Switch(rollout.reason)
    if plan.policy == "shadow" or (plan.policy == "canary" and plan.shadow_first_s > 0):
        return Advance(SHADOWING, 0.0, 0, "scores along with the champion")
    step = TESTING if plan.policy == "ab_test" else CANARY
    return Advance(step, plan.shares[0], 0, f"takes {plan.shares[0]:.3g} of the traffic")


def choose_next_step(rollout: Rollout, verdict: VerdictGiven, approved_by: str | None = None) -> Next:
    """What follows from a verdict on a running rollout. `approved_by`: who approved its version, None for nobody."""
    harm = harm_of(verdict)
    if harm is not None:
        return harm
    # Without a clock, or without a request in this step, it waits, however long that takes: its time has not begun.
    if not verdict.has_clock or verdict.waiting_for == "traffic":
        return Stay()
    if rollout.since_s is None:
        return Begin(verdict.clock_s)
    if verdict.number != rollout.number:
        return Stay()
    chosen = _by_step(rollout, verdict, verdict.clock_s - rollout.since_s, approved_by)
    if isinstance(chosen, Stay | Await) and is_overdue(rollout, verdict):
        return End(why_undecided(rollout, verdict), "undecided")
    return chosen


def _by_step(rollout: Rollout, verdict: VerdictGiven, passed_s: float, approved_by: str | None) -> Next:
    match rollout.step:
        case "shadowing":
            return _after_shadowing(rollout, passed_s)
        case "canary":
            return _after_share(rollout, verdict, passed_s, approved_by)
        case _:
            return _after_test(rollout, verdict, passed_s)


def harm_of(verdict: VerdictGiven) -> Harm | None:
    """The harm that a verdict shows by either kind of evidence, with the reason in words; None when it shows none."""
    if FAIL not in (verdict.guardrails, verdict.labels):
        return None
    return Harm("; ".join(map(evidence_text, failing(verdict))) or "the verdict is FAIL")


def failing(verdict: VerdictGiven) -> tuple[Evidence, ...]:
    """The evidence that failed."""
    return tuple(found for found in verdict.evidence if found.verdict == FAIL)


def _after_shadowing(rollout: Rollout, passed_s: float) -> Next:
    plan = rollout.plan
    if plan.policy == "shadow":
        return Finish("the shadow has run its time") if passed_s >= plan.duration_s else Stay()
    if passed_s < plan.shadow_first_s:
        return Stay()
    return Advance(CANARY, plan.shares[0], 0, f"takes {plan.shares[0]:.3g} of the traffic")


def _after_share(rollout: Rollout, verdict: VerdictGiven, passed_s: float, approved_by: str | None) -> Next:
    plan = rollout.plan
    is_long_enough = passed_s >= plan.step_s and verdict.step_decisions >= plan.min_decisions
    if not is_long_enough or verdict.guardrails != PASS:
        return Stay()
    number = rollout.number + 1
    if number < len(plan.shares) - 1:
        return Advance(CANARY, plan.shares[number], number, f"takes {plan.shares[number]:.3g} of the traffic")
    if verdict.labels == PASS:
        return Switch("shown to be no worse than its control")
    return _without_labels(rollout, verdict, approved_by) if verdict.unlabelled else Stay()


def _without_labels(rollout: Rollout, verdict: VerdictGiven, approved_by: str | None) -> Next:
    """The end of a canary that has passed its guardrails and that no label can judge."""
    passed = "it passed its guardrails, and no label can judge it"
    if rollout.plan.without_labels == "promote":
        return Switch(f"{passed} (without_labels='promote')")
    if approved_by:
        return Switch(f"approved by {approved_by}: {passed}")
    if rollout.awaits_approval:
        return Stay()
    return Await(f"{passed}: `headrace model approve {verdict.deployment} {rollout.version}` gives it all traffic")


def _after_test(rollout: Rollout, verdict: VerdictGiven, passed_s: float) -> Next:
    plan = rollout.plan
    if passed_s < plan.duration_s or plan.winner != "rule":
        return Stay()
    if verdict.labels == PASS and verdict.guardrails == PASS and is_superior(verdict):
        return Switch("won the test")
    return Finish("the test has run its time and does not show the version to be better")


def is_superior(verdict: VerdictGiven) -> bool:
    """Whether the evidence shows the version to be better, not only no worse."""
    return any(found.metric == "superiority" and found.verdict == PASS for found in verdict.evidence)
