"""Continuous training follows a change of concept for numbers and for five classes too: through the cores of monitor and trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from river.datasets import synth
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from tests.cases.concept_streams import BEGIN_S, DAY, HOUR, RATE, Floats, Player, Stream, Table, drawn

from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import Signature
from headrace.events.training import RetrainAccepted, RetrainRequested, TrainingFinished
from headrace.features.dataset import Inputs
from headrace.features.outcomes import KnownOutcome
from headrace.features.rows import pin_signature
from headrace.project import (
    Deployment,
    LossChange,
    Multiclass,
    Number,
    Project,
    Regression,
    Retraining,
    Training,
    prior,
)
from headrace.project.compile import compile_project
from headrace.project.deployments import FallbackStep
from headrace.project.fields import LabelKind
from headrace.stats.losses import losses
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.findings import findings_of, on_window
from headrace_monitor.core.windows import Late, Windows
from headrace_trainer.adapters.champion import Champion
from headrace_trainer.adapters.estimators import build_estimator
from headrace_trainer.adapters.gathering import gather_training_set
from headrace_trainer.core.fitting import fit_gated, refit
from headrace_trainer.core.gates import blocking
from headrace_trainer.core.target import target_of

BEFORE, AFTER, WORST = 15_400, 8_600, 1.2
NAMES = ("ash", "birch", "cedar", "fir", "oak")


def regressor(signature: Signature) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(max_iter=60, early_stopping=False)


def classifier(signature: Signature) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=30, early_stopping=False)


@dataclass(frozen=True)
class Kind:
    """A kind of label: its declaration, its prior, its estimator, and how to score rows with a model."""

    label: LabelKind
    step: FallbackStep
    build: Callable[..., Any]
    scores: Callable[[Any, Floats], Floats]


NUMBERS = Kind(Regression("y", 0, 30, "1d"), prior(14.0), regressor, lambda model, rows: model.predict(rows))
CLASSES = Kind(
    Multiclass("y", NAMES, "1d"),
    prior(dict.fromkeys(NAMES, 0.2)),
    classifier,
    lambda model, rows: model.predict_proba(rows),
)


@dataclass
class Asked:
    """A model with the interface of a loaded version."""

    model: Any
    kind: Kind
    labels: tuple[str, ...] = ("0", "1", "2", "3", "4")

    def predict(self, rows: Any, output: str) -> Floats:
        return self.kind.scores(self.model, rows)


class PlayerOf(Player):
    """Plays a stream whose label is of any kind. Windows receive decisions and outcomes as the monitor's windows do."""

    def __init__(self, stream: Stream, kind: Kind) -> None:
        super().__init__(stream)
        deployment = Deployment(
            "stream", unit="row", inputs=[Number(f"x{n}") for n in range(stream.inputs.shape[1])], label=kind.label,
            training=Training(kind.build, first_after="8d"), monitoring=[LossChange()], retraining=Retraining(), fallback=[kind.step],
        )  # fmt: skip
        self.project, self.kind = compile_project(Project("streams", [deployment])), kind
        self.deployment = self.project.deployments[0]
        assert self.deployment.label is not None
        self.target = target_of(self.deployment.label, stream.labels)
        self.signature = pin_signature(self.project, self.deployment, {})
        self.findings = findings_of(self.deployment, None)

    def _day(self, day: int) -> None:
        windows, closes_s = Windows(self.deployment), BEGIN_S + (day + 1) * DAY + HOUR
        part = slice(day * RATE, (day + 1) * RATE)
        decisions = [
            self._decided(row, predicted)
            for row, predicted in zip(range(*part.indices(10**9)), self._predicted(part), strict=True)
        ]
        for n, decision in enumerate(decisions):
            windows.add_decision(decision, 0, n)
            label = float(self.stream.labels[part][n])
            windows.add_outcome(KnownOutcome(decision.unit, label, decision.at_s + HOUR, f"o{decision.unit}"))
        rows = windows.rows_of(BEGIN_S + day * DAY, closes_s)
        window = evaluate(
            WindowInputs(self.project, self.deployment, rows, decisions, {}, {}, 0.0), BEGIN_S + day * DAY, Late(), None
        )
        assert window.verdict == "PASS"
        step = on_window(self.findings, window, rows.served_version, closes_s)
        self.findings = step.state
        for fact in step.facts:
            match fact:
                case FindingOpened(kind="drift"):
                    self.history.found_s.append(window.to_s)
                case FindingResolved(kind="drift"):
                    self.history.resolved.append(fact.reason)
                case RetrainRequested():
                    self._asked(fact, day)

    def _predicted(self, part: slice) -> Any:
        if self.model is None:
            return [None] * len(self.stream.labels[part])
        return self.kind.scores(self.model, self.stream.inputs[part].astype(np.float32)).tolist()

    def _decided(self, row: int, predicted: Any) -> DecisionMade:
        at_s, ident = float(self.stream.at_s[row]), f"r{row}"
        if predicted is None:
            score = Score(0, "", self.kind.step.value) if self.kind is NUMBERS else Score(0, "", None, (0.2,) * 5)
            return DecisionMade(ident, "stream", ident, at_s, FellBack("prior", "no version yet", score), row)  # ty: ignore[invalid-argument-type]
        score = (
            Score(self.version, "m", predicted)
            if self.kind is NUMBERS
            else Score(self.version, "m", None, tuple(predicted))
        )
        return DecisionMade(ident, "stream", ident, at_s, Served(score), row)

    def _run(self, accepted: RetrainAccepted, day: int) -> TrainingFinished:
        stream, count = self.stream, (day + 1) * RATE
        at_s, labels = stream.at_s[:count], stream.labels[:count]
        ids = [f"r{n}" for n in range(count)]
        rows = Table(ids, ids, Inputs(self.deployment), stream.inputs[:count], labels, at_s)
        training_set = gather_training_set(
            self.deployment, accepted, rows, BEGIN_S + (day + 1) * DAY, self.signature, self.champion
        )
        finished = training_set.with_change(TrainingFinished("stream", accepted.run, "rejected", training_set.why_not))
        if training_set.why_not:
            return replace(finished, outcome="waiting" if training_set.missing_rows else "rejected")

        def make() -> Any:
            return build_estimator(self.kind.build, self.signature, training_set.seed, training_set.target)

        given = (training_set.rows.matrix, labels, at_s)
        gated = fit_gated(self.deployment, training_set.target, training_set.span, make, *given, training_set.champion)
        if stands := blocking(gated.results, (), self.deployment.gates):
            return replace(finished, reason=f"{stands[0].gate} {stands[0].verdict} {stands[0].detail}")
        fitted = refit(training_set.target, make, *given, gated)
        self._switch(accepted, count, fitted.model, gated, training_set.after)
        assert self.champion is not None
        names = NAMES if self.kind is CLASSES else ()
        registered = replace(self.champion.registered, output=training_set.target.kind, classes=names)
        self.champion = Champion(registered, Asked(fitted.model, self.kind), Asked(gated.twin, self.kind))  # ty: ignore[invalid-argument-type]
        return replace(finished, outcome="registered", reason="")

    def loss(self, model: Any, begin: int, rows: int) -> float:
        """Mean loss of a model on rows of the stream, in nats or squares of the label's."""
        part = slice(begin, begin + rows)
        scores = self.kind.scores(model, self.stream.inputs[part].astype(np.float32))
        return float(losses(self.target.kind, scores, self.stream.labels[part], 1.0).mean())

    def fitted(self, begin: int, rows: int) -> Any:
        """The same recipe, fitted on these rows."""
        part = slice(begin, begin + rows)
        model = build_estimator(self.kind.build, self.signature, 0, self.target)
        return self.target.fit(model, self.stream.inputs[part].astype(np.float32), self.stream.labels[part])


def one_after_the_other(name: str, old: Any, new: Any, swaps: bool) -> Stream:
    """Rows of one generator, then of another. `swaps`: in the new rows the first and the last columns change places."""
    (inputs, labels), (after, after_labels) = drawn(old, BEFORE), drawn(new, AFTER)
    after = after[:, ::-1] if swaps else after
    return Stream(name, np.vstack([inputs, after]), np.concatenate([labels, after_labels]), BEFORE)


def numbers(seed: int) -> Stream:
    """Friedman's function of ten numbers; then of the same ten in another order."""
    return one_after_the_other("friedman", synth.Friedman(seed=seed), synth.Friedman(seed=seed + 100), swaps=True)


def classes(seed: int) -> Stream:
    """Five classes by a random tree; then by another one."""
    old, new = (
        synth.RandomTree(seed_tree=10 * seed + n, seed_sample=seed, n_classes=5, n_num_features=5, n_cat_features=2)
        for n in (0, 1)
    )
    return one_after_the_other("tree", old, new, swaps=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "stream"), [(NUMBERS, numbers), (CLASSES, classes)], ids=["numbers", "five classes"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_abrupt_change_is_found_and_followed(kind: Kind, stream: Callable[[int], Stream], seed: int) -> None:
    player = PlayerOf(stream(seed), kind)
    history = player.play()
    second_s = BEGIN_S + (np.ceil(BEFORE / RATE) + 2) * DAY
    new = next(switch for switch in history.switches if switch.cause == "drift")
    count = min(5_000, len(history.stream.labels) - new.row)
    ours, theirs = (
        player.loss(model, new.row, count) for model in (new.model, player.fitted(BEFORE, new.row - BEFORE))
    )
    was = player.loss(history.switches[0].model, new.row, count)
    print(
        f"{history.stream.name} {seed}: found {[(found_s - BEGIN_S) / DAY for found_s in history.found_s]}, new version {new.row - BEFORE:,} rows"
        f" after; loss {ours:.3f}, of the recipe on as many {theirs:.3f}, of the old version {was:.3f}; {[run[:2] for run in history.runs]}"
    )
    assert history.stream.at_s[BEFORE] < history.found_s[0] <= second_s
    assert new.row <= BEFORE + 1_000 + 3 * RATE
    assert ours <= WORST * theirs
