"""The label evidence in words: the verdict of all three tests, each with its metric, value, limit and bound."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.events.definition import RolloutDefinition
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED, Evidence
from headrace.project.labels import NUMBER
from headrace.stats.alphas import LabelAlphas
from headrace.stats.gross import LIMIT as GROSS_LIMIT
from headrace.stats.ranking import LEAST_LABELS, LEAST_RARER, are_enough, is_worth

# The share of a rollout's pairs that may be missing.
MISSING_LIMIT = 0.02
# The figures of a test at a look, and their names among the totals.
_OF_LEVEL = {
    "value": "mean",
    "margin": "margin",
    "low": "low",
    "labels": "sum_labelled",
    "blocks": "cycles",
    "from_s": "from_s",
    "to_s": "to_s",
}
_OF_BLOCKS = {"blocks": "blocks", "from_s": "block_from_s", "to_s": "block_to_s"}
# The exponential of this is still a float.
_MOST_LOG_E = 700.0

Totals = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Look:
    """The figures of the tests as they stand. `totals`: see `RolloutJudged`; the others are those of `headrace.stats`."""

    totals: Totals
    loss: float | None
    skill: float | None
    ranking_log_e: float
    labels: int
    rarer: int
    gross: float | None
    gross_log_e: float

    @property
    def missing_share(self) -> float:
        """The share of the ripe blocks' pairs that are missing."""
        missing = self.totals.get("missing", 0.0)
        return missing / (missing + self.totals.get("rows", 0.0)) if missing else 0.0

    @property
    def has_skill(self) -> bool:
        """Whether the control's ranking is worth anything over chance."""
        return self.skill is not None and bool(is_worth(self.skill))

    @property
    def has_enough(self) -> bool:
        """Whether there are labels enough for a verdict."""
        return bool(are_enough(self.labels, self.rarer))

    @property
    def is_unfair(self) -> bool:
        """Whether so many pairs are missing that the others are no fair sample."""
        return self.missing_share > MISSING_LIMIT

    def figures(self, test: str) -> dict[str, float]:
        """The figures of a test at this look, which are kept where it fails. One that is not known is left out."""
        if test == "level":
            return {name: self.totals[of] for name, of in _OF_LEVEL.items() if of in self.totals}
        own = {
            "ranking": {"value": self.loss, "skill": self.skill, "log_e": self.ranking_log_e},
            "gross": {"value": self.gross, "log_e": self.gross_log_e},
        }[test]
        found = {"labels": float(self.labels), **own} | {name: self.totals.get(of) for name, of in _OF_BLOCKS.items()}
        return {name: figure for name, figure in found.items() if figure is not None}

    def standing(self, test: str) -> dict[str, float]:
        """The figures that a test is reported with: those of the look at which it failed, or else of this one."""
        kept = f"{test}_failed_"
        failed = {name.removeprefix(kept): figure for name, figure in self.totals.items() if name.startswith(kept)}
        return failed or self.figures(test)


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a rollout by its labels, and the evidence for it."""

    verdict: str
    evidence: tuple[Evidence, ...]

    @classmethod
    def of(
        cls, look: Look, plan: RolloutDefinition, alphas: LabelAlphas, kind: str, why: str | None, *, is_same: bool
    ) -> "Report":
        """The report of a look. `kind`: of the label. `why`: why labels can never make it PASS, None where they can. `is_same`:
        the versions cannot differ by more than the margin on any pair, whatever the labels are.
        """
        writer = _Writer(look, plan, alphas, kind)
        ranking, gross, level = writer.ranking(), writer.gross(), writer.level(why, is_same=is_same)
        missing = writer.missing()
        tests = [found for found in (level, ranking, gross) if found is not None]
        verdict = level.verdict
        if FAIL in [found.verdict for found in tests]:
            verdict = FAIL
        elif missing is not None and missing.verdict != PASS:
            verdict = UNMEASURED
        beside = [found for found in (writer.superiority() if why is None else None, missing) if found is not None]
        return cls(verdict, (*tests, *beside))

    @classmethod
    def without(cls, why: str) -> "Report":
        """The report where there are no blocks. `why`: in words."""
        return cls(UNMEASURED, (unmeasured(why),))

    def with_level(self, level: Evidence) -> "Report":
        """The same with other evidence of the level, which carries the verdict."""
        rest = [found for found in self.evidence if found.metric != "level"]
        return Report(level.verdict, (level, *rest))


def unmeasured(why: str) -> Evidence:
    """The label evidence where there can be none. `why`: in words."""
    return Evidence("level", "label", UNMEASURED, detail=why)


def same(pairs: int, most: float, margin: float | None) -> Evidence:
    """The level of two versions that give the same answers: no label could tell them apart. `most`: their largest difference."""
    detail = f"its scores differ by {most:.3g} at the most from its control's on {pairs:,} requests"
    return Evidence("level", "label", PASS, most, margin, detail, pairs)


@dataclass(frozen=True, slots=True)
class _Writer:
    look: Look
    plan: RolloutDefinition
    alphas: LabelAlphas
    kind: str

    @property
    def _score(self) -> str:
        return "absolute error" if self.kind == NUMBER else "Brier score"

    def ranking(self) -> Evidence:
        """The ranking test: FAIL, PASS while the mean loss is within the limit, or UNMEASURED before enough labels."""
        look, limit, figures = self.look, self.plan.ranking_limit, self.look.standing("ranking")
        failed, loss, skill = "ranking_failed" in look.totals, figures.get("value"), figures.get("skill")
        what = "concordance" if self.kind == NUMBER else "AUC"
        if loss is None or skill is None:
            return Evidence("ranking", "label", UNMEASURED, None, None, "no label has anything to be compared with yet")
        detail = f"{what} {0.5 + skill - loss:.3f} against {0.5 + skill:.3f} of its control"
        verdict = FAIL if failed else PASS if loss <= limit * skill else INCONCLUSIVE
        if not failed and not look.has_enough:
            verdict, detail = UNMEASURED, f"{detail}; {self._too_few()}"
        elif not failed and not look.has_skill:
            verdict, detail = UNMEASURED, f"{detail}: that ranks hardly better than chance, so there is nothing to lose"
        elif not failed and loss > limit * skill / 2:
            detail += "; between half of the limit and the limit its rate of rejection is not promised"
        bound = f"it loses over {limit:.0%} of what its control's ranking is worth over chance, {_sure(self.alphas.ranking)}"
        return self._evidence("ranking", verdict, limit * skill, detail, self.alphas.ranking, bound)

    def gross(self) -> Evidence | None:
        """The gross test; None before the first label, and where there is no bounded score."""
        failed, value = "gross_failed" in self.look.totals, self.look.standing("gross").get("value")
        if value is None:
            return None
        verdict = FAIL if failed else PASS if value <= GROSS_LIMIT else INCONCLUSIVE
        bound = f"its {self._score} is over {GROSS_LIMIT:g} above its control's, {_sure(self.alphas.gross)}"
        detail = f"new minus control {value:+.3f} per label"
        return self._evidence("gross", verdict, GROSS_LIMIT, detail, self.alphas.gross, bound)

    def level(self, why: str | None, *, is_same: bool) -> Evidence:
        """The level test: FAIL, PASS, INCONCLUSIVE once there are enough cycles, UNMEASURED before."""
        totals, margin = self.look.totals, self.look.totals.get("margin", self.plan.margin)
        cycles = int(totals.get("cycles", 0))
        if is_same:
            detail = f"no label could make it worse by more than {totals.get('most', 0.0):.3g} on any of {totals['rows']:,.0f} pairs"
            return Evidence("level", "label", PASS, 0.0, margin, detail, int(totals["rows"]), cycles)
        if why is not None:
            return unmeasured(why)
        if not cycles or "mean" not in totals:
            return Evidence("level", "label", UNMEASURED, None, margin, self._of_cycles(cycles), blocks=cycles)
        if "level_failed" in totals:
            return self._failed_level()
        verdict, detail = self._standing(cycles, margin)
        return self._of_level(verdict, margin, detail, "")

    def _standing(self, cycles: int, margin: float | None) -> tuple[str, str]:
        totals, detail = self.look.totals, self._level_detail()
        if margin is None:
            gains = "its control gains nothing over a constant answer, so there is no default margin: give margin="
            return UNMEASURED, f"{gains}; {detail}"
        if cycles < self.plan.min_cycles:
            return UNMEASURED, f"{self._of_cycles(cycles)}; {detail}"
        if totals["high"] >= margin:
            return INCONCLUSIVE, detail
        if not self.look.has_enough:
            return INCONCLUSIVE, f"{detail}; {self._too_few()}"
        if self.look.has_skill and totals.get("ranks_high", math.inf) >= 0:
            return INCONCLUSIVE, f"{detail}; that its ranking is within its limit is not shown yet"
        return PASS, detail

    def _failed_level(self) -> Evidence:
        figures, sure = self.look.standing("level"), _sure(self.alphas.level)
        margin, detail = figures["margin"], f"new minus control, at least {figures['low']:.4g} ({sure})"
        return self._of_level(
            FAIL, margin, detail, f"its {self._score} is over {margin:.3g} above its control's, {sure}"
        )

    def superiority(self) -> Evidence | None:
        """Whether the version is shown to be better, not only no worse; None before the first cycle."""
        totals = self.look.totals
        if "mean" not in totals:
            return None
        is_shown = totals["high"] < 0 and totals.get("cycles", 0.0) >= self.plan.min_cycles
        verdict = PASS if is_shown else INCONCLUSIVE
        return Evidence(
            "superiority", "label", verdict, totals["mean"], 0.0, "new minus control", alpha=self.alphas.shown
        )

    def missing(self) -> Evidence | None:
        """Whether so many pairs are missing that the others are no fair sample; None when no pair is missing."""
        totals, share = self.look.totals, self.look.missing_share
        missing = totals.get("missing", 0.0)
        if not missing:
            return None
        pairs = missing + totals.get("rows", 0.0)
        detail = (
            f"{share:.1%} of the pairs are missing ({missing:,.0f} of {pairs:,.0f}, {MISSING_LIMIT:.0%} may be):"
            " shadows that were due and never came, or could not be asked"
        )
        verdict = UNMEASURED if self.look.is_unfair else PASS
        return Evidence("missing_pairs", "label", verdict, share, MISSING_LIMIT, detail, int(pairs))

    def _level_detail(self) -> str:
        totals, plan = self.look.totals, self.plan
        rows, labelled = totals["sum_rows"], totals["sum_labelled"]
        at_most = "" if math.isinf(totals["high"]) else f", at most {totals['high']:.4g} ({_sure(self.alphas.shown)})"
        detail = f"new minus control{at_most}"
        if labelled:
            ours, theirs = (totals[f"sum_log_{name}"] / labelled for name in ("new", "control"))
            what = "squared error" if self.kind == NUMBER else "log-loss"
            detail += f"; {what} {ours:.4f} against {theirs:.4f}"
        if labelled < rows:
            other = "at random" if plan.missing == "worst" else "the worst"
            absent = f"{1 - labelled / rows:.1%} of the labels are missing"
            detail += f"; {absent}: if they were {other}, at most {totals['other_high']:.4g}"
        return detail

    def _of_cycles(self, cycles: int) -> str:
        return f"{cycles} of {self.plan.min_cycles} whole cycles with labels"

    def _too_few(self) -> str:
        look = self.look
        return (
            f"{look.labels:,} labels ({LEAST_LABELS} needed), {look.rarer:,} of them rarer ones ({LEAST_RARER} needed)"
        )

    def _of_level(self, verdict: str, margin: float | None, detail: str, bound: str) -> Evidence:
        return self._evidence("level", verdict, margin, detail, self.alphas.level, bound)

    def _evidence(
        self, metric: str, verdict: str, limit: float | None, detail: str, alpha: float, bound: str
    ) -> Evidence:
        figures = self.look.standing(metric)
        log_e = figures.get("log_e")
        return Evidence(
            metric,
            "label",
            verdict,
            figures["value"],
            limit,
            detail,
            int(figures["labels"]),
            int(figures["blocks"]),
            figures["from_s"],
            figures["to_s"],
            None if log_e is None else math.exp(min(log_e, _MOST_LOG_E)),
            alpha,
            bound if verdict == FAIL else "",
        )


def _sure(alpha: float) -> str:
    """The confidence of a test with that error rate, in words.

    >>> _sure(0.0125)
    '98.75 % sure'
    """
    return f"{100 * (1 - alpha):.4g} % sure"
