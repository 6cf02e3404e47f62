"""Whole answers to retrain requests, the edges of each bound, and what of a run is published under which id."""

import math
from typing import Any

import pytest
from msgspec.structs import replace
from services.trainer.tests.test_requests import DEPLOYMENT, NOW_MS, NOW_S

from headrace.events.registry import ArtifactPlace, GateResult, RegisterVersion, Signature, Waiver
from headrace.events.training import (
    GateJudged,
    RetrainAccepted,
    RetrainCoalesced,
    RetrainRefused,
    RetrainRequested,
    TrainingFinished,
    TrainingProgressed,
)
from headrace.log.envelope import derived_id
from headrace.project import Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_trainer.core.run_facts import MAX_FACTS, Fact, RunFacts
from headrace_trainer.core.triggers import (
    GROUP,
    GROUPS,
    MAX_NAME,
    MAX_TEXT,
    MAX_WAIVERS,
    Runs,
    apply,
    on_request,
    why_unfit,
)

DAY = 86_400.0
SOUND = RetrainRequested("d", "drift", "because", "ann", "f1", None, (Waiver("beats_prior", "ann", "r"),), NOW_S - 1)


def answer(
    runs: Runs, request: RetrainRequested = SOUND, ident: str = "r1", clock_s: float = NOW_S, **more: Any
) -> Any:
    step = on_request(runs, request, ident, more.get("deployment", DEPLOYMENT), clock_s, NOW_MS)
    return step.facts[0] if step.facts else None


def accepted(ident: str = "r1", clock_s: float = NOW_S) -> RetrainAccepted:
    run = derived_id("run", "d", ident, NOW_MS)[:16]
    return RetrainAccepted("d", run, ident, "drift", "because", clock_s, SOUND.waivers, NOW_S - 1)


def finished(of: RetrainAccepted, outcome: str = "registered") -> TrainingFinished:
    return TrainingFinished("d", of.run, outcome, "")


def test_a_request_that_is_taken_up_is_repeated_in_the_answer() -> None:
    assert answer(Runs()) == accepted()
    assert answer(Runs(), deployment=None) == RetrainRefused("d", "r1", "no applied project declares a deployment 'd'")
    bare = compile_project(Project("p", [Deployment("d", "u", [Number("x")])])).deployments[0]
    assert answer(Runs(), deployment=bare) == RetrainRefused(
        "d", "r1", "deployment d declares no training=Training(...)"
    )
    assert answer(apply(Runs(), accepted()), ident="r2") == RetrainCoalesced("d", accepted().run, "r2")


def test_a_refusal_is_bounded_whatever_was_sent() -> None:
    found = answer(Runs(), replace(SOUND, deployment="é" * 300), "i" * 300)
    assert found == RetrainRefused("é" * 200, "i" * 200, "deployment has 300 characters, at most 200 are allowed")


def waivers(count: int = 1, gate: str = "g", by: str = "b", reason: str = "r") -> tuple[Waiver, ...]:
    return (*[Waiver("x", "y", "z")] * (count - 1), Waiver(gate, by, reason))


@pytest.mark.parametrize(
    ("name", "fits", "over", "reason"),
    [
        ("deployment", "d" * MAX_NAME, "d" * 201, "deployment has 201 characters, at most 200 are allowed"),
        ("by", "b" * MAX_NAME, "b" * 201, "by has 201 characters, at most 200 are allowed"),
        ("finding", "f" * MAX_NAME, "f" * 1_201, "finding has 1,201 characters, at most 200 are allowed"),
        ("finding", None, "f" * 201, "finding has 201 characters, at most 200 are allowed"),
        ("reason", "r" * MAX_TEXT, "r" * 4_001, "a reason has 4,001 characters, at most 4,000 are allowed"),
        ("waivers", waivers(MAX_WAIVERS), waivers(MAX_WAIVERS + 1), "there are 51 waivers, at most 50 are allowed"),
        ("waivers", waivers(2, gate="g" * 200), waivers(2, gate="g" * 201), "a waiver's gate has 201 characters, at most 200 are allowed"),
        ("waivers", waivers(50, by="b" * 200), waivers(50, by="b" * 201), "a waiver's name has 201 characters, at most 200 are allowed"),
        ("waivers", waivers(50, reason="r" * 4_000), waivers(50, reason="r" * 4_001), "a reason has 4,001 characters, at most 4,000 are allowed"),
        ("cause", "schedule", "m" * 300, f"cause must be one of first, drift, skew, contract, traffic, inputs, follow_up, schedule, new_rows, manual, got {'m' * 200!r}"),
        ("changed_at_s", NOW_S + 300, 1e300, "changed_at_s must lie in the years 1..9999 UTC, got 1e+300"),
    ],
)  # fmt: skip
def test_each_bound_at_its_edge(name: str, fits: Any, over: Any, reason: str) -> None:
    assert why_unfit(replace(SOUND, **{name: fits}), "i" * MAX_NAME, NOW_S + 300, NOW_MS) is None
    assert why_unfit(replace(SOUND, **{name: over}), "r1", NOW_S, NOW_MS) == reason


def test_the_id_and_the_clock_are_bounded_too() -> None:
    assert why_unfit(SOUND, "i" * 201, NOW_S, NOW_MS) == "id has 201 characters, at most 200 are allowed"
    late = why_unfit(SOUND, "r1", NOW_S + 301, NOW_MS)
    assert late is not None
    assert late.startswith("clock_s 2023-11-14T22:18:21+00:00 lies 301 s past")
    assert str(why_unfit(replace(SOUND, changed_at_s=NOW_S + 301), "r1", NOW_S, NOW_MS)).startswith("changed_at_s 2023")


def test_a_cool_down_counts_event_time_from_the_last_run_that_registered_a_version() -> None:
    runs = apply(apply(Runs(), accepted()), finished(accepted()))
    wait = RetrainRefused(
        "d", "r2", "cool-down: 145 h of event time are left; a manual request does not wait", NOW_S + 7 * DAY
    )

    def later(seconds: float, cause: str = "drift") -> Any:
        return on_request(
            runs,
            replace(SOUND, cause=cause, changed_at_s=None),
            "r2",
            DEPLOYMENT,
            NOW_S + seconds,
            NOW_MS + int(seconds * 1000),
        ).facts[0]

    assert later(DAY - 3_600.0) == wait
    assert later(DAY - 3_601.0).reason.startswith("cool-down: 146 h")
    assert isinstance(later(7 * DAY), RetrainAccepted)
    assert later(7 * DAY - 1).reason.startswith("cool-down: 1 h")
    for cause in ("first", "manual", "follow_up"):
        assert isinstance(later(0.0, cause), RetrainAccepted)
    assert isinstance(later(-7 * DAY), RetrainAccepted)
    assert isinstance(later(1 - 7 * DAY), RetrainRefused)


def test_a_run_that_registered_nothing_leaves_the_cool_down_as_it_was_before_it() -> None:
    first, second = accepted(), accepted("r2", NOW_S + 10 * DAY)
    runs = apply(apply(Runs(), first), finished(first))
    assert apply(apply(Runs(), first), finished(first, "failed")).last_clock_s == {"d": -math.inf}
    both = apply(apply(runs, second), finished(second, "rejected"))
    assert (both.last_clock_s, both.running) == ({"d": NOW_S}, {})
    assert apply(apply(runs, second), finished(second)).last_clock_s == {"d": NOW_S + 10 * DAY}


def test_the_end_of_another_run_ends_nothing() -> None:
    runs = apply(Runs(), accepted())
    for other in (
        TrainingFinished("d", "another", "registered", ""),
        TrainingFinished("e", accepted().run, "registered", ""),
    ):
        assert apply(runs, other).running == {"d": accepted()}
    assert apply(runs, TrainingFinished("e", "run", "failed", "")).last_clock_s == {"d": NOW_S}
    assert apply(runs, TrainingProgressed("d", "run", "rows", 0.1)) is runs


def test_the_newest_answers_are_known_in_groups_of_which_the_oldest_goes() -> None:
    runs = Runs()
    for number in range(GROUP * GROUPS):
        runs = apply(runs, RetrainCoalesced("d", "run", f"r{number}"))
    assert [len(runs.answered), len(runs.answered[0]), len(runs.answered[-1])] == [GROUPS, GROUP, GROUP]
    assert (runs.has_answered("r0"), runs.has_answered("r9999")) == (True, True)
    runs = apply(runs, RetrainRefused("d", "last", ""))
    assert [len(runs.answered), len(runs.answered[0])] == [GROUPS, 1]
    assert [runs.has_answered(ident) for ident in ("r0", "r99", "r100", "last")] == [False, False, True, True]
    assert answer(runs, ident="last") is None


# what is published


OF = accepted()
COMMAND = RegisterVersion("d", "m", ArtifactPlace("a" * 64, 0, 1, 1), "digest", Signature((), ""))


def test_each_fact_of_a_run_has_an_id_of_its_own_by_what_it_says() -> None:
    facts = RunFacts()
    (begun,) = facts.on_answer(OF).facts
    assert begun == Fact(derived_id("RetrainAccepted", "r1"), OF)
    entries: list[Any] = [
        TrainingProgressed("d", OF.run, "rows", 0.1), TrainingProgressed("d", OF.run, "fit", 0.1), TrainingProgressed("d", OF.run, "rows", 0.2),
        TrainingProgressed("d", OF.run, "rows", 0.1, "more"), GateJudged("d", OF.run, GateResult("a", "PASS", 1.0, 0.0, "m")),
        GateJudged("d", OF.run, GateResult("b", "PASS", 1.0, 0.0, "m")),
    ]  # fmt: skip
    found = [fact for entry in entries for fact in facts.on_entry(OF, entry).facts]
    assert [fact.event for fact in found] == entries
    assert len({fact.id for fact in found}) == len(entries)
    assert found[0].id == derived_id("progress", OF.run, "rows", 0.1, "")
    assert found[4].id == derived_id("gate", OF.run, "a")
    assert facts.published == {OF.run: {begun.id, *(fact.id for fact in found)}}
    for silent in (COMMAND, "an attempt", entries[0]):
        step = facts.on_entry(OF, silent)
        assert (step.state, step.facts) == (facts, ())
    assert facts.on_entry(OF, finished(OF)).facts == (
        Fact(derived_id("register", OF.run), COMMAND, OF.clock_s),
        Fact(derived_id("finished", OF.run), finished(OF)),
    )
    other = accepted("r2")
    facts.on_answer(other)
    assert facts.on_entry(other, finished(other)).facts == (Fact(derived_id("finished", other.run), finished(other)),)


def test_so_many_facts_of_one_run_are_published_at_the_most() -> None:
    facts = RunFacts()
    facts.on_answer(OF)
    reports = [TrainingProgressed("d", OF.run, "rows", n / 5_000) for n in range(MAX_FACTS + 1)]
    assert [len(facts.on_entry(OF, report).facts) for report in reports[-3:]] == [1, 1, 1]
    for report in reports:
        facts.on_entry(OF, report)
    assert len(facts.published[OF.run]) == MAX_FACTS + 1
