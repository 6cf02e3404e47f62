"""Rollouts: how often a verdict by labels or guardrails is wrong, and how soon a right one comes.

    border, storms  wrong verdicts where the margin is exactly the difference of two real versions, at 1, 10 and 100 times
                    the traffic; `storms`: the stale champion of March. What it is worse by lies in the storms of June and
                    July, which a few calm weeks cannot show: a limit of any test that decides within weeks
    control         what judged rollouts before, and a repeated t-test, on the same draws
    decides         good versions PASS in time; one that is worse by twice the margin FAILs in time
    broken          fitted on shuffled or flipped labels, or with features that look ahead: labels until a FAIL
    harmless        versions that lose at most half of what the ranking test allows are not rejected by it
    rare            labels that .5 % and 2 % of the requests have
    window          the default release, which is judged by the requests of seven days after the switch
    split           units are split by hash, exactly and monotonically

The constants of the tests were chosen on July; broken versions are judged on other months. Rows of guardrails are those
of `guardrail_sims`.
"""

from itertools import pairwise

import numpy as np
from scipy.stats import chisquare

from bench.flight_scores import CUTS, RARE, year
from bench.guardrail_sims import guardrail_rows
from bench.measure import ForeignLoad, Row, progress
from bench.rollout_borders import BORDERS, STORMS, border_rows
from bench.rollout_harness import (
    PLAN,
    Floats,
    Pair,
    Records,
    at_least,
    at_most,
    draw,
    judged,
    row,
    shown,
    table_of,
)
from headrace.asking.routing import choose_version
from headrace.stats.scores import constant_score, default_margin, differences
from headrace.stats.trials import Traffic
from headrace.stats.variants import skill_lost, squared, with_less_skill, with_noise

GOOD = Pair("aug", "jun", 9)
OTHERS = (
    Pair("aug", "may", 9),
    Pair("may", "logit", 6),
    Pair("resample_a", "resample_b", 6),
    Pair("twin_a", "twin_b", 6),
    Pair("twin_b", "twin_a", 6),
)
CHAMPION = Pair("may", "may", 6)
BROKEN = ("shuffled", "flipped", "skewed")
# The month of each trial, and the champion that was fitted before it. July is where the constants were chosen.
MONTHS = {"june": (6, "may"), "sept": (9, "aug"), "nov": (11, "aug"), "july": (7, "jun")}
CHOSEN_ON = "july"
PROMPT_CYCLES, LATE_CYCLES = 21, 42
MONTH_CYCLES, START_CYCLES, WINDOW_CYCLES = 30, 8, 7
MOST_LABELS = 2_500
# Of what noise was made to lose, which is found by halving.
SLACK = 0.01
UNITS = 100_000
STEPS = (0.01, 0.05, 0.25, 1.0)


def run() -> list[Row]:
    """All rows of the area."""
    records = Records(year())
    with ForeignLoad() as load:
        rows = [
            *border_rows(records),
            *decision_rows(records),
            *broken_rows(records),
            *harmless_rows(records),
            *rare_rows(records),
            *window_rows(records),
            *split_rows(),
            *guardrail_rows(),
        ]
    for one in rows:
        one.foreign_load_share = load.share
    return rows


def decision_rows(records: Records) -> list[Row]:
    """That verdicts come in time."""
    progress("good versions")
    rows = []
    for pair in (GOOD, Pair(GOOD.new, GOOD.new, GOOD.first)):
        table = records.table(pair)
        name = "same" if pair.new == pair.control else pair.name
        margin = usual_margin(records, pair)
        passed = judged(table, draw(table), margin).is_passed(PROMPT_CYCLES)
        rows.append(at_least(f"decides.pass_within_21.{name}", passed, 0.8, f"margin {margin:.4f}"))
    for pair in OTHERS:
        table = records.table(pair)
        margin = usual_margin(records, pair)
        trials = judged(table, draw(table), margin)
        note = f"within {LATE_CYCLES}: {trials.is_passed(LATE_CYCLES).mean():.2f}; margin {margin:.4f}"
        rows.append(shown(f"decides.pass_within_21.{pair.name}", trials.is_passed(PROMPT_CYCLES), note))
    progress("a version that is worse by twice the margin")
    traffic = records.traffic(CHAMPION)
    margin = usual_margin(records, CHAMPION)
    worse = with_noise("binary", traffic.control, traffic.labels, 2 * margin, np.random.default_rng(1))
    table = table_of(beside(traffic, worse), CHAMPION)
    failed = judged(table, draw(table), margin).is_failed(LATE_CYCLES)
    return [*rows, at_least("decides.fail_within_42.worse_by_two_margins", failed, 0.8, f"margin {margin:.4f}")]


def usual_margin(records: Records, pair: Pair) -> float:
    """The default margin: a part of what the champion gained before the rollout, in the months after its training; of the
    months of the rollout itself where there are none before it.
    """
    fitted_until = CUTS.get(pair.control, pair.first)
    months = (fitted_until, pair.first) if fitted_until < pair.first else (pair.first, pair.after_last)
    record = records.year.traffic(pair.control, pair.control, *months, pair.label)
    own = differences("binary", record.control, record.control, record.labels).control
    gain = constant_score("binary", np.bincount(record.labels.astype(np.int64))) - own.mean()
    return float(default_margin(gain))


def beside(traffic: Traffic, new: Floats) -> Traffic:
    """Other scores beside the same control."""
    return Traffic(traffic.kind, traffic.at_s, traffic.labels, new, traffic.control)


def broken_rows(records: Records) -> list[Row]:
    """Labels until broken versions FAIL by ranking or gross, in months that nothing was chosen on."""
    rows, hours = [], {(kind, times): [] for kind in BROKEN for times in (1, 10)}
    for month, (number, champion) in MONTHS.items():
        for kind in BROKEN:
            pair = Pair(f"{kind}_{champion}", champion, number, number + 1)
            traffic = records.traffic(pair)
            table = records.table(pair)
            trials = judged(table, draw(table, MONTH_CYCLES))
            starts = np.arange(table.cycles - START_CYCLES + 1)[:, None] + np.arange(START_CYCLES)
            real = np.quantile(judged(table, starts).labels_to_early, 0.9, method="higher")
            most = float(np.quantile(trials.labels_to_early, 0.9, method="higher"))
            progress(f"{pair.name} in {month}: {most:,.0f} labels (90th percentile), {real:,.0f} from real starts")
            unit = f"labels, 90th percentile; from each real day: {real:,.0f}"
            demanded, met = (f"<= {MOST_LABELS}", most <= MOST_LABELS) if month != CHOSEN_ON else ("-", True)
            rows.append(row(f"broken.labels_to_fail.{kind}.{month}", most, unit, demanded, met, len(trials.passed)))
            if month != CHOSEN_ON:
                denser = table_of(traffic, pair, 10)
                hours[kind, 1].append(trials.failed_early)
                hours[kind, 10].append(judged(denser, draw(denser, MONTH_CYCLES)).failed_early)
    for kind in BROKEN:
        slow, quick = (float(np.median(np.concatenate(hours[kind, times]))) for times in (1, 10))
        unit = f"of the hours to FAIL at 10 times the traffic; medians {slow:.0f} and {quick:.0f} h, no label delay"
        runs = sum(map(len, hours[kind, 1]))
        rows.append(row(f"broken.time_at_ten_times.{kind}", quick / slow, unit, "<= .5", quick / slow <= 0.5, runs))
    return rows


def harmless_rows(records: Records) -> list[Row]:
    """How often versions that lose little of their champion's ranking are rejected by ranking or gross score."""
    rows = []
    traffic = records.traffic(CHAMPION)
    noise = with_less_skill("binary", traffic.control, traffic.labels, PLAN.ranking_limit / 2, np.random.default_rng(2))
    cases = [("noise", beside(traffic, noise), table_of(beside(traffic, noise), CHAMPION))]
    cases += [(pair.name, records.traffic(pair), records.table(pair)) for pair in (*BORDERS, *STORMS)]
    for name, record, table in cases:
        lost = skill_lost("binary", record.new, record.control, record.labels)
        rejected = np.isfinite(judged(table, draw(table)).failed_early)
        note = f"loses {lost:.3f} of the skill"
        progress(f"{name} {note}: rejected {rejected.mean():.3f}")
        full = f"harmless.rejected.{name}"
        is_half = lost <= PLAN.ranking_limit / 2 + SLACK
        rows.append(at_most(full, rejected, 0.02, note) if is_half else shown(full, rejected, note))
    return rows


def rare_rows(records: Records) -> list[Row]:
    """Verdicts on broken versions where few requests have the label."""
    rows = []
    for share in RARE:
        for kind in ("rareshuffled", "rareflipped"):
            pair = Pair(f"{kind}_{share}", f"rare_{share}", 6, label=share)
            table = records.table(pair)
            trials = judged(table, draw(table), usual_margin(records, pair))
            failed = trials.is_failed()
            days = float(np.median(trials.failed))
            progress(f"{pair.name}: FAIL {failed.mean():.3f}, median after {days:.1f} days")
            rows.append(at_most(f"rare.passed.{pair.name}", trials.is_passed(), 0.01))
            rows.append(at_least(f"rare.failed.{pair.name}", failed, 0.9, f"median after {days:.1f} days"))
    return rows


def window_rows(records: Records) -> list[Row]:
    """What a default release rolls back by the requests of the first seven days, and a version whose order is right."""
    rows = []
    for champion, first in (("may", 6), ("aug", 9)):
        for kind in BROKEN:
            pair = Pair(f"{kind}_{champion}", champion, first)
            table = records.table(pair)
            trials = judged(table, draw(table, WINDOW_CYCLES))
            note = f"median after {np.median(trials.failed_early):.0f} h and the label delay"
            rows.append(at_least(f"window.rolled_back.{pair.name}", trials.is_failed(), 0.95, note))
    traffic = records.traffic(CHAMPION)
    table = table_of(beside(traffic, squared("binary", traffic.control)), CHAMPION)
    trials = judged(table, draw(table), usual_margin(records, CHAMPION))
    median = float(np.median(trials.level_failed))
    note = f"median after {median:.0f} days; by ranking or gross: {np.isfinite(trials.failed_early).mean():.3f}"
    return [*rows, shown("squared.failed_by_level_within_60", np.isfinite(trials.level_failed), note)]


def split_rows() -> list[Row]:
    """Shares by hash, exact and monotone: no unit goes back to the old version while the share grows."""
    units = [f"flight-{n}" for n in range(UNITS)]
    arms = [
        [choose_version("flight-delay", "s", unit, {1: 1 - share, 2: share}) == 2 for unit in units] for share in STEPS
    ]
    drawn = np.array(arms)
    p_values = [
        chisquare([UNITS - int(arm.sum()), int(arm.sum())], [UNITS * (1 - share), UNITS * share]).pvalue
        for arm, share in zip(drawn, STEPS, strict=True)
        if share < 1
    ]
    back = sum(int((former & ~later).sum()) for former, later in pairwise(drawn))
    lowest = float(min(p_values))
    return [
        row("split.chi_square_p", lowest, "p, lowest of 3", ">= .001 on 100,000 units", lowest >= 0.001, 3),
        row("split.units_that_went_back", back, "units", "0", back == 0, 1),
    ]
