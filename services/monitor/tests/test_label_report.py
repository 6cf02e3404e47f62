"""The label evidence in words and numbers, for each standing of the three tests."""

import math

import pytest

from headrace.events.definition import RolloutDefinition
from headrace.events.verdicts import Evidence
from headrace_monitor.core.label_report import LabelAlphas, Look, Report, same, unmeasured

ALPHAS = LabelAlphas(0.0125, 0.01, 0.0025)
PLAN = RolloutDefinition("canary", margin=0.01, min_cycles=5)
# Twelve cycles with 1,200 pairs, of which two blocks are not in a whole cycle yet.
TOTALS = {
    "rows": 1300.0,
    "labelled": 1280.0,
    "blocks": 290.0,
    "block_from_s": 7200.0,
    "block_to_s": 10800.0,
    "cycles": 12.0,
    "from_s": 100.0,
    "to_s": 900.0,
    "mean": 0.002,
    "low": -0.004,
    "high": 0.008,
    "other_high": 0.02,
    "margin": 0.01,
    "ranks_high": -0.05,
    "sum_rows": 1200.0,
    "sum_labelled": 1200.0,
    "sum_log_new": 480.0,
    "sum_log_control": 360.0,
    "most": 0.7,
}


def look(totals: dict[str, float] | None = None, without: tuple[str, ...] = (), **more) -> Look:
    """A look at which all is well. `totals`: what is different; `without`: what is not known."""
    kept = {name: value for name, value in {**TOTALS, **(totals or {})}.items() if name not in without}
    own = {
        "loss": 0.03,
        "skill": 0.25,
        "ranking_log_e": -2.0,
        "labels": 1280,
        "rarer": 300,
        "gross": 0.004,
        "gross_log_e": -3.0,
    }
    return Look(kept, **{**own, **more})


def report(found: Look, plan: RolloutDefinition = PLAN, kind: str = "binary", why: str | None = None, **more) -> Report:
    return Report.of(found, plan, ALPHAS, kind, why, **{"is_same": False, **more})


def of(found: Report, metric: str) -> Evidence:
    return next(one for one in found.evidence if one.metric == metric)


def metrics(found: Report) -> list[str]:
    return [one.metric for one in found.evidence]


LEVEL_DETAIL = "new minus control, at most 0.008 (95 % sure); log-loss 0.4000 against 0.3000"


def test_where_all_is_well_every_test_passes() -> None:
    found = report(look())
    assert found.verdict == "PASS"
    auc = "AUC 0.720 against 0.750 of its control"
    block = (1280, 290, 7200.0, 10800.0)
    assert found.evidence == (
        Evidence("level", "label", "PASS", 0.002, 0.01, LEVEL_DETAIL, 1200, 12, 100.0, 900.0, None, 0.0125),
        Evidence("ranking", "label", "PASS", 0.03, 0.1, auc, *block, pytest.approx(math.exp(-2)), 0.01),
        Evidence(
            "gross",
            "label",
            "PASS",
            0.004,
            0.1,
            "new minus control +0.004 per label",
            *block,
            pytest.approx(math.exp(-3)),
            0.0025,
        ),
        Evidence("superiority", "label", "INCONCLUSIVE", 0.002, 0.0, "new minus control", alpha=0.05),
    )


def test_half_of_the_error_rate_of_labels_is_for_the_level() -> None:
    found = LabelAlphas.of(0.05)
    assert (found.level, found.ranking, found.gross, found.shown) == pytest.approx((0.025, 0.02, 0.005, 0.05))


# level


def test_before_the_first_cycle_the_level_is_unmeasured() -> None:
    for found in (report(look({"cycles": 0.0})), report(look(without=("cycles",))), report(look(without=("mean",)))):
        cycles = int(found.evidence[0].blocks)
        detail = f"{cycles} of 5 whole cycles with labels"
        assert found.verdict == "UNMEASURED"
        assert of(found, "level") == Evidence("level", "label", "UNMEASURED", None, 0.01, detail, blocks=cycles)
    assert metrics(report(look(without=("mean", "cycles")))) == ["level", "ranking", "gross"]


def test_before_the_least_cycles_the_figures_are_shown_and_not_judged() -> None:
    found = report(look({"cycles": 4.0}))
    level = of(found, "level")
    assert (found.verdict, level.verdict, level.measured, level.blocks) == ("UNMEASURED", "UNMEASURED", 0.002, 4)
    assert level.detail == f"4 of 5 whole cycles with labels; {LEVEL_DETAIL}"
    assert report(look({"cycles": 5.0})).verdict == "PASS"


def test_a_control_that_gains_nothing_gives_no_default_margin() -> None:
    plan = RolloutDefinition("canary", min_cycles=5)
    found = report(look(without=("margin",)), plan)
    level = of(found, "level")
    gains = "its control gains nothing over a constant answer, so there is no default margin: give margin="
    assert (found.verdict, level.verdict, level.limit) == ("UNMEASURED", "UNMEASURED", None)
    assert level.detail == f"{gains}; {LEVEL_DETAIL}"
    assert report(look({"margin": 0.009}), plan).evidence[0].limit == 0.009
    assert report(look(without=("margin",)), PLAN).evidence[0].limit == 0.01


@pytest.mark.parametrize(("high", "verdict"), [(0.0099, "PASS"), (0.01, "INCONCLUSIVE"), (0.012, "INCONCLUSIVE")])
def test_the_bound_must_lie_below_the_margin(high: float, verdict: str) -> None:
    found = report(look({"high": high}))
    assert (found.verdict, of(found, "level").verdict) == (verdict, verdict)
    assert of(found, "level").detail.startswith(f"new minus control, at most {high:.4g} (95 % sure); ")


@pytest.mark.parametrize(("labels", "rarer"), [(99, 50), (5000, 19), (99, 19)])
def test_too_few_labels_show_nothing(labels: int, rarer: int) -> None:
    found = report(look(labels=labels, rarer=rarer))
    few = f"{labels:,} labels (100 needed), {rarer} of them rarer ones (20 needed)"
    assert (found.verdict, of(found, "level").verdict) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert of(found, "level").detail == f"{LEVEL_DETAIL}; {few}"
    assert of(found, "ranking").verdict == "UNMEASURED"
    assert of(found, "ranking").detail == f"AUC 0.720 against 0.750 of its control; {few}"


def test_the_least_labels_are_enough() -> None:
    found = report(look(labels=100, rarer=20))
    assert (found.verdict, of(found, "ranking").verdict, of(found, "ranking").rows) == ("PASS", "PASS", 100)


@pytest.mark.parametrize("ranks_high", [None, 0.0, 0.03])
def test_a_pass_needs_the_ranking_shown_to_be_within_its_limit(ranks_high: float | None) -> None:
    found = report(look(without=("ranks_high",)) if ranks_high is None else look({"ranks_high": ranks_high}))
    assert (found.verdict, of(found, "ranking").verdict) == ("INCONCLUSIVE", "PASS")
    assert of(found, "level").detail == f"{LEVEL_DETAIL}; that its ranking is within its limit is not shown yet"
    assert report(look({"ranks_high": -1e-9})).verdict == "PASS"


def test_a_failed_level_is_shown_with_the_figures_of_the_look_at_which_it_failed() -> None:
    failing = look({"mean": 0.04, "low": 0.0123456, "high": 0.07, "cycles": 7.0, "sum_labelled": 700.0, "to_s": 500.0})
    kept = {"level_failed": 1.0} | {f"level_failed_{name}": value for name, value in failing.figures("level").items()}
    found = report(look(kept, without=("margin",)))
    detail, bound = (
        "new minus control, at least 0.01235 (98.75 % sure)",
        "its Brier score is over 0.01 above its control's",
    )
    assert found.verdict == "FAIL"
    assert of(found, "level") == Evidence(
        "level", "label", "FAIL", 0.04, 0.01, detail, 700, 7, 100.0, 500.0, None, 0.0125, f"{bound}, 98.75 % sure"
    )
    number = report(look(kept), kind="number")
    assert of(number, "level").bound == "its absolute error is over 0.01 above its control's, 98.75 % sure"


@pytest.mark.parametrize(("missing", "other"), [("worst", "at random"), ("at_random", "the worst")])
def test_beside_missing_labels_stands_the_bound_by_the_other_way_to_count_them(missing: str, other: str) -> None:
    plan = RolloutDefinition("canary", margin=0.01, min_cycles=5, missing=missing)
    found = report(look({"sum_labelled": 900.0}), plan)
    absent = f"25.0% of the labels are missing: if they were {other}, at most 0.02"
    assert of(found, "level").detail == (
        f"new minus control, at most 0.008 (95 % sure); log-loss 0.5333 against 0.4000; {absent}"
    )
    assert of(found, "level").rows == 900


def test_numbers_have_a_squared_error_instead_of_a_log_loss_and_without_labels_there_is_neither() -> None:
    assert "; squared error 0.4000 against 0.3000" in of(report(look(), kind="number"), "level").detail
    none = of(report(look({"sum_labelled": 0.0})), "level")
    assert none.detail == (
        "new minus control, at most 0.008 (95 % sure); 100.0% of the labels are missing: if they were at random, at most 0.02"
    )


def test_versions_that_no_label_can_tell_apart_pass_at_once() -> None:
    found = report(look({"most": 0.00123456}, without=("mean", "cycles"), loss=None, gross=None), is_same=True)
    detail = "no label could make it worse by more than 0.00123 on any of 1,300 pairs"
    assert found.verdict == "PASS"
    assert found.evidence[0] == Evidence("level", "label", "PASS", 0.0, 0.01, detail, 1300, 0)
    later = report(look(without=("most",)), is_same=True)
    assert later.evidence[0].detail.startswith("no label could make it worse by more than 0 on")
    assert later.evidence[0].blocks == 12


# ranking


def test_before_anything_can_be_compared_the_ranking_is_unmeasured() -> None:
    detail = "no label has anything to be compared with yet"
    for found in (look(loss=None), look(skill=None)):
        assert of(report(found), "ranking") == Evidence("ranking", "label", "UNMEASURED", None, None, detail)


def test_over_half_of_the_limit_the_rate_of_rejection_is_not_promised() -> None:
    caution = "; between half of the limit and the limit its rate of rejection is not promised"
    half = of(report(look(loss=0.0501)), "ranking")
    assert (half.verdict, half.detail) == ("PASS", f"AUC 0.700 against 0.750 of its control{caution}")
    assert of(report(look(loss=0.05)), "ranking").detail == "AUC 0.700 against 0.750 of its control"
    few = of(report(look(loss=0.08, labels=50)), "ranking")
    assert caution not in few.detail


def test_a_loss_over_the_limit_that_is_not_shown_is_inconclusive() -> None:
    assert of(report(look(loss=0.1)), "ranking").verdict == "PASS"
    found = report(look(loss=0.1001))
    assert (of(found, "ranking").verdict, of(found, "ranking").bound) == ("INCONCLUSIVE", "")
    own = RolloutDefinition("canary", margin=0.01, min_cycles=5, ranking_limit=0.5)
    assert (of(report(look(loss=0.1001), own), "ranking").verdict, of(report(look(), own), "ranking").limit) == (
        "PASS",
        0.125,
    )


def test_a_failed_ranking_is_shown_with_the_figures_of_the_look_at_which_it_failed() -> None:
    block = {"blocks": 9.0, "block_from_s": 3600.0, "block_to_s": 7200.0}
    failing = look(block, loss=0.2, skill=0.22, ranking_log_e=5.0, labels=150)
    kept = {"ranking_failed": 1.0} | {f"ranking_failed_{n}": value for n, value in failing.figures("ranking").items()}
    found = report(look(kept))
    bound = "it loses over 40% of what its control's ranking is worth over chance, 99 % sure"
    assert (found.verdict, of(found, "level").verdict) == ("FAIL", "PASS")
    assert of(found, "ranking") == Evidence(
        "ranking",
        "label",
        "FAIL",
        0.2,
        pytest.approx(0.088),
        "AUC 0.520 against 0.720 of its control",
        150,
        9,
        3600.0,
        7200.0,
        pytest.approx(math.exp(5)),
        0.01,
        bound,
    )
    # What failed stays failed with few labels of now, and so it does where much is missing.
    assert report(look({**kept, "missing": 900.0}, labels=10)).verdict == "FAIL"


def test_numbers_are_ranked_by_concordance() -> None:
    found = report(look(), kind="number")
    assert of(found, "ranking").detail == "concordance 0.720 against 0.750 of its control"


def test_evidence_that_is_too_large_for_a_float_is_cut() -> None:
    assert of(report(look(ranking_log_e=9999.0)), "ranking").e_value == math.exp(700)


# gross


def test_without_a_bounded_score_there_is_no_gross_test() -> None:
    assert metrics(report(look(gross=None))) == ["level", "ranking", "superiority"]


def test_a_score_over_the_gross_limit_that_is_not_shown_is_inconclusive() -> None:
    assert of(report(look(gross=0.1)), "gross").verdict == "PASS"
    found = report(look(gross=0.1001))
    assert (of(found, "gross").verdict, of(found, "gross").bound, found.verdict) == ("INCONCLUSIVE", "", "PASS")


@pytest.mark.parametrize(("kind", "score"), [("binary", "Brier score"), ("number", "absolute error")])
def test_a_failed_gross_test_is_shown_with_the_figures_of_the_look_at_which_it_failed(kind: str, score: str) -> None:
    block = {"blocks": 9.0, "block_from_s": 3600.0, "block_to_s": 7200.0}
    failing = look(block, gross=0.3, gross_log_e=6.0, labels=110)
    kept = {"gross_failed": 1.0} | {f"gross_failed_{name}": value for name, value in failing.figures("gross").items()}
    assert set(failing.figures("gross")) == {"value", "log_e", "labels", "blocks", "from_s", "to_s"}
    found = report(look(kept), kind=kind)
    bound = f"its {score} is over 0.1 above its control's, 99.75 % sure"
    own = (110, 9, 3600.0, 7200.0, pytest.approx(math.exp(6)), 0.0025, bound)
    assert found.verdict == "FAIL"
    assert of(found, "gross") == Evidence(
        "gross", "label", "FAIL", 0.3, 0.1, "new minus control +0.300 per label", *own
    )


# superiority


def test_a_version_whose_bound_lies_below_zero_is_better() -> None:
    better = {"mean": -0.01, "high": -0.001}
    found = of(report(look(better)), "superiority")
    assert found == Evidence("superiority", "label", "PASS", -0.01, 0.0, "new minus control", alpha=0.05)
    for totals, without in (({"high": 0.0}, ()), ({"cycles": 4.0}, ()), ({}, ("cycles",))):
        assert of(report(look({**better, **totals}, without)), "superiority").verdict == "INCONCLUSIVE"
    assert of(report(look({**better, "cycles": 5.0})), "superiority").verdict == "PASS"


# missing pairs


def test_two_percent_of_the_pairs_may_be_missing() -> None:
    found = report(look({"missing": 2.0, "rows": 98.0}))
    detail = (
        "2.0% of the pairs are missing (2 of 100, 2% may be):"
        " shadows that were due and never came, or could not be asked"
    )
    assert found.verdict == "PASS"
    assert found.evidence[-1] == Evidence("missing_pairs", "label", "PASS", 0.02, 0.02, detail, 100)


def test_where_more_are_missing_the_others_are_no_fair_sample() -> None:
    found = report(look({"missing": 2100.0, "rows": 97_900.0}))
    missing = of(found, "missing_pairs")
    assert (found.verdict, missing.verdict, missing.measured) == ("UNMEASURED", "UNMEASURED", 0.021)
    assert missing.detail.startswith("2.1% of the pairs are missing (2,100 of 100,000, 2% may be)")
    assert of(found, "level").verdict == "PASS"
    none = report(look({"missing": 3.0}, without=("rows", "mean")))
    assert (of(none, "missing_pairs").measured, of(none, "missing_pairs").rows) == (1.0, 3)


def test_without_missing_pairs_nothing_is_said_about_them() -> None:
    for found in (look(), look({"missing": 0.0}), look({"missing": 0.0}, without=("rows",))):
        assert (found.missing_share, found.is_unfair) == (0.0, False)
        assert "missing_pairs" not in metrics(report(found))


# where labels can never pass it


def test_where_labels_can_never_pass_a_version_they_can_still_reject_it() -> None:
    why = "the label 'y' is a number without low and high"
    found = report(look(gross=None), kind="number", why=why)
    assert found.verdict == "UNMEASURED"
    assert found.evidence[0] == Evidence("level", "label", "UNMEASURED", detail=why)
    assert metrics(found) == ["level", "ranking"]
    failing = {"ranking_failed": 1.0} | {f"ranking_failed_{n}": v for n, v in look().figures("ranking").items()}
    assert report(look(failing, gross=None), kind="number", why=why).verdict == "FAIL"


def test_without_blocks_there_is_only_the_reason() -> None:
    found = Report.without("no label is declared")
    assert found == Report("UNMEASURED", (Evidence("level", "label", "UNMEASURED", detail="no label is declared"),))
    assert unmeasured("why").detail == "why"


def test_equal_answers_take_the_place_of_the_level() -> None:
    detail = "its scores differ by 0.00123 at the most from its control's on 1,500 requests"
    level = same(1500, 0.00123456, 0.01)
    assert level == Evidence("level", "label", "PASS", 0.00123456, 0.01, detail, 1500)
    found = report(look(gross=None), kind="number", why="why").with_level(level)
    assert (found.verdict, found.evidence[0], metrics(found)) == ("PASS", level, ["level", "ranking"])


# figures of a look


def test_the_figures_of_a_look_are_those_that_are_known() -> None:
    assert look().figures("level") == {
        "value": 0.002,
        "margin": 0.01,
        "low": -0.004,
        "labels": 1200.0,
        "blocks": 12.0,
        "from_s": 100.0,
        "to_s": 900.0,
    }
    block = {"labels": 1280.0, "blocks": 290.0, "from_s": 7200.0, "to_s": 10800.0}
    assert look().figures("ranking") == {"value": 0.03, "skill": 0.25, "log_e": -2.0, **block}
    assert look(without=("block_from_s",), gross=None).figures("gross") == {
        "log_e": -3.0,
        "labels": 1280.0,
        "blocks": 290.0,
        "to_s": 10800.0,
    }
    assert look(without=("mean", "margin")).figures("level").keys() == {"low", "labels", "blocks", "from_s", "to_s"}
