"""Charts of closed windows: what opens a finding, what joins it, what is over, and what the ledger says."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, DEPLOYMENT, window

from headrace.events.charts import ChartPoint, ChartsDefinition
from headrace.events.monitor import BudgetReported, FindingOpened, FindingResolved, MonitorState
from headrace.events.references import ChartFigure, ReferenceWindow, VersionReference
from headrace_monitor.core import findings as found_by
from headrace_monitor.core.budget import measured
from headrace_monitor.core.chart_figures import Seen
from headrace_monitor.core.charts import OVERALL_SIDES, Crossing, reference_for, summary_of
from headrace_monitor.core.finding_alarms import is_grouped
from headrace_monitor.core.findings import Findings, findings_of, memory_of
from headrace_monitor.core.further_change import after_figures

USUAL = {"base_rate": 0.25, "ranking": 0.75, "calibration": 0.0, "slope": 1.0, "level": 0.0}
SPREAD = {"base_rate": 0.05, "ranking": 0.02, "calibration": 0.2, "slope": 0.1, "level": 0.01}
PLAN = ChartsDefinition(1.0, 30 * DAY)
CHARTED = replace(DEPLOYMENT, monitoring=(), charts=PLAN)
KEYS = tuple(USUAL)


def figures(rng: np.random.Generator, **moved: float) -> dict[str, ChartFigure]:
    """Usual figures of a day, some of them moved by so many of their standard deviations."""
    return {
        key: ChartFigure(USUAL[key] + SPREAD[key] * (rng.normal() + moved.get(key, 0.0)), SPREAD[key] / 3)
        for key in KEYS
    }


def reference(windows: int = 60, seed: int = 1) -> VersionReference:
    """Usual days before the first live one."""
    rng = np.random.default_rng(seed)
    days = [ReferenceWindow(day * DAY, (day + 1) * DAY, 900, figures(rng)) for day in range(-windows, 0)]
    return VersionReference(90_000, -90 * DAY, 0.0, DAY, 900.0, windows=tuple(days))


class Charted:
    """A deployment with charts, fed day by day."""

    def __init__(self, usual: VersionReference | None = None, plan: ChartsDefinition = PLAN, seed: int = 5) -> None:
        self.deployment, self.usual = replace(CHARTED, charts=plan), usual
        self.state: Findings = found_by.on_champion(findings_of(self.deployment, None), 1).state
        self.rng, self.day, self.points = np.random.default_rng(seed), 0, ()

    def live(self, days: int = 1, keep: bool = True, **moved: float) -> list[Any]:
        """Close so many windows; the findings that open and are resolved."""
        facts: list[Any] = []
        for _ in range(days):
            facts += self.see(Seen(figures(self.rng, **moved), {"": 900}))
        return [fact for fact in facts if isinstance(fact, FindingOpened | FindingResolved)]

    def see(self, seen: Seen) -> Sequence[Any]:
        """Close a window of these figures."""
        memory, self.points = after_figures(self.state.charts, self.deployment, self.usual, self.day * DAY, seen)
        memory = measured(memory, self.deployment, self.usual)
        self.state = msgspec_free(self.state, memory)
        closed = replace(window(self.day, 0.5), charts=self.points)
        self.day += 1
        step = found_by.on_window(self.state, closed, 1, self.day * DAY)
        self.state = step.state
        return step.facts

    def limit_of(self, chart: str) -> float:
        """What a chart's own evidence would have to reach while the other sides that page show nothing."""
        others = sum(m for name, m in self.state.charts.statistics.items() if "@" not in name and "base" not in name)
        point = self.point(chart)
        return (point.limit or 0.0) + others - point.statistic

    def point(self, chart: str) -> ChartPoint:
        """The newest point of a chart."""
        return next(point for point in self.points if point.chart == chart)


def msgspec_free(state: Findings, memory: Any) -> Findings:
    """The findings with this memory of the charts."""
    import dataclasses

    return dataclasses.replace(state, charts=memory)


def test_days_as_usual_open_nothing() -> None:
    assert Charted(reference()).live(60) == []


def test_a_fall_of_the_ranking_pages_within_two_windows_and_names_the_chart() -> None:
    charted = Charted(reference())
    charted.live(10)
    (opened,) = charted.live(2, ranking=-8.0)
    assert isinstance(opened, FindingOpened)
    assert (opened.kind, opened.about, opened.severity, opened.version) == ("drift", "ranking", "page", 1)
    assert opened.changed_at_s == 10 * DAY
    assert charted.limit_of("ranking") == pytest.approx(30 * OVERALL_SIDES)
    assert opened.summary.startswith("the ranking by version 1 has fallen from 0.7")
    assert opened.back_at is not None
    assert opened.measured is not None
    assert opened.measured < opened.back_at < 0.75


def test_a_finding_about_the_share_of_a_class_names_the_class() -> None:
    point = ChartPoint("base_rate.1", 3, 0.4, 0.01, 900, expected=0.2, spread=0.02)
    said = summary_of(Crossing(point, 1, 2.0, DAY), ("cat", "dog", "elk"))
    assert (
        said
        == "the base rate of the labels for dog has risen from 0.200 to 0.400 on the last closed window (900 rows), since 1970-01-02T00:00:00Z"
    )
    assert "of the labels for 1 has" in summary_of(Crossing(point, 1, 2.0, DAY))


def test_a_rise_of_the_ranking_is_no_harm() -> None:
    charted = Charted(reference())
    assert charted.live(20, ranking=8.0) == []


@pytest.mark.parametrize("moved", [-8.0, 8.0])
def test_a_calibration_is_wrong_on_both_sides(moved: float) -> None:
    charted = Charted(reference())
    (opened,) = charted.live(2, calibration=moved)
    assert (opened.about, opened.severity) == ("calibration", "page")


def test_charts_that_cross_together_are_one_finding() -> None:
    charted = Charted(reference())
    (opened,) = charted.live(1, ranking=-30.0, level=30.0, slope=-30.0)
    assert {opened.about, *opened.evidence.charts} == {"ranking", "level", "slope"}


def test_charts_that_cross_later_join_the_open_finding() -> None:
    charted = Charted(reference())
    (opened,) = charted.live(2, ranking=-8.0)
    assert charted.live(3, ranking=-8.0, level=8.0) == []
    assert charted.state.open["drift"].finding == opened.finding
    assert charted.state.open["drift"].evidence.charts == ("level",)


def test_a_further_change_while_a_finding_stands_is_a_finding_of_its_own() -> None:
    """The first fourteen windows of the finding are what the next ones are compared with."""
    charted = Charted(reference())
    charted.live(10)
    (first,) = charted.live(4, ranking=-4.0)
    assert charted.live(20, ranking=-4.0) == []
    resolved, second = charted.live(4, ranking=-12.0)
    assert isinstance(resolved, FindingResolved)
    assert (resolved.finding, resolved.reason) == (
        first.finding,
        "its figures have changed again: another finding follows",
    )
    assert isinstance(second, FindingOpened)
    assert (second.about, second.changed_at_s, second.finding != first.finding) == ("ranking", 34 * DAY, True)
    # On their way back figures change too: that is no further change.
    assert [type(fact) for fact in charted.live(30)] == [FindingResolved]


def test_a_finding_is_over_after_three_usual_windows_and_a_new_episode_is_a_new_finding() -> None:
    charted = Charted(reference())
    (opened,) = charted.live(2, ranking=-8.0)
    facts = charted.live(12)
    (resolved,) = facts
    assert isinstance(resolved, FindingResolved)
    assert resolved.finding == opened.finding
    (again,) = charted.live(2, ranking=-8.0)
    assert again.finding != opened.finding


def test_a_base_rate_that_moves_calls_nobody_and_asks_for_nothing() -> None:
    charted = Charted(reference())
    (opened,) = charted.live(3, base_rate=9.0)
    assert (opened.about, opened.severity) == ("base_rate", "info")
    assert not is_grouped(opened)
    assert charted.state.requests.by_key == {}
    assert charted.state.charts.pages == {}


def test_a_drift_is_found_while_the_base_rate_has_moved() -> None:
    charted = Charted(reference())
    charted.live(3, base_rate=9.0)
    (opened,) = charted.live(2, base_rate=9.0, ranking=-8.0)
    assert (opened.about, opened.severity) == ("ranking", "page")
    assert set(charted.state.open) == {"drift", "drift:base_rate"}


def test_a_drift_asks_for_a_retrain() -> None:
    charted = Charted(reference())
    (opened,) = charted.live(2, ranking=-8.0)
    assert charted.state.requests.by_key["drift"].finding == opened.finding


def test_a_version_without_windows_of_its_own_is_compared_with_the_first_closed_ones() -> None:
    charted = Charted(None)
    charted.live(14)
    assert charted.point("ranking").expected is None
    charted.live(1)
    assert charted.point("ranking").expected == pytest.approx(0.75, abs=0.02)
    (opened,) = charted.live(3, ranking=-10.0)
    assert opened.about == "ranking"


def test_a_window_of_few_rows_needs_a_greater_change() -> None:
    few, many = Charted(reference()), Charted(reference())
    for charted, rows in ((few, 30), (many, 900)):
        moved = figures(np.random.default_rng(3), ranking=-6.0)
        charted.see(Seen(moved, {"": rows}))
    assert few.point("ranking").statistic < many.point("ranking").statistic
    assert few.point("ranking").detectable > many.point("ranking").detectable


def test_every_point_says_what_could_be_found() -> None:
    charted = Charted(reference())
    charted.live(1)
    point = charted.point("ranking")
    assert point.within_windows == 7
    assert charted.limit_of("ranking") == pytest.approx(30 * OVERALL_SIDES)
    assert 0.02 < point.detectable < 0.2


def test_a_new_champion_begins_anew_and_the_finding_stays_open_until_its_own_figures_are_usual() -> None:
    charted = Charted(reference())
    charted.live(2, ranking=-8.0)
    charted.state = found_by.on_champion(charted.state, 2).state
    assert charted.state.charts.statistics == {}
    assert "drift" in charted.state.open
    facts = [fact for fact in charted.live(8) if isinstance(fact, FindingResolved)]
    assert [fact.kind for fact in facts] == ["drift"]


def test_a_restart_goes_on_exactly() -> None:
    straight, stopped = Charted(reference()), Charted(reference())
    for day in range(25):
        moved = {"ranking": -4.0} if 10 <= day < 15 else {}
        assert straight.live(1, **moved) == stopped.live(1, **moved)
        memory = msgspec.msgpack.decode(
            msgspec.msgpack.encode(memory_of(stopped.state, {}, stopped.day * DAY)), type=MonitorState
        )
        stopped.state = findings_of(stopped.deployment, memory)
    assert straight.state.charts == stopped.state.charts


def test_a_memory_from_before_charts_is_still_read() -> None:
    old = MonitorState("d", {}, 0.0, 1, {})
    assert findings_of(CHARTED, old).charts.version == 1


def test_segments_have_limits_of_their_own_and_halve_the_budget() -> None:
    plan = replace(PLAN, segments=("carrier",), windows=10)
    charted = Charted(reference(), plan)
    for day in range(14):
        seen = figures(charted.rng)
        for carrier in ("AA", "B6"):
            moved = -12.0 if carrier == "B6" and day >= 11 else 0.0
            seen |= {f"ranking@carrier={carrier}": figures(charted.rng, ranking=moved)["ranking"]}
        segments = ("carrier=AA", "carrier=B6")
        facts = charted.see(Seen(seen, {"": 900, **dict.fromkeys(segments, 100)}, segments))
        opened = [fact for fact in facts if isinstance(fact, FindingOpened)]
        if opened:
            break
    assert [found.about for found in opened] == ["ranking@carrier=B6"]
    assert "for carrier=B6" in opened[0].summary
    assert charted.limit_of("ranking") == pytest.approx(30 * 2 * OVERALL_SIDES)
    # Of the four sides of two segments there are two, each of which holds its half.
    limits = {point.segment: point.limit for point in charted.points if point.chart == "ranking"}
    assert limits["carrier=AA"] == pytest.approx(30 * 2 * 2 * 4 / 2)


@pytest.mark.parametrize(
    ("shown", "found"), [({"ranking-": 120.0}, []), ({"ranking-": 120.0, "level+": 100.0}, ["level", "ranking"])]
)
def test_what_several_charts_show_a_little_is_found_together(shown: dict[str, float], found: list[str]) -> None:
    charted = Charted(reference())
    charted.live(10)
    memory = charted.state.charts
    charted.state = msgspec_free(charted.state, replace(memory, statistics={**memory.statistics, **shown}))
    usual = {key: ChartFigure(USUAL[key], SPREAD[key] / 3) for key in KEYS}
    near = {
        "ranking": ChartFigure(USUAL["ranking"] - SPREAD["ranking"], 0.007), "level": ChartFigure(0.01, 0.003)
    }  # fmt: skip
    opened = [fact for fact in charted.see(Seen({**usual, **near}, {"": 900})) if isinstance(fact, FindingOpened)]
    assert [name for one in opened for name in (one.about, *one.evidence.charts)] == found
    assert max(charted.state.charts.statistics.values()) < 30 * OVERALL_SIDES


def test_with_a_season_a_window_is_compared_with_those_of_its_phase() -> None:
    plan, hour = replace(PLAN, season_s=DAY), 3600.0
    usual = [
        ReferenceWindow(n * hour, (n + 1) * hour, 50, {"ranking": ChartFigure(0.9 if n % 24 == 3 else 0.6, 0.01)})
        for n in range(30 * 24)
    ]
    assert reference_for("ranking", plan, usual, (), 800 * 24 * hour + 3 * hour).mean == pytest.approx(0.9)
    assert reference_for("ranking", plan, usual, (), 800 * 24 * hour + 15 * hour).mean == pytest.approx(0.6)


def test_the_ledger_tells_what_was_spent_and_what_is_left() -> None:
    charted = Charted(reference())
    first = [fact for fact in charted.see(Seen(figures(charted.rng), {"": 900})) if isinstance(fact, BudgetReported)]
    assert [(fact.spent, fact.left, fact.total, fact.patience_s) for fact in first] == [(0, 1.0, 0, 30 * DAY)]
    assert first[0].measured is not None
    assert 0.0 <= first[0].measured <= first[0].measured_high < 2.0
    ledgers, opened = [first[0]], []
    for _ in range(2):
        facts = charted.see(Seen(figures(charted.rng, ranking=-9.0), {"": 900}))
        ledgers += [fact for fact in facts if isinstance(fact, BudgetReported)]
        opened += [fact.finding for fact in facts if isinstance(fact, FindingOpened)]
    assert (ledgers[-1].spent, ledgers[-1].left, ledgers[-1].total, ledgers[-1].pages) == (1, 0.0, 1, tuple(opened))
    for _ in range(40):
        ledgers += [f for f in charted.see(Seen(figures(charted.rng), {"": 900})) if isinstance(f, BudgetReported)]
    assert (ledgers[-1].spent, ledgers[-1].left, ledgers[-1].total) == (0, 1.0, 1)


def test_the_ledger_of_short_windows_is_reported_once_a_day_and_with_each_page() -> None:
    hourly = replace(CHARTED, evaluation_window_s=3600.0)
    state = found_by.on_champion(findings_of(hourly, None), 1).state
    reports = 0
    for hour in range(72):
        step = found_by.on_window(state, replace(window(0, 0.5), charts=()), 1, hour * 3600.0)
        state, reports = step.state, reports + sum(isinstance(fact, BudgetReported) for fact in step.facts)
    assert reports == 3


def test_windows_that_lack_a_figure_leave_its_chart_in_what_the_ledger_measures() -> None:
    """A day of one class alone has no ranking: it is left out, and the other days tell of all charts."""
    usual = reference()
    first, *others = usual.windows
    without = replace(first, charts={"base_rate": first.charts["base_rate"]})
    found = [Charted(replace(usual, windows=windows)) for windows in ((without, *others), tuple(others))]
    for charted in found:
        charted.live(1)
    lacking, shorter = (charted.state.charts for charted in found)
    assert lacking.measured is not None
    assert (lacking.measured, lacking.measured_high) == (shorter.measured, shorter.measured_high)


def test_the_ledger_is_measured_by_live_windows_where_a_version_brings_too_few() -> None:
    few, none = Charted(reference(3)), Charted(None)
    for charted in (few, none):
        charted.live(14)
    assert few.state.charts.measured is not None
    assert few.state.charts.measured == none.state.charts.measured
