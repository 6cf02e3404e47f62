"""Whole decisions, field by field, and whole calls: what is asked of a version, what a shadow gets, what is written."""

import math
from typing import Any

import numpy as np
import pytest
from services.inference.tests.conftest import PROJECT

from headrace.asking.headers import VERSION
from headrace.events.failures import Busy, Failure, Hung, InvalidScore, NoTime, NotLoaded, Raised, RowUnfit, Shed
from headrace.events.inference import DecisionMade, FellBack, Invalid, PredictionRequested, Refused, Score, Served
from headrace.events.registry import PassedOver, Route, Signature, VersionRegistered
from headrace.features.rows import pin_signature
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.testing.registry import version_of
from headrace_inference.core.admission import admit_all
from headrace_inference.core.answering import AnsweringSteps, StepChanged
from headrace_inference.core.batch import (
    CallResult,
    Decided,
    DeploymentState,
    Features,
    Gathered,
    ModelCall,
    RowScores,
    shadows_of,
)
from headrace_inference.core.breaker import Call
from headrace_inference.core.decide import decide, next_calls, refused, start, with_results
from headrace_inference.core.eligibility import gathered, versions_of
from headrace_inference.core.evidence import evidence_of, recorded
from headrace_inference.core.overload import BASELINE, REQUESTS, SHADOWS
from headrace_inference.core.repeats import AnswerWindow
from headrace_inference.core.request import MAX_TEXT_CHARS
from headrace_inference.core.rows import Rows

SAFE = PROJECT.deployment("safe")
SIGNATURES = {
    1: pin_signature(PROJECT, SAFE, {"carrier": ("AA",)}, inputs_only=True),
    2: pin_signature(PROJECT, SAFE, {"carrier": ("AA", "UA")}),
    3: pin_signature(PROJECT, SAFE, {"carrier": ("AA", "UA")}),
    4: pin_signature(PROJECT, SAFE, {"carrier": ("UA", "AA")}),
}
ROUTE = Route("safe", {3: 1.0}, "salt", 1, champion=3, previous=2, baseline=1, shadows=(4,))
APPLIED = {"events.landings.v1/0": 9}
NAN = math.nan
CHAMPION = "champion (version 3): "
RowValues = tuple[float, ...]


def request(n: int, **changes: Any) -> Message:
    inputs = {"miles": 100.0 * n, "carrier": "UA"}
    event = PredictionRequested(
        changes.pop("deployment", "safe"), inputs, changes.pop("unit", f"u{n}"), changes.pop("deadline_ms", None)
    )
    headers = changes.pop("headers", (("ce_id", f"r{n}".encode()),))
    record = Record(
        "inference.requests", 0, changes.pop("offset", 40 + n), b"key", b"", headers, changes.pop("appended_ms", 1_000)
    )
    return Message(record, Envelope(changes.pop("id", f"r{n}"), "", "test", changes.pop("at_s", 1.0 + n)), event)


def features(*values: tuple[float, float], newest_s: float = 1.0) -> Features:
    return Features(
        np.array(values, np.float64), [{"carrier": f"UA{n}"} for n in range(len(values))], {"landings": newest_s}
    )


class Batch:
    """A batch for the deployment `safe` on its way through all stages; its versions give their number plus the share of miles."""

    def __init__(self, requests: list[Message], found: Features | None = None, **changes: Any) -> None:
        found = found or features(*[(5.0, 2.0)] * len(requests))
        route = changes.get("route", ROUTE)
        level = changes.get("level", 0)
        state = DeploymentState(PROJECT, SAFE, route, 7, Rows(PROJECT, SAFE), APPLIED, level, shadows_of(route))
        self.admitted = admit_all(requests, {"safe": state}, AnswerWindow(), changes.get("now_ms", 1_000), 0)
        failed = changes.get("failed", {})
        known: dict[tuple[str, int], VersionRegistered | Failure] = {
            name: failed.get(name[1]) or registered(name[1]) for name in versions_of(self.admitted)
        }
        levels = {"safe": level} if level else {}
        self.gathered: Gathered = gathered(self.admitted, {"safe": found} if self.admitted.cases else {}, known, levels)
        self.scored = start(self.gathered)
        self.calls: list[ModelCall] = []

    def round(self, give: Any = None, now_s: float = 1.0) -> "Batch":
        calls = next_calls(self.gathered, self.scored, now_s)
        self.calls += calls
        results = [CallResult(call, (give or sound)(call), 0.002) for call in calls]
        self.scored = with_results(self.gathered, self.scored, results)
        return self

    def whole(self, give: Any = None) -> Decided:
        while next_calls(self.gathered, self.scored, 1.0):
            self.round(give)
        return decide(self.gathered, self.scored, 41, "code")


def registered(version: int) -> VersionRegistered:
    return version_of(version, deployment="safe", signature=SIGNATURES.get(version, SIGNATURES[3]))


def sound(call: ModelCall) -> RowScores:
    return RowScores([Score(call.name[1], "m", call.name[1] + float(row[0]) / 1000) for row in call.rows], {})


def row(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def made(n: int, answer: Any, **changes: Any) -> DecisionMade:
    fields: dict[str, Any] = {
        "request_offset": 40 + n,
        "row": row(100.0 * n, 1.0, 5.0 + n, 2.0),
        "signature": SIGNATURES[3].digest,
        "entities": {"carrier": f"UA{n}"},
        "applied": APPLIED,
        "route_offset": 7,
        "recovered": n == 0,
        "code_version": "code",
        "assigned": 3,
        "took_ms": {"3": 2.0},
    } | changes
    return DecisionMade(f"r{n}", "safe", f"u{n}", 1.0 + n, answer, **fields)


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


# what cannot be asked, and why


def test_too_many_gaps_go_down_to_a_version_that_needs_no_features() -> None:
    found = features((5.0, 2.0), (NAN, NAN))
    whole, holed = Batch([request(0), request(1)], found).whole().decisions
    lack = "2 of 2 features are missing or stale, 40% may be"
    assert isinstance(whole.made.answer, Served)
    assert holed.made.answer == FellBack(
        "baseline", f"{CHAMPION}{lack}; previous (version 2): {lack}", Score(1, "m", 1.1)
    )
    assert holed.made.failures == {str(version): RowUnfit(lack) for version in (2, 3, 4)}
    assert holed.made.row == row(100.0, NAN)
    assert (whole.is_shadowed, holed.is_shadowed) == (True, False)


def test_under_load_shadows_are_spared_first_and_then_the_baseline() -> None:
    (one,) = Batch([request(0)], features((5.0, 2.0)), level=SHADOWS).whole().decisions
    assert (one.made.failures, one.is_shadowed) == ({"4": Shed("overload: shadows do not score along")}, False)
    sick = {3: Busy("b"), 2: Busy("b")}
    (calm,) = Batch([request(0)], features((5.0, 2.0)), level=SHADOWS, failed=sick).whole().decisions
    assert calm.made.answer.step == "baseline"
    (pressed,) = Batch([request(0)], features((5.0, 2.0)), level=BASELINE, failed=sick).whole().decisions
    assert pressed.made.answer.step == "prior"
    assert pressed.made.failures["1"] == Shed("overload: the baseline is not asked")


def test_a_version_that_does_not_fit_any_more_is_not_asked_and_says_why() -> None:
    other = Signature(SIGNATURES[3].columns, "s", "other views")
    strange = version_of(3, deployment="safe", signature=other)
    batch = Batch([request(0)], features((5.0, 2.0)))
    known = {name: strange if name[1] == 3 else registered(name[1]) for name in versions_of(batch.admitted)}
    found = gathered(batch.admitted, {}, known, {})
    assert found.failures.versions == {("safe", 3): RowUnfit("its feature views have changed since it was trained")}
    assert ("safe", 3) not in found.versions


def test_a_version_in_any_chain_is_no_mere_shadow() -> None:
    batch = Batch([request(0), request(1, headers=((VERSION, b"9"),))])
    assert versions_of(batch.admitted) == {
        ("safe", 3): False,
        ("safe", 2): False,
        ("safe", 1): False,
        ("safe", 9): False,
        ("safe", 4): True,
    }


def test_a_preview_is_recorded_as_one() -> None:
    (one,) = Batch([request(0, headers=((VERSION, b"2"),))], features((5.0, 2.0))).whole().decisions
    assert (one.made.answer, one.made.assigned, one.made.override) == (Served(Score(2, "m", 2.0)), 2, "preview")


# what is turned away


def test_what_is_turned_away_is_recorded_too_with_its_texts_cut() -> None:
    name, unit = "e" * 600, "u" * 600
    decided = Batch([request(0, deployment=name, unit=unit, id="i" * 600), request(1)], features((6.0, 2.0))).whole()
    served, away = decided.decisions
    assert served.made == made(
        1, Served(Score(3, "m", 3.1)), entities={"carrier": "UA0"}, row=row(100.0, 1.0, 6.0, 2.0)
    )
    assert (away.made.deployment, away.made.unit, len(away.made.request_id)) == (
        name[:MAX_TEXT_CHARS],
        unit[:MAX_TEXT_CHARS],
        289,
    )
    assert away.made.answer == Invalid("ce_id is longer than 512 characters", "ce_id")
    assert (away.made.request_offset, away.made.recovered, away.made.code_version, away.made.at_s, away.at_s) == (
        40,
        True,
        "code",
        1.0,
        None,
    )


def test_an_instant_that_was_refused_is_written_nowhere() -> None:
    (one,) = Batch([request(0, at_s=999.0, appended_ms=2_000)]).whole().decisions
    assert (one.made.at_s, one.at_s, one.made.answer.field) == (2.0, 2.0, "ce_time")


def test_a_request_that_could_not_be_handled_is_refused_with_the_reason() -> None:
    decided = refused(request(0, unit=None), "it broke", 40, "code")
    (one,) = decided.decisions
    assert one.made == DecisionMade("r0", "safe", "key", 1.0, Invalid("it broke"), 40, code_version="code")
    assert (one.headers, decided.repeats, decided.shadow_calls, decided.cases, decided.chosen) == (
        {"ce_id": b"r0"},
        (),
        (),
        (),
        (),
    )
    assert refused(request(0), "it broke", 41, "code").decisions[0].made.recovered


def test_at_the_last_level_what_has_waited_is_refused_and_found_work_is_not() -> None:
    batch = Batch([request(0, deadline_ms=1_000), request(1)], level=REQUESTS, now_ms=1_400)
    (away,) = batch.admitted.turned_away
    assert away.answer == Refused("overload: it had waited 40% of its deadline; ask again later", 1.0)
    assert [case.index for case in batch.admitted.cases] == [1]
    assert len(Batch([request(0, deadline_ms=1_000)], level=REQUESTS, now_ms=1_399).admitted.cases) == 1


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
