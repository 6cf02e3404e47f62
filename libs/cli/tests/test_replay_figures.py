"""The figures of a replay, from messages as the log has them, against scikit-learn's."""

import itertools
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import (
    DecisionMade,
    Invalid,
    OutcomeObserved,
    PredictionRequested,
    Score,
    Served,
    ShadowScored,
)
from headrace.events.registry import AliasMoved
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.project import Binary, Deployment, Multiclass, Number, Project, Regression, prior
from headrace.project.compile import compile_project
from headrace_cli.replay.figures import Figures, counts
from headrace_cli.replay.gathering import Gathered
from headrace_cli.replay.ids import Ids
from headrace_cli.replay.plot import course, sparkline, svg

IDS = Ids("replay-a-", "m")
COUNT, SWITCHED_AT, DAY_S = 600, 400, 86_400.0


def declared(label: Any, chain: tuple = (prior(0.3),)) -> DeploymentDefinition:
    deployment = Deployment("d", unit="u", inputs=[Number("x")], label=label, fallback=list(chain))
    return compile_project(Project("p", [deployment])).deployment("d")


class Replayed:
    """Messages in the order of the log: `appended` counts milliseconds."""

    def __init__(self, deployment: DeploymentDefinition) -> None:
        self.gathered = Gathered(deployment, IDS)
        self._appended = itertools.count(1_000)

    def publish(self, event: Any, ident: str = "", at_s: float = 0.0) -> None:
        record = Record("t", 0, 0, None, None, timestamp_ms=next(self._appended))
        self.gathered.take(Message(record, Envelope(ident, "", "m", at_s), event))

    def row(self, n: int, answer: Score, label: Any, *shadows: Score, late: Score | None = None) -> None:
        """A request, its decision, the late score of a shadow, and its outcome an hour later."""
        ident, at_s, unit = IDS.request(0, n), n * 3600.0, f"u{n % 7}"
        self.publish(PredictionRequested("d", {"x": 1.0}, unit), ident, at_s)
        due = () if late is None else (late.version,)
        self.publish(DecisionMade(ident, "d", unit, at_s, Served(answer), n, shadows=shadows, shadows_due=due))
        if late is not None:
            self.publish(ShadowScored(ident, "d", unit, late.version, at_s, late))
        if label is not None:
            self.publish(OutcomeObserved("d", unit, label, ident), IDS.outcome(0, n), at_s + 3600.0)


def test_two_versions_are_compared_before_and_after_a_switch_and_on_the_same_rows() -> None:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, COUNT).astype(float)
    one, two = (np.clip(0.5 + pull * (label - 0.5) + rng.normal(0, 0.2, COUNT), 0.01, 0.99) for pull in (0.2, 0.6))
    replayed = Replayed(declared(Binary("late", "2h")))
    replayed.publish(AliasMoved("d", "champion", 1, None, "the first, before it all"))
    for n in range(COUNT):
        if n == SWITCHED_AT:
            replayed.publish(AliasMoved("d", "champion", 2, 1, "better"))
        scores = Score(1, "", one[n]), Score(2, "", two[n])
        answer, other = scores if n < SWITCHED_AT else scores[::-1]
        replayed.row(n + 1, answer, None if n % 10 == 0 else label[n], late=other)
    figures = Figures(replayed.gathered)
    report = figures.report()

    known = np.arange(COUNT) % 10 != 0
    before, after = known & (np.arange(COUNT) < SWITCHED_AT), known & (np.arange(COUNT) >= SWITCHED_AT)
    for version, scores in ((1, one), (2, two)):
        found = report["versions"][version - 1]
        assert found["loss"] == pytest.approx(log_loss(label[known], scores[known]))
        assert found["auc"] == pytest.approx(roc_auc_score(label[known], scores[known]))
        assert found["prior_loss"] == pytest.approx(log_loss(label[known], np.full(known.sum(), 0.3)))
    for found, mine, scores in zip(report["intervals"], (before, after), (one, two), strict=True):
        assert found["rows"] == mine.sum()
        assert found["loss"] == pytest.approx(log_loss(label[mine], scores[mine]))
        assert found["auc"] == pytest.approx(roc_auc_score(label[mine], scores[mine]))
    (switch,) = report["switches"]
    same = switch["same_rows"]
    assert (switch["version"], switch["was"], same["rows"]) == (2, 1, after.sum())
    assert same["loss_of_previous"] == pytest.approx(log_loss(label[after], one[after]))
    low, high = same["difference_95"]
    assert low < same["loss"] - same["loss_of_previous"] < high < 0
    assert counts(replayed.gathered)["requests"] == counts(replayed.gathered)["decisions"] == COUNT

    picture = ElementTree.fromstring(svg(figures, "replay to <d>", "log-loss"))
    texts = list(picture.iter("{http://www.w3.org/2000/svg}text"))
    assert "replay to <d>" in [found.text for found in texts]
    assert [found.text for found in texts if found.get("class") == "switch"] == ["version 2"]
    assert [found.text for found in texts if found.get("class") == "key"] == ["version 1", "version 2", "prior"]
    assert len(sparkline(course(figures))) == 60


def test_repeats_and_what_is_lost_are_counted_and_others_are_not() -> None:
    replayed = Replayed(declared(Binary("late", "2h")))
    replayed.row(1, Score(1, "", 0.5), 1)
    replayed.row(2, Score(1, "", 0.5), 0)
    replayed.publish(PredictionRequested("d", {}, "u"), IDS.request(0, 3))
    replayed.publish(PredictionRequested("d", {}, "u"), "somebody else's")
    replayed.publish(DecisionMade("somebody else's", "d", "u", 0.0, Invalid("no"), 0))
    assert counts(replayed.gathered) == {
        "requests": 3, "decisions": 2, "lost": 1, "duplicated": 0, "outcomes": 2, "answers": {"served": 2},
    }  # fmt: skip
    replayed.publish(DecisionMade(IDS.request(0, 1), "d", "u1", 3600.0, Invalid("again"), 9))
    replayed.publish(PredictionRequested("d", {}, "u"), IDS.request(0, 3))
    assert counts(replayed.gathered)["duplicated"] == 2


def test_several_classes_and_numbers_have_their_own_loss() -> None:
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet([1, 1, 1], 200)
    label = rng.integers(0, 3, 200)
    replayed = Replayed(declared(Multiclass("kind", ["a", "b", "c"], "2h"), ()))
    for n in range(200):
        replayed.row(n + 1, Score(1, "", None, tuple(probabilities[n])), "abc"[label[n]])
    (version,) = Figures(replayed.gathered).report()["versions"]
    assert version["loss"] == pytest.approx(log_loss(label, probabilities, labels=[0, 1, 2]))
    assert version["auc"] is None
    assert version["prior_loss"] == pytest.approx(
        log_loss(label, np.tile(np.bincount(label) / 200, (200, 1)), labels=[0, 1, 2])
    )

    numbers, predicted = rng.normal(20, 5, 200), rng.normal(20, 5, 200)
    replayed = Replayed(declared(Regression("degrees", -100, 100, "2h"), ()))
    for n in range(200):
        replayed.row(n + 1, Score(1, "", predicted[n]), numbers[n])
    figures = Figures(replayed.gathered)
    (version,) = figures.report()["versions"]
    assert version["loss"] == pytest.approx(mean_squared_error(numbers, predicted) / numbers.var())
    assert version["prior_loss"] == pytest.approx(1.0)  # what the mean of the labels costs
    assert figures.prior_from == "the labels of this replay"


def test_several_classes_are_compared_with_the_prior_that_answers_them() -> None:
    replayed = Replayed(declared(Multiclass("kind", ["a", "b", "c"], "2h"), (prior({"c": 0.2, "a": 0.5, "b": 0.3}),)))
    for n in range(30):
        replayed.row(n + 1, Score(0, "", None, (0.5, 0.3, 0.2)), "abc"[n % 2])
    report = Figures(replayed.gathered).report()
    (interval_row,) = report["intervals"]
    assert report["prior"] == {"value": [0.5, 0.3, 0.2], "from": "the deployment's fallback chain"}
    assert interval_row["prior_loss"] == interval_row["loss"] == pytest.approx(-(np.log(0.5) + np.log(0.3)) / 2)


def test_without_a_label_there_is_no_figure_and_no_fault() -> None:
    replayed = Replayed(declared(None))
    for n in range(3):
        replayed.row(n + 1, Score(1, "", 0.5), None)
    report = Figures(replayed.gathered).report()
    assert (report["labelled"], report["prior"]["value"], report["versions"][0]["loss"]) == (0, None, None)
