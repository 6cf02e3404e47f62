"""A version answers for the label that it was registered for: where that has become another one, it is passed over."""

from typing import Any

import pytest

from headrace.events.definition import ProjectDefinition
from headrace.events.inference import FellBack
from headrace.project import Binary, Deployment, Multiclass, Number, Project, Regression, prior
from headrace.project.compile import compile_project
from headrace.project.deployments import FallbackStep
from headrace.project.fields import LabelKind

Bench = Any  # the fixture of conftest.py

PRICE = Regression("due", low=0, high=1e6, horizon="1h"), prior(300.0)
GRADE = Multiclass("due", classes=("a", "b", "c"), horizon="1h"), prior({"a": 0.2, "b": 0.3, "c": 0.5})
SWAPPED = Binary("due", horizon="1h", classes=("yes", "no")), prior(0.4)
NAMED = Binary("due", horizon="1h", classes=("no", "yes")), prior(0.4)


def loans(label: LabelKind | None, step: FallbackStep) -> ProjectDefinition:
    loan = Deployment("loan", unit="client", inputs=[Number("x")], label=label, fallback=[step])
    return compile_project(Project("loans", [loan]))


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        (PRICE, "a version of 'binary', the label 'due' is 'number' now"),
        (GRADE, "a version of 'binary', the label 'due' is 'classes' now"),
        (SWAPPED, "its classes are no, yes, those of the label 'due' are yes, no now"),
    ],
)
async def test_a_version_is_passed_over_once_the_label_is_another_one(
    bench: Bench, changed: tuple[LabelKind, FallbackStep], wanted: str
) -> None:
    """Else a probability is served as a price, as a class of three, or of the other class."""
    await bench.set_up(loans(*NAMED))
    await bench.register("loan", 1, classes=("no", "yes"), vocabularies={}, project=loans(*NAMED))
    await bench.route("loan", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("loan", {"x": 0.7}, id="before")
        (before,) = await bench.decisions()
        await bench.apply(loans(*changed))
        await bench.ask("loan", {"x": 0.7}, id="after")
        after = (await bench.decisions(2))[-1]
    assert before.answer.score.version == 1
    assert isinstance(after.answer, FellBack)
    assert after.answer.step == "prior"
    assert wanted in str(after.failure_of(1))


async def test_a_version_of_a_deployment_that_names_its_classes_later_goes_on(bench: Bench) -> None:
    await bench.set_up(loans(None, prior(0.4)))
    await bench.register("loan", 1, vocabularies={}, project=loans(None, prior(0.4)))
    await bench.route("loan", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.apply(loans(*NAMED))
        await bench.ask("loan", {"x": 0.7})
        (decision,) = await bench.decisions()
    assert decision.answer.score.version == 1
