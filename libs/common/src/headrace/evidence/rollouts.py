"""What a running rollout waits for, in words."""

from headrace.events.verdicts import UNMEASURED, VerdictGiven
from headrace.registry.state import Rollout


def waits_for(name: str, rollout: Rollout, verdict: VerdictGiven | None, approved_by: str | None) -> str | None:
    """What the step waits for before it can end; None if that is not known. `approved_by`: who approved the version."""
    if rollout.step == "warming":
        return f"every live inference instance to have version {rollout.version} warm"
    if rollout.awaits_approval:
        approve = f'`headrace model approve {name} {rollout.version} --reason "..."` (no label can judge it)'
        return f"the next verdict: approved by {approved_by}" if approved_by else f"a person to approve it: {approve}"
    match verdict.waiting_for if verdict is not None else "":
        case "traffic" | "decisions":
            seen = verdict.step_decisions if verdict is not None else 0
            return f"requests: {seen:,} of {rollout.plan.min_decisions:,} decisions"
        case "time":
            return "its time in this step"
        case "labels":
            return _labels(name, rollout, verdict)
        case _:
            return None


def _labels(name: str, rollout: Rollout, verdict: VerdictGiven | None) -> str:
    """The labels that are missing; where none can ever judge the version, what ends the rollout instead."""
    labels = ": ".join(["labels", *_why_unmeasured(verdict)][:2])
    if verdict is None or not verdict.unlabelled:
        return labels
    if rollout.plan.policy == "ab_test":
        return f"a person: `headrace rollout promote {name}` or `headrace rollout abort {name}` ({labels})"
    return f"its guardrails ({labels})"


def _why_unmeasured(verdict: VerdictGiven | None) -> list[str]:
    found = () if verdict is None else verdict.evidence
    return [one.detail for one in found if one.kind == "label" and one.verdict == UNMEASURED and one.detail]
