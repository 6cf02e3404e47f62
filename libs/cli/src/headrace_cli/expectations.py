"""What to expect of a rollout before it begins: labels and blocks a day, and how long it takes at the least.

Labels a day are those of the newest closed windows. A day has `86400 / block` blocks of label evidence, fewer where no
request comes. A canary cannot end before its steps have run and the labels of its requests have come; when the evidence is
strong enough depends on the versions, and is not guessed.
"""

from dataclasses import asdict, dataclass
from typing import Any

from headrace.errors import Misconfigured
from headrace.events.monitor import WindowClosed
from headrace.project.definition import DeploymentDefinition, RolloutDefinition
from headrace_cli.session import Session

NEWEST_WINDOWS = 7
DAY_S = 86_400.0


@dataclass(frozen=True)
class Expectations:
    """Per day of event time; None where nothing is known. `least_days`: before this no decision is possible."""

    policy: str
    labels_a_day: float | None
    requests_a_day: float | None
    blocks_a_day: float
    least_days: float

    def values(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @property
    def line(self) -> str:
        """For a person."""
        if self.labels_a_day is None:
            told = "labels a day: not known yet (no window has closed)"
        else:
            told = f"labels a day: {self.labels_a_day:,.0f} of {self.requests_a_day:,.0f} requests"
        if self.policy == "blue_green":
            return f"{told}; blue-green switches as soon as the version is warm everywhere"
        return f"{told}; blocks a day: {self.blocks_a_day:.3g}; days to a decision: {self.least_days:.3g} at the least"


async def expect(session: Session, deployment: str, policy: str | None) -> Expectations:
    """For a deployment, by its own policy or another one. Raises `Misconfigured` when nobody declares it."""
    found = session.projects.deployment(deployment)
    if found is None:
        raise Misconfigured(f"no applied project declares {deployment!r}: `headrace apply PROJECT` first")
    windows = [message.event for message in await session.all_of("monitor.windows")]
    return expectations(found[1], [w for w in windows if w.deployment == deployment], policy or found[1].rollout.policy)


def expectations(deployment: DeploymentDefinition, windows: list[WindowClosed], policy: str) -> Expectations:
    """By the newest closed windows."""
    newest, plan = windows[-NEWEST_WINDOWS:], deployment.rollout
    days = sum(window.to_s - window.from_s for window in newest) / DAY_S
    horizon_s = deployment.label.horizon_s if deployment.label is not None else 0.0
    return Expectations(
        policy=policy,
        labels_a_day=sum(window.labelled for window in newest) / days if days else None,
        requests_a_day=sum(window.requests for window in newest) / days if days else None,
        blocks_a_day=DAY_S / plan.block_s,
        least_days=max(_least_s(plan, policy), horizon_s + plan.block_s if policy == "canary" else 0.0) / DAY_S,
    )


def _least_s(plan: RolloutDefinition, policy: str) -> float:
    match policy:
        case "canary":
            steps = max(len(plan.shares), 4 if plan.policy != "canary" else 0) - 1
            return plan.shadow_first_s + steps * plan.step_s
        case "ab_test" | "shadow":
            return plan.duration_s
        case _:
            return 0.0
