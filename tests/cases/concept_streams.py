"""Streams of river's generators, with a change of concept or without, played through the monitor's and the trainer's cores.

A day holds `RATE` requests, labels come an hour late. Nothing but the log, the processes and the release is left out: windows
are evaluated, watched and asked about, requests are answered, rows prepared, fitted, gated and refitted by the services' own
functions; a registered version is champion at once.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from river.datasets import synth
from sklearn.ensemble import HistGradientBoostingClassifier

from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import ArtifactPlace, Lineage, Signature, VersionRegistered
from headrace.events.training import RetrainAccepted, RetrainRequested, TrainingFinished
from headrace.features.dataset import Inputs, Rows
from headrace.features.rows import pin_signature
from headrace.project import Binary, Deployment, LossChange, Number, Project, Retraining, Training, prior
from headrace.project.compile import compile_project
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.facts import FindingFact
from headrace_monitor.core.findings import findings_of, on_champion, on_training, on_window
from headrace_monitor.core.late_scores import SHADOW_DTYPE
from headrace_monitor.core.retrain_reasons import TrainingFact
from headrace_monitor.core.retrain_requests import request_id_of
from headrace_monitor.core.windows import ROW_DTYPE, Late
from headrace_monitor.core.windows import Rows as WindowRows
from headrace_trainer.adapters.champion import Champion
from headrace_trainer.adapters.estimators import build_estimator
from headrace_trainer.adapters.gathering import gather_training_set
from headrace_trainer.core.fitting import Gated, fit_gated, refit
from headrace_trainer.core.gates import blocking
from headrace_trainer.core.target import Target
from headrace_trainer.core.triggers import Runs, apply, on_request

DAY, HOUR = 86_400.0, 3600.0
BEGIN_S = 1_600_041_600.0
RATE = 1000
# The settings of a small tree model; everything else keeps its default.
TREES = 60

Floats = NDArray[np.float64]


def build(signature: Signature) -> HistGradientBoostingClassifier:
    """The estimator that training fits."""
    return HistGradientBoostingClassifier(max_iter=TREES, early_stopping=False)


@dataclass
class Stream:
    """Rows in order, a thousand a day. `changed`: the first row of another concept, or the midpoint of a gradual change; None for none."""

    name: str
    inputs: Floats
    labels: Floats
    changed: int | None = None

    @property
    def at_s(self) -> Floats:
        """Instants of the rows."""
        return BEGIN_S + np.arange(len(self.labels)) * DAY / RATE


def sea(concept: int, seed: int) -> Any:
    return synth.SEA(variant=(0, 2, 3, 1)[concept % 4], noise=0.1, seed=seed)


def stagger(concept: int, seed: int) -> Any:
    return synth.STAGGER(classification_function=concept % 3, seed=seed)


def tree(concept: int, seed: int) -> Any:
    return synth.RandomTree(seed_tree=10 * seed + concept, seed_sample=seed, n_num_features=5, n_cat_features=2)


def agrawal(concept: int, seed: int) -> Any:
    return synth.Agrawal(classification_function=(0, 3, 6, 1)[concept % 4], seed=seed, perturbation=0.05)


def sine(concept: int, seed: int) -> Any:
    return synth.Sine(classification_function=concept % 4, seed=seed)


def mixed(concept: int, seed: int) -> Any:
    return synth.Mixed(classification_function=concept % 2, seed=seed)


def rbf(concept: int, seed: int) -> Any:
    return synth.RandomRBF(seed_model=10 * seed + concept, seed_sample=seed, n_features=5, n_centroids=20)


def hyperplane(concept: int, seed: int) -> Any:
    return synth.Hyperplane(seed=1000 * seed + concept, n_features=8, noise_percentage=0.05)


GENERATORS: dict[str, Callable[[int, int], Any]] = {
    found.__name__: found for found in (sea, stagger, tree, agrawal, sine, mixed, rbf, hyperplane)
}


def drawn(generator: Any, rows: int) -> tuple[Floats, Floats]:
    """Returns `rows` rows and their labels."""
    found = list(islice(generator, rows))
    return np.array([[float(value) for value in x.values()] for x, _ in found]), np.array([float(y) for _, y in found])


def changing(name: str, seed: int, before: int, after: int, width: int = 0) -> Stream:
    """Concept 0, then concept 1. Over `width` rows both occur, the new one ever more often; `before` is the midpoint."""
    old, new = (drawn(GENERATORS[name](concept, seed), before + after) for concept in (0, 1))
    place = np.arange(before + after)
    share = np.clip((place - before) / width + 0.5, 0.0, 1.0) if width else (place >= before).astype(float)
    is_new = np.random.default_rng(seed).random(before + after) < share
    return Stream(f"{name}-{seed}", np.where(is_new[:, None], new[0], old[0]), np.where(is_new, new[1], old[1]), before)


def steady(name: str, seed: int, rows: int) -> Stream:
    """One concept."""
    return Stream(f"{name}-{seed}", *drawn(GENERATORS[name](0, seed), rows))


def moving(name: str, seed: int, rows: int, since: int) -> Stream:
    """One concept whose inputs move from `since` on: rows of a high first number become four times as frequent."""
    inputs, labels = drawn(GENERATORS[name](0, seed), 3 * rows)
    rng, column = np.random.default_rng(seed), inputs[:, 0]
    is_high = column >= np.median(column)
    later = np.where(is_high, 0.8, 0.2)
    kept = np.flatnonzero(rng.random(3 * rows) < later)[: rows - since]
    chosen = np.concatenate([np.arange(since), kept + 0])
    return Stream(f"{name}-{seed}", inputs[chosen], labels[chosen])


def project_of(columns: int) -> ProjectDefinition:
    """A deployment with a label, training, monitoring and retraining, all with their defaults."""
    deployment = Deployment(
        "stream",
        unit="row",
        inputs=[Number(f"x{n}") for n in range(columns)],
        label=Binary("y", horizon="1d"),
        training=Training(build),
        monitoring=[LossChange()],
        retraining=Retraining(),
        fallback=[prior(0.5)],
    )
    return compile_project(Project("streams", [deployment]))


class Table(Rows):
    """Rows whose matrix is given: no input needs a transformation."""

    def matrix(self, deployment: DeploymentDefinition, signature: Signature) -> NDArray[np.float32]:
        return self.features.astype(np.float32)


@dataclass
class Asked:
    """A model with the interface of a loaded version."""

    model: Any
    columns: int | None = None
    output: str = "binary"
    labels: tuple[str, ...] = ("0", "1")

    def predict(self, rows: Any, output: str) -> Floats:
        return self.model.predict_proba(rows)


@dataclass(frozen=True)
class Switch:
    """A version became champion when `row` rows had been asked. `rows`: labelled ones beyond the change that it knows."""

    row: int
    cause: str
    model: Any
    rows: int


@dataclass
class Played:
    """What became of a stream. `found_s`: ends of the windows that opened a finding; `changed_at_s`: the change that each reported; `runs`: causes and outcomes."""

    stream: Stream
    found_s: list[float] = field(default_factory=list)
    changed_at_s: list[float] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    runs: list[tuple[str, str, str]] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)

    @property
    def retrains(self) -> list[tuple[str, str, str]]:
        """The runs that a finding requested."""
        return [run for run in self.runs if run[0] == "drift"]

    def champion_at(self, row: int) -> Any:
        """The model that is champion at a row."""
        return [switch.model for switch in self.switches if switch.row <= row][-1]

    def loss(self, model: Any, begin: int, rows: int) -> float:
        """Mean log-loss of a model on rows of the stream."""
        part = slice(begin, begin + rows)
        probabilities = np.clip(
            model.predict_proba(self.stream.inputs[part].astype(np.float32))[:, 1], 1e-15, 1 - 1e-15
        )
        labels = self.stream.labels[part]
        return float(-(labels * np.log(probabilities) + (1 - labels) * np.log(1 - probabilities)).mean())

    def fitted(self, begin: int, rows: int) -> Any:
        """The same recipe, fitted on these rows."""
        part = slice(begin, begin + rows)
        model = build_estimator(build, Signature((), ""), 0, Target("binary"))
        return model.fit(self.stream.inputs[part].astype(np.float32), self.stream.labels[part])


@dataclass
class Player:
    """Plays one stream through the cores."""

    stream: Stream

    def __post_init__(self) -> None:
        self.project = project_of(self.stream.inputs.shape[1])
        self.deployment = self.project.deployments[0]
        self.signature = pin_signature(self.project, self.deployment, {})
        self.findings = findings_of(self.deployment, None)
        self.runs, self.champion, self.version = Runs(), None, 0
        self.history = Played(self.stream)
        self.champion: Champion | None
        self.model: Any = None

    def play(self) -> Played:
        """Play the stream to its end."""
        for day in range(len(self.stream.labels) // RATE):
            self._day(day)
        return self.history

    def _day(self, day: int) -> None:
        part = slice(day * RATE, (day + 1) * RATE)
        start_s = BEGIN_S + day * DAY
        closes_s = start_s + DAY + HOUR
        table = np.zeros(RATE, ROW_DTYPE)
        table["at_s"] = self.stream.at_s[part]
        table["version"], table["kind"], table["role"] = (self.version, 0, 1) if self.model is not None else (0, 1, 4)
        table["score"] = 0.5 if self.model is None else self._scores(part)
        rows = WindowRows(table, self.stream.labels[part], np.empty(0, SHADOW_DTYPE))
        window = evaluate(WindowInputs(self.project, self.deployment, rows, (), {}, {}, 0.0), start_s, Late(), None)
        served = self.version if self.model is not None else None
        step = on_window(self.findings, window, served, closes_s)
        self.findings = step.state
        facts = deque(step.facts)
        while facts:
            match fact := facts.popleft():
                case FindingOpened(kind="drift"):
                    self.history.found_s.append(window.to_s)
                    self.history.changed_at_s.append(fact.changed_at_s or 0.0)
                case FindingResolved(kind="drift"):
                    self.history.resolved.append(fact.reason)
                case RetrainRequested():
                    facts += self._asked(fact, day)

    def _scores(self, part: slice) -> Floats:
        return self.model.predict_proba(self.stream.inputs[part].astype(np.float32))[:, 1]

    def _asked(self, request: RetrainRequested, day: int) -> list[FindingFact]:
        assert request.clock_s is not None
        step = on_request(
            self.runs, request, request_id_of(request), self.deployment, request.clock_s, int(request.clock_s * 1000)
        )
        (answer,), self.runs = step.facts, step.state
        facts = self._reported(answer)
        if not isinstance(answer, RetrainAccepted):
            self.history.runs.append((request.cause, "refused", getattr(answer, "reason", "")))
            return facts
        finished = self._run(answer, day)
        self.history.runs.append((answer.cause, finished.outcome, finished.reason))
        self.runs = apply(self.runs, finished)
        return facts + self._reported(finished)

    def _reported(self, fact: TrainingFact) -> list[FindingFact]:
        step = on_training(self.findings, fact)
        self.findings = step.state
        return list(step.facts)

    def _run(self, accepted: RetrainAccepted, day: int) -> TrainingFinished:
        stream, count = self.stream, (day + 1) * RATE
        at_s = stream.at_s[:count]
        kept = np.flatnonzero(at_s >= accepted.clock_s - 180 * DAY)
        ids = [f"r{n}" for n in kept]
        inputs, labels = stream.inputs[kept], stream.labels[kept]
        rows = Table(ids, ids, Inputs(self.deployment), inputs, labels, at_s[kept])
        training_set = gather_training_set(
            self.deployment, accepted, rows, BEGIN_S + (day + 1) * DAY, self.signature, self.champion
        )
        finished = training_set.with_change(TrainingFinished("stream", accepted.run, "rejected", training_set.why_not))
        if training_set.why_not:
            return replace(finished, outcome="waiting" if training_set.missing_rows else "rejected")

        def make() -> Any:
            return build_estimator(build, self.signature, training_set.seed, training_set.target)

        given = (training_set.rows.matrix, labels, at_s[kept])
        gated = fit_gated(self.deployment, training_set.target, training_set.span, make, *given, training_set.champion)
        if stands := blocking(gated.results, (), self.deployment.gates):
            return replace(finished, reason=f"{stands[0].gate} {stands[0].verdict} {stands[0].detail}")
        fitted = refit(training_set.target, make, *given, gated)
        self._switch(accepted, count, fitted.model, gated, training_set.after)
        return replace(finished, outcome="registered", reason="", trained_rows=fitted.rows)

    def _switch(self, accepted: RetrainAccepted, count: int, model: Any, gated: Gated, rows: int) -> None:
        self.version += 1
        span = gated.span
        lineage = Lineage(
            request_from_s=span.from_s, request_to_s=span.to_s, twin_to_s=span.fit_to_s, changed_at_s=gated.changed_at_s
        )
        place = ArtifactPlace("d", 0, 1, 1)
        registered = VersionRegistered(
            "stream", "stream", self.version, place, "m", self.signature, "binary", (), lineage, {}, (), "", 0, "trainer",
            accepted.clock_s, accepted.run,
        )  # fmt: skip
        self.champion = Champion(registered, Asked(model), Asked(gated.twin))
        self.model = model
        self.findings = on_champion(self.findings, self.version).state
        self.history.switches.append(Switch(count, accepted.cause, model, rows))


def play(stream: Stream) -> Played:
    """Play a stream from its first row to its last."""
    return Player(stream).play()
