"""A project that can work is applied without a refusal. Readers accept what an older version accepted. What decides late is a note."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.cases.declared_projects import PROJECT, checked, spoiled

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import WindowClosed
from headrace.project import (
    ABTest,
    Binary,
    BlueGreen,
    Breaker,
    Canary,
    Category,
    Deployment,
    Guardrail,
    Key,
    Multiclass,
    Number,
    PageHinkley,
    Project,
    Regression,
    Retraining,
    Shadow,
    Training,
    baseline,
    beats_prior,
    not_worse_than_champion,
    previous,
    prior,
)
from headrace.project.applicable import refusals, warnings
from headrace.project.compile import compile_project
from headrace.project.faults import applicable
from headrace.project.rules import broken
from headrace_cli.projects.apply import check_project
from headrace_cli.projects.expectations import expectations
from headrace_cli.projects.plan import plan_of, rate_warnings

DAY_S = 86_400.0


def build(signature: object) -> None:
    """Never called here."""


def build_with_seed(signature: object, seed: int) -> None:
    """Never called here."""


def declared(**changes: object) -> Deployment:
    return Deployment(**{"name": "d", "unit": "u", "inputs": [Number("x")]} | changes)  # ty: ignore[invalid-argument-type]


def definition(**changes: object) -> DeploymentDefinition:
    return applicable(Project("p", [declared(**changes)])).deployments[0]


RIGHT: list[dict[str, object]] = [
    {},
    {"inputs": [Category("c")]},
    {"inputs": [Number("x", 3, 3), Key("k")]},
    {"label": Binary("y", "1d")},
    {"label": Binary("y", 60, absent="negative")},
    {"label": Binary("y", "1d", classes=("no", "yes")), "fallback": [prior({"no": 0.75, "yes": 0.25})]},
    {"label": Multiclass("y", ["a", "b", "c"], "1d"), "fallback": [prior([0.25, 0.25, 0.5])]},
    {"label": Multiclass("grade", [1, 2, 3], "1d")},
    {"label": Regression("y", 0, 90, "1d"), "fallback": [prior(30)]},
    {"label": Regression("y", -1.5, 1.5, "90s"), "training": Training(build)},
    {"label": Binary("y", "12h"), "training": Training(build, history="10d", holdout="7d", embargo="1d", first_after="9d")},
    {"label": Binary("y", "12h"), "training": Training(build_with_seed, seed=7)},
    {"label": Binary("y", "12h"), "training": Training(build, first_after_rows=1000), "gates": []},
    {"label": Binary("y", "12h"), "training": Training(build), "gates": [not_worse_than_champion(0.0), beats_prior(0.1)]},
    {"label": Multiclass("y", list("abcdefgh"), "1d"), "training": Training(build), "gates": [beats_prior(1.5)]},
    {"label": Binary("y", "12h"), "monitoring": [PageHinkley()]},
    {"label": Binary("y", "12h"), "monitoring": [PageHinkley("log_loss", 0, 0.1, 1)], "evaluation_window": "1h"},
    {"label": Binary("y", "1d"), "training": Training(build), "monitoring": [PageHinkley()], "retraining": Retraining()},
    {"rollout": Canary()},
    {"rollout": Canary(give_up_after="1d")},
    {"rollout": Canary(give_up_after="15d"), "label": Binary("y", "1d")},
    {"rollout": Canary(season=None, min_cycles=335, give_up_after="15d"), "label": Binary("y", "25h")},
    {"rollout": Canary(margin=0, season="7d", min_cycles=5), "label": Multiclass("y", ["a", "b"], "25d")},
    {"rollout": Canary(shares=(0.5, 1)), "label": Binary("y", "1d")},
    {"rollout": Canary(label_delay="24h"), "label": Binary("y", "1d")},
    {"rollout": Canary(guardrails=[Guardrail("errors", 0.5, dry_run=True), Guardrail("latency", 1)])},
    {"rollout": ABTest(winner="rule"), "label": Binary("y", "1d")},
    {"rollout": ABTest(winner="rule", duration="90d"), "label": Regression("y", 0, 1, "1d")},
    {"rollout": ABTest(duration="60d"), "label": Binary("y", "50d")},
    {"rollout": Shadow(duration="90d"), "label": Binary("y", "1d")},
    {"rollout": Shadow(duration="1h", block="1h")},
    {"rollout": BlueGreen(rollback_window=0, guardrails=[Guardrail("distribution", 0.3)])},
    {"fallback": [previous, baseline, prior(0.5)]},
    {"time_limit": 0.2},
    {"breaker": Breaker(slow="2s", failure_share=1)},
    {"evaluation_window": "30d"},
    {"owner": "me", "intended_use": "see\nthe card", "model": "another"},
]  # fmt: skip


@pytest.mark.parametrize("changes", RIGHT, ids=lambda changes: "-".join(changes) or "nothing")
def test_what_can_work_is_not_refused(changes: dict[str, object]) -> None:
    assert definition(**changes).name == "d"


@pytest.mark.parametrize(
    "reference", ["flights", "examples/tumour", "examples/flights/src/headrace_flights/project.py"]
)
def test_the_examples_are_applied_without_a_word(reference: str) -> None:
    found = check_project(reference)
    assert [one["warnings"] for one in found.outlook()] == [[]]


# -- readers

UNWORKABLE: list[Callable[[DeploymentDefinition], DeploymentDefinition]] = [
    lambda found: replace(found, retraining=replace(found.retraining, on=("drfit",))),
    lambda found: replace(found, monitoring=(replace(found.monitoring[0], figure="gini"),)),
    lambda found: replace(found, training=replace(found.training, history_s=DAY_S)),
    lambda found: replace(found, gates=(replace(found.gates[0], margin=3.0),)),
    lambda found: replace(found, rollout=replace(found.rollout, label_delay_s=3 * DAY_S)),
    lambda found: replace(found, label=None, training=None, rollout=replace(found.rollout, label_delay_s=None)),
]


@pytest.mark.parametrize("change", UNWORKABLE)
def test_what_an_older_version_applied_is_refused_by_apply_and_believed_by_readers(
    tmp_path: Path, change: Callable[[DeploymentDefinition], DeploymentDefinition]
) -> None:
    before = checked(tmp_path, PROJECT).definition
    after = replace(before, pipelines=(), deployments=(change(before.deployments[0]),))
    assert list(broken(after)) == []
    assert len(list(refusals(after))) >= 1


def test_outcomes_of_a_deployment_without_a_label_are_refused_by_apply_and_believed_by_readers(tmp_path: Path) -> None:
    before = checked(tmp_path, PROJECT).definition
    bare = replace(before.deployments[0], label=None, training=None, gates=(), monitoring=(), retraining=None)
    bare = replace(bare, rollout=replace(bare.rollout, label_delay_s=None))
    after = replace(before, deployments=(bare,))
    assert list(broken(after)) == []
    (refusal,) = refusals(after)
    assert refusal.startswith(
        "pipeline land: outcomes('late') names a deployment that takes no outcomes: give it a label"
    )


def test_compiling_alone_is_as_lenient_as_readers_are() -> None:
    lenient = Project("p", [declared(label=Binary("y", "1d"), monitoring=[PageHinkley("gini")])])
    assert compile_project(lenient).deployments[0].monitoring[0].figure == "gini"
    with pytest.raises(Misconfigured, match=r"follows .*log_loss.*, got 'gini'"):
        applicable(lenient)


def test_to_step_down_there_must_be_a_prior_to_compare_with() -> None:
    with pytest.raises(Misconfigured, match="step_down_after compares a version with the prior, and there is no prior"):
        definition(step_down_after=5)
    assert definition(step_down_after=5, fallback=[prior(0.5)]).step_down_after == 5


def test_two_builds_of_one_name_are_refused() -> None:
    deployments = [
        declared(name=name, label=Binary("y", "1d"), training=Training(lambda signature: None)) for name in "ab"
    ]
    with pytest.raises(Misconfigured, match="deployment b: training's build has the same name as another one"):
        applicable(Project("p", deployments))


# -- settings that decide late or never

LATE = [
    ({"label": Binary("y", "10d"), "rollout": BlueGreen(rollback_window="10d")},
     "the rollback window 10d is over before the first labels are read, after 241h (label_delay, or the label's horizon,"
     " + block): no label can roll the version back"),
    ({"label": Binary("y", "1d"), "rollout": BlueGreen(shadow_previous=False)},
     "labels will not judge this rollout (shadow_previous=False: nothing to compare with): its guardrails may roll it back"
     " for 8d"),
    ({"rollout": Canary()}, "labels will not judge this rollout (no label is declared): it is promoted by its guardrails and"
     " a person's approval (`headrace model approve`)"),
    ({"rollout": Canary(approval=True)}, "it is promoted by its guardrails, and approved before it begins"),
    ({"rollout": Canary(without_labels="promote")}, "it is promoted by its guardrails alone"),
    ({"rollout": ABTest()}, "a person ends it (`headrace rollout promote` or `headrace rollout abort`)"),
    ({"rollout": Shadow()}, "labels will not judge this rollout (no label is declared): it ends after its duration 21d"),
    ({"rollout": Shadow(duration="12h"), "label": Binary("y", "1d")},
     "duration 12h ends before its first labels are read, after 25h"),
    ({"label": Binary("y", "1d"), "monitoring": [PageHinkley(delta=0.2)]},
     "PageHinkley(delta=0.2, threshold=0.8) does not find a rise of 0.1 within 60 windows"),
    ({"inputs": [Key("k")]}, "a model has no column here: give inputs=[Number('x')], Category('c'), or features=[...]"),
    ({"label": Binary("y", "12h"), "training": Training(build, first_after="8d"), "fallback": [prior(0.5)]},
     "first_after 8d is not longer than horizon 12h + holdout 7d + embargo 1d = 8.5d: the first holdout is cut to a third"),
    ({"label": Binary("y", "1d"), "evaluation_window": "10m"}, "evaluation_window 10m: evaluation windows close at full hours only"),
    ({"label": Binary("y", "1d"), "training": Training(build)},
     "every request is refused until the first version is there: fallback=[prior(...)] would answer"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"), LATE, ids=lambda found: "-".join(found) if isinstance(found, dict) else found[:40]
)
def test_what_decides_late_or_never_is_a_note(changes: dict[str, object], expected: str) -> None:
    project = applicable(Project("p", [declared(**changes)]))
    (note,) = warnings(project.deployments[0], project)
    assert expected in note


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('feature_delay="15m"', "feature_delay=0", "feature_delay 0 allows for no lag"),
        (
            'feature_delay="15m"',
            'feature_delay="3h"',
            "feature_delay 3h is not shorter than the window of carrier.delay_3h, 3h",
        ),
    ],
)
def test_a_note_leads_to_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = spoiled(old, new)
    found = checked(tmp_path, text)
    (note,) = warnings(found.definition.deployments[0], found.definition)
    assert expected in note
    assert note.places == (("feature_delay",),)


# -- the plan of a deployment


def test_the_plan_lists_what_is_on_and_from_when_and_what_turns_the_rest_on(tmp_path: Path) -> None:
    plan = dict(plan_of(checked(tmp_path, PROJECT).definition.deployments[0]))
    assert plan == {
        "answers": "about flight; until the first version the prior answers, then falls back to previous, prior 0.25",
        "label": "late (Binary), up to 12h after the request; windows of 1d close at 98% of their labels, 12h after"
        " their end at the latest, and are judged by 50% or more",
        "trains": "the first version is possible after 30d (30 closed windows), with 1,000 labels to fit on beside the holdout's;"
        " on the newest 180d",
        "gates": "beats_prior (margin 0.01), not_worse_than_champion (margin 0.02); on the newest 7d of labelled rows",
        "watches": "log_loss per window: an alarm is possible 7 windows (7d) into a version; a rise of 0.1 is found"
        " after 13 windows, 13d (threshold 0.8 is a sum over windows)",
        "retrains": "on drift, skew; at most once per 7d of event time; a version after a change is followed by further ones as its labelled rows grow",
        "releases": "canary: shares 0.05, 0.25, 1, 12h at the least; promoted by guardrails and labels after at least"
        " 14 cycles of 1d; given up after 60d",
    }
    early = definition(label=Binary("y", "12h"), training=Training(build, first_after="36h"))
    assert dict(plan_of(early))["trains"].startswith("the first version is possible after 2d (2 closed windows), ")
    assert dict(plan_of(definition()))["off"] == (
        "features (features=[view.by(...)]); fallback (fallback=[previous, prior(...)]);"
        " labels, for quality and training (label=Binary(...), Multiclass(...) or Regression(...))"
    )
    first, *_ = [
        text for part, text in plan_of(checked(tmp_path, PROJECT).definition.deployments[0]) if part == "watches"
    ]
    assert first == (
        "per window of 1d how requests were answered; whether feature rows equal recomputed ones, and whether the sources"
        " of the views are as usual"
    )
    assert (
        dict(plan_of(definition()))["watches"]
        == "per window of 1d how requests were answered; no quality without a label"
    )


Y = {"label": Binary("y", "1d"), "training": Training(build), "fallback": [prior(0.5)]}
RELEASES = [
    (Y, "blue-green: switches when warm everywhere; guardrails and labels may roll it back for 8d"),
    (Y | {"rollout": BlueGreen(shadow_previous=False, approval=True)},
     "blue-green: switches when warm everywhere, after a person has approved it; its guardrails may roll it back for 8d"),
    (Y | {"rollout": Canary(season=None, min_cycles=100, give_up_after="10d")},
     "canary: shares 0.01, 0.05, 0.25, 1, 18h at the least; promoted by guardrails and labels after at least"
     " 100 cycles of 1h; given up after 10d"),
    ({"rollout": Canary()},
     "canary: shares 0.01, 0.05, 0.25, 1, 18h at the least; labels will not judge this: it is promoted by its guardrails and"
     " a person's approval (`headrace model approve`); given up after 60d"),
    (Y | {"rollout": ABTest(winner="rule")},
     "A/B test: share 0.5 for 21d, decided by rule; promoted by guardrails and labels after at least 14 cycles of 1d"),
    (Y | {"rollout": ABTest()},
     "A/B test: share 0.5 for 21d, decided by hand within 60d; judged by guardrails and labels after at least 14 cycles of 1d"),
    ({"rollout": Shadow()},
     "shadow: scores the same requests for 21d; labels will not judge this: it ends after its duration 21d"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), RELEASES)
def test_the_plan_names_what_judges_a_version(changes: dict[str, object], expected: str) -> None:
    assert dict(plan_of(definition(**changes)))["releases"] == expected


def test_labels_that_come_slowly_are_noted_from_the_windows_that_have_closed() -> None:
    found = definition(label=Binary("y", "1d"), training=Training(build, history="30d"))
    assert list(rate_warnings(found, None)) == []
    assert list(rate_warnings(found, 900.0)) == []
    assert list(rate_warnings(found, 10.0)) == [
        "min_rows 1,000 is more than history 30d holds: about 300 rows at 10 labels a day",
        "holdout 7d holds about 70 rows at 10 labels a day: gates will have little evidence",
    ]
    assert "(about 10 days' worth)" in dict(plan_of(found, 100.0))["trains"]


def test_the_windows_of_the_deployment_itself_are_counted() -> None:
    windows = [WindowClosed("flight-delay", n * DAY_S, (n + 1) * DAY_S, 900, 800, 0.2, "PASS") for n in range(3)]
    windows += [WindowClosed("another", 0, DAY_S, 5, 5, 0.2, "PASS")]
    checked = check_project("flights")
    (found,) = checked.definition.deployments
    (outlook,) = checked.outlook({found.name: expectations(found, windows, "canary")})
    assert any("(about 1.25 days' worth)" in line["text"] for line in outlook["plan"])
