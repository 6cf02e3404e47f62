"""The fallback chain: who answers when the champion does not, and what is said of the steps above."""

import pytest

from headrace.asking.fallback import Ask, Constant, answer_of, choose_step, step_of, steps_of
from headrace.events.definition import FallbackStepDefinition
from headrace.events.failures import Raised
from headrace.events.inference import (
    FellBack,
    Refused,
    Score,
    Served,
)
from headrace.events.registry import PassedOver, Route
from headrace.project import (
    Deployment,
    Number,
    Project,
    baseline,
    previous,
    prior,
)
from headrace.project.compile import compile_project

STEPS = (FallbackStepDefinition("previous"), FallbackStepDefinition("baseline"), FallbackStepDefinition("prior", 0.26))

ROUTE = Route("d", {3: 1.0}, "salt", 7, champion=3, previous=2, baseline=1)


def test_the_chain_goes_champion_previous_baseline_prior() -> None:
    steps = (Ask("champion", 3), Ask("previous", 2), Ask("baseline", 1), Constant(0.26))
    assert steps_of(STEPS, ROUTE, 3) == steps


def test_a_version_is_in_the_chain_once() -> None:
    route = Route("d", {3: 1.0}, "salt", 7, champion=3, previous=3, baseline=3)
    assert steps_of(STEPS, route, 3) == (Ask("champion", 3), Constant(0.26))


def test_a_rejected_version_that_no_route_names_is_never_asked() -> None:
    assert steps_of(STEPS, Route("d", {3: 1.0}, "salt", 7), 3) == (Ask("champion", 3), Constant(0.26))


@pytest.mark.parametrize(
    ("failed", "step", "reason"),
    [
        ({}, ("champion", 3), ""),
        ({3: "NaN"}, ("previous", 2), "champion (version 3): NaN"),
        ({3: "NaN", 2: "gone"}, ("baseline", 1), "champion (version 3): NaN; previous (version 2): gone"),
        (
            {3: "a", 2: "b", 1: "c"},
            ("prior", 0),
            "champion (version 3): a; previous (version 2): b; baseline (version 1): c",
        ),
    ],
)
def test_each_step_names_why_the_ones_above_were_passed_over(
    failed: dict[int, str], step: tuple[str, int], reason: str
) -> None:
    chosen = choose_step(steps_of(STEPS, ROUTE, 3), {version: Raised(why) for version, why in failed.items()})
    assert (step_of(chosen), chosen.reason) == (step, reason)


def test_without_a_version_the_prior_answers_and_says_so() -> None:
    answer = answer_of(choose_step(steps_of(STEPS, None, None), {}), None, "d")
    assert answer == FellBack("prior", "no version yet", Score(0, "", 0.26))


def test_without_version_and_fallback_the_refusal_says_what_to_do() -> None:
    answer = answer_of(choose_step(steps_of((), None, None), {}), None, "d")
    assert isinstance(answer, Refused)
    assert answer.reason == "no version of d yet; register one with `headrace model register`"


def test_an_exhausted_chain_refuses_with_the_reasons() -> None:
    answer = answer_of(choose_step(steps_of((), ROUTE, 3), {3: Raised("NaN")}), None, "d")
    assert isinstance(answer, Refused)
    assert "champion (version 3): NaN" in answer.reason


def test_the_champion_serves_and_a_lower_step_falls_back() -> None:
    score = Score(3, "x", 0.4)
    steps = steps_of(STEPS, ROUTE, 3)
    assert answer_of(choose_step(steps, {}), score, "d") == Served(score)
    assert isinstance(answer_of(choose_step(steps, {3: Raised("NaN")}), score, "d"), FellBack)


def test_previous_and_baseline_are_steps_that_users_declare() -> None:
    deployment = Deployment("d", unit="u", inputs=[Number("x")], fallback=[previous, baseline, prior(0.26)])
    assert compile_project(Project("p", [deployment])).deployment("d").fallback == STEPS


def test_a_version_that_is_passed_over_answers_nothing_and_says_why() -> None:
    route = Route(
        "d", {3: 1.0}, "s", 1, champion=3, previous=2, passed_over=(PassedOver(3, "f", "worse than the prior"),)
    )
    steps = [FallbackStepDefinition("previous"), FallbackStepDefinition("prior", 0.3)]
    chosen = choose_step(steps_of(steps, route, 3), {})
    assert (chosen.step, chosen.reason) == (Ask("previous", 2), "champion (version 3): worse than the prior")
    both = Route("d", {3: 1.0}, "s", 1, 3, 2, passed_over=(PassedOver(3, "f", "bad"), PassedOver(2, "g", "bad too")))
    chosen = choose_step(steps_of(steps, both, 3), {})
    assert (chosen.step, chosen.reason) == (Constant(0.3), "champion (version 3): bad; previous (version 2): bad too")
