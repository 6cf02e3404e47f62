"""Rollouts: how often a harmless version is rolled back, and how soon a bad one is. See `rollout_sims`.

Guardrails by themselves are judged in `guardrail_sims`. Here are the labels.

Nulls, 1,000 whole rollouts of four weeks each, a look at every chance:

    aa        the same version twice, on different units
    zero      two versions fitted on different 80 % of the rows, each block's difference with a random sign
    border    the same around the margin
    stretches border, with one sign for twelve blocks in a row: outcomes that overlap share their fate

Bad versions, 200 whole rollouts of six weeks each, beside the champion of March.
"""

from itertools import pairwise

import numpy as np
from scipy.stats import beta, chisquare

from bench.flight_scores import July, july, traffic_of
from bench.guardrail_sims import guardrail_rows
from bench.measure import ForeignLoad, Row, progress
from bench.rollout_sims import HOURS, Outcome, draw_hours, naive_arms, roll_out
from headrace_inference.core.routing import choose_version

RUNS, WEEKS = 1000, 4
BAD_RUNS, BAD_WEEKS = 200, 6
UNITS = 100_000
STEPS = (0.01, 0.05, 0.25, 1.0)


def run() -> list[Row]:
    """All rows of the area."""
    found = july()
    with ForeignLoad() as load:
        rows = [*split_rows(), *guardrail_rows(), *bad_rows(found), *good_rows(found), *null_rows(found)]
    for row in rows:
        row.foreign_load_share = load.share
    return rows


def null_rows(found: July) -> list[Row]:
    """False rollbacks, each beside what a repeated t-test does in the same harness."""
    pair = traffic_of(found, "resample_a", "resample_b")
    spread = np.std(brier_differences(pair.new, pair.control, pair.labels))
    assert spread > 0, "the versions of the paired null must differ"
    rows: list[Row] = []
    same = traffic_of(found, "challenger", "challenger")
    progress(f"{RUNS} rollouts of the same version")
    aa = roll_out(same, runs=RUNS, days=7 * WEEKS, seed=11)
    rng = np.random.default_rng(12)
    naive = naive_arms(rng, same, draw_hours(rng, RUNS, 7 * WEEKS, same.days))
    rows += _null("aa", aa, float(np.isfinite(naive).mean()))
    for name, null, flip in (("zero", "zero", 1), ("border", "border", 1), ("stretches", "border", 12)):
        progress(f"{RUNS} rollouts under the null {name}")
        outcome = roll_out(pair, runs=RUNS, days=7 * WEEKS, seed=13, null=null, flip_hours=flip)
        rows += _null(name, outcome, float(np.isfinite(outcome.labels.naive_h).mean()))
        if null == "border":
            wrong = int(np.isfinite(outcome.labels.shown_h).sum())
            rows.append(_at_most(f"rollouts.{name}.shown_no_worse", wrong, RUNS, 0.05))
    return rows


def brier_differences(new: np.ndarray, control: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of each request."""
    return (new - labels) ** 2 - (control - labels) ** 2


def _null(name: str, outcome: Outcome, naive: float) -> list[Row]:
    back = int(np.isfinite(outcome.back_h).sum())
    row = _at_most(f"rollouts.{name}.rolled_back", back, RUNS, 0.05)
    lower, _ = interval(round(naive * RUNS), RUNS)
    row.peer, row.peer_value = "repeated t-test", naive
    row.demanded += ", the t-test's above"
    row.met = row.met and lower > 0.05
    progress(f"{name}: {back} of {RUNS} rolled back, the t-test {naive:.0%}")
    return [row]


def bad_rows(found: July) -> list[Row]:
    """Versions that must go, by whatever comes first, and by labels alone."""
    rows: list[Row] = []
    for name in ("skewed", "shuffled", "flipped"):
        progress(f"{BAD_RUNS} rollouts of the {name} version")
        outcome = roll_out(traffic_of(found, name, "champion"), runs=BAD_RUNS, days=7 * BAD_WEEKS, seed=17)
        labels = outcome.labels
        by_labels = np.isfinite(labels.harm_h)
        rows += [
            _at_least(f"rollouts.{name}.rolled_back", outcome.share_back),
            _at_least(f"rollouts.{name}.rolled_back_by_labels_alone", float(by_labels.mean())),
            _plain(
                f"rollouts.{name}.labels_to_rollback",
                float(np.median(labels.labels_at_harm[by_labels])),
                "labels, median",
            ),
            _plain(
                f"rollouts.{name}.blocks_to_rollback",
                float(np.median(labels.blocks_at_harm[by_labels])),
                "blocks, median",
            ),
            _plain(
                f"rollouts.{name}.days_by_labels", float(np.median(labels.harm_h[by_labels])) / HOURS, "days, median"
            ),
        ]
    return rows


def good_rows(found: July) -> list[Row]:
    """A good challenger: never rolled back more than stated, and shown to be no worse in time."""
    outcome = roll_out(traffic_of(found, "challenger", "champion"), runs=BAD_RUNS, days=7 * BAD_WEEKS, seed=19)
    shown = outcome.labels.shown_h
    back = int(np.isfinite(outcome.back_h).sum())
    within = float((shown <= 28 * HOURS).mean())
    return [
        _at_most("rollouts.challenger.rolled_back", back, BAD_RUNS, 0.05),
        _row("rollouts.challenger.shown_within_4_weeks", within, "share", ">= .95", within >= 0.95, BAD_RUNS),
        _plain("rollouts.challenger.days_to_shown", float(np.median(shown)) / HOURS, "days, median"),
    ]


def split_rows() -> list[Row]:
    """Shares by hash, exact and monotone: no unit goes back to the old version while the share grows."""
    units = [f"flight-{n}" for n in range(UNITS)]
    arms = [
        [choose_version("flight-delay", "s", unit, {1: 1 - share, 2: share}) == 2 for unit in units] for share in STEPS
    ]
    drawn = np.array(arms)
    p_values = [
        chisquare([UNITS - int(row.sum()), int(row.sum())], [UNITS * (1 - share), UNITS * share]).pvalue
        for row, share in zip(drawn, STEPS, strict=True)
        if share < 1
    ]
    back = sum(int((former & ~later).sum()) for former, later in pairwise(drawn))
    lowest = float(min(p_values))
    return [
        _row("rollouts.split.chi_square_p", lowest, "p, lowest of 3", ">= .001 on 100,000 units", lowest >= 0.001, 3),
        _row("rollouts.split.units_that_went_back", back, "units", "0", back == 0, 1),
    ]


def interval(count: int, runs: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % bounds of a share."""
    lower = float(beta.ppf(0.025, count, runs - count + 1)) if count else 0.0
    upper = float(beta.ppf(0.975, count + 1, runs - count)) if count < runs else 1.0
    return lower, upper


def _at_most(name: str, count: int, runs: int, limit: float) -> Row:
    lower, upper = interval(count, runs)
    return _row(
        name, count / runs, f"share, 95 % {lower:.3f}-{upper:.3f}", f"lower bound <= {limit}", lower <= limit, runs
    )


def _at_least(name: str, share: float) -> Row:
    return _row(name, share, "share", ">= .99", share >= 0.99, BAD_RUNS)


def _plain(name: str, value: float, unit: str) -> Row:
    return _row(name, value, unit, "told", True, BAD_RUNS)


def _row(name: str, value: float, unit: str, demanded: str, met: bool, runs: int) -> Row:
    return Row(name, float(value), unit, None, None, None, demanded, bool(met), runs, 0.0, 0.0)
