"""What the monitor says of a running rollout: verdicts by two kinds of evidence, each a test that is valid at every look.

Guardrails need no label and are looked at with every batch of decisions. Arms are by assignment: a unit that the route gave to
the version counts for it, whoever answered in the end; where an arm has no traffic of its own (shadowing, after the
switch) the requests that it scored along with count. Previews and tenants' overrides are in no arm: nothing was drawn.
Label evidence is from all requests that both versions were asked, by closed blocks (`blocks`, `headrace.policy.pairs`).

A verdict is given when it changes, when a block closes, when a step's least decisions or time are reached, once per
block of event time, and when the shell says that nothing was heard for long.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutAdvanced, RolloutCompleted, RolloutStarted, Route
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.policy.guardrails import (
    INVALID,
    NOT_ASKED,
    DistanceTest,
    GuardrailTest,
    LatencyTest,
    ShareTest,
    guardrail_test,
    split_alpha,
)
from headrace.policy.pairs import PairTest, shows_harm, shows_no_worse
from headrace.policy.sequential import chains_needed, log_e_of_counts
from headrace.policy.verdict import FAIL, INCONCLUSIVE, PASS, UNMEASURED, worst
from headrace.project.definition import DeploymentDefinition, GuardrailDefinition, RolloutDefinition
from headrace_monitor.core.blocks import Blocks, Closed, Pair

# At which level non-inferiority and superiority count as shown; an unequal split of units.
SHOWN_LEVEL = 0.05
UNEQUAL_LEVEL = 0.001
UNITS_KEPT = 100_000
_BEYOND = 700.0  # e to this is still a float


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
        self._pairs = _restored_pairs(_chains(self._blocks), self.plan.margin, state.tests) if self._blocks else None
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
        fresh = [one for one in seen if one.offset >= self._folded.get(one.place, 0)]
        for one in seen:
            if self._blocks is not None and (pair := self._pair(one.decision)) is not None:
                self._blocks.take(pair)
        for one in fresh:
            self._folded[one.place] = one.offset + 1
        decisions = [one.decision for one in fresh]
        if decisions:
            self._count(decisions)
            self._judge(decisions)

    def observe(self, unit: str, value: float, known_s: float) -> None:
        """An outcome."""
        if self._blocks is not None:
            self._blocks.observe(unit, value, known_s)

    def _pair(self, decision: DecisionMade) -> Pair | None:
        new, control = _score_of(decision, self.version), _score_of(decision, self.control)
        if not (_was_asked(decision, self.version, new) and _was_asked(decision, self.control, control)):
            return None
        return Pair(decision.unit, decision.at_s, new, control)

    def _share_of(self, decision: DecisionMade) -> float:
        return self.state.routes.get(decision.route_offset, self.state.share)

    def _count(self, decisions: Sequence[DecisionMade]) -> None:
        """Of this step: decisions for the version's units, and units seen in either arm."""
        state, step_s = self.state, self.state.step_clock_s or -math.inf
        drawn = [d for d in decisions if not d.override and d.at_s >= step_s and self._share_of(d) == state.share]
        step = sum(1 for d in drawn if _assigned(d) == self.version)
        new, control = state.step_units
        for d in drawn:
            unit = hash(d.unit)
            if d.route_offset in state.routes and unit not in self._units and len(self._units) < UNITS_KEPT:
                self._units.add(unit)
                new, control = new + (_assigned(d) == self.version), control + (_assigned(d) == self.control)
        all_new = sum(1 for d in decisions if _assigned(d) == self.version)
        before = state.step_decisions
        self.state = replace(
            state, step_decisions=before + step, decisions=state.decisions + all_new, step_units=(new, control)
        )
        self._is_due |= before < self.plan.min_decisions <= before + step

    def _judge(self, decisions: Sequence[DecisionMade]) -> None:
        """Every guardrail sees the decisions."""
        drawn = [d for d in decisions if not d.override]
        arms = {v: _Arm.of(drawn, v, [self._has_own(d, v) for d in drawn]) for v in (self.version, self.control)}
        new, control = arms[self.version], arms[self.control]
        for metric, test in self._tests.items():
            if isinstance(test, ShareTest):
                test.take(*new.cases(metric), *control.cases(metric))
            elif isinstance(test, LatencyTest):
                test.take(*_calls(drawn, self.version, self.control))
            else:
                test.take(*_scores(drawn, self.version, self.control))

    def _has_own(self, decision: DecisionMade, version: int | None) -> bool:
        """Whether the version has traffic of its own by the route that this decision followed."""
        share = self._share_of(decision)
        return share > 0 if version == self.version else share < 1

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
        is_shown = shows_harm(self._totals["harm"], self._difference(), self.plan.margin, self._alpha["labels"])
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
        rails = [self._rail(metric) for metric in self._tests]
        effective = [found for found in rails if not self._rails[found.metric].dry_run]
        split = self._split()
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

    def _rail(self, metric: str) -> Evidence:
        rail, test = self._rails[metric], self._tests[metric]
        alpha = self._alpha.get(metric, self.plan.alpha)
        measured, log_e = test.measured, test.log_e
        in_a_row = test.longest if isinstance(test, ShareTest) and rail.consecutive else 0
        has_failed = log_e >= -math.log(alpha) or (rail.consecutive > 0 and in_a_row >= rail.consecutive)
        verdict = _rail_verdict(measured, rail.limit, has_failed=has_failed)
        detail = _rail_detail(test, rail, in_a_row)
        if rail.dry_run and verdict == FAIL:
            verdict, detail = INCONCLUSIVE, f"{detail}; dry run: would be FAIL"
        return Evidence(
            metric, "guardrail", verdict, measured, rail.limit, detail, _rows_of(test), e_value=_e(log_e), alpha=alpha
        )

    def _split(self) -> Evidence | None:
        """Whether units were split as the route says: a broken split makes the arms incomparable, and holds the share."""
        new, control = self.state.step_units
        share = self.state.share
        if not 0 < share < 1 or not new + control:
            return None
        log_e = log_e_of_counts(new, control, share)
        is_broken = log_e >= -math.log(UNEQUAL_LEVEL)
        measured = new / (new + control)
        detail = f"{new} of {new + control} units" + (" are not what the route says" if is_broken else "")
        verdict = INCONCLUSIVE if is_broken else PASS
        return Evidence(
            "sample_ratio",
            "guardrail",
            verdict,
            measured,
            share,
            detail,
            new + control,
            e_value=_e(log_e),
            alpha=UNEQUAL_LEVEL,
        )

    def _difference(self) -> float:
        """Mean Brier difference over the labelled rows of closed blocks."""
        return self._totals.get("difference", 0.0) / max(self._totals.get("labelled", 0.0), 1.0)

    def _labels(self) -> tuple[Evidence, ...]:
        totals, margin = self._totals, self.plan.margin
        if self._pairs is None or not totals.get("labelled"):
            why = (
                "no block with labels has closed yet"
                if self._pairs is not None
                else _unmeasurable(self.deployment, self.control)
            )
            return (Evidence("brier", "label", UNMEASURED, None, margin, why),)
        mean, is_covered = self._difference(), totals["labelled"] >= self.deployment.coverage * totals["rows"]
        is_shown = is_covered and shows_no_worse(totals["margin"], mean, margin, SHOWN_LEVEL)
        verdict = FAIL if "harm_shown" in totals else PASS if is_shown else INCONCLUSIVE
        is_better = is_covered and shows_no_worse(totals["better"], mean, 0.0, SHOWN_LEVEL)
        brier = Evidence(
            "brier",
            "label",
            verdict,
            mean,
            margin,
            self._told(is_covered=is_covered),
            e_value=_e(totals.get("harm_shown", totals["harm"])),
            alpha=self._alpha["labels"],
        )
        superior = PASS if is_better else INCONCLUSIVE
        better = Evidence("superiority", "label", superior, mean, 0.0, e_value=_e(totals["better"]), alpha=SHOWN_LEVEL)
        shown = "harm_" if verdict == FAIL else ""
        from_s, to_s = totals[f"{shown}from_s"], totals[f"{shown}to_s"]
        rows, blocks = int(totals["labelled"]), int(totals["blocks"])
        brier, better = (
            replace(found, rows=rows, blocks=blocks, block_from_s=from_s, block_to_s=to_s) for found in (brier, better)
        )
        return brier, better

    def _told(self, *, is_covered: bool) -> str:
        totals = self._totals
        said = f"new minus control; evidence that it is within the margin: {_e(totals['margin']):.3g} of {1 / SHOWN_LEVEL:.0f}"
        if totals.get("log_loss_new"):
            labelled = totals["labelled"]
            said += f"; log-loss {totals['log_loss_new'] / labelled:.4f} against {totals['log_loss_control'] / labelled:.4f}"
        return said if is_covered else f"{said}; only {totals['labelled'] / totals['rows']:.2f} of the labels came"

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
            tests |= _pairs_state(self._pairs)
        return replace(
            self.state,
            tests=tests,
            totals=dict(self._totals),
            folded=dict(self._folded),
            open_from_s=self.open_from_s,
            replay_from=dict(replay_from),
        )


@dataclass(frozen=True)
class _Arm:
    """One version's side of a batch. `is_in`: the decision counts for it; `is_own`: its unit was assigned to it."""

    is_in: np.ndarray
    is_own: np.ndarray
    bad: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, decisions: Sequence[DecisionMade], version: int | None, has_own: Sequence[bool]) -> "_Arm":
        own = [_assigned(d) == version for d in decisions] if version is not None else [False] * len(decisions)
        asked = [_was_asked(d, version, _score_of(d, version)) for d in decisions]
        reasons = [d.failed.get(version, "") if version is not None else "" for d in decisions]
        is_in = [mine if routed else also for mine, also, routed in zip(own, asked, has_own, strict=True)]
        bad = {
            "errors": _flags(bool(reason) and not reason.startswith(NOT_ASKED) for reason in reasons),
            "invalid_scores": _flags(reason.startswith(INVALID) for reason in reasons),
            "degraded": _flags(not _answered(d, version) for d in decisions),
        }
        return cls(_flags(is_in), _flags(own), bad)

    def cases(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Which decisions count for a metric, and which are bad. Only own units can be degraded: a shadow answers nobody."""
        return (self.is_own if metric == "degraded" else self.is_in), self.bad[metric]


def begin(deployment: DeploymentDefinition, started: RolloutStarted) -> Trial:
    """The analysis of a rollout that has just begun."""
    return Trial(deployment, RolloutJudged(deployment.name, started))


def _flags(values) -> np.ndarray:
    return np.fromiter(values, dtype=bool)


def _assigned(decision: DecisionMade) -> int | None:
    """The version of the unit's arm; of records without it, whoever answered."""
    if decision.assigned is None and isinstance(decision.answer, Served):
        return decision.answer.score.version
    return decision.assigned


def _answered(decision: DecisionMade, version: int | None) -> bool:
    return isinstance(decision.answer, Served) and decision.answer.score.version == version


def _score_of(decision: DecisionMade, version: int | None) -> Score | None:
    answer = decision.answer
    if isinstance(answer, Served | FellBack) and answer.score.version == version:
        return answer.score
    return next((score for score in decision.shadows if score.version == version), None)


def _was_asked(decision: DecisionMade, version: int | None, score: Score | None) -> bool:
    """Whether the version was to score it; one that was spared to shed load was not."""
    if version is None:
        return False
    return score is not None or (version in decision.failed and not decision.failed[version].startswith(NOT_ASKED))


def _calls(decisions: Sequence[DecisionMade], new: int, control: int | None) -> tuple[list[float], list[float]]:
    """How long either version took on the same rows; rows in a row with the same times were one call."""
    times = [
        (d.took_ms[new], d.took_ms[control])
        for d in decisions
        if control is not None and new in d.took_ms and control in d.took_ms
    ]
    calls = [pair for pair, before in zip(times, [None, *times], strict=False) if pair != before]
    return [ours for ours, _ in calls], [theirs for _, theirs in calls]


def _scores(decisions: Sequence[DecisionMade], new: int, control: int | None) -> tuple[list[float], list[float]]:
    """Both versions' scores of the same requests, where both gave a share."""
    pairs = [(_value(_score_of(d, new)), _value(_score_of(d, control))) for d in decisions]
    both = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    return [ours for ours, _ in both], [theirs for _, theirs in both]


def _value(score: Score | None) -> float | None:
    """A score in 0..1; of several classes the largest share; None for other numbers."""
    if score is None:
        return None
    value = max(score.classes, default=None) if score.classes is not None else score.value
    return value if value is not None and 0 <= value <= 1 else None


def _rows_of(test: GuardrailTest) -> int:
    if isinstance(test, DistanceTest):
        return test.rows
    return int((test.shares if isinstance(test, LatencyTest) else test).new[0])


def _rail_verdict(measured: float | None, limit: float, *, has_failed: bool) -> str:
    if measured is None:
        return UNMEASURED
    return FAIL if has_failed else PASS if measured <= limit else INCONCLUSIVE


def _rail_detail(test: GuardrailTest, rail: GuardrailDefinition, in_a_row: int) -> str:
    if isinstance(test, LatencyTest):
        return f"times its control's, over {int(test.shares.new[0])} calls"
    if isinstance(test, DistanceTest):
        return f"over {test.rows} requests scored by both"
    bad, cases = int(test.new[1]), int(test.new[0])
    theirs = f"; control {int(test.control[1])} of {int(test.control[0])}"
    row = f"; {in_a_row} in a row" if rail.consecutive and in_a_row >= rail.consecutive else ""
    return f"{bad} of {cases}{theirs}{row}"


def _unmeasurable(deployment: DeploymentDefinition, control: int | None) -> str:
    if control is None:
        return "there is no control to compare with"
    return (
        "no label is declared"
        if deployment.label is None
        else f"there is no bounded score of a {deployment.label.kind}"
    )


def _e(log_e: float) -> float:
    return math.exp(min(log_e, _BEYOND))


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


def _pairs_state(pairs: PairTest) -> dict[str, dict[str, list[float]]]:
    return {
        f"labels.{name}": {
            "wealth": chains.wealth.ravel().tolist(),
            "risk": [float(chains.risk_sum), float(chains.risk_blocks)],
            "settled": [chains.settled],
        }
        for name, chains in (("harm", pairs.harm), ("margin", pairs.margin), ("better", pairs.better))
    }


def _restored_pairs(count: int, margin: float, state: Mapping[str, Mapping[str, Sequence[float]]]) -> PairTest:
    pairs = PairTest.new(count, margin)
    for name, chains in (("harm", pairs.harm), ("margin", pairs.margin), ("better", pairs.better)):
        kept = state.get(f"labels.{name}")
        if kept is not None:
            chains.wealth = np.array(kept["wealth"], dtype=np.float64).reshape(chains.wealth.shape)
            chains.risk_sum, chains.risk_blocks = np.array(kept["risk"][0]), np.array(kept["risk"][1])
            chains.settled = int(kept["settled"][0])
    return pairs
