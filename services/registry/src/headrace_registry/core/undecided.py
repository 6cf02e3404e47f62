"""When a rollout is given up because nothing has decided it, and what was missing.

policy                   | given up                                    | because
-------------------------|---------------------------------------------|---------------------------------------------
canary                   | `give_up_s` after its first step began      | decisions, guardrails, time, labels, an approval
ab_test, winner `hand`   | the same                                    | nobody has decided it
ab_test, winner `rule`   | never: it ends after `duration_s`           |
shadow                   | never: it ends after `duration_s`           |
blue_green               | never: it switches as soon as it is warm    |

Both instants are of the deployment's clock. It stands still without requests, and so does the wait.
"""

from collections.abc import Collection

from headrace.events.verdicts import INCONCLUSIVE, PASS, UNMEASURED, VerdictGiven
from headrace.project.applicable.wording import duration
from headrace.registry.state import Rollout


def is_overdue(rollout: Rollout, verdict: VerdictGiven) -> bool:
    """Whether the rollout has lasted for so long that it ends undecided. False while the instant of its first step is unknown."""
    plan = rollout.plan
    may_hang = plan.policy == "canary" or (plan.policy == "ab_test" and plan.winner == "hand")
    if not may_hang or rollout.begun_s is None:
        return False
    return verdict.clock_s - rollout.begun_s >= plan.give_up_s


def why_undecided(rollout: Rollout, verdict: VerdictGiven) -> str:
    """What was missing when it was given up, and the way out, in words."""
    missing, way = _missing(rollout, verdict)
    return f"nothing decided it within {duration(rollout.plan.give_up_s)}: {missing}; {way}"


def _missing(rollout: Rollout, verdict: VerdictGiven) -> tuple[str, str]:
    """The first thing that was missing, and the way out."""
    plan, version = rollout.plan, rollout.version
    again = f"`headrace rollout retry {verdict.deployment}` tries again"
    if plan.policy == "ab_test":
        return "nobody ended the test", f"{again}, and `headrace rollout promote {verdict.deployment}` ends it"
    if rollout.step == "shadowing":
        return f"its {duration(plan.shadow_first_s)} of scoring along were not over", again
    if verdict.step_decisions < plan.min_decisions:
        return f"it made {verdict.step_decisions:,} of {plan.min_decisions:,} decisions in its step", again
    if verdict.guardrails != PASS:
        rails = {rail.metric for rail in plan.guardrails if not rail.dry_run}
        return f"its guardrails did not pass ({_open(verdict, 'guardrail', rails) or verdict.guardrails})", again
    if rollout.number < len(plan.shares) - 2 or (rollout.since_s or 0.0) + plan.step_s > verdict.clock_s:
        return "its steps were not over", again
    if verdict.unlabelled:
        approve = f"`headrace model approve {verdict.deployment} {version}` approves it"
        return f"no label can judge version {version}, and nobody approved it", f"{approve}, then {again}"
    return _missing_labels(
        rollout, verdict
    ), f"{again}, then `headrace rollout promote {verdict.deployment}` needs no labels"


def _missing_labels(rollout: Rollout, verdict: VerdictGiven) -> str:
    if not verdict.label_count:
        return "no label came"
    came = f"{verdict.label_count:,} labels came"
    if verdict.labels == INCONCLUSIVE:
        return (
            f"{came} in {verdict.cycles:,} cycles, and show neither harm nor that version {rollout.version} is no worse"
        )
    found = f"{came}, in {verdict.cycles:,} of the {rollout.plan.min_cycles:,} cycles that it takes"
    why = _open(verdict, "label", {one.metric for one in verdict.evidence})
    return f"{found} ({why})" if why else found


def _open(verdict: VerdictGiven, kind: str, metrics: Collection[str]) -> str:
    """The evidence on these metrics that is neither PASS nor FAIL, in words; "" for none."""
    found = [one for one in verdict.evidence if one.kind == kind and one.metric in metrics]
    still_open = [one for one in found if one.verdict in (INCONCLUSIVE, UNMEASURED)]
    return ", ".join(f"{one.metric}: {one.detail or one.verdict}" for one in still_open)
