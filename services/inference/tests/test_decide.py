"""How a batch is decided, without a service: what is called, round by round, and what is recorded."""

import math
from typing import Any

import numpy as np
import pytest

from headrace.events.failures import Failure, Hung, NoTime, NotLoaded, Raised
from headrace.events.inference import FellBack, PredictionRequested, Score, Served
from headrace.events.registry import Route, VersionRegistered
from headrace.features.rows import pin_signature
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.project import Deployment, Number, Project, previous, prior
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of
from headrace_inference.core.admission import admit_all
from headrace_inference.core.batch import (
    CallResult,
    Decided,
    DeploymentState,
    Gathered,
    ModelCall,
    RowScores,
    Scored,
    shadows_of,
)
from headrace_inference.core.decide import decide, next_calls, start, with_results
from headrace_inference.core.eligibility import gathered, versions_of
from headrace_inference.core.faults import text_of
from headrace_inference.core.repeats import AnswerWindow
from headrace_inference.core.rows import Rows

PROJECT = compile_project(
    Project("p", [Deployment("d", unit="u", inputs=[Number("x")], fallback=[previous, prior(0.5)])])
)
DEFINITION = PROJECT.deployment("d")
SIGNATURE = pin_signature(PROJECT, DEFINITION, {})
ROUTE = Route("d", {2: 1.0}, "salt", 1, champion=2, previous=1)


def asked(count: int = 3, deadline_ms: int | None = None) -> list[Message]:
    """Requests r0, r1, ... with x = 0, 1, ..."""
    return [
        Message(
            Record("inference.requests", 0, n, b"u", b"", (), 0),
            Envelope(f"r{n}", "", "test", 0.0),
            PredictionRequested("d", {"x": float(n)}, f"u{n}", deadline_ms),
        )
        for n in range(count)
    ]


def batch(requests: list[Message], route: Route = ROUTE, failed: dict[int, Failure] | None = None) -> Gathered:
    """All that these requests are decided by. `failed`: versions that cannot be asked."""
    state = DeploymentState(PROJECT, DEFINITION, route, 7, Rows(PROJECT, DEFINITION), {}, 0, shadows_of(route))
    admitted = admit_all(requests, {"d": state}, AnswerWindow(), 0, 0)
    known: dict[tuple[str, int], VersionRegistered | Failure] = {
        name: (failed or {}).get(name[1]) or version_of(name[1], deployment="d", signature=SIGNATURE)
        for name in versions_of(admitted)
    }
    return gathered(admitted, {}, known, {})


def scores(call: ModelCall, faults: dict[int, Failure] | None = None, unasked: tuple[int, ...] = ()) -> CallResult:
    """What a version gives: its number plus x."""
    found = [Score(call.name[1], "", call.name[1] + float(x)) for x in call.rows[:, 0]]
    return CallResult(call, RowScores(found, faults or {}, unasked), 0.001, 0.001)


def calls_of(found: Gathered, scored: Scored) -> list[tuple[int, list[float]]]:
    """Per call its version, and the x of its rows."""
    return [(call.name[1], call.rows[:, 0].tolist()) for call in next_calls(found, scored, 0.0)]


def decided(found: Gathered, scored: Scored) -> Decided:
    return decide(found, scored, 0, "code")


def test_all_requests_go_to_the_routed_version_in_one_call_and_are_recorded_with_their_rows() -> None:
    found = batch(asked())
    (call,) = next_calls(found, start(found), 0.0)
    scored = with_results(found, start(found), [scores(call)])
    assert next_calls(found, scored, 0.0) == []
    made = [one.made for one in decided(found, scored).decisions]
    assert [one.answer for one in made] == [Served(Score(2, "", 2.0 + n)) for n in range(3)]
    assert [np.frombuffer(one.row, "<f4").tolist() for one in made] == [[0.0], [1.0], [2.0]]
    assert made[0].signature == SIGNATURE.digest
    assert made[0].took_ms == {"2": 1.0}


def test_a_call_that_gives_nothing_closes_its_step_and_the_next_round_asks_the_one_below() -> None:
    found = batch(asked())
    before = start(found)
    (call,) = next_calls(found, before, 0.0)
    scored = with_results(found, before, [CallResult(call, Hung("predict took over 5 s"), 5.0)])
    assert calls_of(found, scored) == [(1, [0.0, 1.0, 2.0])]
    (below,) = next_calls(found, scored, 0.0)
    answers = [one.made.answer for one in decided(found, with_results(found, scored, [scores(below)])).decisions]
    assert {type(answer) for answer in answers} == {FellBack}
    assert answers[0].reason == "champion (version 2): predict took over 5 s"
    assert calls_of(found, before) == [(2, [0.0, 1.0, 2.0])], "a stage is never changed"


def test_a_row_that_fails_alone_goes_down_alone() -> None:
    found = batch(asked())
    (call,) = next_calls(found, start(found), 0.0)
    scored = with_results(found, start(found), [scores(call, {1: Raised("predict raised ValueError")})])
    assert calls_of(found, scored) == [(1, [1.0])]


def test_when_all_rows_fail_by_the_versions_own_fault_it_is_the_version_that_failed() -> None:
    found = batch(asked(2))
    (call,) = next_calls(found, start(found), 0.0)
    faults = {place: Raised("predict raised ValueError") for place in range(2)}
    scored = with_results(found, start(found), [CallResult(call, RowScores((), faults), 0.0)])
    assert scored.failures.versions == {("d", 2): faults[0]}


@pytest.mark.parametrize(("deadline_ms", "version"), [(None, 2), (60_000, 1)])
def test_what_a_slow_version_did_not_reach_it_is_asked_again_unless_there_is_a_deadline(
    deadline_ms: int | None, version: int
) -> None:
    found = batch(asked(deadline_ms=deadline_ms))
    (call,) = next_calls(found, start(found), 0.0)
    scored = with_results(found, start(found), [scores(call, unasked=(1, 2))])
    assert calls_of(found, scored) == [(version, [1.0, 2.0])]
    assert {type(failure) for row in scored.failures.rows.values() for failure in row.values()} <= {NoTime}


def test_no_version_and_the_prior_answers_with_the_row_of_the_deployments_own_signature() -> None:
    found = batch(asked(1), failed={2: NotLoaded("not loaded yet"), 1: NotLoaded("not loaded yet")})
    assert next_calls(found, start(found), 0.0) == []
    (one,) = decided(found, start(found)).decisions
    assert one.made.answer.score == Score(0, "", 0.5)
    assert (one.made.row, one.made.signature) == (b"\0\0\0\0", Rows(PROJECT, DEFINITION).bare.digest)
    assert one.made.failures.keys() == {"1", "2"}


def test_a_shadow_gets_the_very_bytes_that_the_decision_logs() -> None:
    found = batch(asked(2), Route("d", {2: 1.0}, "salt", 1, champion=2, shadows=(1,)))
    (call,) = next_calls(found, start(found), 0.0)
    made = decided(found, with_results(found, start(found), [scores(call)]))
    (shadow,) = made.shadow_calls
    assert shadow.name == ("d", 1)
    assert all(row is made.decisions[place].made.row for place, row in shadow.cases)
    assert [one.is_shadowed for one in made.decisions] == [True, True]


def test_a_version_that_answers_some_and_shadows_others_is_asked_by_the_worker_that_answers() -> None:
    route = Route("d", {1: 0.5, 2: 0.5}, "salt", 1, champion=2, shadows=(1, 2))
    requests = asked(40)
    state = DeploymentState(PROJECT, DEFINITION, route, 7, Rows(PROJECT, DEFINITION), {}, 0, shadows_of(route))
    only_shadows = versions_of(admit_all(requests, {"d": state}, AnswerWindow(), 0, 0))
    assert only_shadows == {("d", 1): False, ("d", 2): False}


def test_a_repeat_in_the_same_batch_is_decided_once() -> None:
    found = batch([*asked(2), *asked(1)])
    assert len(found.admitted.cases) == 2
    assert [one.request.envelope.id for one in found.admitted.repeats] == ["r0"]
    assert found.admitted.due_ms == math.inf


@pytest.mark.parametrize("text", ["half of a pair: \udc00", "x" * 10_000])
def test_what_a_model_raises_can_be_written_whatever_it_holds(text: str) -> None:
    found: Any = text_of(ValueError(text))
    assert len(found.encode("utf-8")) < 600
