"""What the monitor says of a running rollout: verdicts by two kinds of evidence, each a test that is valid at every look.

Guardrails need no label and are looked at with every batch of decisions, by arm (`arms`, `tally`). Previews and tenants' overrides are in no arm:
nothing was drawn.
Label evidence is from all requests that both versions were asked, by closed blocks (`blocks`, `headrace.policy.pairs`).

A shadow may speak after its decision was committed (`ShadowScored`, the first one per request and version stands): what it says counts as
if it had stood there, if it comes before the request's block closes. Where more than `MISSING_LIMIT` of a rollout's pairs are missing (a shadow
was due and never came, or a version was not asked by no fault of its own), its label evidence is UNMEASURED: what is there is no fair sample.

A verdict is given when it changes, when a block closes, when a step's least decisions or time are reached, once per
block of event time, and when the shell says that nothing was heard for long: also without any request, and then it says
that it waits for traffic.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from msgspec.structs import replace

from headrace.events.inference import DecisionMade, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutAdvanced, RolloutCompleted, RolloutStarted, Route
from headrace.events.verdicts import Evidence, VerdictGiven, WaitingFor
from headrace.policy.guardrails import split_alpha
from headrace.policy.outcomes import Told
from headrace.policy.pairs import PairTest, shows_harm
from headrace.policy.sequential import chains_needed
from headrace.policy.verdict import PASS, worst
from headrace.project.definition import DeploymentDefinition, RolloutDefinition
from headrace.project.labels import why_no_rollout_verdict
from headrace_monitor.core.arms import (
    UNASKED,
    WAIT_BYTES,
    Kind,
    Said,
    Wait,
    Waits,
    assigned,
    range_of,
    said_late,
    said_of,
)
from headrace_monitor.core.blocks import LABELS_LIMIT_BYTES, PAIRS_LIMIT_BYTES, Blocks, Closed
from headrace_monitor.core.evidence import (
    MISSING_LIMIT,
    mean_difference,
    missing_share,
    of_guardrail,
    of_labels,
    of_missing,
    of_split,
    of_unasked,
    unmeasured,
)
from headrace_monitor.core.tally import Row, Tally, is_late_case

UNITS_KEPT = 100_000
UNIT_BYTES = 72
WAITS_KEPT = 50_000
# Blocks are made wider than the plan says where their labels would be later than so many of them.
CHAINS_LIMIT = 5_000
# What a rollout may hold, by what it is.
LIMITS = {
    "rollout_pairs": PAIRS_LIMIT_BYTES,
    "rollout_labels": LABELS_LIMIT_BYTES,
    "rollout_shadows_due": WAITS_KEPT * WAIT_BYTES,
    "rollout_units": UNITS_KEPT * UNIT_BYTES,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One decision, or what came late of one, as it counts for a rollout. `place`, `offset`: where it lies."""

    place: str
    offset: int
    decision: DecisionMade | ShadowScored


@dataclass(slots=True)
class _Counts:
    """What one batch adds to the step; see `RolloutJudged`."""

    seen: int = 0
    own: int = 0
    step: int = 0
    units: list[int] = field(default_factory=lambda: [0, 0])
    unasked: list[int] = field(default_factory=lambda: [0, 0, 0, 0])


class Trial:
    """The analysis of one rollout."""

    def __init__(self, deployment: DeploymentDefinition, state: RolloutJudged) -> None:
        # Which units were counted is not kept: their split is counted anew after a restart.
        self.deployment, self.state = deployment, replace(state, step_units=(0, 0))
        started = state.started
        self.plan = started.plan or deployment.rollout
        self.version, self.control = started.version, started.control
        self._rails = {rail.metric: rail for rail in self.plan.guardrails}
        self._tally = Tally(
            self._rails,
            state.tests,
            has_control=self.control is not None,
            within=range_of(self.deployment.label),
        )
        self._blocks = _blocks_of(deployment, self.plan, state) if self.control is not None else None
        self._pairs = PairTest.restored(_chains(self._blocks), self.plan.margin, state.tests) if self._blocks else None
        self._waits = Waits(WAITS_KEPT)
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
            self.state = replace(
                self.state, step_decisions=0, step_units=(0, 0), step_seen=0, step_unasked=(0, 0, 0, 0)
            )
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
        """Records of the deployment, in the order read; those read again after a restart count for open blocks only."""
        rows: list[Row] = []
        pairs: list[tuple[Said, Said]] = []
        counts = _Counts(units=list(self.state.step_units), unasked=list(self.state.step_unasked))
        for one in seen:
            is_fresh = one.offset >= self._folded.get(one.place, 0)
            if is_fresh:
                self._folded[one.place] = one.offset + 1
            match one.decision:
                case DecisionMade() as decision:
                    self._take_decision(decision, counts, rows, pairs, is_fresh=is_fresh)
                case ShadowScored() as late:
                    self._take_late(late, rows, pairs, is_fresh=is_fresh)
                case _:
                    assert_never(one.decision)
        self._tally.take(rows, pairs)
        before, after = self.state.step_decisions, self.state.step_decisions + counts.step
        self._is_due |= before < self.plan.min_decisions <= after or (counts.seen > 0 and not self.state.step_seen)
        self.state = replace(
            self.state,
            step_decisions=after,
            decisions=self.state.decisions + counts.own,
            step_units=(counts.units[0], counts.units[1]),
            step_seen=self.state.step_seen + counts.seen,
            step_unasked=_four(counts.unasked),
        )

    def observe(self, told: Told) -> None:
        """An outcome."""
        if self._blocks is not None:
            self._blocks.observe(told)

    def _take_decision(
        self,
        decision: DecisionMade,
        counts: _Counts,
        rows: list[Row],
        pairs: list[tuple[Said, Said]],
        *,
        is_fresh: bool,
    ) -> None:
        new = said_of(decision, self.version)
        control = said_of(decision, self.control) if self.control is not None else None
        share, is_drawn = self.state.routes.get(decision.route_offset, self.state.share), not decision.override
        wait = self._wait_of(decision, share, new, control) if decision.shadows_due else None
        owner = assigned(decision)
        if wait is not None:
            self._wait(decision.request_id, wait, is_fresh=is_fresh)
            is_case = new is not None and (owner == self.version or share <= 0)
            wait.in_streak = new.kind if new is not None and wait.control_due and is_case else UNASKED
        else:
            about = (decision.unit, decision.at_s, decision.request_id)
            self._pair(about, new, control, pairs if is_drawn else None, is_fresh=is_fresh)
        if not is_fresh:
            return
        owners = (owner == self.version, self.control is not None and owner == self.control)
        kinds = (new.kind if new is not None else UNASKED, control.kind if control is not None else UNASKED)
        self._count(decision, share, owners, kinds, counts)
        if is_drawn:
            is_held = wait is not None and wait.control_due
            rows.append(self._tally.row(decision, share, owners, kinds, is_held=is_held))

    def _wait_of(self, decision: DecisionMade, share: float, new: Said | None, control: Said | None) -> Wait | None:
        """What is needed of a decision until its shadows have spoken; None when neither version is due."""
        new_due = new is None and self.version in decision.shadows_due
        control_due = control is None and self.control in decision.shadows_due
        if not (new_due or control_due):
            return None
        return Wait(
            decision.unit,
            decision.at_s,
            math.floor(decision.at_s / self._block_s),
            decision.row,
            share,
            not decision.override,
            new,
            control,
            new_due,
            control_due,
        )

    def _wait(self, request_id: str, wait: Wait, *, is_fresh: bool) -> None:
        if self._blocks is None or self._blocks.expect(wait.at_s, is_first_time=is_fresh):
            for given_up in self._waits.put(request_id, wait):
                self._miss(given_up, is_fresh=is_fresh)

    def _miss(self, wait: Wait, *, is_fresh: bool = True) -> None:
        """A shadow that never came. NB: where the other version was not to score there never was a pair."""
        if self._blocks is not None and (wait.new_due or wait.new) and (wait.control_due or wait.control):
            self._blocks.miss(wait.at_s, is_first_time=is_fresh)

    def _take_late(
        self, late: ShadowScored, rows: list[Row], pairs: list[tuple[Said, Said]], *, is_fresh: bool
    ) -> None:
        """A shadow of a request that waits for it; any other one has spoken before, or comes after its block."""
        wait = self._waits.get(late.request_id)
        if wait is None:
            return
        said = said_late(late)
        if late.version == self.version and wait.new_due:
            wait.new, wait.new_due = said, False
            wait.in_streak = said.kind if wait.control_due and is_late_case(wait, said) else UNASKED
            if is_fresh and wait.is_drawn:
                rows.append(self._tally.row_of_late_new(wait, said))
        elif late.version == self.control and wait.control_due:
            wait.control, wait.control_due = said, False
            if is_fresh and wait.is_drawn:
                rows.append(self._tally.row_of_late_control(wait, said))
        if not (wait.new_due or wait.control_due):
            self._waits.done(late.request_id)
            about = (wait.unit, wait.at_s, late.request_id)
            self._pair(about, wait.new, wait.control, pairs if wait.is_drawn else None, is_fresh=is_fresh)

    def _pair(
        self,
        about: tuple[str, float, str],
        new: Said | None,
        control: Said | None,
        pairs: list[tuple[Said, Said]] | None,
        *,
        is_fresh: bool,
    ) -> None:
        """A request of which both versions have spoken, if they have; missing where one of the two was not asked. `about`: unit,
        instant, request id."""
        unit, at_s, request_id = about
        if new is None or control is None or (new.kind is UNASKED and control.kind is UNASKED):
            return
        if new.kind is UNASKED or control.kind is UNASKED:
            if self._blocks is not None:
                self._blocks.miss(at_s, is_first_time=is_fresh)
            return
        if self._blocks is not None:
            self._blocks.put(unit, at_s, new.score, control.score, request_id, is_first_time=is_fresh)
        if is_fresh and pairs is not None:
            pairs.append((new, control))

    def _count(
        self,
        decision: DecisionMade,
        share: float,
        owners: tuple[bool, bool],
        kinds: tuple[Kind, Kind],
        counts: _Counts,
    ) -> None:
        """Of this step: decisions for the version's units, units seen in either arm, and what either was not asked."""
        counts.seen += 1
        counts.own += owners[0]
        state = self.state
        is_of_step = share == state.share and decision.at_s >= (state.step_clock_s or -math.inf)
        if decision.override or not is_of_step or not (owners[0] or owners[1]):
            return
        counts.step += owners[0]
        arm = 0 if owners[0] else 1
        counts.unasked[2 * arm] += kinds[arm] is UNASKED
        counts.unasked[2 * arm + 1] += 1
        unit = hash(decision.unit)
        # Each unit once; only where the route that was followed is known.
        is_known = decision.route_offset in state.routes
        if is_known and unit not in self._units and len(self._units) < UNITS_KEPT:
            self._units.add(unit)
            counts.units[arm] += 1

    # what follows

    def look(self, clock_s: float, *, is_silent: bool = False) -> VerdictGiven | None:
        """Close what may close by the deployment's clock, and say what is to be said. A clock that is not finite does not run yet."""
        if self.state.ended:
            return None
        has_clock, said = math.isfinite(clock_s), self.state.said
        if has_clock:
            self._close(clock_s)
        # NB: after a restart the inputs are read again from further back, and the clock with them.
        known_s = [said.clock_s] if said is not None and said.has_clock else []
        verdict = self._verdict(max([*known_s, *([clock_s] if has_clock else [])], default=None))
        if self._should_tell(verdict, is_silent=is_silent):
            self._is_due = False
            self.state = replace(self.state, said=verdict, sequence=self.state.sequence + 1)
        else:
            verdict = None
        if self.state.until_s is not None and has_clock and clock_s > self.state.until_s:
            self.end()
        return verdict

    def _close(self, clock_s: float) -> None:
        """Every block that may close; the label evidence is looked at after each. Shadows that are due in them never came."""
        if self._blocks is None or self._pairs is None:
            self._waits.end_blocks(math.floor(clock_s / self._block_s))
            return
        for wait in self._waits.end_blocks(self._blocks.last_closed_by(clock_s) + 1):
            self._miss(wait)
        while (closed := self._blocks.close_next(clock_s)) is not None:
            self._pairs.skip(closed.empty)
            self._pairs.settle(closed.sums)
            harm, margin, better = (float(found) for found in self._pairs.log_e(closed.open_after))
            self._totals |= {"harm": harm, "margin": margin, "better": better}
            for name, value in _summed(closed).items():
                self._totals[name] = self._totals.get(name, 0.0) + value
            self._note_harm(closed)
            self._totals |= {"from_s": closed.from_s, "to_s": closed.to_s}
            self._is_due |= closed.sums.rows > 0 or closed.missing > 0

    def _note_harm(self, closed: Closed) -> None:
        """Harm that was shown at one look stays shown: the test is valid at each."""
        mean = mean_difference(self._totals)
        is_shown = shows_harm(self._totals["harm"], mean, self.plan.margin, self._alpha["labels"])
        if is_shown and missing_share(self._totals) <= MISSING_LIMIT and "harm_from_s" not in self._totals:
            self._totals |= {"harm_from_s": closed.from_s, "harm_to_s": closed.to_s, "harm_shown": self._totals["harm"]}

    def _should_tell(self, verdict: VerdictGiven, *, is_silent: bool) -> bool:
        said = self.state.said
        if said is None or self._is_due or is_silent:
            return True
        told = (said.number, said.guardrails, said.labels)
        if told != (verdict.number, verdict.guardrails, verdict.labels):
            return True
        if not verdict.has_clock:
            return False
        if not said.has_clock or verdict.clock_s - said.clock_s >= self.plan.block_s:
            return True
        return any(said.clock_s < at_s <= verdict.clock_s for at_s in self._appointments())

    def _appointments(self) -> list[float]:
        """When the registry waits for a look at the clock."""
        began_s = self.state.step_clock_s
        if began_s is None:
            return []
        plan = self.plan
        return [began_s + wait_s for wait_s in (plan.step_s, plan.shadow_first_s, plan.duration_s)]

    def _verdict(self, clock_s: float | None) -> VerdictGiven:
        rails = [
            of_guardrail(self._rails[metric], test, self._alpha.get(metric, self.plan.alpha))
            for metric, test in self._tally.tests.items()
        ]
        effective = [found for found in rails if not self._rails[found.metric].dry_run]
        limit = self._rails["degraded"].limit if "degraded" in self._rails else None
        holding = (of_split(self.state.step_units, self.state.share), of_unasked(self.state.step_unasked, limit))
        held = [found for found in holding if found is not None]
        labels = self._labels()
        guardrails = worst(found.verdict for found in (*effective, *held))
        return VerdictGiven(
            deployment=self.deployment.name,
            rollout=self.state.started.rollout,
            version=self.version,
            number=self.state.number,
            guardrails=guardrails,
            labels=labels[0].verdict,
            clock_s=clock_s or 0.0,
            step_decisions=self.state.step_decisions,
            decisions=self.state.decisions,
            label_count=int(self._totals.get("labelled", 0)),
            blocks=int(self._totals.get("blocks", 0)),
            evidence=(*rails, *held, *labels),
            waiting_for=self._waiting_for(clock_s, labels[0].verdict),
            has_clock=clock_s is not None,
        )

    def _waiting_for(self, clock_s: float | None, labels: str) -> WaitingFor:
        """What is wanted first before the step can end."""
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

    def _labels(self) -> tuple[Evidence, ...]:
        if self._pairs is None:
            return (unmeasured(self.plan.margin, _unmeasurable(self.deployment, self.control)),)
        missing = of_missing(self._totals)
        if missing is not None and missing.verdict != PASS and "harm_shown" not in self._totals:
            return (unmeasured(self.plan.margin, missing.detail), missing)
        told = () if missing is None else (missing,)
        if not self._totals.get("labelled"):
            return (unmeasured(self.plan.margin, "no block with labels has closed yet"), *told)
        found = of_labels(self._totals, self.plan.margin, self.deployment.coverage, self._alpha["labels"])
        return (*found, *told)

    # what is kept

    @property
    def open_from_s(self) -> float | None:
        """The oldest instant that an open block, or a shadow that is due, may still look at."""
        due = self._waits.oldest_block
        starts = [self._blocks.open_from_s] if self._blocks is not None else []
        starts += [due * self._block_s] if due is not None else []
        return min((start for start in starts if start is not None), default=None)

    @property
    def _block_s(self) -> float:
        return self._blocks.block_s if self._blocks is not None else self.plan.block_s

    def held_bytes(self) -> dict[str, int]:
        """What it holds now, by what it is; see `LIMITS`."""
        return {
            "rollout_pairs": self._blocks.pairs_bytes if self._blocks is not None else 0,
            "rollout_labels": self._blocks.labels_bytes if self._blocks is not None else 0,
            "rollout_shadows_due": len(self._waits) * WAIT_BYTES,
            "rollout_units": len(self._units) * UNIT_BYTES,
        }

    @property
    def folded(self) -> Mapping[str, int]:
        """Per `topic/partition` the next decision that the guardrails have not seen."""
        return self._folded

    def judged(self, replay_from: Mapping[str, int]) -> RolloutJudged:
        """The memory of it."""
        tests = self._tally.numbers()
        if self._pairs is not None:
            tests |= self._pairs.state()
        return replace(
            self.state,
            tests=tests,
            totals=dict(self._totals),
            folded=dict(self._folded),
            open_from_s=self._blocks.open_from_s if self._blocks is not None else None,
            replay_from=dict(replay_from),
        )


def begin(deployment: DeploymentDefinition, started: RolloutStarted, read_to: Mapping[str, int] | None = None) -> Trial:
    """The analysis of a rollout that has just begun. `read_to`: per `topic/partition` the next decision; those before it are none of its own."""
    return Trial(deployment, RolloutJudged(deployment.name, started, folded=dict(read_to or {})))


def _unmeasurable(deployment: DeploymentDefinition, control: int | None) -> str:
    if control is None:
        return "there is no control to compare with"
    return why_no_rollout_verdict(deployment.label) or "nothing tells"


def _blocks_of(deployment: DeploymentDefinition, plan: RolloutDefinition, state: RolloutJudged) -> Blocks | None:
    label = deployment.label
    if label is None or why_no_rollout_verdict(label) is not None:
        return None
    delay_s = label.horizon_s if plan.label_delay_s is None else min(plan.label_delay_s, label.horizon_s)
    block_s = max(plan.block_s, delay_s / CHAINS_LIMIT)
    return Blocks(label, block_s, delay_s, plan.margin, state.open_from_s, has_closed="from_s" in state.totals)


def _four(counts: list[int]) -> tuple[int, int, int, int]:
    return counts[0], counts[1], counts[2], counts[3]


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
        "missing": closed.missing,
    }
