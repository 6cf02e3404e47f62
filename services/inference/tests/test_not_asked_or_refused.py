"""Versions that are not asked and why, and requests that are refused and how that is recorded."""

from services.inference.tests.decisions_scene import (
    CHAMPION,
    NAN,
    SIGNATURES,
    Batch,
    features,
    made,
    registered,
    request,
    row,
)

from headrace.asking.headers import VERSION
from headrace.events.failures import Busy, RowUnfit, Shed
from headrace.events.inference import DecisionMade, FellBack, Invalid, Refused, Score, Served
from headrace.events.registry import Signature
from headrace.testing.registry import version_of
from headrace_inference.core.decide import refused
from headrace_inference.core.eligibility import gathered, versions_of
from headrace_inference.core.overload import BASELINE, REQUESTS, SHADOWS
from headrace_inference.core.request import MAX_TEXT_CHARS

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
