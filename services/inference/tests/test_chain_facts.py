"""Previews, tenants and fallback chains, step by step."""

import pytest
from msgspec.structs import replace

from headrace.asking.fallback import (
    Ask,
    Chosen,
    Constant,
    Passed,
    answer_of,
    choose_step,
    passed_over,
    step_of,
    steps_for,
    steps_of,
)
from headrace.asking.headers import TENANT, VERSION
from headrace.asking.routing import Assigned, assign
from headrace.events.definition import FallbackStepDefinition
from headrace.events.failures import Busy, Hung
from headrace.events.inference import FellBack, Refused, Score
from headrace.events.registry import PassedOver, Route
from headrace_inference.core import answering, takeover

ROUTE = Route("d", {3: 1.0}, "s", 1, champion=3, previous=2, baseline=1, overrides={"acme": 2})
DECLARED = [
    FallbackStepDefinition("previous"),
    FallbackStepDefinition("baseline"),
    FallbackStepDefinition("prior", 0.26),
]


@pytest.mark.parametrize(
    ("route", "headers", "wanted"),
    [
        (None, {}, Assigned(None)), (None, {VERSION: b"9"}, Assigned(9, "preview", None)), (ROUTE, {}, Assigned(3)), (ROUTE, {TENANT: b"acme"}, Assigned(2, "tenant")),
        (ROUTE, {TENANT: b"shop"}, Assigned(3)), (ROUTE, {TENANT: b"acme", VERSION: b"999999999"}, Assigned(999_999_999, "preview", 2)),
        (ROUTE, {VERSION: b"1000000000"}, Assigned(3)), (ROUTE, {VERSION: b"x"}, Assigned(3)), (ROUTE, {VERSION: b""}, Assigned(3)), (ROUTE, {TENANT: b"\xff"}, Assigned(3)),
    ],
)  # fmt: skip
def test_a_preview_comes_before_a_tenant_before_the_shares(
    route: Route | None, headers: dict[str, bytes], wanted: Assigned
) -> None:
    assert assign(route, "u", headers) == wanted


def test_a_preview_is_a_step_above_the_chain_that_there_would_have_been() -> None:
    below = (Ask("champion", 3), Ask("previous", 2), Ask("baseline", 1), Constant(0.26))
    assert steps_for(DECLARED, ROUTE, Assigned(9, "preview", 3)) == (Ask("preview", 9), *below)
    assert steps_for(DECLARED, ROUTE, Assigned(2, "preview", 3)) == (Ask("preview", 2), below[0], *below[2:])
    assert steps_for(DECLARED, ROUTE, Assigned(2, "tenant")) == (Ask("champion", 2), *below[2:])
    down = replace(ROUTE, passed_over=(PassedOver(2, "f", "worse"),))
    assert steps_for(DECLARED, down, Assigned(3)) == (below[0], Passed("previous", 2, "worse"), *below[2:])
    assert steps_of([FallbackStepDefinition("prior", None, (0.2, 0.8)), *DECLARED], None, None) == (
        Constant(None, (0.2, 0.8)),
        Constant(0.26),
    )
    after_prior = steps_of([DECLARED[2], DECLARED[0]], ROUTE, 3)
    assert after_prior == (Ask("champion", 3), Constant(0.26))


def test_what_is_above_the_step_that_answers_is_told_with_its_reasons() -> None:
    steps = (Passed("champion", 3, "worse"), Ask("previous", 2), Ask("baseline", 1), Constant(0.26))
    failed = {2: Busy("b"), 1: Hung("h")}
    chosen = choose_step(steps, failed)
    assert chosen == Chosen(
        Constant(0.26), "champion (version 3): worse; previous (version 2): b; baseline (version 1): h"
    )
    assert passed_over(steps, chosen, failed) == failed
    assert passed_over(steps, choose_step(steps, {2: Busy("b")}), {2: Busy("b")}) == {2: Busy("b")}
    assert choose_step((), {}) == Chosen(None, "no version yet")
    assert choose_step(steps[1:2], {}) == Chosen(steps[1], "no version yet")
    assert choose_step((Ask("preview", 9),), {}) == Chosen(Ask("preview", 9), "")
    assert [step_of(Chosen(step, "")) for step in (Ask("previous", 2), Constant(0.5), None)] == [
        ("previous", 2),
        ("prior", 0),
        ("none", 0),
    ]


def test_an_answer_by_each_kind_of_step() -> None:
    score = Score(2, "m", 0.5)
    assert answer_of(Chosen(Ask("previous", 2), "why"), score, "d") == FellBack("previous", "why", score)
    assert answer_of(Chosen(Constant(None, (0.2, 0.8)), "why"), None, "d") == FellBack(
        "prior", "why", Score(0, "", None, (0.2, 0.8))
    )
    assert answer_of(Chosen(None, "no version yet"), None, "d") == Refused(
        "no version of d yet; register one with `headrace model register`", 5.0
    )
    assert answer_of(Chosen(Ask("x", 2), "why"), None, "d") == Refused(
        "no step of the fallback chain of d can answer: why", 5.0
    )


def test_steps_of_versions_that_came_and_went_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answering._MOST_KNOWN == 10_000
    monkeypatch.setattr(takeover, "_MOST_AGAIN", 2)
    unsent = takeover.UnsentReplies()
    for offset in (5, 6, 7):
        unsent.on_decision(1_000, offset)
    assert unsent.first(8) == 6
    unsent.on_decision(3_000, 8)
    assert unsent.first(9) == 7
    unsent.on_decision(3_001, 9)
    assert (unsent.first(10), unsent.first(3)) == (8, 3)
