"""The evidence of the guardrails of a rollout: what each test has found, with its metric, value, limit and what it rests on."""

import math

from headrace.events.definition import GuardrailDefinition
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED, Evidence
from headrace.stats.sequential import log_e_of_counts
from headrace_monitor.core.guardrails import LATENCY_SLACK, GuardrailTest, LatencyTest, ShareTest
from headrace_monitor.core.score_tests import GROUP, LEARNED, DistanceTest, RankTest

# The level at which a split of units counts as unequal.
UNEQUAL_LEVEL = 0.001
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
        FAIL if has_failed else _verdict(test, guardrail.limit),
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
        e_value=e_value(test.log_e),
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
        e_value=e_value(log_e),
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


def _rows(test: GuardrailTest) -> int:
    if isinstance(test, DistanceTest | RankTest):
        return test.rows
    return int((test.shares if isinstance(test, LatencyTest) else test).new[0])


def _verdict(test: GuardrailTest, limit: float) -> str:
    measured = test.measured
    if isinstance(test, RankTest):
        # A control that scores all requests alike has no order that the version could fail to keep.
        if measured is None:
            return PASS if test.flat else UNMEASURED
        return PASS if measured >= limit else INCONCLUSIVE
    if measured is None:
        return UNMEASURED
    return PASS if measured <= limit else INCONCLUSIVE


def _bound(test: GuardrailTest, guardrail: GuardrailDefinition, alpha: float, in_a_row: int, *, is_shown: bool) -> str:
    """The bound that was crossed: that of the test, or that of failures in a row."""
    if not is_shown:
        return f"{in_a_row} in a row failed beside a healthy control, {guardrail.consecutive} end it"
    if isinstance(test, LatencyTest):
        what = f"it takes over {guardrail.limit:.4g} times as long as its control in over {LATENCY_SLACK:.0%} of calls, less those the other way"
    elif isinstance(test, DistanceTest):
        what = f"its scores' distribution lies over {guardrail.limit:.4g} from its control's"
    elif isinstance(test, RankTest):
        what = f"its scores' rank correlation with its control's is below {guardrail.limit:.4g}"
    else:
        what = f"its share is over {guardrail.limit:.4g} above its control's"
    return f"{what}, {sure(alpha)}"


def sure(alpha: float) -> str:
    """The confidence of a test with that error rate, in words.

    >>> sure(0.0125)
    '98.75 % sure'
    """
    return f"{100 * (1 - alpha):.4g} % sure"


def _detail(test: GuardrailTest, guardrail: GuardrailDefinition, in_a_row: int) -> str:
    if isinstance(test, LatencyTest):
        calls, slower, faster = int(test.shares.new[0]), int(test.shares.new[1]), int(test.shares.control[1])
        ratio = "" if test.measured is None else f"{test.measured:.3g} times its control's in the geometric mean, "
        return f"{ratio}over {calls} calls; over {guardrail.limit:g} times as long in {slower} of them, its control in {faster}"
    if isinstance(test, RankTest):
        flat = f"; in {test.flat} more its control scores all alike" if test.flat else ""
        return f"mean of {test.groups} groups of {GROUP} requests scored by both{flat}"
    if isinstance(test, DistanceTest):
        learning = f", after {LEARNED} from which the control's deciles were learned"
        return f"over {test.rows} requests scored by both{learning}"
    theirs = f"; control {int(test.control[1])} of {int(test.control[0])}"
    row = f"; {in_a_row} in a row" if 0 < guardrail.consecutive <= in_a_row else ""
    most = max(test.failures.values(), default=0)
    one = f"; {most} of its failures are one unit's, and do not count" if most > 1 else ""
    return f"{int(test.new[1])} of {int(test.new[0])}{theirs}{row}{one}"


def e_value(log_e: float) -> float:
    """The evidence itself, as far as it is a float."""
    return math.exp(min(log_e, _MOST_LOG_E))
