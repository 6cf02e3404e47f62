"""Case 9: a wrong declaration is refused in one sentence, by the rules that every reader has too."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.cases.definitions_scene import FEED, build, deployment, project, source, view

from headrace.errors import Misconfigured
from headrace.features.derived import OPERATORS
from headrace.project import (
    Binary,
    Breaker,
    Canary,
    Count,
    Derived,
    Guardrail,
    Join,
    Key,
    Mean,
    Number,
    PageHinkley,
    Project,
    RawStream,
    Retraining,
    Training,
    baseline,
    prior,
)
from headrace.project.compile import compile_project
from headrace.project.rules import broken
from headrace.project.rules.derived import ARITIES


def of(**changes: Any) -> Callable[[], Project]:
    return lambda: project(deployments=[deployment(**changes)])


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            of(evaluation_window="0s"),
            r"deployment late: evaluation_window must be at least 1 s and at most 366 d, got 0",
        ),
        (of(evaluation_window=-5), r"evaluation_window must be at least 1 s.*, got -5"),
        (of(evaluation_window="99999d"), "at most 366 d, got"),
        (of(evaluation_window=float("nan")), "a duration is written like"),
        (of(evaluation_window=True), "a duration is written like"),
        (of(evaluation_window=None), "a duration is written like"),
        (of(evaluation_window="a while"), "a duration is written like 15m, 3h or 180d, got 'a while'"),
        (of(feature_delay="-1h"), "a duration is written like"),
        (of(feature_delay=-1), r"feature_delay must be at least 0 s"),
        (of(label=Binary("late", 0)), "the label's horizon must be at least 1 s"),
        (of(label=Binary("late", "1d", "maybe")), "absent must be unknown or negative, got 'maybe'"),
        (of(inputs=[Number("x", 5, 1), Key("carrier")], derived=()), "x must lie in low..high, got low 5 above high 1"),
        (of(inputs=[Number("x", float("nan")), Key("carrier")], derived=()), "low of x must be a finite number"),
        (of(inputs=[Number("", 1), Key("carrier")], derived=()), "an input's name must have 1 to 200 characters"),
        (of(inputs=[Number("x"), Number("x"), Key("carrier")], derived=()), "'x' is declared twice"),
        (
            of(inputs=[Number("x", "low"), Key("carrier")], derived=()),
            "deployment late: low of Number 'x' must be a number, got 'low'",
        ),
        (
            of(inputs=[Key(f"k{n}") for n in range(3000)] + [Key("carrier")], derived=()),
            "the number of inputs must lie",
        ),
        (of(inputs=None), "deployment late: inputs must be a list, got None"),
        (of(fallback=[prior(1.5)]), "prior is a probability and must lie in 0..1, got 1.5"),
        (of(fallback=[prior(float("nan"))]), "prior needs a number, got nan"),
        (of(fallback=[prior(0.5), baseline]), "prior is always the last step of the fallback"),
        (of(fallback=[baseline, baseline]), "is declared twice"),
        (of(coverage=98), r"coverage must lie in 0..1, got 98 \(percent\?\)"),
        (of(name="a/b"), "deployment 'a/b': a deployment's name is 1 to 100 letters"),
        (of(name=""), "deployment '': a deployment's name is"),
        (of(name="x" * 300), "deployment 'xxxx.*: a deployment's name is"),
        (of(model="../../etc"), "model '../../etc': a model's name is"),
        (of(unit=""), "unit must have 1 to 200 characters"),
        (of(time_limit=0), "time_limit must be at least"),
        (of(training=Training(build, history=0)), "training's history must be"),
        (of(training=Training(build, min_rows=-1)), "training's min_rows must lie in 1.."),
        (of(training=Training(build), label=None, fallback=()), "training needs a label"),
        (of(monitoring=[PageHinkley(min_windows=0)]), "min_windows must lie in 1.."),
        (of(monitoring=[PageHinkley(delta=float("inf"))]), "a detector's delta"),
        (of(retraining=Retraining(cooldown=-1)), "cooldown must be at least 0 s"),
        (of(rollout=Canary(block=0)), "rollout block must be at least 1 s"),
        (of(rollout=Canary(min_decisions=0)), "min_decisions must be at least 1"),
        (of(rollout=Canary(guardrails=[Guardrail("errors", float("nan"))])), "guardrail errors: limit and consecutive"),
        (of(breaker=Breaker(window=0)), "window=.* must be at least"),
        (of(breaker=Breaker(probes=0)), "breaker counts must be at least 1"),
        (of(derived=[Derived("x", lambda r: r.dest * 2)]), "computes with 'dest', which is a text"),
        (of(owner="x" * 20_000), "owner must have 0 to 10,000 characters"),
        (lambda: project(name=""), "project '': a project's name is"),
        (lambda: project(name="ä"), "project 'ä': a project's name is"),
        (lambda: project(name=5), "project 5: name must be a text, got 5"),
        (lambda: project(raw=[FEED, FEED]), "'feed' is declared twice"),
        (
            lambda: project(raw=[RawStream("feed", partitions=0)]),
            "raw stream feed: partitions must lie in 1..1,000, got 0",
        ),
        (lambda: project(raw=[RawStream("feed", partitions=10**9)]), "partitions must lie in 1..1,000, got 1000000000"),
        (lambda: project(raw=[RawStream("feed", format="xml")]), "format must be json or msgpack, got 'xml'"),
        (source(name="My Source/é"), "source 'My Source/é': a source's name is"),
        (source(partitions=2000), "partitions must lie in 1..1,000, got 2000"),
        (source(available_after=-1), "available_after must be at least 0 s"),
        (source(dedupe_within=0, dedupe="carrier"), "dedupe_within must be at least 1 s"),
        (view("2000d"), "view v: the window of n must be longer than 0 s and at most 731 d"),
        (view(0), "the window of n must be longer than 0 s"),
        (view("7m"), "the window of n must be a multiple of 300 s, got 420 s"),
        (view(features={}), "it has no features"),
        (
            view(features={f"n{n}": Count("1h") for n in range(600)}),
            "the number of features must lie in 0..500, got 600",
        ),
        (view(features={"": Count("1h")}), "a feature's name must have 1 to 200 characters"),
        (view(features={"n": Count("1h", default=float("inf"))}), "the default of n must be a finite number"),
        (view(features={"n": Mean("carrier", "1h")}), "n needs a number or flag"),
        (view(name="a b"), "view 'a b': a view's name is"),
        (view(features=None), "view v: features must be a dict, such as .*, got None"),
    ],
)
def test_a_wrong_declaration_is_one_sentence_with_what_was_got_and_what_is_expected(
    declared: Callable[[], Project], message: str
) -> None:
    with pytest.raises(Misconfigured, match=message) as raised:
        compile_project(declared())
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700


def test_what_is_right_breaks_no_rule() -> None:
    assert list(broken(compile_project(project()))) == []


def test_the_rules_know_the_operators_that_are_evaluated() -> None:
    assert set(ARITIES) == set(OPERATORS)


def test_a_join_of_a_negative_time_is_refused_like_any_duration() -> None:
    with pytest.raises(Misconfigured, match="a duration is written like"):
        Join("-1h").match("a", "k", 1, 0.0)
