"""What to expect of a rollout before it begins, from the deployment's own log: labels a day, cycles, and which harm labels
would find in how long.

Labels and requests per day are those of the newest closed windows. A canary cannot end before its steps have run and its
least cycles of labels have come. How long a harm takes to find is simulated on the newest decisions with their labels
(`headrace.stats.planning`): on few cycles and coarse blocks, so that it takes seconds. `headrace rollout simulate` takes
all of them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from msgspec.structs import replace

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.events.monitor import WindowClosed
from headrace.project.applicable.rollouts import first_pass_s
from headrace.stats.planning import LEAST_CYCLES, Outlook, outlooks
from headrace_cli.session import Session
from headrace_cli.simulation.notes import notes_of
from headrace_cli.simulation.recorded import FEW_DECISIONS, Recorded, recorded
from headrace_cli.simulation.sample import sample_of, too_few
from headrace_cli.terminal.render import finite

NEWEST_WINDOWS = 7
DAY_S = 86_400.0
# So many of the newest cycles are drawn from, in blocks of at least so long.
CYCLES, BLOCK_S = 28, 10_800.0


@dataclass(frozen=True)
class Expectations:
    """Figures per day of event time; None if unknown. `least_days`: no decision by labels is possible before.

    `cycles`: whole cycles of `cycle_s` with labels on the log. `delay_s`: of the labels. `window_s`: the rollback window
    where a version is judged in it. `harms`: how labels would find them. `why_not`: why this is not known; then there are
    none. `notes`: what the record says against the plan.
    """

    policy: str
    labels_a_day: float | None
    requests_a_day: float | None
    least_days: float
    cycle_s: float
    delay_s: float = 0.0
    window_s: float | None = None
    cycles: int = 0
    most_cycles: int = 0
    harms: tuple[Outlook, ...] = ()
    why_not: str = ""
    notes: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """The figures as plain values; None for what is infinite."""
        return finite(asdict(self))

    @property
    def lines(self) -> list[str]:
        """The figures as text: labels a day, and which harm they would find in how long."""
        return [
            self.traffic,
            *([f"labels would find {self.finds}"] if self.harms else [self.why_not] * bool(self.why_not)),
        ]

    @property
    def traffic(self) -> str:
        """Labels a day, cycles, and the least time to a decision."""
        if self.labels_a_day is None:
            labels = "labels a day: not known yet (no window has closed)"
        else:
            labels = f"labels a day: {self.labels_a_day:,.0f} of {self.requests_a_day:,.0f} requests"
        if self.policy == "blue_green":
            return f"{labels}; blue-green switches as soon as the version is warm everywhere"
        return f"{labels}; days to a decision by labels: {self.least_days:.3g} at the least"

    @property
    def finds(self) -> str:
        """Each harm with the time that it takes labels to find it."""
        return "; ".join(self._found(one) for one in self.harms)

    def _found(self, one: Outlook) -> str:
        what = (
            f"an AUC lower by {one.harm.size:g}" if one.harm.measure == "AUC" else f"a score worse by {one.harm.size:g}"
        )
        if one.why_not:
            return f"{what} never ({one.why_not})"
        if math.isinf(one.cycles):
            return f"{what} in {one.share:.0%} of {self.most_cycles} cycles"
        days = (one.cycles * self.cycle_s + self.delay_s) / DAY_S
        late = ", after the rollback window" if self.window_s is not None and days * DAY_S > self.window_s else ""
        return f"{what} in about {days:.2g} days ({one.labels:,.0f} labels{late})"


async def expect(session: Session, deployment: str, policy: str | None) -> Expectations:
    """The expectations of a deployment, by its own policy or another one. Raises `Misconfigured` if no project declares it."""
    found = session.projects.deployment(deployment)
    if found is None:
        raise Misconfigured(f"no applied project declares {deployment!r}: `headrace apply PROJECT` first")
    windows = await closed_windows(session)
    return await expected(session, found[1], windows, policy or found[1].rollout.policy)


async def closed_windows(session: Session) -> list[WindowClosed]:
    """The closed windows of all deployments, oldest first."""
    found = [message.event for message in await session.all_of("monitor.windows")]
    return [event for event in found if isinstance(event, WindowClosed)]


async def expected(
    session: Session, deployment: DeploymentDefinition, windows: Sequence[WindowClosed], policy: str
) -> Expectations:
    """The expectations from closed windows (of any deployment), and from the newest decisions on the log."""
    if deployment.label is None:
        return expectations(deployment, windows, policy)
    found = await recorded(session.log, session.codec, session.topics, deployment, FEW_DECISIONS)
    return expectations(deployment, windows, policy, found)


def expectations(
    deployment: DeploymentDefinition, windows: Sequence[WindowClosed], policy: str, found: Recorded | None = None
) -> Expectations:
    """The expectations by the deployment's newest closed windows, and by what was recorded."""
    plan = replace(deployment.rollout, policy=policy)
    newest = [window for window in windows if window.deployment == deployment.name][-NEWEST_WINDOWS:]
    days = sum(window.to_s - window.from_s for window in newest) / DAY_S
    least_s = _least_s(deployment, policy)
    return Expectations(
        policy=policy,
        labels_a_day=sum(window.labelled for window in newest) / days if days else None,
        requests_a_day=sum(window.requests for window in newest) / days if days else None,
        least_days=least_s / DAY_S,
        cycle_s=plan.cycle_s,
        window_s=plan.rollback_window_s if policy == "blue_green" else None,
        **(_power(found, plan) if found is not None else {}),
    )


def _power(found: Recorded, plan: RolloutDefinition) -> dict[str, Any]:
    """What the record says of the harms that labels would find."""
    if not len(found):
        return {"why_not": "which harm labels would find is not known yet: no version has answered a request"}
    sample = sample_of(found, plan, CYCLES, least_block_s=BLOCK_S)
    known = {"delay_s": plan.delay_s(found.label), "cycles": sample.cycles, "most_cycles": sample.judging.cycles}
    notes = tuple(notes_of(found, sample, plan))
    if sample.cycles < LEAST_CYCLES:
        return known | {
            "why_not": f"which harm labels would find is not known yet: {too_few(found, sample)}",
            "notes": notes,
        }
    return known | {"harms": tuple(outlooks(sample.record, sample.judging)), "notes": notes}


def _least_s(deployment: DeploymentDefinition, policy: str) -> float:
    plan = deployment.rollout
    match policy:
        case "canary":
            steps = max(len(plan.shares), 4 if plan.policy != "canary" else 0) - 1
            return max(plan.shadow_first_s + steps * plan.step_s, first_pass_s(deployment))
        case "ab_test" | "shadow":
            return plan.duration_s
        case _:
            return 0.0


def plan_lines(found: Expectations) -> Iterator[tuple[str, str]]:
    """Lines for the plan of `apply`, each a keyword and its text; none before a version has answered with labels."""
    if found.harms:
        yield "finds", f"by labels, from {found.cycles:,} cycles on the log: {found.finds}"
