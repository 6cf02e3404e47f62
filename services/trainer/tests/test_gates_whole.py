"""Whole results of gates, and the whole command to register what passed them."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from services.trainer.tests.test_training_set import DEPLOYMENT, chosen

from headrace.events.definition import GateDefinition
from headrace.events.monitor import SkewSeen
from headrace.events.registry import (
    ArtifactPlace,
    ColumnPin,
    GateResult,
    GoldenRow,
    Lineage,
    RegisterVersion,
    Signature,
    Waiver,
)
from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace.stats.losses import Yardstick, yardstick_of
from headrace_trainer.core import endings
from headrace_trainer.core.closed_windows import closed_until
from headrace_trainer.core.fitting import Fitted, Gated, fit_gated, refit
from headrace_trainer.core.gates import (
    PARITY_ROWS,
    blocking,
    fair_rows,
    gates_of,
    judge,
    judge_onnx,
    judge_parity,
    undecided,
    used,
)
from headrace_trainer.core.intervals import Estimate, estimate
from headrace_trainer.core.profiles import slices_of
from headrace_trainer.core.registration import Published, Trained, command_of, why_too_large
from headrace_trainer.core.splits import Span
from headrace_trainer.core.target import Target
from headrace_trainer.core.training_set import LabelledRows

DAY = 86_400.0
AT_S = np.arange(100) * DAY / 10
LABELS = np.array([0.0, 20.0] * 50)
NUMBERS: Yardstick = yardstick_of("number", np.array([0.0, 20.0]))
PRIOR, CHAMPION = "beats_prior", "not_worse_than_champion"
BLOCKS = "(100 rows, error 0.0000 by 10 blocks of a day; between {0} and {0})"


def judged(
    gate: GateDefinition, error: Any, champion: Any = None, rows: int = 100, at_s: Any = AT_S
) -> GateResult | None:
    scores, beside = LABELS + error, None if champion is None else LABELS + champion
    return judge(
        gate, "m", LABELS[:rows], at_s[:rows], scores[:rows], beside if beside is None else beside[:rows], NUMBERS
    )


def test_a_gate_says_what_was_measured_how_and_on_how_many_rows() -> None:
    squares = "squared error in label variances"
    assert judged(GateDefinition(PRIOR, 0.1), 5.0) == GateResult(
        PRIOR, "PASS", pytest.approx(0.75), 0.1, "m", f"{squares} 0.2500, the prior's 1.0000 {BLOCKS.format('+0.7500')}"
    )
    assert judged(GateDefinition(CHAMPION, 0.1), 5.0, 4.0) == GateResult(
        CHAMPION,
        "PASS",
        pytest.approx(0.09),
        0.1,
        "m",
        f"{squares} minus the champion's: +0.0900 {BLOCKS.format('+0.0900')}",
    )
    assert judged(GateDefinition(CHAMPION, 0.1), 5.0) is None
    assert judged(GateDefinition("another", 0.1), 5.0) == GateResult(
        "another", "FAIL", None, None, "m", "no gate is called 'another'"
    )


def test_too_few_rows_are_not_measured() -> None:
    few = "squared error in label variances 0.2500, the prior's 1.0000 on 29 rows: too few to say how sure that is, 30 are wanted"
    assert judged(GateDefinition(PRIOR, 0.1), 5.0, None, 29, np.zeros(100)) == GateResult(
        PRIOR, "UNMEASURED", 0.75, 0.1, "m", few
    )
    unknown = np.where(np.arange(100) < 71, math.nan, 0.0)
    fair = "29 labelled rows are newer than what the champion was trained on, 30 are wanted"
    assert judged(GateDefinition(CHAMPION, 0.1), 5.0, unknown) == GateResult(
        CHAMPION, "UNMEASURED", None, 0.1, "m", fair
    )
    at_thirty = judged(
        GateDefinition(CHAMPION, 0.3), 5.0, np.where(np.arange(100) < 70, math.nan, 0.0), at_s=np.zeros(100)
    )
    assert at_thirty is not None
    assert (at_thirty.verdict, at_thirty.measured) == ("PASS", 0.25)


def test_what_the_interval_leaves_open_says_what_would_decide() -> None:
    error = np.repeat([4.0, 6.0], 10).tolist() * 5
    found = judged(GateDefinition(PRIOR, 0.74), np.array(error))
    assert found is not None
    assert (found.verdict, found.measured) == ("INCONCLUSIVE", pytest.approx(0.74))
    assert found.detail.endswith("; no number of rows at hand would decide")
    about = judged(GateDefinition(PRIOR, 0.72), np.array(error))
    assert about is not None
    interval = estimate(NUMBERS.prior_losses(LABELS) - NUMBERS.losses(LABELS + np.array(error), LABELS), AT_S)
    assert about.detail.endswith(f"; about {interval.rows_to_decide(0.72):,} rows would decide")


def test_after_a_change_a_champion_no_better_than_the_prior_asks_for_the_prior_too() -> None:
    gates = (GateDefinition(CHAMPION, 0.01),)
    lost = LABELS + 11.0
    assert gates_of(gates, 1.0, LABELS, lost, NUMBERS) == [*gates, GateDefinition(PRIOR)]
    both = (*gates, GateDefinition(PRIOR, 0.5))
    assert gates_of(both, 1.0, LABELS, lost, NUMBERS) == list(both)
    for changed, champion in (
        (None, lost),
        (1.0, None),
        (1.0, np.full(100, math.nan)),
        (1.0, LABELS + 10.0),
        (1.0, np.where(np.arange(100) < 99, math.nan, LABELS)),
    ):
        assert gates_of(gates, changed, LABELS, champion, NUMBERS) == list(gates)
    assert fair_rows(np.array([[0.5, math.nan], [0.5, 0.5]])).tolist() == [False, True]


def test_the_parity_of_served_rows_names_the_worst_feature() -> None:
    skew = SkewSeen("carrier.mean", 0.125, "another unit")
    assert judge_parity(1_234, None, 1.0, skew) is judge_parity(1_234, 1.0, None, skew) is None
    fine = "1,234 served rows, 99.50% equal to all that was available at their instants"
    assert judge_parity(1_234, 1.0, 0.995, skew) == GateResult("parity_with_serving", "PASS", 1.0, 1.0, "", fine)
    assert judge_parity(1_234, 0.9, 0.995, None) == GateResult("parity_with_serving", "FAIL", 0.9, 1.0, "", fine)
    worst = "carrier.mean differs in 12.5% of 1,234 rows: another unit"
    assert judge_parity(1_234, 0.9, 0.995, skew) == GateResult("parity_with_serving", "FAIL", 0.9, 1.0, "", worst)


BINARY = Target("binary")


def onnx(rows: int, apart: list[float], *, of: float = 0.3, different: str | None = None) -> GateResult:
    scores = np.full(rows, of)
    return judge_onnx("m", BINARY, scores, scores + np.array(apart + [0.0] * (rows - len(apart))), different)


def test_a_converted_model_serves_where_its_scores_are_the_same() -> None:
    assert onnx(PARITY_ROWS - 1, []) == GateResult(
        "onnx_parity", "UNMEASURED", None, 0.999, "m", "only 999 rows to replay; skops serves"
    )
    same = "100.0000% of 1000 rows within 0.0001 (largest 5e-05), 0 labels flipped"
    assert onnx(1_000, [5e-5]) == GateResult("onnx_parity", "PASS", 1.0, 0.999, "m", f"{same}; ONNX serves")
    one = onnx(1_000, [0.001])
    assert (one.verdict, one.measured, one.detail) == (
        "PASS",
        0.999,
        "99.9000% of 1000 rows within 0.0001 (largest 0.001), 0 labels flipped; ONNX serves",
    )
    assert (onnx(1_000, [0.001] * 2).verdict, onnx(1_000, [5e-5], of=0.49999).verdict) == (
        "INCONCLUSIVE",
        "INCONCLUSIVE",
    )
    golden = onnx(1_000, [5e-5], different="golden row 3 scores 0.1")
    assert (golden.verdict, golden.detail) == ("INCONCLUSIVE", f"{same}; golden row 3 scores 0.1; skops serves")
    assert judge_onnx("m", BINARY, np.empty(0), np.empty(0)).verdict == "UNMEASURED"


def result(gate: str, verdict: str) -> GateResult:
    return GateResult(gate, verdict, 0.1, 0.0, "m", "why")


def test_which_results_block_and_which_keep_a_version_from_traffic() -> None:
    passed, failed, unmeasured, open_ = (
        result("a", "PASS"),
        result(PRIOR, "FAIL"),
        result("b", "UNMEASURED"),
        result(CHAMPION, "INCONCLUSIVE"),
    )
    every = [passed, failed, unmeasured, open_, result("c", "INCONCLUSIVE")]
    assert blocking(every) == [failed, unmeasured, every[-1]]
    assert blocking(
        every, [Waiver(PRIOR, "ann", "r")], [GateDefinition("b", 0.0, "passes"), GateDefinition("c", 0.0, "passes")]
    ) == [every[-1]]
    assert blocking([failed], (), [GateDefinition(PRIOR, 0.0, "passes")]) == [failed]
    assert [undecided(every, (), policy) for policy in ("canary", "ab_test", "shadow", "blue_green")] == [
        None,
        None,
        None,
        open_,
    ]
    assert undecided([failed, result(CHAMPION, "FAIL")], (), "blue_green") is None
    assert undecided(every, [Waiver(CHAMPION, "ann", "r")], "blue_green") is None
    waivers = tuple(Waiver(gate, "ann", "r") for gate in ("a", PRIOR, CHAMPION, "onnx_parity"))
    assert used([*every, result("onnx_parity", "INCONCLUSIVE")], waivers) == waivers[1:3]


@pytest.mark.parametrize(
    ("width_s", "name"),
    [(DAY, "blocks of a day"), (6 * 3_600.0, "blocks of 6 h"), (3_600.0, "blocks of an hour"), (0.0, "rows")],
)
def test_an_estimate_is_described_in_words(width_s: float, name: str) -> None:
    assert Estimate(1.0, 0.25, 1_234, 7, width_s).described == f"1,234 rows, error 0.2500 by 7 {name}"


# fits


class Mean:
    """Scores each row with what it was fitted on: the mean label, more by the row's own value."""

    def fit(self, matrix: Any, labels: Any) -> "Mean":
        self.mean_, self.rows_ = float(labels.mean()), len(labels)
        return self

    def predict(self, matrix: Any) -> Any:
        return self.mean_ + matrix[:, 0].astype(np.float64)


NUMBER = Target("number")
SPAN = Span(0.0, 6.0, 7.0, 10.0)
TIMES = np.arange(12.0)
VALUES = np.arange(12.0)
MATRIX = np.zeros((12, 1), np.float32)
GATED_BY = replace(DEPLOYMENT, gates=(GateDefinition(PRIOR, 0.0), GateDefinition(CHAMPION, 0.0)))


def test_the_twin_is_fitted_on_the_older_rows_and_the_version_on_all_of_the_span() -> None:
    gated = fit_gated(GATED_BY, NUMBER, SPAN, Mean, MATRIX, VALUES, TIMES, None)
    assert (gated.twin.mean_, gated.twin.rows_, gated.scores.tolist(), gated.span, gated.changed_at_s) == (
        2.5,
        6,
        [2.5] * 3,
        SPAN,
        None,
    )
    assert [found.gate for found in gated.results] == [PRIOR]
    errors = [4.5, 5.5, 6.5]
    assert {name: round(value, 6) for name, value in gated.metrics.items()} == {
        "holdout_rmse": round(math.sqrt(sum(e * e for e in errors) / 3), 6),
        "holdout_mae": 5.5,
        "holdout_r2": round(1 - sum(e * e for e in errors) / 2, 6),
        "holdout_rows": 3.0,
        "fit_rows": 6.0,
    }
    fitted = refit(NUMBER, Mean, MATRIX, VALUES, TIMES, gated)
    assert (fitted.model.mean_, fitted.rows) == (4.5, 10)
    assert fitted.metrics == gated.metrics | {"refit_mean_difference": 2.0, "refit_max_difference": 2.0}


def test_a_champion_is_compared_on_the_rows_of_the_holdout_alone() -> None:
    champion = VALUES.copy()
    gated = fit_gated(GATED_BY, NUMBER, SPAN, Mean, MATRIX, VALUES, TIMES, champion)
    assert [(found.gate, found.verdict) for found in gated.results] == [(PRIOR, "UNMEASURED"), (CHAMPION, "UNMEASURED")]


def test_after_a_change_the_prior_is_that_of_the_rows_beyond_it() -> None:
    at_s = np.arange(400.0)
    labels = np.where(at_s < 200, 0.0, 10.0) + np.arange(400) % 2
    gated = fit_gated(
        replace(GATED_BY, gates=(GateDefinition(PRIOR, 0.0),)), NUMBER, Span(0.0, 350.0, 360.0, 400.0, 200.0), Mean,
        np.zeros((400, 1), np.float32), labels, at_s, None,
    )  # fmt: skip
    (found,) = gated.results
    assert (gated.span.from_s, gated.changed_at_s) == (200.0, 200.0)
    assert "the prior's 1.0000" in found.detail
    assert {"loss_with_older_rows", "loss_without_older_rows", "loss_with_newer_half"} <= gated.metrics.keys()


# the command


PLACES = [ArtifactPlace(letter * 64, 0, 1, 1) for letter in "abc"]
ACCEPTED = RetrainAccepted(
    "d", "run", "q", "drift", "it drifted", 60 * DAY, (Waiver(PRIOR, "ann", "r"), Waiver("a", "ann", "r"))
)
GOLDEN = (GoldenRow(b"1234", 0.5),)


def trained(results: tuple[GateResult, ...] = (result(PRIOR, "FAIL"), result("a", "PASS"))) -> Trained:
    signature = Signature((ColumnPin("x"), ColumnPin("c", ("A", "B"))), "s")
    at_s = np.arange(400.0)
    matrix = np.stack([at_s, np.arange(400) % 2], axis=1).astype(np.float32)
    rows = LabelledRows(matrix, np.arange(400) % 2.0, at_s, [{"c": "AB"[n % 2]} for n in range(400)], {"t/0": 9})
    found = replace_set(chosen(None, None), rows=rows, signature=signature, parent=3, seed=5)
    gated = Gated([], {}, np.full(200, 0.25), Span(50.0, 150.0, 180.0, 380.0), None, 40.0)
    return Trained(found, gated, Fitted(None, "digest", {"auc": 0.7}, 330), results)


def replace_set(found: Any, **changes: Any) -> Any:
    return dataclasses.replace(found, **changes)


def test_the_command_to_register_holds_all_that_is_known_of_a_version() -> None:
    found = command_of(
        ACCEPTED,
        DEPLOYMENT,
        trained(),
        Published(PLACES[0], PLACES[1], PLACES[2], GOLDEN),
        {"headrace": "0.1", "numpy": "2"},
    )
    half = {"rows": 100.0, "mean_score": 0.25}
    assert {name: {k: v for k, v in figures.items() if k in half} for name, figures in found.slices.items()} == {
        "c=A": half,
        "c=B": half,
    }
    assert (found.slices["c=A"]["positive_share"], found.slices["c=B"]["positive_share"]) == (0.0, 1.0)
    assert found.profile == {
        "x": {"null_share": 0.0, "mean": 214.5, "std": pytest.approx(95.26, abs=0.01), "min": 50.0, "max": 379.0},
        "c": {"null_share": 0.0},
    }
    lineage = Lineage(
        {"t/0": 9},
        50.0,
        380.0,
        "0.1",
        DEPLOYMENT.digest,
        5,
        3,
        {"headrace": "0.1", "numpy": "2"},
        twin_to_s=150.0,
        changed_at_s=40.0,
    )
    assert replace(found, slices={}, profile={}) == RegisterVersion(
        deployment="d", model="d", place=PLACES[0], model_digest="digest", signature=trained().training_set.signature, output="binary", lineage=lineage,
        metrics={"auc": 0.7}, gates=trained().gates, reason="drift: it drifted", trained_rows=330, rollout=True, onnx=PLACES[2],
        waivers=ACCEPTED.waivers[:1], golden=GOLDEN, twin=PLACES[1],
    )  # fmt: skip


def test_a_version_that_is_not_decided_asks_for_no_rollout() -> None:
    open_ = (result(CHAMPION, "INCONCLUSIVE"),)
    published = Published(PLACES[0], PLACES[1], None, ())
    of = replace(DEPLOYMENT, rollout=replace(DEPLOYMENT.rollout, policy="blue_green"))
    asked = [
        command_of(ACCEPTED, found, trained(open_), published, {"headrace": "0"}).rollout
        for found in (of, replace(of, rollout=replace(of.rollout, policy="canary")))
    ]
    assert asked == [False, True]
    waived = replace(ACCEPTED, waivers=(Waiver(CHAMPION, "ann", "r"),))
    assert command_of(waived, of, trained(open_), published, {"headrace": "0"}).rollout


class Known:
    """A model that has seen some of the classes."""

    classes_ = (0, 2)


def test_the_places_of_classes_that_a_model_has_seen_are_registered() -> None:
    found = trained()
    of_three = replace_set(
        found,
        training_set=replace_set(found.training_set, target=Target("classes", ("a", "b", "c"))),
        fitted=Fitted(Known(), "d", {}, 1),
        gated=replace_set(found.gated, scores=np.full((200, 3), 1 / 3)),
    )
    command = command_of(ACCEPTED, DEPLOYMENT, of_three, Published(PLACES[0], PLACES[1], None, ()), {"headrace": "0"})
    assert (command.output, command.classes, command.class_places) == ("classes", ("a", "b", "c"), (0, 2))


def test_what_fits_into_no_record_says_why() -> None:
    why = "the version's description takes 900,001 bytes, at most 900,000 fit into a record: a category has too many values"
    assert (why_too_large(900_000), why_too_large(900_001)) == (None, why)


def test_the_end_of_a_run_holds_what_came_of_it() -> None:
    ending = endings.Ending("registered", "why")
    fitted = Fitted(None, "digest", {}, 330)
    whole = TrainingFinished("d", "run", "registered", "why", "digest", 330, 2.5, is_released=False)
    assert endings.finished(ACCEPTED, ending, 2.5, is_released=False, fitted=fitted) == whole
    assert endings.finished(ACCEPTED, ending, 2.5, is_released=True) == replace(
        whole, model_digest="", trained_rows=0, is_released=True
    )
    released = "not switched to, gate a: PASS, why; `headrace rollout start d VERSION` releases it, and rollout=Canary(...) would compare it under traffic"
    assert endings.registered(result("a", "PASS"), "d") == endings.Ending("registered", released)
    assert endings.rejected(result("a", "FAIL")) == endings.Ending("rejected", "gate a: FAIL, why")


# slices and windows


def test_slices_are_of_the_first_three_categories_and_their_eight_most_frequent_values() -> None:
    signature = Signature(tuple(ColumnPin(name, ("v",)) for name in "abcd"), "s")
    inputs: list[dict[str, Any]] = [
        {"a": f"v{n // 100}", "b": None if n < 100 else "w", "c": n % 9, "d": "v"} for n in range(1_000)
    ]
    found = slices_of(signature, NUMBER, inputs, np.full(1_000, 0.5), np.arange(1_000.0))
    assert [name for name in found if name[0] == "a"] == [f"a=v{n}" for n in range(8)]
    assert [name for name in found if name[0] == "b"] == ["b=w", "b=None"]
    assert [name for name in found if name[0] in "cd"] == [f"c={n}" for n in range(8)]
    assert {name: found["a=v0"][name] for name in ("rows", "mean_label", "mean_score")} == {
        "rows": 100.0,
        "mean_label": 49.5,
        "mean_score": 0.5,
    }
    assert "positive_share" not in found["a=v0"]


def test_a_window_has_closed_with_enough_labels_and_the_ones_after_it_wait() -> None:
    at_s = np.repeat(np.arange(100, 110) * DAY, 10)
    labels = np.zeros(100)
    clock_s = 110 * DAY
    assert closed_until(DEPLOYMENT, at_s, labels, clock_s) == 110 * DAY
    assert closed_until(DEPLOYMENT, at_s, labels, clock_s + 1.0) == 110 * DAY
    assert closed_until(DEPLOYMENT, at_s, np.where(at_s == 109 * DAY, math.nan, 0.0), clock_s) == 109 * DAY
    week = replace(DEPLOYMENT, label=replace(DEPLOYMENT.label, horizon_s=7 * DAY))
    assert closed_until(week, at_s, np.where(at_s == 105 * DAY, math.nan, 0.0), clock_s) == 105 * DAY
    assert closed_until(week, at_s, np.where(at_s == 102 * DAY, math.nan, 0.0), clock_s) == 110 * DAY
    gap = at_s != 106 * DAY
    assert closed_until(week, at_s[gap], labels[gap], clock_s) == 110 * DAY
    early = at_s < 105 * DAY
    assert closed_until(week, at_s[early], labels[early], clock_s) == 110 * DAY
    with pytest.raises(ValueError, match="deployment d declares no label"):
        closed_until(replace(DEPLOYMENT, label=None), at_s, labels, clock_s)
