"""Decisions field by field, and the calls that are made for them: what is asked of a version, and what a shadow gets."""

from typing import Any

import numpy as np
import pytest
from services.inference.tests.conftest import PROJECT
from services.inference.tests.decisions_scene import (
    CHAMPION,
    NAN,
    SAFE,
    SIGNATURES,
    Batch,
    features,
    made,
    request,
    row,
    sound,
)

from headrace.events.failures import Hung, InvalidScore, NoTime, NotLoaded, Raised, RowUnfit
from headrace.events.inference import FellBack, Score, Served
from headrace.events.registry import PassedOver, Route
from headrace_inference.core.batch import (
    ModelCall,
    RowScores,
    shadows_of,
)
from headrace_inference.core.decide import next_calls
from headrace_inference.core.rows import Rows

RowValues = tuple[float, ...]


def test_a_decision_holds_all_that_it_was_made_of() -> None:
    batch = Batch([request(0), request(1)], features((5.0, 2.0), (6.0, 2.0)))
    decided = batch.whole()
    assert [one.made for one in decided.decisions] == [
        made(0, Served(Score(3, "m", 3.0))),
        made(1, Served(Score(3, "m", 3.1))),
    ]
    assert [(one.headers, one.at_s, one.is_fast, one.is_shadowed) for one in decided.decisions] == [
        ({"ce_id": b"r0"}, None, False, True),
        ({"ce_id": b"r1"}, None, False, True),
    ]
    assert [one.request.envelope.id for one in decided.decisions] == ["r0", "r1"]
    # The shadow knows the carriers in another order, so it gets rows of its own.
    assert [call.name for call in decided.shadow_calls] == [("safe", 4)]
    assert decided.shadow_calls[0].cases == [(0, row(0.0, 0.0, 5.0, 2.0)), (1, row(100.0, 0.0, 6.0, 2.0))]
    assert (decided.cases, decided.chosen, decided.repeats) == (batch.admitted.cases, batch.scored.chosen, [])


def test_a_call_holds_the_rows_and_the_units_of_its_cases() -> None:
    batch = Batch([request(0), request(1)], features((5.0, 2.0), (6.0, 2.5))).round()
    (call,) = batch.calls
    assert (call.name, call.units, call.limit_s, call.breaker, call.as_shadow) == (
        ("safe", 3),
        ["u0", "u1"],
        SAFE.time_limit_s,
        SAFE.breaker,
        False,
    )
    assert (call.is_short, [case.index for case in call.cases], call.rows.dtype) == (
        False,
        [0, 1],
        np.dtype(np.float32),
    )
    assert call.rows.tolist() == [[0, 1, 5, 2], [100, 1, 6, 2.5]]


@pytest.mark.parametrize(
    ("deadline_ms", "limit_s", "is_short"),
    [
        (None, 5.0, False),
        (60_000, 5.0, False),
        (2_000, 1.0, False),
        (1_600, 0.8, False),
        (1_590, 0.795, True),
        (10, 0.05, True),
    ],
)
def test_a_tight_deadline_shortens_the_call_and_says_so(
    deadline_ms: int | None, limit_s: float, is_short: bool
) -> None:
    (call,) = Batch([request(0), request(1, deadline_ms=deadline_ms)]).round().calls
    assert SAFE.breaker.slow_s == 1.0
    assert (call.limit_s, call.is_short) == (pytest.approx(limit_s), is_short)


def test_what_was_missing_is_named() -> None:
    first, second = Batch([request(0), request(1)], features((5.0, 2.0), (NAN, 2.0))).whole().decisions
    assert (first.made.missing, second.made.missing) == ((), ("carrier.mean",))


def test_a_fall_back_names_each_version_that_failed_and_what_each_call_took() -> None:
    def give(call: ModelCall) -> Any:
        return Hung("predict took over 5 s") if call.name[1] == 3 else sound(call)

    (one,) = Batch([request(0)], features((5.0, 2.0))).whole(give).decisions
    why = f"{CHAMPION}predict took over 5 s"
    fell = FellBack("previous", why, Score(2, "m", 2.0))
    assert one.made == made(
        0, fell, signature=SIGNATURES[2].digest, failures={"3": Hung("predict took over 5 s")}, took_ms={"2": 2.0}
    )


def test_the_prior_answers_where_no_version_can_and_the_row_is_the_deployments_own() -> None:
    sick = {version: NotLoaded("not loaded yet") for version in (1, 2, 3, 4)}
    decided = Batch([request(0)], features((5.0, 2.0)), failed=sick).whole()
    why = "champion (version 3): not loaded yet; previous (version 2): not loaded yet; baseline (version 1): not loaded yet"
    bare = Rows(PROJECT, SAFE).bare
    assert [one.made for one in decided.decisions] == [
        made(
            0,
            FellBack("prior", why, Score(0, "", 0.26)),
            row=row(0.0, NAN, 5.0, 2.0),
            signature=bare.digest,
            failures={str(version): sick[version] for version in (1, 2, 3, 4)},
            took_ms={},
        )
    ]
    assert (decided.shadow_calls, decided.decisions[0].is_shadowed) == ([], False)


def test_a_version_that_is_passed_over_scores_along() -> None:
    down = (PassedOver(3, "f", "worse than the prior"),)
    route = Route("safe", {3: 1.0}, "salt", 1, champion=3, previous=2, passed_over=down)
    decided = Batch([request(0)], features((5.0, 2.0)), route=route).whole()
    (one,) = decided.decisions
    assert one.made.answer == FellBack("previous", f"{CHAMPION}worse than the prior", Score(2, "m", 2.0))
    assert [(call.name, call.cases) for call in decided.shadow_calls] == [(("safe", 3), [(0, row(0.0, 1.0, 5.0, 2.0))])]
    assert shadows_of(Route("d", {}, "d", 1, shadows=(3, 4), passed_over=(*down, PassedOver(5, "g", "r")))) == (3, 4, 5)
    assert shadows_of(None) == ()


def test_a_shadow_that_scored_already_is_not_asked_again() -> None:
    route = Route("safe", {3: 0.5, 2: 0.5}, "salt", 1, champion=3, shadows=(2, 3))
    requests = [request(n) for n in range(8)]
    batch = Batch(requests, features(*[(5.0, 2.0)] * 8), route=route)
    decided = batch.whole()
    by_2 = [n for n, one in enumerate(decided.decisions) if one.made.assigned == 2]
    assert 0 < len(by_2) < 8
    calls = {call.name[1]: dict(call.cases) for call in decided.shadow_calls}
    assert (sorted(calls[3]), sorted(calls[2])) == (by_2, sorted({*range(8)} - {*by_2}))


def test_scores_that_were_known_before_a_row_fell_back_go_to_the_shadow_as_they_are() -> None:
    route = Route("safe", {3: 1.0}, "salt", 1, champion=3, previous=2, shadows=(2,))

    def give(call: ModelCall) -> Any:
        return RowScores(sound(call).scores, {0: InvalidScore("NaN")}) if call.name[1] == 3 else sound(call)

    batch = Batch([request(0), request(1)], features((5.0, 2.0), (6.0, 2.0)), route=route)
    decided = batch.whole(give)
    assert [type(one.made.answer) for one in decided.decisions] == [FellBack, Served]
    assert decided.decisions[0].made.failures == {"3": InvalidScore("NaN")}
    assert decided.decisions[1].made.failures == {}
    assert [(call.name, [place for place, _ in call.cases]) for call in decided.shadow_calls] == [(("safe", 2), [1])]
    assert decided.decisions[1].made.took_ms == {"3": 2.0}


def test_of_a_call_that_was_split_no_duration_is_told() -> None:
    def give(call: ModelCall) -> Any:
        return RowScores(sound(call).scores, {0: Raised("r")}) if call.name[1] == 3 else sound(call)

    decided = Batch([request(0), request(1)], features((5.0, 2.0), (6.0, 2.0))).whole(give)
    assert [one.made.took_ms for one in decided.decisions] == [{"2": 2.0}, {}]


def test_when_all_rows_fail_but_not_by_the_versions_fault_it_is_asked_the_next_time() -> None:
    def give(call: ModelCall) -> Any:
        return RowScores((), {0: RowUnfit("no carrier"), 1: RowUnfit("no carrier")})

    batch = Batch([request(0), request(1)]).round(give)
    assert batch.scored.failures.versions == {}
    assert batch.scored.failures.rows == {n: {("safe", 3): RowUnfit("no carrier")} for n in (0, 1)}
    mixed = Batch([request(0), request(1)]).round(lambda _: RowScores((), {0: Raised("r"), 1: RowUnfit("u")}))
    assert mixed.scored.failures.versions == {}


@pytest.mark.parametrize(("deadline_ms", "asked_again"), [(None, 3), (60_000, 2)])
def test_what_was_not_reached_in_time(deadline_ms: int | None, asked_again: int) -> None:
    batch = Batch([request(n, deadline_ms=deadline_ms) for n in range(3)]).round(
        lambda call: RowScores(sound(call).scores, {}, (1, 2))
    )
    (call,) = next_calls(batch.gathered, batch.scored, 1.0)
    assert (call.name[1], [case.index for case in call.cases]) == (asked_again, [1, 2])
    why = NoTime("no time was left to ask it")
    assert batch.scored.failures.rows == ({} if deadline_ms is None else {n: {("safe", 3): why} for n in (1, 2)})
    assert (sorted(batch.scored.scores["safe", 3]), sorted(batch.scored.took_ms["safe", 3])) == ([0], [0])


def test_rows_of_several_rounds_are_all_kept() -> None:
    batch = Batch([request(n) for n in range(3)])
    batch.round(lambda call: RowScores(sound(call).scores, {}, (1, 2))).round()
    decided = batch.whole()
    assert [one.made.answer for one in decided.decisions] == [Served(Score(3, "m", 3.0 + n / 10)) for n in range(3)]
    assert [np.frombuffer(one.made.row, "<f4")[0] for one in decided.decisions] == [0.0, 100.0, 200.0]
