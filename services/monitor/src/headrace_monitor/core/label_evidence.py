"""What the labels show about a running rollout: three tests on the scores of both versions for the same requests.

    ranking   after each ripe block: has the version lost most of what its control's ranking is worth?   -> FAIL
    gross     after each ripe block: is its score worse by more than .1?                                 -> FAIL
    level     after each whole cycle: the mean difference of the scores against the margin               -> PASS, FAIL

The pairs are in `blocks`, the sums per cycle in `label_cycles`, the tests in `headrace.stats`, the words in `label_report`.
PASS needs the level below the margin, and the loss of ranking below its limit. A version that cannot differ from its control
by more than the margin, whatever the labels will be, passes at once. What was shown at one look stays shown, because each
test is valid at every look.

Labels that come between the label delay and the horizon are used when they come: each look at the level takes all labels
that were known by then. The label evidence is UNMEASURED where more than `MISSING_LIMIT` of a rollout's pairs are missing (a
shadow was due and never came, or a version was not asked by no fault of its own): what remains is no fair sample.
"""

import math
from collections.abc import Mapping

import numpy as np

from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.events.monitor import RolloutJudged
from headrace.project.labels import NUMBER, why_no_rollout_verdict
from headrace.stats.alphas import LabelAlphas
from headrace.stats.gross import GrossTest
from headrace.stats.level import Level, level
from headrace.stats.ranking import RankingTest
from headrace.stats.scores import LEAST_PAIRS, Differences, default_margin, differences
from headrace_monitor.core.blocks import Blocks, Due
from headrace_monitor.core.label_cycles import Cycles
from headrace_monitor.core.label_report import Look, Report

# Blocks are made longer than the plan says where more of them than this would wait for their labels.
OPEN_BLOCKS = 5_000


class LabelEvidence:
    """The label evidence of one rollout. `alpha`: the part of the error rate that is for labels. `state`: its memory."""

    def __init__(
        self, blocks: Blocks, plan: RolloutDefinition, has_level: bool, alpha: float, state: RolloutJudged
    ) -> None:
        label, tests = blocks.label, state.tests
        self.blocks, self._plan, self._has_level = blocks, plan, has_level
        self._cycle_blocks = max(round(plan.cycle_s / blocks.block_s), 1)
        self._alphas = LabelAlphas.of(alpha)
        self._ranking = RankingTest(label.kind, len(label.classes), plan.ranking_limit, self._cycle_blocks)
        self._gross = GrossTest()
        if "labels.ranking" in tests:
            self._ranking.restore(tests["labels.ranking"])
            self._gross.restore(tests["labels.gross"])
        self._cycles = Cycles(label.kind, len(label.classes), self._cycle_blocks, tests.get("labels.cycles"))
        self._totals, self._usual_gain = dict(state.totals), state.usual_gain

    # blocks and cycles

    def close_next(self, clock_s: float) -> bool | None:
        """Take what comes next by this clock: a ripe block, a final one, or the end of a cycle; None when nothing does.

        True where that is new evidence: no block that is read again after a restart is, and no final one.
        """
        due, cycle_s = self.blocks.next_due(clock_s), self._next_cycle_s
        if cycle_s is not None and cycle_s <= clock_s and (due is None or cycle_s < due.at_s):
            self._look(cycle_s)
            return True
        if due is None:
            return None
        if due.what == "ripe":
            return self._ripen(due)
        self._finish(due)
        return False

    def _ripen(self, due: Due) -> bool:
        known = self.blocks.ripen(due)
        has_label = ~np.isnan(known.labels)
        own = (known.number, known.new[has_label], known.control[has_label], known.labels[has_label])
        if due.number < self._totals.get("ripe_to", -math.inf):
            # NB: it was taken before the restart, and is read again to compare later requests with.
            self._ranking.remember(*own)
            return False
        self._cycles.add_ranks(due.number, self._ranking.take(*own), self._plan.ranking_limit)
        if self._has_level:
            found = differences(self.blocks.label.kind, known.new, known.control, known.labels)
            self._gross.take(found.seen[has_label])
            self._note_most(found)
        self._totals["ripe_to"] = due.number + 1.0
        self._add(
            blocks=1.0, rows=float(len(known.labels)), labelled=float(has_label.sum()), missing=float(known.missing)
        )
        self._totals |= {"block_from_s": known.from_s, "block_to_s": known.to_s}
        for name, has_failed in (
            ("ranking", self._ranking.has_failed(self._alphas.ranking)),
            ("gross", self._gross.has_failed(self._alphas.gross)),
        ):
            if has_failed and self._is_fair:
                self._note_harm(name)
        return True

    def _note_most(self, found: Differences) -> None:
        """The most by which any label could make the version worse on any pair."""
        self._totals["most"] = max(self._totals.get("most", 0.0), float(found.high.max(initial=0.0)))

    def _finish(self, due: Due) -> None:
        known = self.blocks.finish(due)
        if due.number >= self._totals.get("final_to", -math.inf):
            self._cycles.add(known)
            self._totals["final_to"] = due.number + 1.0

    @property
    def _next_cycle_s(self) -> float | None:
        """When the oldest cycle with requests that was not looked at yet is ripe; None while there is none."""
        following = self._cycles.first_after(int(self._totals.get("looked", -1.0)))
        return None if following is None else self._cycles.end_of(following) * self.blocks.block_s + self.blocks.delay_s

    def _look(self, now_s: float) -> None:
        """Look at the level, a cycle being over."""
        cycle = self._cycles.first_after(int(self._totals.get("looked", -1.0)))
        assert cycle is not None, "a look follows a cycle"
        end = self._cycles.end_of(cycle)
        self._totals["looked"] = float(cycle)
        provisional = [
            known
            for known in self.blocks.provisional(end, now_s)
            if known.number >= self._totals.get("final_to", -math.inf)
        ]
        columns, counts = self._cycles.table(cycle, provisional)
        from_s = (end - self._cycle_blocks) * self.blocks.block_s
        labelled = float((columns["labelled"] > 0).sum())
        self._totals |= {"cycles": labelled, "from_s": from_s, "to_s": end * self.blocks.block_s}
        self._totals |= {f"sum_{name}": float(sums.sum()) for name, sums in columns.items()}
        self._totals["ranks_high"] = float(level(columns["weight"], columns["gain"]).high(self._alphas.shown))
        if not self._has_level or not labelled:
            return
        margin = self._margin(self._cycles.gain_of_control(columns, counts))
        if margin is None:
            self._totals.pop("margin", None)
        else:
            self._totals["margin"] = margin
        worst = level(columns["rows"], columns["seen"] + columns["high"])
        best = level(columns["rows"], columns["seen"] + columns["low"])
        at_random = level(columns["labelled"], columns["seen"])
        self._note_level(worst, best, at_random)

    def _margin(self, gain: float | None) -> float | None:
        """The margin; None where the control gains nothing over a constant, and the plan gives none.

        `gain`: by the rollout's own labels, for where nothing was on record before it.
        """
        if self._plan.margin is not None:
            return self._plan.margin
        gain = gain if self._usual_gain is None else self._usual_gain
        return None if gain is None or gain <= 0 else float(default_margin(gain))

    def _note_level(self, worst: Level, best: Level, at_random: Level) -> None:
        """The mean, and the bounds by both ways of counting missing labels."""
        alphas, own = self._alphas, self._plan.missing == "at_random"
        high_level, low_level = (at_random, at_random) if own else (worst, best)
        other = worst if own else at_random
        self._totals |= {
            "mean": float(at_random.mean),
            "high": float(high_level.high(alphas.shown)),
            "low": float(low_level.low(alphas.level)),
            "other_high": float(other.high(alphas.shown)),
        }
        margin = self._totals.get("margin")
        has_enough = self._totals["cycles"] >= self._plan.min_cycles and self._ranking.has_enough
        if margin is not None and has_enough and self._totals["low"] > margin and self._is_fair:
            self._note_harm("level")

    def _note_harm(self, name: str) -> None:
        """Harm that was shown at one look stays shown; its figures are those of that look."""
        if f"{name}_failed" not in self._totals:
            figures = self._look_now().figures(name)
            self._totals |= {f"{name}_failed": 1.0} | {f"{name}_failed_{key}": value for key, value in figures.items()}

    def _add(self, **sums: float) -> None:
        for name, value in sums.items():
            self._totals[name] = self._totals.get(name, 0.0) + value

    # what it says

    @property
    def _is_fair(self) -> bool:
        return not self._look_now().is_unfair

    def _look_now(self) -> Look:
        return Look(
            self._totals,
            self._ranking.loss,
            self._ranking.skill,
            self._ranking.log_e,
            self._ranking.labels,
            self._ranking.rarer,
            self._gross.mean,
            self._gross.log_e,
        )

    @property
    def report(self) -> Report:
        """The verdict with its evidence, as it stands."""
        label = self.blocks.label
        most = self._totals.get("most") if self._totals.get("rows", 0.0) >= LEAST_PAIRS and self._has_level else None
        margin = self._plan.margin if self._plan.margin is not None else self._totals.get("margin")
        is_same = most is not None and (most <= margin if margin is not None else most == 0.0)
        why = why_no_rollout_verdict(label)
        return Report.of(self._look_now(), self._plan, self._alphas, label.kind, why, is_same=is_same)

    # what is remembered

    @property
    def totals(self) -> Mapping[str, float]:
        """What the blocks and cycles add up to, see `RolloutJudged`."""
        return self._totals

    def tests(self) -> dict[str, dict[str, list[float]]]:
        """The tests as plain numbers from which they continue after a restart."""
        return {
            "labels.ranking": self._ranking.state(),
            "labels.gross": self._gross.state(),
            "labels.cycles": self._cycles.state(),
        }

    @property
    def open_from_s(self) -> float | None:
        """The start of the oldest block that is open, or that later requests are compared with; None before the first one."""
        oldest = self._ranking.reference_from
        starts = (self.blocks.open_from_s, None if oldest is None else oldest * self.blocks.block_s)
        return min((start for start in starts if start is not None), default=None)


def open_blocks(deployment: DeploymentDefinition, plan: RolloutDefinition, state: RolloutJudged) -> Blocks | None:
    """The blocks of a rollout behind its memory; None where no label says anything about it."""
    label = deployment.label
    if state.started.control is None or label is None or (label.kind != NUMBER and why_no_rollout_verdict(label)):
        return None
    block_s = _block_s(plan, label.horizon_s)
    return Blocks(label, block_s, plan.delay_s(label), state.open_from_s, has_closed="block_from_s" in state.totals)


def _block_s(plan: RolloutDefinition, horizon_s: float) -> float:
    """The width of a block: a whole part of a cycle, and no shorter than the bound on open blocks allows."""
    least_s = max(plan.block_s, horizon_s / OPEN_BLOCKS)
    if plan.season_s is None:
        return least_s
    if plan.season_s < least_s:
        return plan.season_s * math.ceil(least_s / plan.season_s)
    return plan.season_s / math.floor(plan.season_s / least_s + 1e-9)


def why_unlabelled(deployment: DeploymentDefinition, control: int | None) -> str | None:
    """Why labels can never make a rollout PASS; None where they can."""
    if control is None:
        return "there is no control to compare with"
    return why_no_rollout_verdict(deployment.label)
