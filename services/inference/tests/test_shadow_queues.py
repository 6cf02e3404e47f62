"""Which rows wait for shadows, within which budget, and what becomes of each: on values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from headrace.events.definition import BreakerDefinition
from headrace.events.failures import Failure, Hung, InvalidScore, NoTime, Raised, Shed
from headrace.events.inference import DecisionMade, Expired, Score, ShadowScored
from headrace.events.registry import Route
from headrace_inference.core import shadows
from headrace_inference.core.batch import CallResult, ModelCall, Name, RowScores
from headrace_inference.core.shadows import (
    FIRST_ROWS,
    LOADED_WITHIN_S,
    MOST_BYTES,
    MOST_ROWS,
    Late,
    Shadowed,
    ShadowQueues,
    Waiting,
    is_awaited,
    results_of,
    rows_at_once,
    why_lost,
)

NAME: Name = ("d", 7)
CAUSES = (("ce_time", b"x"),)
DECISION = DecisionMade(
    "r1", "d", "u1", 5.0, Expired(1), 3, shadows=(Score(1, "", 0.1),), failures={"2": Hung("h")}, took_ms={"3": 4.0}
)
DROPPED = Shed("20,000 rows or 33,554,432 bytes wait for shadows of this shard already")


def shadowed(*waits_for: int) -> Shadowed:
    found = Shadowed.of(DECISION, CAUSES)
    found.waits_for.update(waits_for)
    return found


def waiting(row: bytes = b"1234") -> Waiting:
    return Waiting(shadowed(), row)


def result(given: Any, rows: int = 3, took_s: float = 0.002, limit_s: float = 5.0, name: Name = NAME) -> CallResult:
    call = ModelCall(name, np.zeros((rows, 1), np.float32), ["u"] * rows, limit_s, BreakerDefinition(), as_shadow=True)
    return CallResult(call, given, took_s, took_s)


def scores(*values: float) -> list[Score]:
    return [Score(7, "", value) for value in values]


def test_what_comes_before_the_decision_is_written_goes_into_it() -> None:
    found = shadowed(4, 6, 7, 5)
    assert found.take(7, Score(7, "", 0.5), 2.0) == ()
    assert found.take(6, Score(6, "", 0.6)) == ()
    assert found.take(5, Raised("r")) == ()
    assert found.with_scores(DECISION) == replace(
        DECISION,
        shadows=(Score(1, "", 0.1), Score(7, "", 0.5), Score(6, "", 0.6)),
        failures={"2": Hung("h"), "5": Raised("r")},
        took_ms={"3": 4.0, "7": 2.0},
        shadows_due=(4,),
    )


def test_a_decision_without_scores_is_written_as_it_is_with_the_names_of_those_that_are_due() -> None:
    assert shadowed(9, 4).with_scores(DECISION) == replace(DECISION, shadows_due=(4, 9))


@pytest.mark.parametrize(
    ("given", "took_ms", "wanted"),
    [
        (Score(7, "", 0.5), 2.0, ShadowScored("r1", "d", "u1", 7, 5.0, Score(7, "", 0.5), None, 2.0)),
        (Raised("r"), None, ShadowScored("r1", "d", "u1", 7, 5.0, None, Raised("r"), 0.0)),
    ],
)
def test_what_comes_after_it_follows_by_itself(given: Any, took_ms: float | None, wanted: ShadowScored) -> None:
    found = shadowed(7)
    found.with_scores(DECISION)
    assert found.take(7, given, took_ms) == (Late(wanted, CAUSES),)
    assert found.waits_for == set()


def test_rows_wait_in_order_by_version_and_leave_in_portions() -> None:
    queues = ShadowQueues()
    rows = [waiting(bytes([n % 256])) for n in range(FIRST_ROWS + 2)]
    for one in rows:
        assert queues.on_due(NAME, one, 0).facts == ()
    other = waiting()
    queues.on_due(("d", 8), other, 0)
    assert (queues.first(NAME), queues.first(("d", 8)), queues.first(("e", 7))) == (rows[0], other, None)
    assert (rows[0].shadowed.waits_for, other.shadowed.waits_for) == ({7}, {8})
    assert queues.take(NAME) == rows[:FIRST_ROWS]
    assert queues.take(NAME) == rows[FIRST_ROWS:]
    assert queues.first(NAME) is None
    assert queues.take(("d", 8)) == [other]


def test_the_bytes_of_rows_that_wait_are_counted_with_what_an_entry_takes() -> None:
    queues = ShadowQueues()
    queues.on_due(NAME, waiting(bytes(100)), 0)
    queues.on_due(NAME, waiting(bytes(50)), 0)
    assert queues.bytes == 100 + 50 + 2 * 900
    queues.take(NAME)
    assert queues.bytes == 0


def dropped(queues: ShadowQueues, one: Waiting, late_count: int = 0) -> bool:
    """Whether a row does not fit, told as late since its decision is written."""
    one.shadowed.with_scores(DECISION)
    step = queues.on_due(NAME, one, late_count)
    assert step.state is queues
    if not step.facts:
        return False
    assert step.facts == (Late(ShadowScored("r1", "d", "u1", 7, 5.0, None, DROPPED), CAUSES),)
    assert one.shadowed.waits_for == set()
    return True


def test_so_many_rows_wait_at_the_most() -> None:
    queues = ShadowQueues()
    assert [dropped(queues, waiting(), late) for late in (MOST_ROWS - 1, MOST_ROWS)] == [False, True]
    for _ in range(MOST_ROWS - 1):
        queues.on_due(NAME, waiting(), 0)
    assert dropped(queues, waiting())
    queues.take(NAME)
    assert not dropped(queues, waiting())


def test_so_many_bytes_wait_at_the_most() -> None:
    queues = ShadowQueues()
    assert dropped(queues, waiting(bytes(MOST_BYTES - 899)))
    assert not dropped(queues, waiting(bytes(MOST_BYTES - 900)))
    assert dropped(queues, waiting(b""))


@pytest.mark.parametrize(
    ("given", "took_s", "at_once"),
    [
        (RowScores((), {}), 0.1, 2 * FIRST_ROWS),
        (RowScores((), {}), 2.5, FIRST_ROWS),
        (RowScores((), {}), 4.0, FIRST_ROWS // 2),
        (Raised("r"), 0.1, FIRST_ROWS // 4),
    ],
)
def test_how_long_a_call_took_says_how_many_rows_the_next_one_has_also_after_a_pause(
    given: Any, took_s: float, at_once: int
) -> None:
    queues = ShadowQueues()
    for n in range(2):
        for _ in range(5 * FIRST_ROWS):
            queues.on_due(NAME, waiting(), 0)
        if n == 0:
            queues.take(NAME)
            queues.on_result(result(given, rows=FIRST_ROWS, took_s=took_s))
        assert len(queues.take(NAME)) == at_once
        queues.on_idle(NAME)
        assert queues.first(NAME) is None


def test_a_version_that_keeps_failing_gets_one_row_at_once() -> None:
    queues = ShadowQueues()
    for _ in range(3):
        queues.on_due(NAME, waiting(), 0)
    for _ in range(9):
        queues.on_result(result(Raised("r")))
    assert len(queues.take(NAME)) == 1


def test_sizes_of_so_many_versions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "_MOST_SIZES", 2)
    queues = ShadowQueues()

    def at_once(version: int, *, after_failure: bool = False) -> int:
        for _ in range(FIRST_ROWS + 1):
            queues.on_due(("d", version), waiting(), 0)
        if after_failure:
            queues.on_result(result(Raised("r"), name=("d", version)))
        found = len(queues.take(("d", version)))
        queues.on_idle(("d", version))
        return found

    assert [at_once(version, after_failure=True) for version in (1, 2)] == [64, 64]
    assert at_once(1) == 64
    assert at_once(2) == FIRST_ROWS


@pytest.mark.parametrize(
    ("now", "rows", "took_s", "wanted"),
    [
        (64, 64, 2.49, 128), (64, 64, 2.5, 64), (64, 63, 0.1, 64), (64, 64, 3.75, 64), (64, 64, 3.76, 32), (1, 1, 9.0, 1),
        (2048, 2048, 0.1, 2048), (1500, 1500, 0.1, 2048),
    ],
)  # fmt: skip
def test_a_call_grows_while_it_is_quick_and_shrinks_when_it_is_slow(
    now: int, rows: int, took_s: float, wanted: int
) -> None:
    assert rows_at_once(now, rows, took_s, 5.0) == wanted


def taken(given: Any, first: int = 0, rows: int = 3) -> list[tuple[Score | Failure | None, float]]:
    """What follows for each of three decisions that are written, from the place `first` of the call on."""
    found = [Waiting(shadowed(7), b"") for _ in range(rows)]
    for one in found:
        one.shadowed.with_scores(DECISION)
    late: Sequence[Late] = list(results_of(found, result(given), first))
    return [(one.scored.score or one.scored.failure, one.scored.took_ms) for one in late]


def test_each_row_gets_its_own_score_or_why_it_has_none() -> None:
    a, b, c = scores(0.1, 0.2, 0.3)
    bad = InvalidScore("NaN")
    assert taken(RowScores([a, b, c], {})) == [(a, 2.0), (b, 2.0), (c, 2.0)]
    assert taken(RowScores([a, b, c], {1: bad})) == [(a, 2.0), (bad, 2.0), (c, 2.0)]
    assert taken(RowScores([a, b, c], {1: bad}), first=1, rows=2) == [(bad, 2.0), (c, 2.0)]
    assert taken(RowScores([a, b, c], {0: Raised("r")})) == [(Raised("r"), 0.0), (b, 0.0), (c, 0.0)]
    assert taken(Hung("h")) == [(Hung("h"), 0.0)] * 3
    assert taken(RowScores((), {0: bad})) == [(bad, 2.0)] + [(NoTime("it was not reached"), 2.0)] * 2


ROUTE = Route("d", {1: 0.5, 2: 0.5}, "s", 1, shadows=(3,), warm=(4,), previous=5)


@pytest.mark.parametrize(
    ("version", "route", "waited_s", "is_refused", "awaited"),
    [
        (1, ROUTE, 0.0, False, True), (3, ROUTE, 0.0, False, True), (4, ROUTE, LOADED_WITHIN_S - 1, False, True), (5, ROUTE, 0.0, False, False),
        (3, ROUTE, LOADED_WITHIN_S, False, False), (3, ROUTE, None, False, False), (3, None, 0.0, False, False), (3, ROUTE, 0.0, True, False),
    ],
)  # fmt: skip
def test_a_version_that_is_not_loaded_is_waited_for_by_what_a_former_owner_owed(
    version: int, route: Route | None, waited_s: float | None, is_refused: bool, awaited: bool
) -> None:
    assert is_awaited(version, route, waited_s, is_refused=is_refused) is awaited


def test_a_row_that_is_logged_is_scored_by_versions_that_see_the_same() -> None:
    decision = replace(DECISION, signature="s")
    assert why_lost(decision, "s") is None
    lost = NoTime("its instance ended before it was asked, and the row that is logged is another version's")
    assert [why_lost(decision, signature) for signature in ("t", None)] == [lost, lost]
