"""The evidence of a verdict about a rollout: what each test has found, with its metric, value, limit and what it rests on."""

import math
from collections.abc import Mapping

from headrace.events.definition import GuardrailDefinition
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED, Evidence
from headrace.stats.pairs import shows_no_worse
from headrace.stats.sequential import log_e_of_counts
from headrace_monitor.core.guardrails import LATENCY_SLACK, DistanceTest, GuardrailTest, LatencyTest, ShareTest

# The level at which non-inferiority and superiority count as shown.
SHOWN_LEVEL = 0.05
# The level at which a split of units counts as unequal.
UNEQUAL_LEVEL = 0.001
# The share of a rollout's pairs that may be missing.
MISSING_LIMIT = 0.02
# How much more often than its control a version may be left unasked on its own units where no guardrail limits that, and from
# how many decisions on that counts.
UNASKED_LIMIT = 0.05
_UNASKED_LEAST = 20
# The exponential of this is still a float.
_MOST_LOG_E = 700.0


def of_guardrail(guardrail: GuardrailDefinition, test: GuardrailTest, alpha: float) -> Evidence:
    """FAIL by the test, or by so many bad cases in a row; PASS while the measured value is within the limit.

    `alpha`: the error rate of the test. A guardrail that is a dry run is INCONCLUSIVE where it would fail.
    """
    in_a_row = test.streak.longest if isinstance(test, ShareTest) and guardrail.consecutive else 0
    is_shown = test.log_e >= -math.log(alpha)
    has_failed = is_shown or 0 < guardrail.consecutive <= in_a_row
    verdict, detail = (
        _verdict(test.measured, guardrail.limit, has_failed=has_failed),
        _detail(test, guardrail, in_a_row),
    )
    if guardrail.dry_run and verdict == FAIL:
        verdict, detail = INCONCLUSIVE, f"{detail}; dry run: would be FAIL"
    return Evidence(
        guardrail.metric,
        "guardrail",
        verdict,
        test.measured,
        guardrail.limit,
        detail,
        _rows(test),
        e_value=_e(test.log_e),
        alpha=alpha,
        bound=_bound(test, guardrail, alpha, in_a_row, is_shown=is_shown) if has_failed else "",
    )


def of_split(units: tuple[int, int], share: float) -> Evidence | None:
    """Whether units were split as the route says. A broken split makes the arms incomparable, so the share stays as it is.

    `units`: how many were seen in the version's arm and in the control's. `share`: of the version. None where nothing is
    split, or where nothing was seen.
    """
    new, both = units[0], sum(units)
    if not 0 < share < 1 or not both:
        return None
    log_e = log_e_of_counts(*units, share)
    is_broken = log_e >= -math.log(UNEQUAL_LEVEL)
    return Evidence(
        "sample_ratio",
        "guardrail",
        INCONCLUSIVE if is_broken else PASS,
        new / both,
        share,
        f"{new} of {both} units" + (" are not what the route says" if is_broken else ""),
        both,
        e_value=_e(log_e),
        alpha=UNEQUAL_LEVEL,
    )


def of_unasked(counts: tuple[int, int, int, int], limit: float | None) -> Evidence | None:
    """Whether the version is left unasked on its own units more often than its control is, by no fault of its own.

    It was not loaded, busy, or there was no time. That is no harm, but the share stays as it is. `counts`: unasked and all
    decisions for its own units, then the same of the control. `limit`: None for the default. None when it always was asked.
    """
    unasked, own, theirs_unasked, theirs = counts
    if not unasked:
        return None
    measured = unasked / own - (theirs_unasked / theirs if theirs else 0.0)
    limit = UNASKED_LIMIT if limit is None else limit
    holds = own >= _UNASKED_LEAST and measured > limit
    detail = f"{unasked} of {own} not asked, by no fault of its own; control {theirs_unasked} of {theirs}"
    return Evidence("not_asked", "guardrail", INCONCLUSIVE if holds else PASS, measured, limit, detail, own)


def missing_share(totals: Mapping[str, float]) -> float:
    """The share of the closed blocks' pairs that are missing."""
    missing = totals.get("missing", 0.0)
    return missing / (missing + totals.get("rows", 0.0)) if missing else 0.0


def of_missing(totals: Mapping[str, float]) -> Evidence | None:
    """Whether so many pairs are missing that the others are no fair sample; None when no pair is missing."""
    missing, share = totals.get("missing", 0.0), missing_share(totals)
    if not missing:
        return None
    pairs = missing + totals.get("rows", 0.0)
    detail = (
        f"{share:.1%} of the pairs are missing ({missing:,.0f} of {pairs:,.0f}, {MISSING_LIMIT:.0%} may be):"
        " shadows that were due and never came, or could not be asked"
    )
    verdict = UNMEASURED if share > MISSING_LIMIT else PASS
    return Evidence("missing_pairs", "label", verdict, share, MISSING_LIMIT, detail, int(pairs))


def unmeasured(margin: float, why: str) -> Evidence:
    """The label evidence while there is none. `why`: in words."""
    return Evidence("brier", "label", UNMEASURED, None, margin, why)


def mean_difference(totals: Mapping[str, float]) -> float:
    """The mean Brier score of the version less that of its control, over the labelled rows of closed blocks."""
    return totals.get("difference", 0.0) / max(totals.get("labelled", 0.0), 1.0)


def of_labels(totals: Mapping[str, float], margin: float, coverage: float, alpha: float) -> tuple[Evidence, Evidence]:
    """Harm or non-inferiority, and superiority, over the closed blocks.

    `totals`: see `RolloutJudged`. `coverage`: the share of labels without which nothing is PASS. `alpha`: the error rate of the
    test for harm.
    """
    mean, is_covered = mean_difference(totals), totals["labelled"] >= coverage * totals["rows"]
    is_shown = is_covered and bool(shows_no_worse(totals["margin"], mean, margin, SHOWN_LEVEL))
    is_better = is_covered and bool(shows_no_worse(totals["better"], mean, 0.0, SHOWN_LEVEL))
    is_harm = "harm_shown" in totals
    verdict = FAIL if is_harm else PASS if is_shown else INCONCLUSIVE
    detail = _label_detail(totals, is_covered=is_covered)
    harm_e = _e(totals["harm_shown"] if is_harm else totals["harm"])
    bound = f"its Brier score is over {margin:.4g} above its control's, {_sure(alpha)}" if is_harm else ""
    return (
        _of_blocks(totals, "brier", verdict, mean, margin, detail, harm_e, alpha, bound),
        _of_blocks(
            totals,
            "superiority",
            PASS if is_better else INCONCLUSIVE,
            mean,
            0.0,
            "new minus control",
            _e(totals["better"]),
            SHOWN_LEVEL,
        ),
    )


def _of_blocks(
    totals: Mapping[str, float],
    metric: str,
    verdict: str,
    measured: float,
    limit: float,
    detail: str,
    e_value: float,
    alpha: float,
    bound: str = "",
) -> Evidence:
    # The newest block is named; of harm the one at whose closing it was shown.
    block = "harm_" if verdict == FAIL else ""
    return Evidence(
        metric,
        "label",
        verdict,
        measured,
        limit,
        detail,
        int(totals["labelled"]),
        int(totals["blocks"]),
        totals[f"{block}from_s"],
        totals[f"{block}to_s"],
        e_value,
        alpha,
        bound,
    )


def _label_detail(totals: Mapping[str, float], *, is_covered: bool) -> str:
    labelled = totals["labelled"]
    detail = (
        f"new minus control; evidence that it is within the margin: {_e(totals['margin']):.3g} of {1 / SHOWN_LEVEL:.0f}"
    )
    if totals.get("log_loss_new"):
        detail += (
            f"; log-loss {totals['log_loss_new'] / labelled:.4f} against {totals['log_loss_control'] / labelled:.4f}"
        )
    return detail if is_covered else f"{detail}; only {labelled / totals['rows']:.2f} of the labels came"


def _rows(test: GuardrailTest) -> int:
    if isinstance(test, DistanceTest):
        return test.rows
    return int((test.shares if isinstance(test, LatencyTest) else test).new[0])


def _verdict(measured: float | None, limit: float, *, has_failed: bool) -> str:
    if measured is None:
        return UNMEASURED
    return FAIL if has_failed else PASS if measured <= limit else INCONCLUSIVE


def _bound(test: GuardrailTest, guardrail: GuardrailDefinition, alpha: float, in_a_row: int, *, is_shown: bool) -> str:
    """The bound that was crossed: that of the test, or that of failures in a row."""
    if not is_shown:
        return f"{in_a_row} in a row failed beside a healthy control, {guardrail.consecutive} end it"
    if isinstance(test, LatencyTest):
        what = f"it takes over {guardrail.limit:.4g} times as long as its control in over {LATENCY_SLACK:.0%} of calls, less those the other way"
    elif isinstance(test, DistanceTest):
        what = f"its scores' distribution lies over {guardrail.limit:.4g} from its control's"
    else:
        what = f"its share is over {guardrail.limit:.4g} above its control's"
    return f"{what}, {_sure(alpha)}"


def _sure(alpha: float) -> str:
    """The confidence of a test with that error rate, in words.

    >>> _sure(0.0125)
    '98.75 % sure'
    """
    return f"{100 * (1 - alpha):.4g} % sure"


def _detail(test: GuardrailTest, guardrail: GuardrailDefinition, in_a_row: int) -> str:
    if isinstance(test, LatencyTest):
        calls, slower, faster = int(test.shares.new[0]), int(test.shares.new[1]), int(test.shares.control[1])
        ratio = "" if test.measured is None else f"{test.measured:.3g} times its control's in the geometric mean, "
        return f"{ratio}over {calls} calls; over {guardrail.limit:g} times as long in {slower} of them, its control in {faster}"
    if isinstance(test, DistanceTest):
        return f"over {test.rows} requests scored by both"
    theirs = f"; control {int(test.control[1])} of {int(test.control[0])}"
    row = f"; {in_a_row} in a row" if 0 < guardrail.consecutive <= in_a_row else ""
    return f"{int(test.new[1])} of {int(test.new[0])}{theirs}{row}"


def _e(log_e: float) -> float:
    return math.exp(min(log_e, _MOST_LOG_E))
