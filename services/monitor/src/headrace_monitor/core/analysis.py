"""What the monitor says of a running rollout: verdicts by two kinds of evidence, each a test that is valid at every look.

Guardrails need no label and are looked at with every batch of decisions, by arm (`arms`). Previews and tenants' overrides are in no arm:
nothing was drawn.
Label evidence is from all requests that both versions were asked, by closed blocks (`blocks`, `headrace.policy.pairs`).

A verdict is given when it changes, when a block closes, when a step's least decisions or time are reached, once per
block of event time, and when the shell says that nothing was heard for long.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from headrace.events.inference import DecisionMade
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutAdvanced, RolloutCompleted, RolloutStarted, Route
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.policy.guardrails import LatencyTest, ShareTest, guardrail_test, split_alpha
from headrace.policy.pairs import PairTest, shows_harm
from headrace.policy.sequential import chains_needed
from headrace.policy.verdict import worst
from headrace.project.definition import DeploymentDefinition, RolloutDefinition
from headrace_monitor.core.arms import Bools, Side, calls, shares, side_of
from headrace_monitor.core.blocks import Blocks, Closed, Floats, Pair
from headrace_monitor.core.evidence import mean_difference, of_guardrail, of_labels, of_split, unmeasured

UNITS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One decision as it counts for a rollout. `place`, `offset`: where it lies."""

    place: str
    offset: int
    decision: DecisionMade


class Trial:
    """The analysis of one rollout."""

    def __init__(self, deployment: DeploymentDefinition, state: RolloutJudged) -> None:
        # Which units were counted is not kept: their split is counted anew after a restart.
        self.deployment, self.state = deployment, replace(state, step_units=(0, 0))
        started = state.started
        self.plan = started.plan or deployment.rollout
        self.version, self.control = started.version, started.control
        self._rails = {rail.metric: rail for rail in self.plan.guardrails}
        self._tests = {m: guardrail_test(m, rail.limit, state.tests.get(m)) for m, rail in self._rails.items()}
        self._blocks = _blocks_of(deployment, self.plan, state.open_from_s) if self.control is not None else None
        self._pairs = PairTest.restored(_chains(self._blocks), self.plan.margin, state.tests) if self._blocks else None
        self._totals = dict(state.totals)
        self._folded = dict(state.folded)
        self._units: set[int] = set()
        self._is_due = state.said is None
        alphas = [m for m, rail in self._rails.items() if not rail.dry_run]
        self._alpha = split_alpha(self.plan.alpha, alphas, has_labels=self._blocks is not None)

    # what happens to the rollout

    def on_advanced(self, fact: RolloutAdvanced) -> None:
        """A step began, or its beginning is known now."""
        if (fact.number, fact.share) != (self.state.number, self.state.share):
            self.state = replace(self.state, step_decisions=0, step_units=(0, 0))
            self._units.clear()
        self.state = replace(self.state, number=fact.number, share=fact.share, step_clock_s=fact.clock_s)
        self._is_due = True

    def on_route(self, route: Route, offset: int) -> None:
        """The route changed: which share decisions by it were drawn with."""
        kept = dict(sorted(self.state.routes.items())[-20:])
        self.state = replace(self.state, routes=kept | {offset: route.shares.get(self.version, 0.0)})

    def on_completed(self, fact: RolloutCompleted) -> None:
        """It reached its end; a version that was promoted is judged until the rollback window is over."""
        if fact.promoted and self.plan.rollback_window_s > 0:
            self.state = replace(self.state, until_s=fact.clock_s + self.plan.rollback_window_s, share=1.0)
        else:
            self.end()

    def end(self) -> None:
        """Nothing more is said of it."""
        self.state = replace(self.state, ended=True)

    # what was served

    def take(self, seen: Sequence[Seen]) -> None:
        """Decisions of the deployment, in the order read; those read again after a restart count for open blocks only."""
        decisions = [one.decision for one in seen]
        new, control = side_of(decisions, self.version), side_of(decisions, self.control)
        self._take_pairs(decisions, new, control)
        is_fresh = np.array([one.offset >= self._folded.get(one.place, 0) for one in seen], dtype=bool)
        for one in seen:
            self._folded[one.place] = max(self._folded.get(one.place, 0), one.offset + 1)
        if not is_fresh.all():
            decisions = [found for found, is_new in zip(decisions, is_fresh.tolist(), strict=True) if is_new]
            new, control = new.only(is_fresh), control.only(is_fresh)
        if decisions:
            share = np.array([self.state.routes.get(d.route_offset, self.state.share) for d in decisions])
            self._count(decisions, new, control, share)
            self._judge(decisions, new, control, share)

    def observe(self, unit: str, value: float, known_s: float) -> None:
        """An outcome."""
        if self._blocks is not None:
            self._blocks.observe(unit, value, known_s)

    def _take_pairs(self, decisions: Sequence[DecisionMade], new: Side, control: Side) -> None:
        """Requests that both versions were to score."""
        if self._blocks is not None:
            for n in np.flatnonzero(new.is_asked & control.is_asked).tolist():
                decision = decisions[n]
                self._blocks.take(Pair(decision.unit, decision.at_s, new.scores[n], control.scores[n]))

    def _count(self, decisions: Sequence[DecisionMade], new: Side, control: Side, share: Floats) -> None:
        """Of this step: decisions for the version's units, and units seen in either arm."""
        state, step_s = self.state, self.state.step_clock_s or -math.inf
        is_drawn = [not d.override and d.at_s >= step_s for d in decisions] & (share == state.share)
        before, after = state.step_decisions, state.step_decisions + int((new.is_own & is_drawn).sum())
        self.state = replace(
            state,
            step_decisions=after,
            decisions=state.decisions + int(new.is_own.sum()),
            step_units=self._count_units(decisions, new, control, is_drawn),
        )
        self._is_due |= before < self.plan.min_decisions <= after

    def _count_units(
        self, decisions: Sequence[DecisionMade], new: Side, control: Side, is_drawn: Bools
    ) -> tuple[int, int]:
        """Each unit once; only where the route that was followed is known."""
        ours, theirs = self.state.step_units
        for n in np.flatnonzero(is_drawn & (new.is_own | control.is_own)).tolist():
            unit = hash(decisions[n].unit)
            is_known = decisions[n].route_offset in self.state.routes
            if is_known and unit not in self._units and len(self._units) < UNITS_KEPT:
                self._units.add(unit)
                ours, theirs = ours + int(new.is_own[n]), theirs + int(control.is_own[n])
        return ours, theirs

    def _judge(self, decisions: Sequence[DecisionMade], new: Side, control: Side, share: Floats) -> None:
        """Every guardrail sees the decisions; previews and tenants' overrides are in no arm."""
        is_drawn = np.array([not d.override for d in decisions], dtype=bool)
        if not is_drawn.all():
            decisions = [d for d in decisions if not d.override]
            new, control, share = new.only(is_drawn), control.only(is_drawn), share[is_drawn]
        for metric, test in self._tests.items():
            if isinstance(test, ShareTest):
                test.take(*new.cases(metric, share > 0), *control.cases(metric, share < 1))
            elif isinstance(test, LatencyTest):
                test.take(*calls(decisions, self.version, self.control))
            else:
                test.take(*shares(new, control))

    # what follows

    def look(self, clock_s: float, *, is_silent: bool = False) -> VerdictGiven | None:
        """Close what may close by the deployment's clock, and say what is to be said."""
        if self.state.ended or not math.isfinite(clock_s):
            return None
        self._close(clock_s)
        # NB: after a restart the inputs are read again from further back, and the clock with them.
        verdict = self._verdict(max(clock_s, self.state.said.clock_s if self.state.said else clock_s))
        if self._should_tell(verdict, is_silent=is_silent):
            self._is_due = False
            self.state = replace(self.state, said=verdict, sequence=self.state.sequence + 1)
        else:
            verdict = None
        if self.state.until_s is not None and clock_s > self.state.until_s:
            self.end()
        return verdict

    def _close(self, clock_s: float) -> None:
        """Every block that may close; the label evidence is looked at after each."""
        if self._blocks is None or self._pairs is None:
            return
        while (closed := self._blocks.close_next(clock_s)) is not None:
            self._pairs.settle(closed.sums)
            harm, margin, better = (float(found) for found in self._pairs.log_e(closed.open_after))
            self._totals |= {"harm": harm, "margin": margin, "better": better}
            for name, value in _summed(closed).items():
                self._totals[name] = self._totals.get(name, 0.0) + value
            self._note_harm(closed)
            self._totals |= {"from_s": closed.from_s, "to_s": closed.to_s}
            self._is_due |= closed.sums.rows > 0

    def _note_harm(self, closed: Closed) -> None:
        """Harm that was shown at one look stays shown: the test is valid at each."""
        mean = mean_difference(self._totals)
        is_shown = shows_harm(self._totals["harm"], mean, self.plan.margin, self._alpha["labels"])
        if is_shown and "harm_from_s" not in self._totals:
            self._totals |= {"harm_from_s": closed.from_s, "harm_to_s": closed.to_s, "harm_shown": self._totals["harm"]}

    def _should_tell(self, verdict: VerdictGiven, *, is_silent: bool) -> bool:
        said = self.state.said
        if said is None or self._is_due or is_silent:
            return True
        told = (said.number, said.guardrails, said.labels)
        if told != (verdict.number, verdict.guardrails, verdict.labels):
            return True
        if verdict.clock_s - said.clock_s >= self.plan.block_s:
            return True
        return any(said.clock_s < at_s <= verdict.clock_s for at_s in self._appointments())

    def _appointments(self) -> list[float]:
        """When the registry waits for a look at the clock."""
        began_s = self.state.step_clock_s
        if began_s is None:
            return []
        plan = self.plan
        return [began_s + wait_s for wait_s in (plan.step_s, plan.shadow_first_s, plan.duration_s)]

    def _verdict(self, clock_s: float) -> VerdictGiven:
        rails = [
            of_guardrail(self._rails[metric], test, self._alpha.get(metric, self.plan.alpha))
            for metric, test in self._tests.items()
        ]
        effective = [found for found in rails if not self._rails[found.metric].dry_run]
        split = of_split(self.state.step_units, self.state.share)
        labels = self._labels()
        held = [found.verdict for found in (*effective, *([split] if split else []))]
        return VerdictGiven(
            deployment=self.deployment.name,
            rollout=self.state.started.rollout,
            version=self.version,
            number=self.state.number,
            guardrails=worst(held),
            labels=labels[0].verdict,
            clock_s=clock_s,
            step_decisions=self.state.step_decisions,
            decisions=self.state.decisions,
            label_count=int(self._totals.get("labelled", 0)),
            blocks=int(self._totals.get("blocks", 0)),
            evidence=(*rails, *([split] if split else []), *labels),
        )

    def _labels(self) -> tuple[Evidence, ...]:
        if self._pairs is None:
            return (unmeasured(self.plan.margin, _unmeasurable(self.deployment, self.control)),)
        if not self._totals.get("labelled"):
            return (unmeasured(self.plan.margin, "no block with labels has closed yet"),)
        return of_labels(self._totals, self.plan.margin, self.deployment.coverage, self._alpha["labels"])

    # what is kept

    @property
    def open_from_s(self) -> float | None:
        """The oldest instant that an open block may still look at."""
        return self._blocks.open_from_s if self._blocks is not None else None

    @property
    def folded(self) -> Mapping[str, int]:
        """Per `topic/partition` the next decision that the guardrails have not seen."""
        return self._folded

    def judged(self, replay_from: Mapping[str, int]) -> RolloutJudged:
        """The memory of it."""
        tests = {metric: test.state() for metric, test in self._tests.items()}
        if self._pairs is not None:
            tests |= self._pairs.state()
        return replace(
            self.state,
            tests=tests,
            totals=dict(self._totals),
            folded=dict(self._folded),
            open_from_s=self.open_from_s,
            replay_from=dict(replay_from),
        )


def begin(deployment: DeploymentDefinition, started: RolloutStarted) -> Trial:
    """The analysis of a rollout that has just begun."""
    return Trial(deployment, RolloutJudged(deployment.name, started))


def _unmeasurable(deployment: DeploymentDefinition, control: int | None) -> str:
    if control is None:
        return "there is no control to compare with"
    return (
        "no label is declared"
        if deployment.label is None
        else f"there is no bounded score of a {deployment.label.kind}"
    )


def _blocks_of(deployment: DeploymentDefinition, plan: RolloutDefinition, open_from_s: float | None) -> Blocks | None:
    label = deployment.label
    if label is None or label.kind == "number":
        return None
    delay_s = label.horizon_s if plan.label_delay_s is None else min(plan.label_delay_s, label.horizon_s)
    return Blocks(label, plan.block_s, delay_s, plan.margin, open_from_s)


def _chains(blocks: Blocks) -> int:
    return chains_needed(blocks.delay_s, blocks.block_s)


def _summed(closed: Closed) -> dict[str, float]:
    sums = closed.sums
    return {
        "rows": sums.rows,
        "labelled": sums.labelled,
        "difference": sums.difference,
        "blocks": float(sums.rows > 0),
        "log_loss_new": closed.log_loss[0],
        "log_loss_control": closed.log_loss[1],
    }
