"""A small sample of `make bench ONLY=monitor` on generated weeks: its windows are the core's own, and naive methods fail in it."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from bench.flight_rows import PROJECT, signature_of
from bench.monitor_false_alarms import every_window, pages_of, raw_adwin, year_of
from bench.monitor_faults import LABEL_FAULTS, Figures, onsets, row_faults, tried
from bench.monitor_inputs import silent_after_s, with_columns
from bench.monitor_streams import (
    BUDGET,
    CHARTED,
    REFERENCE_DAYS,
    REFERENCE_WEEKS,
    VERSION,
    Days,
    Watch,
    days_of,
    draw_weeks,
    seams,
)
from bench.monitor_weeks import DAY_S, FAULTS, RENAMED, WEEKS, Weeks

from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.monitor import FindingOpened, WindowClosed
from headrace.features.outcomes import KnownOutcome
from headrace_flights.schedule import EPOCH_S, Schedule
from headrace_monitor.core.closing import close
from headrace_monitor.core.evaluation import WindowInputs
from headrace_monitor.core.facts import WindowReported
from headrace_monitor.core.findings import Findings
from headrace_monitor.core.windows import Late, Windows

A_DAY = 250


def generated(seed: int = 1) -> Weeks:
    """Weeks with storms that last for days and raise the share of late flights more than the scores follow."""
    rng, count = np.random.default_rng(seed), 7 * WEEKS
    storms = np.convolve(rng.normal(0, 1.0, count + 3), [0.5] * 4, "valid")
    at_s = np.sort(
        np.round(EPOCH_S + (np.arange(count)[:, None] + rng.random((count, A_DAY))) * DAY_S - 0.5), axis=None
    )
    day = np.repeat(storms, A_DAY)
    odds = rng.normal(-1.2, 1.2, len(at_s)) + 0.9 * day
    label = (rng.random(len(at_s)) < 1 / (1 + np.exp(-odds - 0.1 * day))).astype(float)
    columns = signature_of(Schedule()).columns
    rows = rng.gamma(9, 10, (len(at_s), len(columns))).astype(np.float32)
    for place, column in enumerate(columns):
        if column.vocabulary is not None:
            codes = rng.integers(0, len(column.vocabulary), len(at_s))
            often = column.vocabulary.index(RENAMED) if RENAMED in column.vocabulary else 0
            rows[:, place] = np.where(rng.random(len(at_s)) < 0.2, often, codes)
    lag_s = np.round(rng.gamma(4, 3600.0, len(at_s)))
    score = 1 / (1 + np.exp(-odds))
    return Weeks(at_s, lag_s, label, score, rows, dict.fromkeys(FAULTS, score))


@pytest.fixture(scope="module")
def days() -> Days:
    return Days(generated())


def by_the_core(days: Days, recorded: range, watch: Watch) -> tuple[Findings, list[WindowClosed], list[object]]:
    """Recorded days as the monitor takes them, decision by decision: what it remembers, the windows, and all other facts."""
    core, findings, closed, facts = Windows(CHARTED), watch.findings, [], []
    for day in recorded:
        requests = days.requests(day)
        for place, (at_s, lag_s, label, score) in enumerate(
            zip(requests.at_s, requests.lag_s, requests.label, requests.score, strict=True)
        ):
            unit = f"{day}/{place}"
            answer = Served(Score(VERSION, "", float(score)))
            core.add_decision(DecisionMade(unit, CHARTED.name, unit, float(at_s), answer, place), 0, place)
            core.add_outcome(KnownOutcome(unit, float(label), float(at_s + lag_s), unit))
    while (closing := core.closable(EPOCH_S + (recorded.stop + 2) * DAY_S)) is not None:
        rows = core.rows_of(*closing)
        inputs = WindowInputs(PROJECT, CHARTED, rows, (), {}, {}, math.inf, reference=watch.reference)
        step = close(findings, inputs, *closing, Late())
        findings = step.state
        closed += [fact.window for fact in step.facts if isinstance(fact, WindowReported)]
        facts += [fact for fact in step.facts if not isinstance(fact, WindowReported)]
        core.drop(closing[0], closing[1])
    return findings, closed, facts


def without_evidence(fact: object) -> object:
    """A fact without what the core reads again for a finding, which decides nothing."""
    return msgspec.structs.replace(fact, evidence=None) if isinstance(fact, FindingOpened) else fact


def test_the_harness_is_what_the_core_does_with_every_decision(days: Days) -> None:
    recorded, usual = range(100, 120), np.arange(REFERENCE_DAYS)
    reference = days.reference(usual)
    after, theirs, facts = by_the_core(days, recorded, Watch(CHARTED, reference))
    watch = Watch(CHARTED, reference)
    ours = [fact for day in recorded for fact in watch.on_closed(days.closed(day), day)]
    assert [without_evidence(fact) for fact in facts] == [without_evidence(fact) for fact in ours]
    assert [window.labelled for window in theirs] == [days.closed(day).window.labelled for day in recorded]
    assert any(window.labelled < window.requests for window in theirs)
    assert after.charts == watch.findings.charts
    assert max(after.charts.statistics.values()) > 1


def test_a_stream_is_made_of_whole_weeks_and_knows_where_the_weather_jumps() -> None:
    (weeks,) = draw_weeks(3, 1, 30)
    recorded, jumps = days_of(weeks), seams(weeks)
    steps = np.diff(recorded)
    assert set(np.flatnonzero(steps != 1) + 1) == jumps
    assert all(day % 7 == 0 for day in jumps)
    assert 3 <= len(jumps) <= 14


def test_the_charts_keep_the_budget_that_naive_methods_break_by_far(days: Days) -> None:
    drawn = draw_weeks(1, 2, REFERENCE_WEEKS + 20)
    pages = pages_of("ours", [year_of(days, weeks) for weeks in drawn])
    assert pages.a_year.count(0) == 2
    assert raw_adwin(days, drawn).away.min() > BUDGET * 20 * 7 / 30
    assert (every_window(drawn).with_seams, pages.a_month) == (pytest.approx(30.0), 0.0)


@pytest.mark.parametrize("name", ["flipped_all", "squared"])
def test_labels_and_scores_that_break_are_found_within_days_as_drift(days: Days, name: str) -> None:
    fault = next(replace(fault, watched_days=8) for fault in LABEL_FAULTS if fault.name == name)
    found = Figures(fault, [tried(days, fault, onset) for onset in onsets(3)])
    assert found.quantile_s(1.0) <= 6 * DAY_S
    assert (found.missed, found.others_first) == (0, 0)


def test_rows_that_break_are_found_within_a_day_by_a_contract_on_their_column(days: Days) -> None:
    (onset,) = onsets(1)
    reference = with_columns(days, days_of(onset.weeks)[:REFERENCE_DAYS])
    for fault in row_faults(days.weeks.signature)[:3]:
        found = tried(days, replace(fault, watched_days=2), onset, reference)
        assert found.delay_s <= DAY_S, fault.name
        assert found.named.startswith("contract inputs."), fault.name
        assert found.others == ()


def test_a_source_that_stops_is_found_within_minutes(days: Days) -> None:
    available = EPOCH_S + np.arange(0, 30 * DAY_S, 60.0)
    assert silent_after_s(available, days.weeks, EPOCH_S + 20 * DAY_S) <= 3600
