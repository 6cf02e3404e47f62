"""What a closed window measures for each kind of label, and the reason where it measures nothing."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.metrics import log_loss

from headrace.events.definition import ProjectDefinition
from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.events.monitor import FindingOpened, VersionQuality, WindowClosed
from headrace.events.registry import RolloutStarted
from headrace.features.outcomes import KnownOutcome
from headrace.project import Binary, Canary, Deployment, Multiclass, Number, PageHinkley, Project, Regression
from headrace.project.compile import compile_project
from headrace.project.fields import LabelKind
from headrace.project.labels import value_of
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.findings import findings_of, on_champion, on_window
from headrace_monitor.core.rollout_analysis import begin
from headrace_monitor.core.rollout_requests import Seen
from headrace_monitor.core.windows import Late, Windows

DAY_S, HOUR_S = 86_400.0, 3600.0
CLASSES = ("ash", "birch", "cedar", "fir", "oak")
TREE, PRICE = Multiclass("tree", CLASSES, "2h"), Regression("price", 0, 400, "2h")
RNG = np.random.default_rng(3)


def declared(label: LabelKind | None) -> ProjectDefinition:
    found = Deployment("d", "u", [Number("x")], label=label, monitoring=[PageHinkley()] if label else [])
    return compile_project(Project("p", deployments=[found]))


def closed(
    label: LabelKind | None, decisions: Sequence[DecisionMade], labels: Sequence[object], *, reads_again: bool = True
) -> WindowClosed:
    """The first day's window of these decisions. Each label arrives an hour after its request."""
    project = declared(label)
    deployment = project.deployment("d")
    windows = Windows(deployment)
    for n, decision in enumerate(decisions):
        windows.add_decision(decision, 0, n)
    for decision, found in zip(decisions, labels, strict=False):
        if deployment.label is not None:
            value = value_of(deployment.label, found)  # ty: ignore[invalid-argument-type]  # of every kind
            windows.add_outcome(KnownOutcome(decision.unit, value, decision.at_s + HOUR_S, f"o-{decision.request_id}"))
    rows = windows.rows_of(0.0, DAY_S + 2 * HOUR_S)
    seen = WindowInputs(project, deployment, rows, decisions if reads_again else (), {}, {}, 0.0)
    return evaluate(seen, 0.0, Late(), None)


def asked(
    count: int, score: Callable[[int], Score], shadow: Callable[[int], Score] | None = None
) -> list[DecisionMade]:
    return [
        DecisionMade(f"r{n}", "d", f"u{n}", n * 60.0, Served(score(n)), n, shadows=(shadow(n),) if shadow else ())
        for n in range(count)
    ]


def test_several_classes_are_measured_by_log_loss_and_accuracy_of_every_version() -> None:
    probabilities = RNG.dirichlet(np.ones(5), 300)
    true = np.array([RNG.choice(5, p=row) for row in probabilities])
    flat = (0.2,) * 5
    decisions = asked(300, lambda n: Score(1, "m", None, tuple(probabilities[n])), lambda n: Score(2, "n", None, flat))
    window = closed(TREE, decisions, [CLASSES[found] for found in true])
    champion, shadow = window.qualities
    assert (champion.version, champion.role, champion.rows, champion.auc, champion.mean_score) == (
        1, "champion", 300, None, None,
    )  # fmt: skip
    assert champion.loss == pytest.approx(log_loss(true, probabilities, labels=range(5)))
    assert champion.expected_log_loss == pytest.approx(champion.loss, abs=0.15)
    assert champion.accuracy == pytest.approx((probabilities.argmax(axis=1) == true).mean())
    assert (shadow.version, shadow.role, shadow.loss) == (2, "shadow", pytest.approx(np.log(5)))
    assert window.class_shares == {name: pytest.approx((true == n).mean()) for n, name in enumerate(CLASSES)}
    assert (window.verdict, window.unmeasured, window.positive_share, window.mean_label) == ("PASS", "", None, None)


def test_a_number_is_measured_by_its_errors_and_by_a_loss_within_its_range() -> None:
    true = RNG.uniform(0, 400, 200)
    window = closed(PRICE, asked(200, lambda n: Score(1, "m", true[n] + (10 if n % 2 else -10))), true.tolist())
    (champion,) = window.qualities
    assert (champion.log_loss, champion.auc) == (None, None)
    assert (champion.rmse, champion.mae) == (pytest.approx(10.0), pytest.approx(10.0))
    assert (champion.loss, champion.loss_name) == (pytest.approx(0.01), "squared error")  # (10 / (400 / 4)) squared
    assert window.mean_label == pytest.approx(true.mean())
    assert window.unmeasured == ""


@pytest.mark.parametrize(
    ("label", "score"),
    [
        (Binary("y", "2h"), Score(0, "", 0.5)),
        (TREE, Score(0, "", None, (0.2,) * 5)),
        (PRICE, Score(0, "", 200.0)),
    ],
)
def test_the_prior_is_judged_like_a_version(label: LabelKind, score: Score) -> None:
    decisions = [
        replace(found, answer=FellBack("prior", "no version yet", score)) for found in asked(10, lambda _: score)
    ]
    true = {"y": [0.0, 1.0] * 5, "tree": ["ash", "oak"] * 5, "price": [100.0, 300.0] * 5}[label.name]
    (prior,) = closed(label, decisions, true).qualities
    assert (prior.version, prior.role, prior.rows) == (0, "prior", 10)
    assert prior.loss == pytest.approx({"y": np.log(2), "tree": np.log(5), "price": 1.0}[label.name])


@pytest.mark.parametrize(
    ("label", "labels", "reads_again", "why"),
    [
        (None, [], True, "no label is declared"),
        (PRICE, [], True, "no label has come"),
        (TREE, ["ash"] * 5, False, "no labelled request has a score of the label's kind"),
    ],
)
def test_what_is_not_measured_has_a_reason(
    label: LabelKind | None, labels: Sequence[object], reads_again: bool, why: str
) -> None:
    window = closed(label, asked(5, lambda _: Score(1, "m", 7.5)), labels, reads_again=reads_again)
    assert (window.qualities, window.unmeasured, window.verdict) == ((), why, "PASS" if labels else "UNMEASURED")


@pytest.mark.parametrize(("label", "field"), [(TREE, "log_loss"), (PRICE, "squared_error")])
def test_the_loss_of_every_kind_is_watched_for_drift(label: LabelKind, field: str) -> None:
    project = declared(label)
    findings = on_champion(findings_of(project.deployment("d"), None), 1).state
    opened: list[int] = []
    for day in range(20):
        loss = 0.3 if day < 10 else 0.9
        known = VersionQuality(1, "champion", 1000, None, None, None, None)
        window = WindowClosed(
            "d", day * DAY_S, (day + 1) * DAY_S, 1000, 1000, None, "PASS", (replace(known, **{field: loss}),)
        )
        step = on_window(findings, window, 1, (day + 1) * DAY_S)
        findings = step.state
        opened += [day for found in step.facts if isinstance(found, FindingOpened)]
    assert opened
    assert 10 <= opened[0] <= 12


def test_the_scores_of_two_regressions_are_compared_within_the_declared_range() -> None:
    deployment = declared(PRICE).deployment("d")
    canary = compile_project(
        Project("p", deployments=[Deployment("d", "u", [Number("x")], label=PRICE, rollout=Canary())])
    ).deployment("d")
    analysis = begin(deployment, RolloutStarted("d", "r1", 2, "canary", "r", canary.rollout, 1))
    for n in range(500):
        decision = DecisionMade(
            f"r{n}",
            "d",
            f"u{n}",
            n * 60.0,
            Served(Score(1, "m", n * 37 % 100)),
            n,
            shadows=(Score(2, "n", 300 + n * 37 % 100),),
            assigned=1,
        )
        analysis.take([Seen("p/0", n, decision)])
    (verdict,) = analysis.look(500 * 60.0).facts
    (distance,) = [found for found in verdict.evidence if found.metric == "distribution"]
    assert distance.verdict == "FAIL"
    assert distance.measured == pytest.approx(0.9, abs=0.05)
    (level,) = [found for found in verdict.evidence if found.metric == "level"]
    assert (level.verdict, level.detail, verdict.unlabelled) == (
        "UNMEASURED",
        "0 of 14 whole cycles with labels",
        False,
    )
