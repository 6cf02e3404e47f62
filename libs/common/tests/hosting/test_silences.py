"""Which silences are sound, which is in force, and which alerts it covers."""

import math

import pytest
from msgspec.structs import replace

from headrace.events.alerts import AlertSilence, SilenceEnded, SilenceSet
from headrace.hosting import silences as rules

NOW_S = 1_780_000_000.0
DAY_S = 86_400.0
ANN = SilenceSet("s1", {"deployment": "d"}, NOW_S, NOW_S + 3600, "ann", "a test")
LABELS = {"alertname": "ModelDrift", "severity": "warning", "deployment": "d"}


def with_end(ident: str, ends_s: float, **matchers: str) -> SilenceSet:
    return replace(ANN, id=ident, ends_s=ends_s, matchers=matchers or ANN.matchers)


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"id": ""}, "id", "id must have 1 to 100 characters, got 0"),
        ({"id": "x" * 101}, "id", "got 101"),
        ({"id": "a\x00"}, "id", "cannot be printed"),
        ({"by": " "}, "by", "by must have 1 to 100 characters"),
        ({"reason": ""}, "reason", "reason must have 1 to 500 characters"),
        ({"reason": "x" * 501}, "reason", "got 501"),
        ({"matchers": {}}, "matchers", "a silence has 1 to 10 labels that an alert must have, got 0"),
        ({"matchers": {str(n): "x" for n in range(11)}}, "matchers", "got 11"),
        ({"matchers": {"": "x"}}, "matchers", "a label has at most 100"),
        ({"matchers": {"a": "x" * 201}}, "matchers", "got 1 and 201"),
        ({"ends_s": NOW_S}, "ends_s", "begins before it ends"),
        ({"starts_s": math.nan}, "ends_s", "begins before it ends"),
        ({"ends_s": math.inf}, "ends_s", "begins before it ends"),
        ({"starts_s": -1.0}, "ends_s", "begins before it ends"),
        ({"ends_s": NOW_S + 90 * DAY_S + 1}, "ends_s", "within 90 days, got 90.0 days"),
    ],
)
def test_a_silence_that_cannot_be_meant_is_refused_for_its_field(changes: dict, field: str, reason: str) -> None:
    found = rules.why_not(replace(ANN, **changes), NOW_S)
    assert found is not None
    assert (found[1], reason in found[0]) == (field, True)
    assert rules.taken({}, replace(ANN, **changes), replace(ANN, **changes).id, NOW_S) == {}


def test_what_lies_just_within_the_bounds_is_sound() -> None:
    assert rules.why_not(replace(ANN, ends_s=NOW_S + 90 * DAY_S, by="x" * 100, reason="x" * 500), NOW_S) is None
    assert rules.why_not(replace(ANN, matchers={str(n): "" for n in range(10)}), NOW_S) is None
    assert rules.why_not(SilenceEnded("s1", "bob", "done"), NOW_S) is None
    assert rules.why_not(SilenceEnded("s1", "", "done"), NOW_S) is not None


def test_it_covers_alerts_that_have_all_of_its_labels_while_it_lasts() -> None:
    both = replace(ANN, matchers={"deployment": "d", "alertname": "ModelDrift"})
    assert rules.is_covered(both, LABELS, NOW_S)
    assert not rules.is_covered(both, LABELS | {"deployment": "e"}, NOW_S)
    assert not rules.is_covered(both, {"deployment": "d"}, NOW_S)
    assert [rules.is_covered(ANN, LABELS, NOW_S + at_s) for at_s in (-0.1, 0.0, 3599.9, 3600.0)] == [
        False,
        True,
        True,
        False,
    ]


def test_of_several_the_one_that_lasts_longest_counts() -> None:
    found = [
        with_end("a", NOW_S + 10),
        with_end("c", NOW_S + 20),
        with_end("b", NOW_S + 20),
        with_end("z", NOW_S + 99, deployment="e"),
    ]
    assert rules.covering(found, LABELS, NOW_S) == found[1]
    assert rules.covering(found, LABELS, NOW_S + 20) is None
    assert rules.covering([], LABELS, NOW_S) is None


def test_an_end_ends_it_and_the_same_id_again_replaces_it() -> None:
    known = rules.apply({}, ANN, NOW_S)
    assert rules.apply(known, replace(ANN, reason="longer", ends_s=NOW_S + 7200), NOW_S)["s1"].reason == "longer"
    assert rules.apply(known, SilenceEnded("s1", "bob", "done"), NOW_S) == {}
    assert rules.apply(known, SilenceEnded("s2", "bob", "done"), NOW_S) == known
    # One that ended by the clock goes with the next record, and one that is over already is not kept.
    assert set(rules.apply(known, with_end("s2", NOW_S + 9999), NOW_S + 3600)) == {"s2"}
    assert rules.apply({}, ANN, NOW_S + 3600) == {}


def test_the_key_is_the_id_and_a_tombstone_deletes() -> None:
    known = rules.taken({}, ANN, "s1", NOW_S)
    assert known == {"s1": ANN}
    assert rules.why_not_record(ANN, "other", NOW_S) == ("the key of a silence is its id 's1', got 'other'", "id")
    assert rules.taken({}, ANN, "other", NOW_S) == {}
    assert rules.taken(known, SilenceEnded("s1", "bob", "done"), "other", NOW_S) == known
    assert rules.taken(known, None, "s1", NOW_S) == {}
    assert rules.taken(known, object(), "s1", NOW_S) == known


def test_beyond_the_bound_the_one_that_ends_first_goes() -> None:
    known = {}
    for number in range(rules.MOST):
        known = rules.apply(known, with_end(f"s{number}", NOW_S + 1000 + number), NOW_S)
    known = rules.apply(known, with_end("late", NOW_S + 9999), NOW_S)
    assert (len(known), "s0" in known, "late" in known) == (rules.MOST, False, True)
    assert "soon" not in rules.apply(known, with_end("soon", NOW_S + 1), NOW_S)


def test_its_mark_says_by_whom_why_and_until_when() -> None:
    assert rules.mark_of(ANN) == AlertSilence("s1", "ann", "a test", "2026-05-28T21:26:40Z")
    assert rules.mark_of(None) is None
    assert rules.in_force({"s1": ANN}, NOW_S + 3599) == {"s1": ANN}
    assert rules.in_force({"s1": ANN}, NOW_S + 3600) == {}
