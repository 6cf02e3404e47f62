"""The analysis of one running rollout: which verdict it gets, and when, by two kinds of evidence.

Each kind of evidence is a test that is valid at every look. Guardrails need no label and are looked at with every batch of
decisions, by arm (`arms`, `guardrail_cases`, `guardrails`). Label evidence rests on closed blocks (`label_evidence`). Which
requests count for either, `rollout_requests` decides.

A verdict is given when it changes, when a block closes, when the least decisions or the least time of a step are reached, once
per block of event time, and when the last verdict is long ago by the monotonic clock. The last rule holds also without any
request: then the verdict is that the rollout waits for traffic.
"""

import math
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutAdvanced, RolloutCompleted, RolloutStarted, Route
from headrace.events.verdicts import FAIL, PASS, VerdictGiven, WaitingFor, worst
from headrace.features.outcomes import KnownOutcome
from headrace.step import Step
from headrace_monitor.core.agreement import Agreement
from headrace_monitor.core.arms import PENDING_BYTES
from headrace_monitor.core.blocks import LABELS_LIMIT_BYTES, PAIRS_LIMIT_BYTES
from headrace_monitor.core.guardrail_cases import GuardrailCases
from headrace_monitor.core.guardrail_evidence import of_guardrail, of_split, of_unasked
from headrace_monitor.core.guardrails import split_alpha
from headrace_monitor.core.label_evidence import LabelEvidence, open_blocks, why_unlabelled
from headrace_monitor.core.label_report import Report, same
from headrace_monitor.core.rollout_requests import PENDING_KEPT, UNIT_BYTES, UNITS_KEPT, RolloutRequests, Seen

# How many bytes a rollout may hold, by what it is.
LIMITS = {
    "rollout_pairs": PAIRS_LIMIT_BYTES,
    "rollout_labels": LABELS_LIMIT_BYTES,
    "rollout_shadows_due": PENDING_KEPT * PENDING_BYTES,
    "rollout_units": UNITS_KEPT * UNIT_BYTES,
}
_ROUTES_KEPT = 20


class RolloutAnalysis:
    """The analysis of one rollout. `state`: what is remembered of it, apart from the tests (see `memory`).

    It changes in place: a copy per batch of decisions would be slow.
    """

    def __init__(self, deployment: DeploymentDefinition, state: RolloutJudged) -> None:
        # Which units were counted is not remembered: after a restart the split of units is counted anew.
        self.deployment, self.state = deployment, replace(state, step_units=(0, 0))
        started = state.started
        self.plan = started.plan or deployment.rollout
        self.version, self.control = started.version, started.control
        self._guardrails = {found.metric: found for found in self.plan.guardrails}
        self._cases = GuardrailCases(
            self._guardrails,
            state.tests,
            has_control=self.control is not None,
            is_paired=self.control is not None and (self.plan.policy != "blue_green" or self.plan.shadow_previous),
        )
        blocks = open_blocks(deployment, self.plan, state)
        effective = [metric for metric, found in self._guardrails.items() if not found.dry_run]
        self._alpha = split_alpha(self.plan.alpha, effective, has_labels=blocks is not None)
        self._why_unlabelled = why_unlabelled(deployment, self.control)
        has_level = self._why_unlabelled is None
        self._labels = (
            LabelEvidence(blocks, self.plan, has_level, self._alpha["labels"], state) if blocks is not None else None
        )
        self._agreement = None if has_level else Agreement(state.tests.get("agreement"))
        self._block_s = blocks.block_s if blocks is not None else self.plan.block_s
        self._requests = RolloutRequests(
            self.version, self.control, self._cases, blocks, self._block_s, state.folded, self._agreement
        )
        self._is_due = state.verdict is None

    # what happens to the rollout

    def on_advanced(self, fact: RolloutAdvanced) -> None:
        """A step began, or the instant at which it began is known now."""
        if (fact.number, fact.share) != (self.state.number, self.state.share):
            self.state = replace(
                self.state, step_decisions=0, step_units=(0, 0), step_seen=0, step_unasked=(0, 0, 0, 0)
            )
            self._requests.begin_step()
        self.state = replace(self.state, number=fact.number, share=fact.share, step_clock_s=fact.clock_s)
        self._is_due = True

    def on_route(self, route: Route, offset: int) -> None:
        """The route changed. `offset`: of its record, by which decisions name the route that they followed."""
        kept = dict(sorted(self.state.routes.items())[-_ROUTES_KEPT:])
        self.state = replace(self.state, routes=kept | {offset: route.shares.get(self.version, 0.0)})

    def on_completed(self, fact: RolloutCompleted) -> None:
        """The rollout reached its end. A version that was promoted is judged until the rollback window is over."""
        if fact.promoted and self.plan.rollback_window_s > 0:
            self.state = replace(self.state, until_s=fact.clock_s + self.plan.rollback_window_s, share=1.0)
        else:
            self.end()

    def end(self) -> None:
        """The rollout is over: it gets no further verdict."""
        self.state = replace(self.state, ended=True)

    # what was served

    def take(self, seen: Sequence[Seen]) -> None:
        """Take records of the deployment in the order read. Those read again after a restart count for open blocks only."""
        before, self.state = self.state, self._requests.take(seen, self.state)
        self._is_due |= before.step_decisions < self.plan.min_decisions <= self.state.step_decisions
        self._is_due |= self.state.step_seen > 0 and not before.step_seen

    def add_outcome(self, outcome: KnownOutcome) -> None:
        """Take an outcome of the deployment."""
        if self._labels is not None:
            self._labels.blocks.add_outcome(outcome)

    # what follows

    def look(self, clock_s: float, *, is_silent: bool = False) -> Step[RolloutJudged, VerdictGiven]:
        """Close the blocks that may close by the deployment's clock. The fact is the verdict, if one is due.

        `clock_s`: -inf before the clock runs. `is_silent`: the last verdict is long ago.
        """
        if self.state.ended:
            return Step(self.state)
        has_clock, last = math.isfinite(clock_s), self.state.verdict
        if has_clock:
            self._close_blocks(clock_s)
        # NB: after a restart the inputs are read again from further back, and the clock goes back with them.
        known_s = [last.clock_s] if last is not None and last.has_clock else []
        verdict = self._verdict(max([*known_s, *([clock_s] if has_clock else [])], default=None))
        is_given = self._is_to_be_given(verdict, is_silent=is_silent)
        if is_given:
            self._is_due = False
            self.state = replace(self.state, verdict=verdict, sequence=self.state.sequence + 1)
        if self.state.until_s is not None and has_clock and clock_s > self.state.until_s:
            self.end()
        return Step(self.state, (verdict,) if is_given else ())

    def _close_blocks(self, clock_s: float) -> None:
        if self._labels is None:
            self._requests.end_blocks(math.floor(clock_s / self._block_s))
            return
        self._requests.end_blocks(self._labels.blocks.last_ripe_by(clock_s) + 1)
        while (is_news := self._labels.close_next(clock_s)) is not None:
            self._is_due |= is_news

    def _is_to_be_given(self, verdict: VerdictGiven, *, is_silent: bool) -> bool:
        """Whether a verdict is given, by the rules of the module."""
        last = self.state.verdict
        if last is None or self._is_due or is_silent:
            return True
        if (last.number, last.guardrails, last.labels) != (verdict.number, verdict.guardrails, verdict.labels):
            return True
        if not verdict.has_clock:
            return False
        if not last.has_clock or verdict.clock_s - last.clock_s >= self.plan.block_s:
            return True
        return any(last.clock_s < at_s <= verdict.clock_s for at_s in self._appointments())

    def _appointments(self) -> list[float]:
        """The instants of event time at which the registry waits for a verdict."""
        began_s = self.state.step_clock_s
        if began_s is None:
            return []
        plan = self.plan
        return [began_s + wait_s for wait_s in (plan.step_s, plan.shadow_first_s, plan.duration_s)]

    def _verdict(self, clock_s: float | None) -> VerdictGiven:
        found = [
            of_guardrail(self._guardrails[metric], test, self._alpha.get(metric, self.plan.alpha))
            for metric, test in self._cases.tests.items()
        ]
        effective = [evidence for evidence in found if not self._guardrails[evidence.metric].dry_run]
        limit = self._guardrails["degraded"].limit if "degraded" in self._guardrails else None
        holding = (of_split(self.state.step_units, self.state.share), of_unasked(self.state.step_unasked, limit))
        held = [evidence for evidence in holding if evidence is not None]
        labels, totals = self._report(), self._totals
        return VerdictGiven(
            deployment=self.deployment.name,
            rollout=self.state.started.rollout,
            version=self.version,
            number=self.state.number,
            guardrails=worst(evidence.verdict for evidence in (*effective, *held)),
            labels=labels.verdict,
            clock_s=clock_s or 0.0,
            step_decisions=self.state.step_decisions,
            decisions=self.state.decisions,
            label_count=int(totals.get("labelled", 0)),
            blocks=int(totals.get("blocks", 0)),
            evidence=(*found, *held, *labels.evidence),
            waiting_for=self._waiting_for(clock_s, labels.verdict),
            has_clock=clock_s is not None,
            cycles=int(totals.get("cycles", 0)),
            unlabelled=self._why_unlabelled is not None,
        )

    def _waiting_for(self, clock_s: float | None, labels: str) -> WaitingFor:
        """What is needed first before the step can end; "" when nothing is missing."""
        state, plan = self.state, self.plan
        if state.until_s is not None:
            return ""
        if not state.step_seen or clock_s is None:
            return "traffic"
        if state.share > 0 and state.step_decisions < plan.min_decisions:
            return "decisions"
        canary_s = plan.step_s if state.share > 0 else plan.shadow_first_s
        least_s = canary_s if plan.policy == "canary" else plan.duration_s
        if state.step_clock_s is not None and clock_s - state.step_clock_s < least_s:
            return "time"
        return "" if labels == PASS else "labels"

    def _report(self) -> Report:
        """The label evidence. Where no label can judge it, two versions that give the same answers pass."""
        report = self._labels.report if self._labels is not None else Report.without(self._why_unlabelled or "")
        if self._agreement is None or report.verdict == FAIL or not self._agreement.is_within(self.plan.margin):
            return report
        return report.with_level(same(self._agreement.pairs, self._agreement.most, self.plan.margin))

    # what is remembered

    @property
    def _totals(self) -> Mapping[str, float]:
        return self._labels.totals if self._labels is not None else self.state.totals

    @property
    def _blocks_from_s(self) -> float | None:
        return self._labels.open_from_s if self._labels is not None else None

    @property
    def open_from_s(self) -> float | None:
        """The oldest instant that an open block, or a shadow that is due, may still look at; None without either."""
        starts = (self._blocks_from_s, self._requests.due_from_s)
        return min((start for start in starts if start is not None), default=None)

    def held_bytes(self) -> dict[str, int]:
        """How many bytes it holds now, by what it is; the keys are those of `LIMITS`."""
        blocks = self._labels.blocks if self._labels is not None else None
        return {
            "rollout_pairs": blocks.pairs_bytes if blocks is not None else 0,
            "rollout_labels": blocks.labels_bytes if blocks is not None else 0,
            "rollout_shadows_due": self._requests.pending_bytes,
            "rollout_units": self._requests.units_bytes,
        }

    @property
    def folded(self) -> Mapping[str, int]:
        """Per `topic/partition` the next decision that the guardrails have not seen."""
        return self._requests.folded

    def memory(self, replay_from: Mapping[str, int]) -> RolloutJudged:
        """Enough to go on after a restart. `replay_from`: from where the open blocks can be read again, per place."""
        tests = self._cases.numbers()
        if self._labels is not None:
            tests |= self._labels.tests()
        if self._agreement is not None:
            tests["agreement"] = self._agreement.state()
        return replace(
            self.state,
            tests=tests,
            totals=dict(self._totals),
            folded=dict(self.folded),
            open_from_s=self._blocks_from_s,
            replay_from=dict(replay_from),
        )


def begin(
    deployment: DeploymentDefinition,
    started: RolloutStarted,
    read_to: Mapping[str, int] | None = None,
    usual_gain: float | None = None,
) -> RolloutAnalysis:
    """The analysis of a rollout that has just begun.

    `read_to`: per `topic/partition` the next decision to read; those before it are none of the rollout's. `usual_gain`: see
    `RolloutJudged`.
    """
    state = RolloutJudged(deployment.name, started, folded=dict(read_to or {}), usual_gain=usual_gain)
    return RolloutAnalysis(deployment, state)
