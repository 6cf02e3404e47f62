"""What the labels show about a running rollout: the paired test over closed blocks of event time.

The pairs are in `blocks`, the test is in `headrace.stats.pairs`. The label evidence is UNMEASURED where more than
`MISSING_LIMIT` of a rollout's pairs are missing (a shadow was due and never came, or a version was not asked by no fault of its
own): what remains is no fair sample.
"""

from collections.abc import Mapping

from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.events.monitor import RolloutJudged
from headrace.events.verdicts import PASS, Evidence
from headrace.project.labels import NUMBER, why_no_rollout_verdict
from headrace.stats.pairs import PairTest, shows_harm
from headrace.stats.sequential import chains_needed
from headrace_monitor.core.blocks import Blocks, Closed
from headrace_monitor.core.evidence import (
    MISSING_LIMIT,
    mean_difference,
    missing_share,
    of_labels,
    of_missing,
    unmeasured,
)

DEFAULT_MARGIN = 0.01


def margin_of(plan: RolloutDefinition) -> float:
    """The margin of a plan."""
    return DEFAULT_MARGIN if plan.margin is None else plan.margin


# Blocks are made longer than the plan says where their labels would come later than so many of them.
CHAINS_LIMIT = 5_000


class LabelEvidence:
    """The label evidence of one rollout.

    `blocks`: its pairs until they close. `coverage`: the share of labels that must come. `alpha`: the part of the error rate
    that is for harm. `state`: what is remembered of the rollout.
    """

    def __init__(
        self, blocks: Blocks, plan: RolloutDefinition, coverage: float, alpha: float, state: RolloutJudged
    ) -> None:
        self.blocks = blocks
        self._margin, self._coverage, self._alpha = margin_of(plan), coverage, alpha
        self._test = PairTest.restored(chains_needed(blocks.delay_s, blocks.block_s), margin_of(plan), state.tests)
        self._totals = dict(state.totals)

    def close_next(self, clock_s: float) -> Closed | None:
        """Take the oldest block that may close by this clock into the tests; None when no block may close."""
        closed = self.blocks.close_next(clock_s)
        if closed is None:
            return None
        self._test.skip(closed.empty)
        self._test.settle(closed.sums)
        harm, margin, better = (float(found) for found in self._test.log_e(closed.open_after))
        self._totals |= {"harm": harm, "margin": margin, "better": better}
        for name, value in _summed(closed).items():
            self._totals[name] = self._totals.get(name, 0.0) + value
        self._note_harm(closed)
        self._totals |= {"from_s": closed.from_s, "to_s": closed.to_s}
        return closed

    def _note_harm(self, closed: Closed) -> None:
        """Harm that was shown at one look stays shown, because the test is valid at each look."""
        mean = mean_difference(self._totals)
        is_shown = shows_harm(self._totals["harm"], mean, self._margin, self._alpha)
        if is_shown and missing_share(self._totals) <= MISSING_LIMIT and "harm_from_s" not in self._totals:
            self._totals |= {"harm_from_s": closed.from_s, "harm_to_s": closed.to_s, "harm_shown": self._totals["harm"]}

    def found(self) -> tuple[Evidence, ...]:
        """The evidence as it stands; the first one carries the verdict."""
        missing = of_missing(self._totals)
        if missing is not None and missing.verdict != PASS and "harm_shown" not in self._totals:
            return (unmeasured(self._margin, missing.detail), missing)
        beside = () if missing is None else (missing,)
        if not self._totals.get("labelled"):
            return (unmeasured(self._margin, "no block with labels has closed yet"), *beside)
        return (*of_labels(self._totals, self._margin, self._coverage, self._alpha), *beside)

    # what is remembered

    @property
    def totals(self) -> Mapping[str, float]:
        """What the closed blocks add up to, see `RolloutJudged`."""
        return self._totals

    def tests(self) -> dict[str, dict[str, list[float]]]:
        """The tests as plain numbers from which they continue after a restart."""
        return self._test.state()


def open_blocks(deployment: DeploymentDefinition, plan: RolloutDefinition, state: RolloutJudged) -> Blocks | None:
    """The blocks of a rollout behind its memory; None where no label can judge it, see `why_unmeasured`."""
    label = deployment.label
    if state.started.control is None or label is None or why_no_rollout_verdict(label) is not None:
        return None
    if label.kind == NUMBER:
        # The blocks know no bounded score of numbers.
        return None
    delay_s = label.horizon_s if plan.label_delay_s is None else min(plan.label_delay_s, label.horizon_s)
    block_s = max(plan.block_s, delay_s / CHAINS_LIMIT)
    return Blocks(label, block_s, delay_s, margin_of(plan), state.open_from_s, has_closed="from_s" in state.totals)


def why_unmeasured(deployment: DeploymentDefinition, control: int | None) -> str:
    """Why no label judges a rollout that has no blocks."""
    if control is None:
        return "there is no control to compare with"
    return why_no_rollout_verdict(deployment.label) or "no label judges it"


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
