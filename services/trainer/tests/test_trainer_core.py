"""Triggers, splits, gates, and that equal fits have equal digests."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

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
from headrace.policy.losses import Yardstick, yardstick_of
from headrace.project import Binary, Deployment, Number, Project, Retraining, Training
from headrace.project.compile import compile_project
from headrace.project.definition import DeploymentDefinition, GateDefinition
from headrace_trainer.core.gates import judge, may_register, used
from headrace_trainer.core.splits import masks, span_of
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
    return on_request(runs, request, ident, deployment, clock_s, NOW_MS)


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


def test_the_holdout_is_the_newest_week_whose_labels_are_all_due() -> None:
    span = span_of(DEPLOYMENT, 100 * DAY)
    fits, gates = masks(span, np.arange(60, 101) * DAY)
    days = np.arange(60, 101)
    assert (days[gates].min(), days[gates].max()) == (92, 98)
    assert (days[fits].min(), days[fits].max()) == (70, 90)


COIN = Yardstick("binary", np.asarray(0.5))


def test_a_model_that_knows_nothing_does_not_beat_the_prior() -> None:
    labels = np.array([0.0, 1.0] * 50)
    flat = np.full(100, 0.5)
    result = judge(GateDefinition("beats_prior"), "m", labels, np.arange(100.0), flat, None, COIN)
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
    assert judge(gate, "m", labels, at_s, scores, champion, COIN).verdict == verdict


def test_rows_that_the_champion_was_trained_on_do_not_count_for_it() -> None:
    labels, at_s = np.array([1.0, 0.0] * 50), np.arange(100) * DAY / 10
    flattered = np.where(at_s < 5 * DAY, np.nan, 0.5)
    gate = GateDefinition("not_worse_than_champion", 0.01)
    result = judge(gate, "m", labels, at_s, np.full(100, 0.5), flattered, COIN)
    assert (result.verdict, result.measured) == ("PASS", 0.0)
    assert "on 50 rows" in result.detail
    assert judge(gate, "m", labels, at_s, np.full(100, 0.5), np.full(100, np.nan), COIN).verdict == "UNMEASURED"


def test_a_number_is_judged_by_its_squared_error_and_the_spread_of_what_was_fitted_on() -> None:
    measured = yardstick_of("number", np.array([0.0, 20.0]))
    labels, at_s = np.array([0.0, 20.0] * 50), np.arange(100) * DAY / 10
    result = judge(GateDefinition("beats_prior"), "m", labels, at_s, labels + 5.0, None, measured)
    assert (result.verdict, result.measured) == ("PASS", 0.75)
    assert result.detail == "squared error in label variances 0.2500, the prior's 1.0000"
    gate = GateDefinition("not_worse_than_champion", 0.01)
    assert judge(gate, "m", labels, at_s, labels + 5.0, labels + 1.0, measured).measured == pytest.approx(0.24)


def test_classes_are_judged_by_the_share_that_the_true_one_was_given() -> None:
    labels, at_s = np.array([0.0, 1.0, 2.0, 2.0] * 25), np.arange(100) * DAY / 10
    measured = yardstick_of("classes", labels, 3)
    scores = np.eye(3)[labels.astype(int)] * 0.7 + 0.1
    result = judge(GateDefinition("beats_prior"), "m", labels, at_s, scores, None, measured)
    assert (result.verdict, result.measured) == (
        "PASS",
        pytest.approx(np.log(0.8) - np.log(0.25) / 2 - np.log(0.5) / 2),
    )
    champion = np.where((at_s < 5 * DAY)[:, None], np.nan, scores)
    beside = judge(GateDefinition("not_worse_than_champion"), "m", labels, at_s, scores, champion, measured)
    assert (beside.verdict, beside.measured) == ("PASS", 0.0)
    assert "on 50 rows" in beside.detail


def test_no_champion_is_unmeasured_which_is_not_failing() -> None:
    result = judge(
        GateDefinition("not_worse_than_champion", 0.01), "m", np.ones(2), np.zeros(2), np.ones(2), None, COIN
    )
    assert (result.verdict, may_register([result])) == ("UNMEASURED", True)


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
    waivers = (Waiver("a", "ann", "an experiment"),)
    accepted = asked(Runs(), RetrainRequested("d", "manual", "r", "ann", waivers=waivers), "r1", DEPLOYMENT, 0.0)
    assert isinstance(accepted, RetrainAccepted)
    assert accepted.waivers == waivers
