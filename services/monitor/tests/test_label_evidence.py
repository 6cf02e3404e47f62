"""What the labels of a rollout show, by whole streams of pairs and labels: each test on what it can see, and restarts."""

from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Score
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutStarted
from headrace.events.verdicts import Evidence
from headrace.features.outcomes import KnownOutcome
from headrace.project import Binary, Canary, Deployment, Multiclass, Number, Project, Regression
from headrace.project.compile import compile_project
from headrace_monitor.core.label_evidence import LabelEvidence, open_blocks, why_unlabelled
from headrace_monitor.core.label_report import Report

HOUR, DAY = 3600.0, 86_400.0
ALPHA = 0.025
Floats = NDArray[np.float64]


def deployment(label=None, **plan) -> DeploymentDefinition:
    canary = Canary(**{"label_delay": "2h", "min_cycles": 5, **plan})
    found = Deployment("d", "u", [Number("x")], label=label or Binary("y", "6h"), rollout=canary)
    return compile_project(Project("p", deployments=[found])).deployments[0]


def evidence_of(found: DeploymentDefinition, state: RolloutJudged | None = None) -> LabelEvidence:
    started = RolloutStarted("d", "r", 2, "canary", "", found.rollout, 1)
    memory = state or RolloutJudged("d", started)
    blocks = open_blocks(found, found.rollout, memory)
    assert blocks is not None
    return LabelEvidence(blocks, found.rollout, why_unlabelled(found, 1) is None, ALPHA, memory)


class Stream:
    """Requests an hour, whose probability of a label 1 is known to a good model; half of them have a high one."""

    def __init__(self, days: float, per_hour: int = 20, seed: int = 1, share: float = 0.5) -> None:
        rng = np.random.default_rng(seed)
        self.count = int(days * 24 * per_hour)
        self.at_s = np.arange(self.count) * HOUR / per_hour
        daily = np.sin(self.at_s / DAY * 2 * np.pi)
        self.risk = np.clip(np.where(rng.random(self.count) < share, 0.75, 0.15) + 0.1 * daily, 0.02, 0.98)
        self.labels = (rng.random(self.count) < self.risk).astype(float)
        self.known_s = self.at_s + HOUR
        self.rng = rng

    def noisy(self, spread: float) -> Floats:
        logits = np.log(self.risk / (1 - self.risk)) + spread * self.rng.standard_normal(self.count)
        return 1 / (1 + np.exp(-logits))


def play(
    found: LabelEvidence, stream: Stream, new: Floats, control: Floats, numbers: Iterable[int] | None = None
) -> LabelEvidence:
    """The requests and labels in order of time, with a look after every fifty of them."""
    chosen = range(stream.count) if numbers is None else numbers
    events = sorted([(stream.at_s[n], 0, n) for n in chosen] + [(stream.known_s[n], 1, n) for n in chosen])
    for place, (at_s, kind, n) in enumerate(events):
        if kind == 0:
            found.blocks.put(f"u{n}", at_s, score(new[n]), score(control[n]), f"r{n}")
        else:
            found.blocks.add_outcome(KnownOutcome(f"u{n}", stream.labels[n], at_s, f"o{n}"))
        if place % 50 == 0 or place == len(events) - 1:
            settle(found, min(at_s, stream.at_s[-1]))
    return found


def settle(found: LabelEvidence, clock_s: float) -> None:
    while found.close_next(clock_s) is not None:
        pass


def score(value) -> Score | None:
    if np.ndim(value):
        return Score(1, "m", None, tuple(float(number) for number in value))
    return None if np.isnan(value) else Score(1, "m", float(value))


def of(report: Report, metric: str) -> Evidence:
    return next(found for found in report.evidence if found.metric == metric)


def test_an_equally_good_version_passes_after_the_least_cycles_and_not_before() -> None:
    stream = Stream(days=7)
    found = evidence_of(deployment(margin=0.02))
    new, control = stream.noisy(0.1), stream.noisy(0.1)
    first = range(int(4.9 * 24 * 20))
    report = play(found, stream, new, control, first).report
    assert (report.verdict, found.totals["cycles"]) == ("UNMEASURED", 4.0)
    assert of(report, "level").detail.startswith("4 of 5 whole cycles with labels; new minus control, at most ")
    report = play(found, stream, new, control, range(first.stop, stream.count)).report
    assert (report.verdict, found.totals["cycles"]) == ("PASS", 6.0)
    assert (of(report, "level").limit, of(report, "level").blocks) == (0.02, 6)
    assert (of(report, "ranking").verdict, of(report, "gross").verdict) == ("PASS", "PASS")


def test_the_same_version_twice_passes_at_once() -> None:
    stream = Stream(days=0.4)
    found = play(evidence_of(deployment()), stream, stream.risk, stream.risk)
    assert found.report.verdict == "PASS"
    assert of(found.report, "level").detail == "no label could make it worse by more than 0 on any of 140 pairs"


def test_shuffled_scores_fail_by_ranking_within_a_few_hundred_labels_and_the_reason_names_it() -> None:
    stream = Stream(days=3)
    found = play(evidence_of(deployment()), stream, stream.rng.permutation(stream.noisy(0.1)), stream.noisy(0.1))
    ranking = of(found.report, "ranking")
    assert (found.report.verdict, ranking.verdict, ranking.alpha) == ("FAIL", "FAIL", pytest.approx(0.01))
    assert 100 <= ranking.rows < 500
    assert ranking.bound == "it loses over 40% of what its control's ranking is worth over chance, 99 % sure"
    assert ranking.detail.startswith("AUC 0.")


def test_what_keeps_the_order_is_found_by_the_level_and_not_by_the_ranking() -> None:
    stream = Stream(days=16)
    found = play(evidence_of(deployment(margin=0.005)), stream, stream.risk**2, stream.risk)
    level = of(found.report, "level")
    assert (of(found.report, "ranking").verdict, level.verdict, found.report.verdict) == ("PASS", "FAIL", "FAIL")
    assert level.bound == "its Brier score is over 0.005 above its control's, 98.75 % sure"
    assert found.totals["cycles"] >= 5


def test_turned_around_scores_are_found_by_the_score_itself() -> None:
    stream = Stream(days=1)
    found = play(evidence_of(deployment()), stream, 1 - stream.risk, stream.risk)
    gross = of(found.report, "gross")
    assert (gross.verdict, gross.limit, found.report.verdict) == ("FAIL", 0.1, "FAIL")
    assert 100 <= gross.rows <= 160


def test_the_default_margin_is_a_tenth_of_what_the_control_gains_over_a_constant() -> None:
    stream = Stream(days=4)
    found = play(evidence_of(deployment()), stream, stream.noisy(0.1), stream.risk)
    ripe = found.totals["to_s"]
    known = stream.at_s < ripe
    labels, risk = stream.labels[known], stream.risk[known]
    gain = labels.mean() * (1 - labels.mean()) - ((risk - labels) ** 2).mean()
    assert found.totals["margin"] == pytest.approx(min(0.01, 0.1 * gain))
    started = RolloutStarted("d", "r", 2, "canary", "", deployment().rollout, 1)
    known_before = evidence_of(deployment(), RolloutJudged("d", started, usual_gain=0.03))
    play(known_before, stream, stream.noisy(0.1), stream.risk)
    assert known_before.totals["margin"] == pytest.approx(0.003)
    useless = play(evidence_of(deployment()), stream, stream.noisy(0.1), np.full(stream.count, 0.01))
    assert "margin" not in useless.totals
    assert "its control gains nothing over a constant answer" in of(useless.report, "level").detail


@pytest.mark.parametrize(("missing", "verdict"), [("worst", "INCONCLUSIVE"), ("at_random", "PASS")])
def test_labels_that_never_come_count_as_the_plan_says_and_the_other_figure_stands_beside_it(
    missing: str, verdict: str
) -> None:
    stream = Stream(days=9)
    stream.known_s = np.where(stream.rng.random(stream.count) < 0.3, 1e9, stream.known_s)
    found = evidence_of(deployment(margin=0.015, missing=missing))
    play(found, stream, stream.noisy(0.3), stream.noisy(0.3))
    detail = of(found.report, "level").detail
    other = "at random" if missing == "worst" else "the worst"
    assert found.report.verdict == verdict
    assert f"of the labels are missing: if they were {other}, at most 0.0" in detail
    assert (found.totals["high"] > found.totals["other_high"]) == (missing == "worst")


def test_a_label_between_the_delay_and_the_horizon_is_used_when_it_comes() -> None:
    stream = Stream(days=2.5)
    stream.known_s = stream.at_s + np.where(np.arange(stream.count) % 2, 5 * HOUR, HOUR)
    found = play(evidence_of(deployment(margin=0.05)), stream, stream.noisy(0.3), stream.noisy(0.3))
    whole = found.totals["sum_rows"]
    assert found.totals["cycles"] == 2
    # Of the newest cycle only the odd requests of the last hours have no label by then.
    assert whole - found.totals["sum_labelled"] == pytest.approx(3 * 20 / 2, abs=11)
    assert found.totals["labelled"] < 0.6 * whole


def test_a_restart_goes_on_with_the_same_evidence() -> None:
    stream = Stream(days=12, per_hour=12)
    new, control = stream.noisy(0.6), stream.noisy(0.1)
    plan = deployment(margin=0.02)
    straight = play(evidence_of(plan), stream, new, control)
    cut = int(stream.count * 0.7)
    first = play(evidence_of(plan), stream, new, control, range(cut))
    started = RolloutStarted("d", "r", 2, "canary", "", plan.rollout, 1)
    memory = RolloutJudged("d", started, tests=first.tests(), totals=dict(first.totals), open_from_s=first.open_from_s)
    memory = msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=RolloutJudged)
    from_s = memory.open_from_s or 0.0
    again = [n for n in range(stream.count) if stream.at_s[n] >= from_s]
    second = play(evidence_of(plan, memory), stream, new, control, again)
    assert second.totals == straight.totals
    assert second.tests() == straight.tests()
    assert first.totals != straight.totals


def test_many_missing_pairs_leave_no_fair_sample() -> None:
    stream = Stream(days=2)
    found = evidence_of(deployment())
    for n in range(0, stream.count, 20):
        found.blocks.miss(stream.at_s[n])
    report = play(found, stream, 1 - stream.risk, stream.risk).report
    assert report.verdict == "UNMEASURED"
    assert of(report, "missing_pairs").detail.startswith("4.8% of the pairs are missing (")


def test_several_classes_are_ranked_one_against_the_rest() -> None:
    stream = Stream(days=3)
    rng = np.random.default_rng(5)
    stream.labels = rng.choice(5, stream.count, p=[0.5, 0.3, 0.1, 0.06, 0.04]).astype(float)
    sure = np.full((stream.count, 5), 0.1)
    sure[np.arange(stream.count), stream.labels.astype(int)] = 0.6
    plan = deployment(Multiclass("y", ["a", "b", "c", "d", "e"], "6h"))
    found = play(evidence_of(plan), stream, rng.permutation(sure), sure)
    ranking = of(found.report, "ranking")
    assert (found.report.verdict, ranking.verdict) == ("FAIL", "FAIL")
    assert ranking.rows < 400
    assert play(evidence_of(plan), stream, sure, sure).report.verdict == "PASS"


def test_numbers_are_ranked_by_concordance_and_judged_by_their_absolute_error() -> None:
    stream = Stream(days=9)
    stream.labels = 100 * stream.risk + 3 * stream.rng.standard_normal(stream.count)
    guess = 100 * stream.noisy(0.05)
    plan = deployment(Regression("y", 0.0, 100.0, "6h"), margin=0.02)
    shuffled = play(evidence_of(plan), stream, stream.rng.permutation(guess), guess)
    assert (shuffled.report.verdict, of(shuffled.report, "ranking").verdict) == ("FAIL", "FAIL")
    assert of(shuffled.report, "ranking").detail.startswith("concordance ")
    shifted = play(evidence_of(plan), stream, guess + 9, guess)
    level = of(shifted.report, "level")
    assert (of(shifted.report, "ranking").verdict, level.verdict) == ("PASS", "FAIL")
    assert level.bound == "its absolute error is over 0.02 above its control's, 98.75 % sure"


def test_numbers_without_a_range_are_only_ranked() -> None:
    stream = Stream(days=2)
    stream.labels = 100 * stream.risk
    ranged = deployment(Regression("y", 0.0, 100.0, "6h"))
    plan = replace(ranged, label=replace(ranged.label, low=None, high=None))
    found = play(evidence_of(plan), stream, stream.rng.permutation(stream.labels), stream.labels)
    assert (found.report.verdict, of(found.report, "ranking").verdict) == ("FAIL", "FAIL")
    fine = play(evidence_of(plan), stream, stream.labels + 1, stream.labels)
    assert of(fine.report, "ranking").rows == fine.totals["labelled"]
    assert (fine.report.verdict, [e.metric for e in fine.report.evidence]) == ("UNMEASURED", ["level", "ranking"])


def test_a_rare_label_waits_for_enough_of_them() -> None:
    stream = Stream(days=6)
    stream.labels = (np.arange(stream.count) % 240 == 7).astype(float)
    good = np.where(stream.labels == 1, 0.6, 0.01) + 0.001 * stream.rng.random(stream.count)
    found = play(evidence_of(deployment(margin=0.01)), stream, good, stream.rng.permutation(good))
    assert (found.report.verdict, of(found.report, "ranking").verdict) == ("INCONCLUSIVE", "UNMEASURED")
    assert "of them rarer ones (20 needed)" in of(found.report, "level").detail


def test_requests_that_only_one_version_could_score_have_the_worst_score() -> None:
    stream = Stream(days=1)
    failing = np.where(stream.rng.random(stream.count) < 0.3, np.nan, stream.risk)
    found = play(evidence_of(deployment()), stream, failing, stream.risk)
    assert (found.report.verdict, of(found.report, "gross").verdict) == ("FAIL", "FAIL")


def test_blocks_are_whole_parts_of_a_cycle_and_no_more_than_their_bound() -> None:
    def width(**plan) -> float:
        found = deployment(Binary("y", "30d"), label_delay=None, give_up_after="900d", **plan)
        blocks = open_blocks(found, found.rollout, RolloutJudged("d", RolloutStarted("d", "r", 2, "c", "", None, 1)))
        assert blocks is not None
        return blocks.block_s

    assert width(block="1h") == HOUR
    assert width(block="1m") == pytest.approx(DAY / int(DAY / (30 * DAY / 5000)))
    assert width(block="2h", season=None) == 2 * HOUR
    assert replace(deployment().rollout, season_s=None).season_s is None


def test_hours_without_a_single_pair_raise_nothing_and_count_as_no_cycle() -> None:
    found = evidence_of(deployment(season=None))
    found.blocks.miss(10.0)
    found.blocks.put("u", 4000.0, score(0.2), score(0.3), "r")
    settle(found, 40 * HOUR)
    assert (found.report.verdict, found.totals["cycles"]) == ("UNMEASURED", 0.0)


def test_cycles_without_a_label_do_not_count() -> None:
    stream = Stream(days=16)
    stream.known_s = np.where(stream.at_s < DAY, stream.known_s, 1e9)
    for missing in ("at_random", "worst"):
        plan = deployment(margin=0.02, missing=missing, min_cycles=14)
        found = play(evidence_of(plan), stream, stream.noisy(0.5), stream.risk)
        assert found.report.verdict == "UNMEASURED"
        assert of(found.report, "level").detail.startswith("1 of 14 whole cycles with labels; new minus control")
        assert of(found.report, "superiority").verdict == "INCONCLUSIVE"


def test_beside_a_control_that_ranks_by_chance_there_is_no_ranking_to_lose() -> None:
    stream = Stream(days=9)
    useless = stream.rng.permutation(stream.risk)
    turned = np.where(stream.rng.random(stream.count) < 0.4, 1 - stream.risk, useless)
    for control in (useless, turned):
        found = play(
            evidence_of(deployment(margin=0.02)), stream, control + 1e-6 * stream.rng.random(stream.count), control
        )
        ranking = of(found.report, "ranking")
        assert (ranking.verdict, found.report.verdict) == ("UNMEASURED", "PASS")
        assert ranking.detail.endswith("that ranks hardly better than chance, so there is nothing to lose")


def test_the_level_rejects_nobody_before_the_least_labels() -> None:
    stream = Stream(days=30, per_hour=1, share=0.0)
    stream.labels = (np.arange(stream.count) == 700).astype(float)
    right, low = np.full(stream.count, 0.01), np.full(stream.count, 0.002)
    found = play(evidence_of(deployment(margin=0.0, min_cycles=14)), stream, right, low)
    assert of(found.report, "level").verdict == "INCONCLUSIVE"
    assert found.report.verdict == "INCONCLUSIVE"


def test_a_number_outside_the_declared_range_counts_as_the_end_of_it() -> None:
    stream = Stream(days=2)
    stream.labels = np.where(np.arange(stream.count) % 7 == 0, 400.0, 100 * stream.risk)
    failing = np.where(np.arange(stream.count) % 7 == 0, np.nan, 100 * stream.risk)
    plan = deployment(Regression("y", 0.0, 100.0, "6h"))
    found = play(evidence_of(plan), stream, failing, 100 * stream.risk)
    assert 0 < (of(found.report, "gross").measured or 0) < 0.2
    assert found.tests()["labels.gross"]["wealth"] == pytest.approx(found.tests()["labels.gross"]["wealth"])


def test_a_season_shorter_than_a_block_may_be_is_taken_several_times() -> None:
    found = deployment(Binary("y", "90d"), label_delay=None, give_up_after="900d", season="1m", block="1m")
    blocks = open_blocks(found, found.rollout, RolloutJudged("d", RolloutStarted("d", "r", 2, "c", "", None, 1)))
    assert blocks is not None
    assert blocks.block_s == 60.0 * np.ceil(90 * DAY / 5000 / 60)
