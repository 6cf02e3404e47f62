"""What a call shows of its version, and when a change of the answering step is published."""

from typing import Any

import numpy as np
import pytest
from services.inference.tests.decisions_scene import CHAMPION, SAFE, Batch, request

from headrace.asking.headers import VERSION
from headrace.events.failures import Busy, Hung, InvalidScore, NoTime, Raised, RowUnfit
from headrace_inference.core.answering import AnsweringSteps, StepChanged
from headrace_inference.core.batch import (
    CallResult,
    ModelCall,
    RowScores,
)
from headrace_inference.core.breaker import Call
from headrace_inference.core.evidence import evidence_of, recorded

# what a call shows of its version


def result(given: Any, rows: int = 4, *, as_shadow: bool = False) -> CallResult:
    call = ModelCall(
        ("d", 1),
        np.arange(rows, dtype=np.float32).reshape(-1, 1),
        [f"u{n}" for n in range(rows)],
        5.0,
        SAFE.breaker,
        as_shadow=as_shadow,
    )
    return CallResult(call, given, 0.5)


def culprits(*rows: int) -> tuple[tuple[int, int], ...]:
    call = result(None).call
    return tuple((hash(call.rows[n].tobytes()), hash(f"u{n}")) for n in rows)


@pytest.mark.parametrize(
    ("given", "shows"),
    [
        (RowScores((), {}), Call(9.0, 0.0, 0.5)),
        (Hung("h"), Hung("h")),
        (Busy("b"), None),
        (RowScores((), {1: InvalidScore("NaN")}), Call(9.0, 0.25, 0.5, "NaN", culprits(1))),
        (RowScores((), {1: Raised("r"), 2: InvalidScore("NaN")}), Call(9.0, 0.5, None, "r", culprits(1, 2))),
        (RowScores((), {1: RowUnfit("u"), 2: Raised("r")}, (3,)), Call(9.0, 0.5, None, "r", culprits(2))),
        (RowScores((), {1: RowUnfit("u")}), Call(9.0, 0.0, None, "", ())),
        (RowScores((), dict.fromkeys(range(4), RowUnfit("u"))), None),
        (RowScores((), {0: RowUnfit("u")}, (1, 2, 3)), None),
    ],
)
def test_only_a_versions_own_faults_count_against_it(given: Any, shows: Any) -> None:
    assert evidence_of(result(given), 9.0) == shows


def test_how_long_a_shadow_took_says_nothing_and_of_many_culprits_some_are_remembered() -> None:
    assert evidence_of(result(RowScores((), {}), as_shadow=True), 9.0) == Call(9.0, 0.0, 0.0)
    many = evidence_of(result(RowScores((), dict.fromkeys(range(100), Raised("r"))), rows=100), 9.0)
    assert isinstance(many, Call)
    assert (many.failed, len(many.culprits)) == (1.0, 64)


def test_a_limit_that_was_not_fair_makes_no_call_hang() -> None:
    scores = RowScores((), {})
    assert [recorded(given, is_short=True) for given in (Hung("h"), Busy("b"), scores)] == [
        NoTime("h"),
        Busy("b"),
        scores,
    ]
    assert recorded(Hung("h"), is_short=False) == Hung("h")


# when another step answers


def test_a_change_of_the_answering_step_is_told_once_by_the_last_request() -> None:
    steps = AnsweringSteps()

    def changes(batch: Batch) -> list[tuple[int, str, int, str]]:
        step = steps.on_batch(batch.admitted.cases, batch.scored.chosen)
        assert step.state is steps
        assert all(isinstance(change, StepChanged) for change in step.facts)
        return [(change.case.index, change.step, change.version, change.reason) for change in step.facts]

    sick = {3: Busy("b")}
    assert changes(Batch([request(0), request(1)])) == [(1, "champion", 3, "")]
    assert changes(Batch([request(0), request(1)])) == []
    assert changes(Batch([request(0), request(1)], failed=sick)) == [(1, "previous", 2, f"{CHAMPION}b")]
    assert changes(Batch([request(0, headers=((VERSION, b"2"),))])) == []
    assert changes(Batch([request(0)], failed=sick)) == []
    assert changes(Batch([request(0)], failed={version: Busy("b") for version in (1, 2, 3)}))[0][:3] == (0, "prior", 0)
