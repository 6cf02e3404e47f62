"""What to expect of a rollout before it begins: labels and blocks a day, and days to a decision.

Labels and requests per day are those of the newest closed windows. A day has `86400 / block` blocks of label evidence. A
canary cannot end before its steps have run and the labels of its first requests have come. How long the evidence takes depends
on how different the versions are: it is given for a version that is as good as the champion and differs from it as the
champion and its shadow do now (`headrace.stats.planning`). Without a shadow it is not estimated.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.events.inference import DecisionMade, Served
from headrace.events.monitor import WindowClosed
from headrace.log.port import Record
from headrace.log.reading import pin_offsets, read_up_to
from headrace.stats.planning import blocks_to_show
from headrace.stats.sequential import chains_needed
from headrace_cli.session import Session

NEWEST_WINDOWS = 7
NEWEST_DECISIONS = 2000
LEAST_PAIRS = 100
MOST_DAYS = 60
DAY_S = 86_400.0

Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Expectations:
    """Figures per day of event time; None if unknown. `least_days`: no decision is possible before. `expected_days`:
    for a version as good as the champion; inf if over sixty.
    """

    policy: str
    labels_a_day: float | None
    requests_a_day: float | None
    blocks_a_day: float
    least_days: float
    expected_days: float | None = None

    def values(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self)

    @property
    def line(self) -> str:
        """The figures in one line."""
        if self.labels_a_day is None:
            labels = "labels a day: not known yet (no window has closed)"
        else:
            labels = f"labels a day: {self.labels_a_day:,.0f} of {self.requests_a_day:,.0f} requests"
        if self.policy == "blue_green":
            return f"{labels}; blue-green switches as soon as the version is warm everywhere"
        return f"{labels}; blocks a day: {self.blocks_a_day:.3g}; days to a decision: {self._days}"

    @property
    def _days(self) -> str:
        least = f"{self.least_days:.3g} at the least"
        if self.expected_days is None:
            return least
        days = f"over {MOST_DAYS}" if math.isinf(self.expected_days) else f"about {self.expected_days:.3g}"
        return f"{days} if it is as good as the champion ({least})"


async def expect(session: Session, deployment: str, policy: str | None) -> Expectations:
    """The expectations of a deployment, by its own policy or another one. Raises `Misconfigured` if no project declares it."""
    found = session.projects.deployment(deployment)
    if found is None:
        raise Misconfigured(f"no applied project declares {deployment!r}: `headrace apply PROJECT` first")
    windows = [message.event for message in await session.all_of("monitor.windows")]
    mine = [window for window in windows if window.deployment == deployment]
    return expectations(found[1], mine, policy or found[1].rollout.policy, await _pairs(session, deployment))


async def _pairs(session: Session, deployment: str) -> Pairs:
    """Scores of champion and shadow on the newest requests."""
    ends = await pin_offsets(session.log, [session.topics.name("inference.decisions")])
    found: list[tuple[float, float]] = []

    def take(record: Record) -> None:
        event = session.codec.decode(record).event
        if isinstance(event, DecisionMade) and event.deployment == deployment and isinstance(event.answer, Served):
            scores = [event.answer.score.value, *[shadow.value for shadow in event.shadows[:1]]]
            if len(scores) == 2 and scores[0] is not None and scores[1] is not None:
                found.append((scores[0], scores[1]))

    await read_up_to(session.log, ends, take, starts={tp: end - NEWEST_DECISIONS for tp, end in ends.items()})
    return found


def expectations(
    deployment: DeploymentDefinition, windows: Sequence[WindowClosed], policy: str, pairs: Pairs = ()
) -> Expectations:
    """The expectations by the newest closed windows, and by how much champion and shadow differ."""
    newest, plan = windows[-NEWEST_WINDOWS:], deployment.rollout
    days = sum(window.to_s - window.from_s for window in newest) / DAY_S
    requests_a_day = sum(window.requests for window in newest) / days if days else None
    least_s = _least_s(plan, policy)
    if policy == "canary":
        least_s = max(least_s, _delay_s(deployment) + plan.block_s)
    return Expectations(
        policy=policy,
        labels_a_day=sum(window.labelled for window in newest) / days if days else None,
        requests_a_day=requests_a_day,
        blocks_a_day=DAY_S / plan.block_s,
        least_days=least_s / DAY_S,
        expected_days=_expected_days(deployment, requests_a_day, pairs, least_s) if policy == "canary" else None,
    )


def _delay_s(deployment: DeploymentDefinition) -> float:
    """How long the labels of a block are waited for."""
    horizon_s = deployment.label.horizon_s if deployment.label is not None else 0.0
    delay_s = deployment.rollout.label_delay_s
    return horizon_s if delay_s is None else min(delay_s, horizon_s)


def _expected_days(
    deployment: DeploymentDefinition, requests_a_day: float | None, pairs: Pairs, least_s: float
) -> float | None:
    label, plan = deployment.label, deployment.rollout
    if label is None or label.kind != "binary" or requests_a_day is None or len(pairs) < LEAST_PAIRS:
        return None
    rows = max(round(requests_a_day * plan.block_s / DAY_S), 1)
    chains = chains_needed(_delay_s(deployment), plan.block_s)
    most = math.ceil(MOST_DAYS * DAY_S / plan.block_s)
    blocks = blocks_to_show(pairs, rows, plan.margin or 0.01, chains, most, np.random.default_rng(0))
    if blocks is None:
        return math.inf
    return max(blocks * plan.block_s + _delay_s(deployment), least_s) / DAY_S


def _least_s(plan: RolloutDefinition, policy: str) -> float:
    match policy:
        case "canary":
            steps = max(len(plan.shares), 4 if plan.policy != "canary" else 0) - 1
            return plan.shadow_first_s + steps * plan.step_s
        case "ab_test" | "shadow":
            return plan.duration_s
        case _:
            return 0.0
