"""Deployments of other kinds: several classes, a number, no label, many requests per unit."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from headrace.errors import Poison
from headrace.events.definition import DeploymentDefinition, LabelDefinition
from headrace.events.inference import DecisionMade, Score, Served, ShadowScored
from headrace.events.registry import (
    CommandRefused,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutQueued,
    RolloutStarted,
    StartRollout,
    VersionRegistered,
)
from headrace.events.verdicts import UNMEASURED, Evidence
from headrace.features.outcomes import KnownOutcome
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace.project.labels import value_of, why_not_label
from headrace.registry.state import Registry
from headrace.testing.registry import CANARY, command, folded, verdict, version_of
from headrace_cli.evidence.rollouts import Board
from headrace_monitor.core.rollout_analysis import begin
from headrace_monitor.core.rollout_requests import Seen
from headrace_monitor.core.windows import Windows
from headrace_registry.core.machine import Warmed
from headrace_registry.core.registration import on_register
from headrace_registry.core.rollout import on_message

HOUR_S = 3600.0


def binary() -> DeploymentDefinition:
    label = Binary("click", horizon="2h")
    return compile_project(Project("p", deployments=[Deployment("d", "user", [Number("x")], label=label)])).deployments[
        0
    ]


# -- many requests per unit


@pytest.mark.parametrize("apart_s", [0.0, 1.0])
def test_a_late_score_is_of_its_own_request_however_often_a_unit_is_asked_at_one_instant(apart_s: float) -> None:
    windows = Windows(binary())
    scores: Mapping[str, float] = {f"r{n}": n / 20 for n in range(20)}
    for n, request in enumerate(scores):
        answer = Served(Score(1, "m", 0.5))
        decision = DecisionMade(request, "d", "u1", n * apart_s, answer, n, shadows_due=(2,))
        windows.add_decision(decision, 0, n)
    for n, (request, value) in reversed(list(enumerate(scores.items()))):
        scored = ShadowScored(request, "d", "u1", 2, n * apart_s, Score(2, "m", value))
        windows.add_late_score(scored, 0, 0)
        windows.add_late_score(scored, 0, 0)
    windows.add_outcome(KnownOutcome("u1", 1.0, HOUR_S))
    rows = windows.rows_of(0.0, 3 * HOUR_S)
    by_row = {int(row): float(score) for row, _, score in rows.shadows}
    assert by_row == dict(enumerate(scores.values()))


# -- the output of a version, and its label

KINDS = {
    "binary": LabelDefinition("y", "binary", HOUR_S),
    "number": LabelDefinition("y", "number", HOUR_S),
    "classes": LabelDefinition("y", "classes", HOUR_S, classes=("cat", "dog", "owl")),
}
GIVEN = {
    "binary": {"output": "binary", "classes": ("0", "1")},
    "number": {"output": "number", "classes": ()},
    "classes": {"output": "classes", "classes": ("cat", "dog", "owl")},
}


def registered(label: LabelDefinition | None, given: Mapping[str, object]) -> VersionRegistered | CommandRefused:
    (fact,) = on_register(
        Registry(), command(**given), "c", is_declared=True, has_artifact=True, now_s=0.0, label=label
    ).facts
    return fact


@pytest.mark.parametrize("output", list(GIVEN))
@pytest.mark.parametrize("label", [None, *KINDS])
def test_a_version_of_another_kind_than_its_label_is_refused_by_name(label: str | None, output: str) -> None:
    fact = registered(KINDS[label] if label else None, GIVEN[output])
    if label in (None, output):
        assert isinstance(fact, VersionRegistered)
    else:
        assert isinstance(fact, CommandRefused)
        assert "the label 'y' wants" in fact.reason


@pytest.mark.parametrize(
    ("classes", "fits"),
    [
        (("cat", "dog", "owl"), True),
        (("0", "1", "2"), True),  # trained on indexes
        (("0.0", "1.0", "2.0"), True),
        ((), True),  # its file does not name them
        (("cat", "owl", "dog"), False),
        (("1", "2", "3"), False),
        (("cat", "dog"), False),
        (("cat", "dog", "owl", "yak"), False),
        (("0", "1", "2", "3"), False),
    ],
)
def test_classes_are_those_of_the_label_in_its_order(classes: tuple[str, ...], fits: bool) -> None:
    fact = registered(KINDS["classes"], {"output": "classes", "classes": classes})
    assert isinstance(fact, VersionRegistered if fits else CommandRefused)


@pytest.mark.parametrize("classes", [(), ("0", "1"), ("False", "True"), ("0.0", "1.0"), ("-1", "1"), ("no", "yes")])
@pytest.mark.parametrize("label", [None, KINDS["binary"], replace(KINDS["binary"], classes=("0", "1"))])
def test_a_binary_label_takes_a_version_of_two_classes_whatever_it_was_trained_on(
    label: LabelDefinition | None, classes: tuple[str, ...]
) -> None:
    assert isinstance(registered(label, {"output": "binary", "classes": classes}), VersionRegistered)


def test_a_label_of_classes_without_names_takes_a_version_of_any_classes() -> None:
    assert isinstance(registered(replace(KINDS["classes"], classes=()), GIVEN["classes"]), VersionRegistered)


def test_a_refusal_explains_how_a_model_is_registered_that_gives_probabilities_by_another_word() -> None:
    fact = registered(KINDS["binary"], GIVEN["number"])
    assert isinstance(fact, CommandRefused)
    assert "`--output binary`" in fact.reason


@pytest.mark.parametrize(
    ("champion", "challenger", "is_alike"),
    [
        (GIVEN["classes"], GIVEN["classes"], True),
        (GIVEN["classes"], {"output": "classes", "classes": ("cat", "dog", "owl", "yak")}, False),
        (GIVEN["classes"], {"output": "classes", "classes": ("cat", "owl", "dog")}, False),
        (GIVEN["classes"], GIVEN["binary"], False),
        (GIVEN["binary"], GIVEN["number"], False),
        (GIVEN["number"], GIVEN["number"], True),
        (GIVEN["binary"], {"output": "binary", "classes": ("no", "yes")}, True),
        (GIVEN["binary"], {"output": "binary", "classes": ()}, True),
        (GIVEN["binary"], {"output": "binary", "classes": ("1", "2")}, True),
        ({"output": "binary", "classes": ("B", "M")}, {"output": "binary", "classes": ("benign", "malignant")}, True),
        (GIVEN["number"], {"output": "number", "classes": ("not", "read")}, True),
        (
            {"output": "binary", "classes": ("late", "on time")},
            {"output": "binary", "classes": ("on time", "zz")},
            False,
        ),
    ],
)
def test_two_versions_that_give_different_things_are_not_compared_but_may_be_switched(
    champion: Mapping[str, object], challenger: Mapping[str, object], is_alike: bool
) -> None:
    state = folded(Registry(), [version_of(1, **champion), version_of(2, **challenger)])
    state = on_message(state, "d", StartRollout("d", 1, "r", "me"), "s1").state
    state = on_message(state, "d", Warmed()).state
    assert state.entry("d").aliases["champion"] == 1
    compared = on_message(state, "d", StartRollout("d", 2, "r", "me"), "s2", CANARY).facts
    if is_alike:
        assert any(isinstance(fact, RolloutStarted) for fact in compared)
        return
    (refused,) = compared
    assert isinstance(refused, CommandRefused)
    assert "--policy blue-green" in refused.reason
    switched = on_message(state, "d", StartRollout("d", 2, "r", "me", policy="blue_green"), "s3", CANARY).facts
    assert any(isinstance(fact, RolloutStarted) for fact in switched)


def test_a_version_that_waited_and_can_no_longer_be_compared_is_reported_and_begins_nothing() -> None:
    state = folded(Registry(), [version_of(n, **GIVEN["binary"]) for n in (1, 2)])
    state = folded(state, [version_of(3, **GIVEN["number"])])
    for version in (1, 2):
        state = on_message(state, "d", StartRollout("d", version, "r", "me"), f"s{version}").state
        if version == 1:
            state = on_message(state, "d", Warmed()).state
    state = folded(state, [RolloutQueued("d", 3, "version 2 is under way", "trainer")])
    facts = on_message(state, "d", Warmed(), plan=CANARY).facts
    assert any(isinstance(fact, RolloutCompleted) for fact in facts)
    assert not any(isinstance(fact, RolloutStarted) for fact in facts)
    (refused,) = [fact for fact in facts if isinstance(fact, CommandRefused)]
    assert "they cannot be compared" in refused.reason


def test_a_rollout_that_is_on_the_log_goes_on_whatever_its_versions_give() -> None:
    state = folded(Registry(), [version_of(1, **GIVEN["binary"]), version_of(2, **GIVEN["number"])])
    state = on_message(state, "d", StartRollout("d", 1, "r", "me"), "s1").state
    state = on_message(state, "d", Warmed()).state
    state = folded(state, [RolloutStarted("d", "r1", 2, "canary", "r", CANARY, 1)])
    assert any(isinstance(fact, RolloutAdvanced) for fact in on_message(state, "d", Warmed(), plan=CANARY).facts)


def test_a_rollout_that_waits_for_labels_reports_why_there_are_none() -> None:
    board = Board()
    started = RolloutStarted("d", "r1", 2, "canary", "r", CANARY, 1)
    advanced = RolloutAdvanced("d", "r1", 2, "canary", 0.3, 0, 1.0)
    board.fold.state = folded(Registry(), [version_of(2), started, advanced])
    evidence = (Evidence("level", "label", UNMEASURED, detail="no label is declared"),)
    board.verdicts["r1"] = verdict(board.fold.state, 1.0, labels=UNMEASURED, evidence=evidence, waiting_for="labels")
    assert board.rows("d")[0]["waits_for"] == "labels: no label is declared"


# -- a label whose classes have no names


def test_outcomes_of_classes_without_names_are_whole_numbers() -> None:
    label = replace(KINDS["classes"], classes=())
    assert [why_not_label(label, value) for value in (0.0, 7.0)] == [None, None]
    for wrong in (-1.0, 0.5, float("nan"), float("inf"), 1e6):
        assert "0 to 9999" in (why_not_label(label, wrong) or "")


@pytest.mark.parametrize("classes", [(), ("cat",)])
def test_a_rollout_by_a_label_of_less_than_two_classes_reports_that_it_cannot_be_measured(
    classes: tuple[str, ...],
) -> None:
    deployment = replace(binary(), label=replace(KINDS["classes"], classes=classes))
    analysis = begin(deployment, RolloutStarted("d", "r1", 2, "canary", "r", CANARY, 1))
    for n in range(3_000):
        control, new = Score(1, "m", None, (0.2, 0.8)), Score(2, "n", None, (0.3, 0.7))
        decision = DecisionMade(f"r{n}", "d", f"u{n}", n * 60.0, Served(control), n, shadows=(new,), assigned=1)
        analysis.take([Seen("p/0", n, decision)])
        analysis.add_outcome(KnownOutcome(f"u{n}", 1.0, n * 60.0 + 1))
    (verdict,) = analysis.look(3_000 * 60.0).facts
    assert verdict.labels == UNMEASURED
    assert any("names no classes" in found.detail for found in verdict.evidence)


def test_an_index_is_a_label_only_where_it_means_one_thing() -> None:
    by_alphabet, otherwise = (
        LabelDefinition("kind", "classes", 60.0, classes=c) for c in (("ant", "dog"), ("dog", "ant"))
    )
    assert value_of(by_alphabet, 1) == 1.0
    assert value_of(otherwise, "ant") == 1.0
    with pytest.raises(Poison, match="must be one of dog, ant, got 1: give its name, since most encoders"):
        value_of(otherwise, 1)


@pytest.mark.parametrize(
    ("classes", "taken", "refused"),
    [
        (("1", "2"), ((1, 0.0), (2, 1.0), ("1", 0.0), ("2", 1.0)), (0, True, False)),
        (("1", "0"), ((1, 0.0), (0, 1.0)), (True, False)),
        (("True", "False"), ((True, 0.0), (False, 1.0)), (0, 1)),
        (("0", "1"), ((0, 0.0), (1, 1.0), (True, 1.0)), (2,)),
        (("false", "true"), ((0, 0.0), (False, 0.0), (1.0, 1.0), ("true", 1.0)), ("yes",)),
        (("no", "yes"), ((0, 0.0), (True, 1.0), ("yes", 1.0)), ("1", 2)),
    ],
)
def test_of_two_classes_that_are_called_by_numbers_no_label_means_two_things(
    classes: tuple[str, str], taken: tuple[tuple[float | str, float], ...], refused: tuple[float | str, ...]
) -> None:
    """With the classes "1" and "2", both 0 (by place) and 1 (by name) meant the first one."""
    label = LabelDefinition("k", "binary", 60.0, classes=classes)
    assert [value_of(label, value) for value, _ in taken] == [wanted for _, wanted in taken]
    assert all(why_not_label(label, value) for value in refused)


def test_two_classes_that_are_called_by_numbers_are_labelled_by_those() -> None:
    graded = LabelDefinition("grade", "binary", 60.0, classes=("1", "2"))
    assert [value_of(graded, value) for value in (1, 2, "1", "2", 2.0)] == [0.0, 1.0, 0.0, 1.0, 1.0]
    with pytest.raises(Poison, match="must be 1 or 2, got 0"):
        value_of(graded, 0)
    flags = LabelDefinition("late", "binary", 60.0, classes=("0", "1"))
    assert [value_of(flags, value) for value in (0, 1, True, False, "1")] == [0.0, 1.0, 1.0, 0.0, 1.0]
