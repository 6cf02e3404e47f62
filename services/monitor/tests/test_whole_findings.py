"""Whole findings and what leads to them, by hand: skew, labels, versions worse than the prior, sources, drift."""

import math
from typing import Any

import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, PLAN, watch, window

from headrace.events.monitor import (
    ColumnProfile,
    FindingOpened,
    FindingResolved,
    SkewSeen,
    SourceProfile,
    VersionQuality,
    WindowClosed,
)
from headrace.log.envelope import derived_id
from headrace_monitor.core import contracts, drift, worse_than_prior
from headrace_monitor.core.drift import LossChangeDetector, PageHinkleyDetector, detector_of, restored
from headrace_monitor.core.findings import key_of
from headrace_monitor.core.loss_change import MOST_Z, Figure, Rise, Sums, after_window, rise_of
from headrace_monitor.core.missing_labels import labels_missing
from headrace_monitor.core.skew import skew_of

SEEN = SkewSeen("carrier.mean", 0.125, "another unit")


def ident(*parts: Any) -> str:
    return derived_id("d", *parts)[:16]


@pytest.mark.parametrize(
    ("tiles", "as_of", "measured", "limit"),
    [(0.99, 1.0, 0.99, 1.0), (1.0, 0.998, 0.998, 0.999), (0.99, 0.5, 0.99, 1.0)],
)
@pytest.mark.parametrize(
    ("seen", "words"), [(SEEN, "carrier.mean in 12.5% of them (another unit)"), (None, "no feature can be named")]
)
def test_rows_that_differ_are_a_finding(
    tiles: float, as_of: float, measured: float, limit: float, seen: Any, words: str
) -> None:
    closed = window(3, 0.5, parity_tiles=tiles, parity_as_of=as_of, skew=seen)
    assert skew_of("d", closed) == FindingOpened(
        ident("skew", 3 * DAY), "d", "skew", f"served rows differ from recomputed ones (parity_tiles {tiles:.4f}, parity_as_of {as_of:.4f}): {words}", 4 * DAY,
        None, "parity", measured, limit, 3 * DAY, 4 * DAY, "carrier.mean" if seen else "",
    )  # fmt: skip


@pytest.mark.parametrize(("tiles", "as_of"), [(1.0, 0.999), (None, 0.5), (0.5, None)])
def test_rows_that_are_equal_enough_or_not_compared_are_none(tiles: Any, as_of: Any) -> None:
    assert skew_of("d", window(3, 0.5, parity_tiles=tiles, parity_as_of=as_of)) is None


def test_labels_that_are_missing_are_a_finding() -> None:
    closed = WindowClosed("d", 3 * DAY, 4 * DAY, 200, 50, None, "UNMEASURED", unmeasured="few")
    summary = "3 windows in a row have too few labels to be judged (few): no drift is found meanwhile"
    assert labels_missing(closed, 3, 9.0) == FindingOpened(
        ident("labels", 3 * DAY), "d", "labels", summary, 9.0, None, "coverage", 0.25, None, 3 * DAY, 4 * DAY
    )
    assert labels_missing(replace(closed, requests=0, labelled=0), 3, 9.0).measured == 0.0


# worse than the prior


def quality(
    version: int = 3, rows: int = 100, over: float | None = 0.2, error: float = 0.01, **more: Any
) -> VersionQuality:
    fields: dict[str, Any] = {"role": "champion", "over_prior": over, "over_prior_error": error} | more
    role = fields.pop("role")
    return VersionQuality(version, role, rows, 0.9, 0.8, 0.5, 0.3, **fields)


def test_a_version_worse_than_the_prior_is_a_finding() -> None:
    found = worse_than_prior.finding_of(window(3, 0.5), quality(), 4, 9.0)
    summary = "version 3 is worse than the prior: log_loss 0.9 lies 0.2 above the prior's, in 4 windows in a row; requests pass over it until it is better again"
    assert found == FindingOpened(
        ident("worse_than_prior", 3 * DAY, 3), "d", "worse_than_prior", summary.replace("log_loss", quality().loss_name), 9.0, 3, "prior", 0.2, 0.0,
        3 * DAY, 4 * DAY, "version 3",
    )  # fmt: skip
    key = worse_than_prior.key_of(3)
    assert (key, worse_than_prior.version_of(key), key_of(found)) == ("worse_than_prior:version 3", 3, key)


def test_a_window_speaks_against_a_version_beyond_chance() -> None:
    assert worse_than_prior.is_worse(quality(over=0.01646))
    assert not worse_than_prior.is_worse(quality(over=0.01645))
    assert not worse_than_prior.is_worse(quality(over=None))
    name = quality().loss_name
    said = [worse_than_prior.why_not_worse(quality(over=over)) for over in (-0.1, 0.0, 0.01, None)]
    assert said == [
        f"{name} of version 3 lies 0.100 below the prior's",
        f"{name} of version 3 lies -0.000 below the prior's",
        f"{name} of version 3 lies 0.010 above the prior's, which may be chance",
        f"{name} of version 3 lies -0.000 below the prior's",
    ]


def test_of_each_version_the_role_with_most_rows_is_compared() -> None:
    few, shadow, prior, unknown = (
        quality(rows=29),
        quality(role="shadow", rows=300),
        quality(version=0),
        quality(version=5, over=None),
    )
    champion, at_least = quality(rows=100), quality(version=4, rows=30)
    assert worse_than_prior.by_version([champion, shadow, few, prior, unknown, at_least]) == {3: shadow, 4: at_least}
    assert worse_than_prior.by_version([shadow, champion]) == {3: shadow}
    same = quality(role="shadow")
    assert worse_than_prior.by_version([champion, same]) == {3: champion}


def test_windows_in_a_row_are_counted_per_version() -> None:
    before = {"3": 2, "4": 1, "5": 7}
    after = worse_than_prior.counted(before, {3: quality(), 4: quality(over=-0.1), 6: quality()})
    assert after == {"3": 3, "5": 7, "6": 1}
    assert before == {"3": 2, "4": 1, "5": 7}


# sources


def profile(events: int = 100, null_share: float = 0.1, magnitude: float | None = 10.0) -> SourceProfile:
    return SourceProfile("s", events, {"c": ColumnProfile(null_share, magnitude)})


def judged(now: SourceProfile, history: list[SourceProfile] | None = None) -> list[tuple[str, str, str, float, float]]:
    found = contracts.judge(history if history is not None else [profile()] * 7, now)
    return [(one.kind, one.about, one.summary, one.measured, one.limit) for one in found]


def test_a_source_that_sends_a_fifth_of_what_is_usual_has_not_stopped() -> None:
    assert judged(profile(20)) == []
    assert judged(profile(19)) == [
        ("traffic", "s", "source s sends little: 19 events in the window, usually 100", 19, 20.0)
    ]
    assert judged(profile(0)) == [
        ("traffic", "s", "source s has stopped: 0 events in the window, usually 100", 0, 20.0)
    ]
    assert judged(profile(0), [profile()] * 6) == []
    many = [profile(1_000_000)] * 10 + [profile()] * contracts.WINDOWS_KEPT
    assert judged(profile(20), many) == []


def test_a_column_goes_null_beyond_half_above_the_highest_share() -> None:
    history = [profile(null_share=0.25)] + [profile(null_share=0.125)] * 6
    assert judged(profile(null_share=0.75), history) == []
    assert judged(profile(null_share=0.76), history) == [
        ("contract", "s.c", "s.c goes null: 76% of its values, usually 12%", 0.76, 0.75)
    ]
    unseen = [SourceProfile("s", 100, {})] + [profile()] * 6
    assert judged(profile(null_share=1.0), unseen) == []


def test_a_unit_has_changed_beyond_a_factor_of_three_and_what_is_usual() -> None:
    assert judged(profile(magnitude=29.0)) == []
    (larger,) = judged(profile(magnitude=600.0))
    assert larger == (
        "contract",
        "s.c",
        "the numbers of s.c are 60 times larger than usual: another unit? (.9 quantile 600)",
        pytest.approx(60.0),
        pytest.approx(3.0),
    )
    (smaller,) = judged(profile(magnitude=1.0))
    assert smaller[2] == "the numbers of s.c are 10 times smaller than usual: another unit? (.9 quantile 1)"
    stormy = [profile(magnitude=10.0)] * 6 + [profile(magnitude=100.0)]
    assert judged(profile(magnitude=310.0), stormy) == []
    assert judged(profile(magnitude=320.0), stormy)[0][4] == pytest.approx(10**1.5)
    spread = [profile(magnitude=math.exp(n)) for n in range(7)]
    assert judged(profile(magnitude=math.exp(3 + 6 * 1.4826 * 2 + 0.1)), spread)[0][4] == pytest.approx(
        math.exp(6 * 1.4826 * 2)
    )
    assert judged(profile(magnitude=None)) == []
    assert judged(profile(magnitude=0.0)) == []
    assert judged(profile(magnitude=600.0), [profile(magnitude=0.0)] + [profile()] * 6) == []


# drift


def test_what_is_fed_to_detectors() -> None:
    full = VersionQuality(1, "champion", 100, 0.9, 0.7, None, None, loss_error=0.03, excess_error=0.02, loss_skew=0.4)
    assert drift.figure_of(window(0, 0.9), full, "log_loss") == Figure(
        0.0, 0.9, 0.03, pytest.approx(0.2), 0.02, 100, 0.4
    )
    number = VersionQuality(1, "champion", 100, None, None, None, None, squared_error=0.9)
    assert drift.figure_of(window(0, 0.9), number, "") == Figure(0.0, 0.9, 0.0, 0.9, 0.0, 100, 0.0)


def test_a_rise_is_a_finding_that_ends_when_the_loss_is_back_for_sure() -> None:
    full = VersionQuality(1, "champion", 100, 0.9, 0.7, None, None, loss_error=0.02)
    found = drift.finding_of(window(3, 0.9), full, PLAN, Rise(2 * DAY, 0.5, 0.7), 9.0)
    summary = f"{full.loss_name} of version 1 has risen from 0.500 to 0.900 on the last closed window, since 1970-01-03T00:00:00Z"
    assert found == FindingOpened(
        ident("drift", 3 * DAY, 1),
        "d",
        "drift",
        summary,
        9.0,
        1,
        "page_hinkley",
        0.9,
        0.8,
        3 * DAY,
        4 * DAY,
        "",
        2 * DAY,
        0.7,
    )
    at = replace(full, log_loss=0.7 - 1.645 * 0.02 - 1e-9)
    assert [drift.is_back(one, found) for one in (at, replace(at, log_loss=0.668))] == [True, False]
    assert not drift.is_back(at, replace(found, back_at=None))


def test_page_hinkley_remembers_what_was_usual() -> None:
    detector: Any = PageHinkleyDetector(PLAN, 3)
    assert (detector.statistic, detector.numbers()) == (0.0, {})
    rises = []
    for day, loss in enumerate([0.5] * 8 + [1.5, 1.5]):
        step = detector.on_figure(Figure(day * DAY, loss))
        detector, rises = step.state, [*rises, *step.facts]
    assert rises == [Rise(8 * DAY, 0.5, pytest.approx(1.0))]
    assert (detector.resolved() is detector, detector.champion, detector.restarted(4).champion) == (True, 3, 4)


def test_a_detector_is_restored_from_its_plain_numbers() -> None:
    change = replace(PLAN, detector="loss_change", delta=0.1, min_windows=3, threshold=3.0)
    assert (type(detector_of(PLAN)), type(detector_of(change))) == (PageHinkleyDetector, LossChangeDetector)
    detector: Any = detector_of(change).restarted(3)
    for day, loss in enumerate([0.5, 0.52, 0.48, 0.9]):
        detector = detector.on_figure(Figure(day * DAY, loss, 0.01, loss - 0.4, 0.01, 100, 0.1)).state
    assert (len(detector.sums.usual), len(detector.sums.since), detector.statistic > 0) == (3, 1, True)
    again: Any = restored(change, 3, detector.numbers())
    assert again == detector
    assert again.resolved().sums == Sums(detector.sums.usual)
    old: Any = restored(PLAN, 3, {"00000": 0.5, "00001": 0.6})
    assert (old.champion, [figure.loss for figure in old.fed]) == (3, [0.5, 0.6])


def figures(*losses: float, rows: float = 100.0, error: float = 0.0) -> tuple[Figure, ...]:
    return tuple(Figure(day * DAY, loss, error, loss, error, rows) for day, loss in enumerate(losses))


def test_the_sum_of_rises_by_hand() -> None:
    usual = figures(0.4, 0.5, 0.6)
    sums = Sums()
    for figure in usual:
        sums = after_window(sums, figure, 0.0, 1)
    assert sums == Sums(usual)
    same = Figure(9.0, 0.5, 0.0, 0.5, 0.0, 100.0)
    assert after_window(sums, same, 0.0, 1) == Sums((*usual, same))
    assert len(after_window(Sums(usual), same, 0.0, 4).usual) == 4
    huge = Figure(9.0, 50.0, 0.0, 50.0, 0.0, 100.0)
    risen = after_window(sums, huge, 0.0, 1)
    assert (risen.usual, risen.since) == (usual, (huge,))
    assert 0 < risen.sum <= MOST_Z - 1.0
    assert after_window(Sums(usual, (huge,), 0.5), huge, 0.0, 1).sum == pytest.approx(0.5 + risen.sum)
    inputs_alone = Figure(9.0, 50.0, 0.0, 0.5, 0.0, 100.0)
    assert after_window(sums, inputs_alone, 0.0, 1).sum == 0.0
    level = Sums(figures(0.5, 0.5, 0.5))
    assert [after_window(level, Figure(9.0, value, 0.0, value), 0.0, 1).sum for value in (0.51, 0.5)] == [
        MOST_Z - 1.0,
        0.0,
    ]
    assert after_window(level, Figure(9.0, 0.54, 0.0, 0.54), 0.1, 1).sum == 0.0


def test_a_rise_begins_with_its_first_window_and_is_back_halfway_or_within_two_deviations() -> None:
    since = (Figure(7 * DAY, 1.0), Figure(8 * DAY, 2.0))
    assert rise_of(Sums(figures(0.5, 0.5, 0.5), since, 3.0)) == Rise(7 * DAY, 0.5, 1.0)
    wide = rise_of(Sums(figures(0.0, 0.5, 1.0), since, 3.0))
    assert (wide.before, wide.back_at) == (0.5, pytest.approx(1.5))
    unsure = rise_of(Sums(figures(0.5, 0.5, 0.5, error=0.6), since, 3.0))
    assert unsure.back_at == pytest.approx(0.5 + 2 * 0.6)


# a deployment


def test_each_finding_opens_and_ends_with_its_reason() -> None:
    found = watch()
    silent = [SourceProfile("landings", 100, {})] * 7
    for day, one in enumerate(silent):
        assert found.on_window(window(day, 0.5, sources=(one,)), 1, day * DAY) == []
    stopped = window(7, 0.5, sources=(SourceProfile("landings", 0, {}),))
    (opened,) = found.on_window(stopped, 1, 8 * DAY)
    assert opened == FindingOpened(
        ident("traffic", "landings", 7 * DAY), "d", "traffic", "source landings has stopped: 0 events in the window, usually 100", 8 * DAY, None, "profile",
        0, 20.0, 7 * DAY, 8 * DAY, "landings",
    )  # fmt: skip
    assert found.on_window(replace(stopped, from_s=8 * DAY, to_s=9 * DAY), 1, 9 * DAY) == []
    assert found.on_window(window(9, 0.5), 1, 10 * DAY) == []
    again = found.on_window(window(10, 0.5, sources=(silent[0],)), 1, 11 * DAY)
    assert again == [FindingResolved(opened.finding, "d", "traffic", "as usual again", 11 * DAY, "landings")]


def test_labels_are_missing_after_three_windows_and_come_again() -> None:
    found = watch()
    unlabelled = [window(day, 0.5, verdict="UNMEASURED", unmeasured="few") for day in range(4)]
    facts = [found.on_window(one, 1, one.to_s) for one in unlabelled]
    assert [len(some) for some in facts] == [0, 0, 1, 0]
    assert facts[2] == [labels_missing(unlabelled[2], 3, 3 * DAY)]
    (resolved,) = found.on_window(window(4, 0.5), 1, 5 * DAY)
    assert resolved == FindingResolved(facts[2][0].finding, "d", "labels", "labels come again", 5 * DAY)


def test_a_version_is_passed_over_until_a_window_speaks_for_it_and_the_reason_is_told() -> None:
    found = watch()
    after = found.state.deployment.step_down_after
    assert after is not None
    bad = [window(day, 0.9, qualities=(quality(1),)) for day in range(after)]
    facts = [fact for one in bad for fact in found.on_window(one, 1, one.to_s)]
    assert facts[0] == worse_than_prior.finding_of(bad[-1], quality(1), after, bad[-1].to_s)
    good = quality(1, over=-0.1)
    (resolved,) = found.on_window(window(after, 0.9, qualities=(good,)), 1, (after + 1) * DAY)
    assert resolved == FindingResolved(
        facts[0].finding,
        "d",
        "worse_than_prior",
        worse_than_prior.why_not_worse(good),
        (after + 1) * DAY,
        "version 1",
        1,
    )


def test_a_version_that_is_not_asked_any_more_is_passed_over_no_longer() -> None:
    found = watch()
    found.on_champion(2)
    shadow = quality(1, role="shadow")
    facts = [fact for day in range(9) for fact in found.on_window(window(day, 0.9, qualities=(shadow,)), 2, day * DAY)]
    assert [type(fact) for fact in facts] == [FindingOpened]
    (resolved,) = found.on_window(window(9, 0.9, 2), 2, 10 * DAY)
    assert (resolved.reason, resolved.at_s, resolved.version) == ("it is not asked any more", 10 * DAY, 1)
