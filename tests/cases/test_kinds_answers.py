"""What an answer contains for each kind of label: names of classes, a prior per class, and versions with other classes."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from headrace.asking.fallback import answer_of, choose_step, steps_of
from headrace.asking.output_kinds import OutputKinds
from headrace.asking.prediction import OutputKind, Prediction, predicted
from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, LabelDefinition
from headrace.events.inference import FellBack, PredictionAnswered, Score, Served
from headrace.events.registry import ColumnPin, CommandRefused, ModelVersion, Signature, VersionRegistered
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.models.skops_format import SkopsEngine
from headrace.project import Binary, Deployment, Multiclass, Number, Project, Regression, prior
from headrace.project.compile import compile_project
from headrace.project.fields import LabelKind
from headrace.project.labels import places_of
from headrace.registry.state import Registry
from headrace.testing.registry import command, version_of
from headrace_cli.projects.plan import plan_of
from headrace_gateway.core.answers import described_outputs, outputs_of
from headrace_inference.adapters.models import Pace, ask
from headrace_registry.core.registration import on_register

KIND = Multiclass("kind", ["cat", "dog", "owl"], "1h")
PETS = LabelDefinition("kind", "classes", 3600.0, classes=("cat", "dog", "owl"))


def deployment(label: LabelKind | None, *chain: object) -> DeploymentDefinition:
    found = Deployment("d", "u", [Number("x")], label=label, fallback=chain)
    return compile_project(Project("p", deployments=[found])).deployment("d")


# -- names


async def kinds_of(*registered: VersionRegistered) -> OutputKinds:
    log, topics = MemoryLog(), Topics.load()
    codec = Codec(topics)
    name = topics.name("registry.models")
    await log.create_topics(topics.specs())
    producer = await log.producer()
    for found in registered:
        event = ModelVersion(found, "registered", ())
        await producer.send([out(name, f"d/{found.version}", event, Envelope(f"e{found.version}", "", "t", 0.0))])
    kinds = OutputKinds(log, codec, topics)
    await kinds.start()
    return kinds


@pytest.mark.parametrize(
    ("named", "classes", "labels"),
    [
        ((), ("no", "yes"), ["no", "yes"]),
        ((), ("1", "2"), ["1", "2"]),
        ((), ("-1", "1"), ["-1", "1"]),
        ((), ("0", "1"), [0, 1]),
        ((), ("0.0", "1.0"), [0, 1]),
        ((), (), [0, 1]),
        (("on time", "late"), ("0", "1"), ["on time", "late"]),
        (("on time", "late"), (), ["on time", "late"]),
        (("on time", "late"), ("on time", "late"), ["on time", "late"]),
    ],
)
async def test_the_label_of_two_classes_is_the_name_of_one(
    named: Sequence[str], classes: tuple[str, ...], labels: list[str | int]
) -> None:
    kind = (await kinds_of(version_of(1, classes=classes))).of(deployment(Binary("y", "1h", classes=named)), 1)
    answers = [PredictionAnswered("r", "d", Served(Score(1, "m", value))) for value in (0.1, 0.9)]
    predictions = [predicted("d", "r", answered, lambda _: kind, 100) for answered in answers]
    assert [found.label for found in predictions] == labels
    is_text = isinstance(labels[0], str)
    assert [found.datatype for found in outputs_of(predictions)] == ["FP64", "BYTES" if is_text else "INT64", "INT64"]
    described = {found["name"]: found for found in described_outputs(kind)}
    assert described["label"]["datatype"] == ("BYTES" if is_text else "INT64")
    assert described["label"].get("parameters") == ({"classes": ",".join(map(str, labels))} if is_text else None)


async def test_each_answer_is_given_in_the_names_of_the_version_that_gave_it() -> None:
    kinds = await kinds_of(
        version_of(1, output="classes", classes=("cat", "dog")), version_of(2, output="classes", classes=("owl", "yak"))
    )
    plain = deployment(None)

    def label(version: int) -> Prediction:
        answered = PredictionAnswered("r", "d", Served(Score(version, "m", None, (0.2, 0.8))))
        return predicted("d", "r", answered, lambda version: kinds.of(plain, version), 100)

    assert [label(1).label, label(2).label] == ["dog", "yak"]
    assert label(1).probabilities == {"cat": 0.2, "dog": 0.8}


# -- the prior


@pytest.mark.parametrize(
    ("label", "given", "score"),
    [
        (KIND, {"owl": 0.5, "cat": 0.2, "dog": 0.3}, Score(0, "", None, (0.2, 0.3, 0.5))),
        (KIND, [0.2, 0.3, 0.5], Score(0, "", None, (0.2, 0.3, 0.5))),
        (Binary("y", "1h"), 0.26, Score(0, "", 0.26)),
        (Binary("y", "1h", classes=("no", "yes")), {"yes": 0.25, "no": 0.75}, Score(0, "", 0.25)),
        (Regression("y", 0, 300, "1h"), 152.1, Score(0, "", 152.1)),
        (None, 7.5, Score(0, "", 7.5)),
    ],
)
def test_a_prior_answers_for_its_kind_of_label(label: LabelKind | None, given: object, score: Score) -> None:
    steps = steps_of(deployment(label, prior(given)).fallback, None, None)  # type: ignore[arg-type]  # of each kind
    answer = answer_of(choose_step(steps, {}), None, "d")
    assert answer == FellBack("prior", "no version yet", score)


def test_a_prior_of_classes_is_answered_by_name() -> None:
    answer = FellBack("prior", "no version yet", Score(0, "", None, (0.2, 0.3, 0.5)))
    prediction = predicted(
        "d", "r", PredictionAnswered("r", "d", answer), lambda _: OutputKind("classes", PETS.classes), 100
    )
    assert (prediction.label, prediction.probabilities, prediction.version) == (
        "owl",
        {"cat": 0.2, "dog": 0.3, "owl": 0.5},
        None,
    )


@pytest.mark.parametrize(
    ("label", "given", "reason"),
    [
        (KIND, 0.2, "needs a probability for each"),
        (KIND, {"cat": 0.2, "dog": 0.8}, "the label's classes are cat, dog, owl"),
        (KIND, [0.2, 0.8], "needs 3 probabilities"),
        (KIND, [0.2, 0.3, 0.4], "add up to 1, got 0.9"),
        (KIND, [20, 30, 50], "must lie in 0..1"),
        (Binary("y", "1h"), [0.2, 0.8], "needs one number for a label of kind 'binary'"),
        (Binary("y", "1h"), {"no": 0.2, "yes": 0.8}, "the label names no classes"),
        (Regression("y", 0, 300, "1h"), {"a": 1.0}, "the label names no classes"),
        (Regression("y", 0, 300, "1h"), 301.0, "must lie in the label's range"),
        (None, {"a": 1.0}, "the label names no classes"),
    ],
)
def test_a_prior_of_another_kind_than_the_label_is_refused(label: LabelKind | None, given: object, reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason):
        deployment(label, prior(given))  # type: ignore[arg-type]  # what a user writes


# -- versions with other classes than the label


@pytest.mark.parametrize(
    ("classes", "places"),
    [
        (("cat", "dog", "owl"), ()),
        (("owl", "cat", "dog"), (2, 0, 1)),
        (("cat", "owl"), (0, 2)),
        (("0", "1", "2"), ()),
        ((), ()),
        (("0", "1"), None),
        (("cat", "yak", "owl"), None),
        (("cat", "cat", "owl"), None),
    ],
)
def test_classes_are_mapped_by_name(classes: tuple[str, ...], places: tuple[int, ...] | None) -> None:
    assert places_of(PETS, classes) == places


def test_classes_that_are_numbers_are_mapped_by_their_value() -> None:
    grades = LabelDefinition("grade", "classes", 60.0, classes=("3", "1", "2"))
    assert places_of(grades, ("1.0", "2.0", "3.0")) == (1, 2, 0)


def test_a_version_that_knows_some_of_the_classes_answers_for_all_of_them_by_name() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32)
    model = LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "owl", "cat"))
    places = places_of(PETS, tuple(model.classes_))
    assert places == (0, 2)
    registered = version_of(
        1, output="classes", classes=PETS.classes, class_places=places, signature=Signature((ColumnPin("x"),), "s")
    )
    scored = ask(registered, SkopsEngine(model), rows[:3], Pace(), time.monotonic() + 5)
    wanted = model.predict_proba(rows[:3])
    assert [score.probabilities for score in scored.scores] == [(cat, 0.0, owl) for cat, owl in wanted.tolist()]


def test_a_file_with_another_number_of_classes_than_are_named_is_not_served() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32)
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    registered = version_of(1, output="classes", classes=PETS.classes, signature=Signature((ColumnPin("x"),), "s"))
    scored = ask(registered, SkopsEngine(model), rows[:1], Pace(), time.monotonic() + 5)
    assert scored.faults[0].reason == "predict returned 2 classes, and 3 are named"


@pytest.mark.parametrize("places", [(0, 0), (3, 1), (-1, 0)])
def test_places_that_are_none_are_refused(places: tuple[int, ...]) -> None:
    asked = command(output="classes", classes=PETS.classes, class_places=places)
    (fact,) = on_register(Registry(), asked, "c", is_declared=True, has_artifact=True, now_s=0.0, label=PETS).facts
    assert isinstance(fact, CommandRefused)
    assert "class_places" in fact.reason


def test_apply_prints_what_a_prior_of_classes_answers() -> None:
    compiled = compile_project(
        Project("p", deployments=[Deployment("d", "u", [Number("x")], label=KIND, fallback=[prior([0.2, 0.3, 0.5])])])
    )
    plan = dict(plan_of(compiled.deployment("d")))
    assert plan["answers"].endswith("falls back to prior of 3 classes (most probable owl, 0.5)")
