"""Triggers, splits, gates, and that equal fits have equal digests."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from headrace.events.definition import DeploymentDefinition, GateDefinition
from headrace.events.registry import GateResult, Waiver
from headrace.events.training import (
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
)
from headrace.models.digest import model_digest
from headrace.models.skops_format import dump, load
from headrace.project import Binary, Deployment, Number, Project, Retraining, Training
from headrace.project.compile import compile_project
from headrace.stats.losses import Yardstick, yardstick_of
from headrace_trainer.core.change_point import Change, history_of, locate
from headrace_trainer.core.closed_windows import closed_until
from headrace_trainer.core.fitting import fit_gated
from headrace_trainer.core.gates import blocking, gates_of, judge, may_register, undecided, used
from headrace_trainer.core.intervals import estimate
from headrace_trainer.core.splits import Span, masks, span_of, wanted_after, why_not
from headrace_trainer.core.target import Target
from headrace_trainer.core.triggers import Runs, apply, on_request

DAY = 86_400.0


def build(signature: object) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=5, early_stopping=False, random_state=0)


DEPLOYMENT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d",
                "u",
                [Number("x")],
                label=Binary("y", "24h"),
                training=Training(build, history="30d", holdout="7d", embargo="1d"),
                retraining=Retraining(cooldown="7d"),
            )
        ],
    )
).deployments[0]


NOW_MS = int(200 * DAY * 1000)


def asked(
    runs: Runs, request: RetrainRequested, ident: str, deployment: DeploymentDefinition | None, clock_s: float
) -> RetrainAccepted | RetrainCoalesced | RetrainRefused | None:
    """The answer to a request of 200 days after the epoch."""
    step = on_request(runs, request, ident, deployment, clock_s, NOW_MS)
    return step.facts[0] if step.facts else None


def request(cause: str = "drift") -> RetrainRequested:
    return RetrainRequested("d", cause, "because", "test")


def test_a_second_request_joins_the_run_under_way() -> None:
    accepted = asked(Runs(), request(), "r1", DEPLOYMENT, 0.0)
    assert isinstance(accepted, RetrainAccepted)
    joined = asked(apply(Runs(), accepted), request(), "r2", DEPLOYMENT, 1.0)
    assert joined == RetrainCoalesced("d", accepted.run, "r2")


def test_drifts_wait_for_the_cool_down_and_people_do_not() -> None:
    accepted = asked(Runs(), request(), "r1", DEPLOYMENT, 0.0)
    assert isinstance(accepted, RetrainAccepted)
    runs = apply(apply(Runs(), accepted), TrainingFinished("d", accepted.run, "registered", ""))
    refused = asked(runs, request(), "r2", DEPLOYMENT, 3 * DAY)
    assert isinstance(refused, RetrainRefused)
    assert "96 h of event time are left" in refused.reason
    assert isinstance(asked(runs, request("manual"), "r3", DEPLOYMENT, 3 * DAY), RetrainAccepted)
    assert isinstance(asked(runs, request(), "r4", DEPLOYMENT, 7 * DAY), RetrainAccepted)


@pytest.mark.parametrize("outcome", ["waiting", "rejected", "failed"])
def test_a_run_of_which_no_version_came_begins_no_cool_down(outcome: str) -> None:
    accepted = asked(Runs(), request(), "r1", DEPLOYMENT, 0.0)
    assert isinstance(accepted, RetrainAccepted)
    runs = apply(apply(Runs(), accepted), TrainingFinished("d", accepted.run, outcome, ""))
    assert isinstance(asked(runs, request(), "r2", DEPLOYMENT, DAY), RetrainAccepted)


def test_a_request_is_answered_once() -> None:
    runs = apply(Runs(), asked(Runs(), request(), "r1", DEPLOYMENT, 0.0))
    assert asked(runs, request(), "r1", DEPLOYMENT, 0.0) is None


@pytest.mark.parametrize(
    ("deployment", "reason"), [(None, "no applied project declares"), ("bare", "declares no training")]
)
def test_what_cannot_be_trained_is_refused_with_the_reason(deployment: str | None, reason: str) -> None:
    bare = compile_project(Project("p", [Deployment("d", "u", [Number("x")])])).deployments[0] if deployment else None
    refused = asked(Runs(), request(), "r", bare, 0.0)
    assert isinstance(refused, RetrainRefused)
    assert reason in refused.reason


def span_at(at_s: NDArray[np.float64], to_s: float, **more: float) -> Span:
    assert DEPLOYMENT.training is not None
    return span_of(DEPLOYMENT.training, at_s, to_s - 30 * DAY, to_s, **more)


def test_the_holdout_is_the_newest_week_with_a_day_left_out_before_it() -> None:
    days = np.arange(60, 101)
    fits, gates = masks(span_at(days * DAY, 99 * DAY), days * DAY)
    assert (days[gates].min(), days[gates].max()) == (92, 98)
    assert (days[fits].min(), days[fits].max()) == (69, 90)


def test_a_short_history_is_split_by_share() -> None:
    hours = np.arange(96 * 24) * 3600.0
    fits, gates = masks(span_at(hours[: 4 * 24], 4 * DAY), hours[: 4 * 24])
    assert (fits.sum(), gates.sum()) == (64, 28)


def test_after_a_change_the_newest_third_of_the_rows_beyond_it_gates() -> None:
    at_s = np.arange(30_000) * DAY / 1000
    span = span_at(at_s, 30 * DAY, changed_at_s=27 * DAY)
    fits, gates = masks(span, at_s)
    assert gates.sum() == 1000
    assert span.holdout_s == 29 * DAY
    assert fits[27_000:].sum() == 1800
    assert fits[:27_000].all()
    long_ago = span_at(at_s, 30 * DAY, changed_at_s=2 * DAY)
    assert long_ago.holdout_s == 23 * DAY


def test_the_holdout_begins_where_the_champions_rows_end() -> None:
    at_s = np.arange(30_000) * DAY / 1000
    assert span_at(at_s, 30 * DAY, fair_from_s=26 * DAY).holdout_s == 26 * DAY
    assert span_at(at_s, 30 * DAY, fair_from_s=29.99 * DAY).holdout_s == 23 * DAY


def test_too_few_rows_name_the_argument_and_how_many_are_missing() -> None:
    assert DEPLOYMENT.training is not None
    at_s = np.arange(600) * DAY / 30
    labels = np.arange(600) % 2.0
    reason, missing = why_not(DEPLOYMENT.training, span_at(at_s, 20 * DAY), labels, at_s)
    assert "holdout=7d (here 5.8 d) leaves 400 labelled rows to fit on, at least min_rows=1,000 are wanted" in reason
    assert missing == 600


def test_a_retrain_waits_for_a_tenth_of_the_history_at_most_a_thousand() -> None:
    assert DEPLOYMENT.training is not None
    assert [wanted_after(DEPLOYMENT.training, rows) for rows in (2_000, 5_001, 60_000)] == [200, 501, 1000]


def test_rows_of_windows_that_have_closed_are_used_and_no_newer_ones() -> None:
    at_s = np.arange(100, 110, 0.01) * DAY
    labels = np.zeros(len(at_s))
    clock_s = 109.5 * DAY
    asked = at_s < clock_s
    assert closed_until(DEPLOYMENT, at_s[asked], labels[asked], clock_s) == 109 * DAY
    early = np.where((at_s >= 108 * DAY) & (np.arange(len(at_s)) % 10 == 0), np.nan, labels)
    assert closed_until(DEPLOYMENT, at_s[asked], early[asked], clock_s) == 108.5 * DAY
    assert closed_until(DEPLOYMENT, at_s[:0], labels[:0], clock_s) >= 108.5 * DAY


def test_older_rows_stay_or_go_by_the_loss_on_newer_ones_and_the_holdout_has_no_say() -> None:
    at_s = np.arange(30_000) * DAY / 1000
    span = span_at(at_s, 30 * DAY, changed_at_s=27 * DAY)
    judged_on: list[int] = []
    rng = np.random.default_rng(0)

    def chosen(*losses: float) -> float:
        remaining = iter(losses)

        def losses_of(fits: NDArray[np.bool_], judges: NDArray[np.bool_]) -> NDArray[np.float64]:
            assert not (fits & judges).any()
            assert at_s[fits | judges].max() < span.holdout_s
            judged_on.append(int(judges.sum()))
            return next(remaining) + rng.normal(0, 0.3, int(judges.sum()))

        return history_of(span, at_s, np.arange(30_000) % 2.0, losses_of)[0]

    assert chosen(0.1, 0.2, 0.3) == span.from_s
    assert chosen(0.3, 0.1, 0.2) == 27 * DAY
    assert chosen(0.3, 0.2, 0.1) == 27.6 * DAY
    assert chosen(0.3, 0.105, 0.1) == 27 * DAY  # by so much a coin is lower
    assert set(judged_on) == {600}
    span = span_at(at_s, 30 * DAY, changed_at_s=27 * DAY, begun_s=25 * DAY)
    assert chosen(0.3, 0.1, 0.2, 0.3) == 25 * DAY
    assert chosen(0.3, 0.2, 0.1, 0.3) == 27 * DAY


def test_the_change_is_where_the_champions_loss_steps_up() -> None:
    rng = np.random.default_rng(0)
    at_s = np.arange(4000) * DAY / 1000
    wrong = rng.random(4000) < np.where(at_s < 2.4 * DAY, 0.05, 0.4)
    losses = np.where(wrong, 3.0, 0.05)
    for finding_s in (2 * DAY, 0.5 * DAY):
        found = locate(finding_s, DAY, at_s, losses)
        assert found.begun_s == found.complete_s == pytest.approx(2.4 * DAY, abs=0.03 * DAY)
    worse_and_worse = np.where(at_s < 1 * DAY, 0.2, np.where(at_s < 3 * DAY, 0.5, 0.8)) + rng.normal(0, 0.3, 4000)
    assert locate(1 * DAY, DAY, at_s, worse_and_worse).begun_s == pytest.approx(1 * DAY, abs=0.1 * DAY)
    assert locate(2 * DAY, DAY, at_s, np.full(4000, np.nan)) == Change(2 * DAY, 2 * DAY)


def test_of_a_change_that_comes_by_and_by_rows_are_counted_from_where_most_of_it_has_come() -> None:
    at_s = np.arange(4000) * DAY / 1000
    share = np.clip(at_s / DAY - 1.5, 0.0, 1.0)
    for seed in range(20):
        is_new = np.random.default_rng(seed).random(4000) < share
        found = locate(1 * DAY, DAY, at_s[:2500], np.where(is_new, 3.0, 0.05)[:2500])
        assert 1.9 * DAY < found.complete_s < 2.5 * DAY
        assert found.begun_s < found.complete_s


COIN = Yardstick("binary", np.asarray(0.5))


def judged(gate: GateDefinition, *rows: Any) -> GateResult:
    """A gate that is asked."""
    found = judge(gate, "m", *rows)
    assert found is not None
    return found


def test_a_model_that_knows_nothing_does_not_beat_the_prior() -> None:
    labels = np.array([0.0, 1.0] * 50)
    flat = np.full(100, 0.5)
    result = judged(GateDefinition("beats_prior"), labels, np.arange(100.0), flat, None, COIN)
    assert result.verdict == "FAIL"
    assert not may_register([result])


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "PASS"), (-0.2, "PASS"), (0.3, "FAIL")])
def test_a_version_is_compared_with_the_champion_on_the_same_rows(shift: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(700) < 0.5).astype(float)
    champion = np.where(labels == 1, 0.6, 0.4)
    scores = np.where(labels == 1, 0.6 - shift, 0.4 + shift)
    at_s = np.arange(700) * DAY / 100
    gate = GateDefinition("not_worse_than_champion", 0.01)
    assert judged(gate, labels, at_s, scores, champion, COIN).verdict == verdict


def test_rows_that_the_champion_was_trained_on_do_not_count_for_it() -> None:
    labels, at_s = np.array([1.0, 0.0] * 50), np.arange(100) * DAY / 10
    flattered = np.where(at_s < 5 * DAY, np.nan, 0.5)
    gate = GateDefinition("not_worse_than_champion", 0.01)
    result = judged(gate, labels, at_s, np.full(100, 0.5), flattered, COIN)
    assert (result.verdict, result.measured) == ("PASS", 0.0)
    assert "50 rows" in result.detail
    assert judged(gate, labels, at_s, np.full(100, 0.5), np.full(100, np.nan), COIN).verdict == "UNMEASURED"


def test_a_number_is_judged_by_its_squared_error_and_the_spread_of_what_was_fitted_on() -> None:
    measured = yardstick_of("number", np.array([0.0, 20.0]))
    labels, at_s = np.array([0.0, 20.0] * 50), np.arange(100) * DAY / 10
    result = judged(GateDefinition("beats_prior"), labels, at_s, labels + 5.0, None, measured)
    assert (result.verdict, result.measured) == ("PASS", 0.75)
    assert result.detail.startswith("squared error in label variances 0.2500, the prior's 1.0000 (100 rows, ")
    gate = GateDefinition("not_worse_than_champion", 0.01)
    assert judged(gate, labels, at_s, labels + 5.0, labels + 1.0, measured).measured == pytest.approx(0.24)


def test_classes_are_judged_by_the_share_that_the_true_one_was_given() -> None:
    labels, at_s = np.array([0.0, 1.0, 2.0, 2.0] * 25), np.arange(100) * DAY / 10
    measured = yardstick_of("classes", labels, 3)
    scores = np.eye(3)[labels.astype(int)] * 0.7 + 0.1
    result = judged(GateDefinition("beats_prior"), labels, at_s, scores, None, measured)
    assert (result.verdict, result.measured) == (
        "PASS",
        pytest.approx(np.log(0.8) - np.log(0.25) / 2 - np.log(0.5) / 2),
    )
    champion = np.where((at_s < 5 * DAY)[:, None], np.nan, scores)
    beside = judged(GateDefinition("not_worse_than_champion"), labels, at_s, scores, champion, measured)
    assert (beside.verdict, beside.measured) == ("PASS", 0.0)
    assert "50 rows" in beside.detail


def test_without_a_champion_it_is_not_asked() -> None:
    gate = GateDefinition("not_worse_than_champion", 0.01)
    assert judge(gate, "m", np.ones(2), np.zeros(2), np.ones(2), None, COIN) is None


def test_what_should_compare_and_cannot_blocks_unless_the_project_says_otherwise() -> None:
    unmeasured = [GateResult("not_worse_than_champion", "UNMEASURED", None, 0.01, "m")]
    assert not may_register(unmeasured)
    assert blocking(unmeasured, (), [GateDefinition("not_worse_than_champion", 0.01, "passes")]) == []
    assert blocking(unmeasured, (Waiver("not_worse_than_champion", "ann", "an experiment"),)) == []


def test_a_gate_passes_by_its_interval_and_says_how_many_rows_would_decide() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(700) < 0.5).astype(float)
    at_s = np.arange(700) * DAY / 100
    champion = np.clip(np.where(labels == 1, 0.62, 0.38) + rng.normal(0, 0.1, 700), 0.01, 0.99)
    scores = np.clip(np.where(labels == 1, 0.62, 0.38) + rng.normal(0, 0.1, 700), 0.01, 0.99)
    result = judged(GateDefinition("not_worse_than_champion", 0.01), labels, at_s, scores, champion, COIN)
    assert result.verdict == "INCONCLUSIVE"
    assert result.measured is not None
    assert result.measured < 0.01
    assert re.search(r"about [\d,]+ rows would decide", result.detail)
    assert (
        judged(GateDefinition("not_worse_than_champion", 0.1), labels, at_s, scores, champion, COIN).verdict == "PASS"
    )


def test_what_rows_cannot_tell_goes_to_a_rollout_that_compares_and_is_not_switched_without_one() -> None:
    result = GateResult("not_worse_than_champion", "INCONCLUSIVE", 0.004, 0.01, "m")
    assert blocking([result]) == []
    assert undecided([result], (), "canary") is None
    assert undecided([result], (), "blue_green") == result
    assert undecided([result], (Waiver(result.gate, "ann", "I have looked"),), "blue_green") is None
    assert blocking([GateResult("beats_prior", "INCONCLUSIVE", 0.004, 0.0, "m")]) != []


def test_a_champion_that_a_change_has_left_worse_than_the_prior_is_no_measure() -> None:
    labels = np.array([1.0, 0.0] * 50)
    gates = (GateDefinition("not_worse_than_champion", 0.01),)
    wrong, right = np.where(labels == 1, 0.1, 0.9), np.where(labels == 1, 0.9, 0.1)
    assert [gate.kind for gate in gates_of(gates, 5.0, labels, wrong, COIN)] == [
        "not_worse_than_champion",
        "beats_prior",
    ]
    assert gates_of(gates, None, labels, wrong, COIN) == gates_of(gates, 5.0, labels, right, COIN) == list(gates)


@pytest.mark.parametrize("days", [7, 2])
def test_one_in_twenty_versions_of_no_use_passes_at_the_border_and_no_more(days: int) -> None:
    rng = np.random.default_rng(5)
    at_s = np.arange(700) * days * DAY / 700
    passed = 0
    for _ in range(400):
        weather = np.repeat(rng.normal(0, 0.02, days * 24), 700 // (days * 24) + 1)[:700]
        found = estimate(weather + rng.standard_exponential(700) - 1.0, at_s)
        passed += found.low > 0
    assert passed / 400 < 0.08


def test_equal_fits_have_equal_digests_and_another_fit_another_one() -> None:
    rng = np.random.default_rng(1)
    matrix, labels = rng.random((500, 4)).astype(np.float32), (rng.random(500) < 0.5).astype(float)
    first, second = (build(None).fit(matrix, labels) for _ in range(2))
    assert model_digest(first) == model_digest(second)
    assert model_digest(first) != model_digest(build(None).fit(matrix[:400], labels[:400]))


def test_a_saved_model_scores_the_same_bits() -> None:
    rng = np.random.default_rng(1)
    matrix, labels = rng.random((500, 4)).astype(np.float32), (rng.random(500) < 0.5).astype(float)
    model = build(None).fit(matrix, labels)
    assert load(dump(model)).predict_proba(matrix).tobytes() == model.predict_proba(matrix).tobytes()


def test_a_gate_that_failed_passes_by_the_word_of_a_named_person_only() -> None:
    results = [GateResult("a", "FAIL", 1.0, 0.0, "m"), GateResult("b", "PASS", 1.0, 0.0, "m")]
    assert not may_register(results)
    assert not may_register(results, [Waiver("a", "", "no name"), Waiver("b", "ann", "another gate")])
    waivers = (Waiver("a", "ann", "an experiment"), Waiver("b", "ann", "not needed"))
    assert may_register(results, waivers)
    assert used(results, waivers) == waivers[:1]


def test_waivers_go_with_the_run_that_was_accepted() -> None:
    waivers = (Waiver("beats_prior", "ann", "an experiment"),)
    accepted = asked(Runs(), RetrainRequested("d", "manual", "r", "ann", waivers=waivers), "r1", DEPLOYMENT, 0.0)
    assert isinstance(accepted, RetrainAccepted)
    assert accepted.waivers == waivers


@pytest.mark.parametrize("is_another_world", [False, True])
def test_a_change_is_remembered_where_the_rows_before_it_were_dropped(is_another_world: bool) -> None:
    rng = np.random.default_rng(0)
    at_s = np.arange(6_000) * DAY / 1000
    matrix = rng.normal(size=(6_000, 4)).astype(np.float32)
    turned = (at_s >= 5 * DAY) & is_another_world
    labels = ((matrix.sum(axis=1) + rng.normal(size=6_000) > 0) != turned).astype(np.float64)
    span = span_at(at_s, 6 * DAY, changed_at_s=5 * DAY)
    gated = fit_gated(DEPLOYMENT, Target("binary"), span, lambda: build(None), matrix, labels, at_s, None)
    dropped = (gated.span.from_s, gated.changed_at_s)
    assert dropped == ((5 * DAY, 5 * DAY) if is_another_world else (span.from_s, None))
