"""Metrics and slices that `apply` takes, and those that it refuses, with the sentence."""

from typing import Any

import pytest

from headrace.project import Binary, Category, Deployment, Key, Multiclass, Number, Project, Regression
from headrace.project.compile import compile_project
from headrace.project.faults import faults


def cost(labels: Any, scores: Any) -> float:
    return float((labels - scores).sum())


def needs_more(labels: Any) -> float:
    return 0.0


async def later(labels: Any, scores: Any) -> float:
    return 0.0


LABELS = {
    "binary": Binary("late", "1h"),
    "classes": Multiclass("kind", ["a", "b", "c"], "1h"),
    "number": Regression("minutes", 0, 10, "1h"),
}
INPUTS = [Category("carrier"), Key("plane"), Number("hour")]


def sentences(kind: str, **more: Any) -> list[str]:
    label = LABELS.get(kind)
    return [str(one) for one in faults(Project("p", [Deployment("d", "u", INPUTS, label=label, **more)]))]


@pytest.mark.parametrize(
    ("kind", "metric", "sentence"),
    [
        ("binary", "avg_precision", "the metric 'avg_precision' is unknown: did you mean 'average_precision'?"),
        ("binary", "r2", "the metric 'r2' needs a label that is a number, and this one is binary"),
        ("classes", "f1", "the metric 'f1' needs a binary label, and this one has several classes: did you mean 'f1_macro'?"),
        ("number", "auc", "the metric 'auc' needs a label of classes, and this one is a number"),
        ("number", "pinball@9", "the metric 'pinball@9' needs a quantile between 0 and 1, such as pinball@.9"),
        ("binary", needs_more, "a metric is called as needs_more(labels, scores), and takes (labels: Any) -> float"),
        ("binary", later, "a metric must return a number: write later by def, without async or yield"),
        ("binary", lambda labels, scores: 0.0, "a metric must be a function of a module, written by def, got <lambda>"),
    ],
)  # fmt: skip
def test_a_metric_that_cannot_be_computed_is_refused(kind: str, metric: Any, sentence: str) -> None:
    (found,) = sentences(kind, metrics=["auc", metric] if kind != "number" and metric != "auc" else [metric])
    assert found.startswith(f"deployment d: {sentence}")


def test_what_is_named_twice_or_not_there_is_refused() -> None:
    assert sentences("binary", metrics=["auc", "auc"]) == [
        "deployment d: there are two metrics 'auc': leave one out, or rename its function"
    ]
    assert sentences("binary", slices=["carrer"]) == [
        "deployment d: slices need a Category, or a Key that binds a view alone, got 'carrer': did you mean 'carrier'? There are carrier"
    ]
    assert sentences("binary", slices=["plane"])[0].endswith("got 'plane'; there are carrier")
    assert sentences("none", metrics=["auc"]) == [
        "deployment d: metrics need a label, such as label=Binary('late', horizon='24h')"
    ]
    assert sentences("binary", slices=["carrier"] * 11)[0] == (
        "deployment d: the number of slices must lie in 0..10, got 11"
    )
    assert sentences("binary", metrics="auc") == [
        "deployment d: metrics must be a list, got 'auc': put it into brackets, ['auc']"
    ]


def test_names_and_functions_are_in_the_definition() -> None:
    found = Deployment(
        "d", "u", INPUTS, label=LABELS["binary"], metrics=["average_precision", cost], slices=["carrier"]
    )
    compiled = compile_project(Project("p", [found])).deployments[0]
    assert (compiled.metrics, compiled.slices) == (("average_precision", f"{__name__}:cost"), ("carrier",))
    assert sentences("binary", metrics=["average_precision", cost], slices=["carrier"]) == []
