"""Cohorts, quality, drift, skew and episodes."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.drift import PageHinkley as RiverPageHinkley
from sklearn.metrics import log_loss

from headrace.bus.port import Record
from headrace.codec import Message
from headrace.envelope import Envelope
from headrace.events.inference import DecisionMade, FellBack, Score, Served
from headrace.events.monitor import FindingOpened, FindingResolved, SkewSeen, VersionQuality, WindowClosed
from headrace.events.ops import HealthReported
from headrace.events.training import RetrainAccepted, RetrainRefused, RetrainRequested, TrainingFinished
from headrace.features.as_of import as_of
from headrace.features.events import EventTable
from headrace.features.parity import parity
from headrace.features.plan import plan_view
from headrace.policy.outcomes import Told
from headrace.project import (
    Binary,
    Count,
    Deployment,
    FeatureView,
    Key,
    Mean,
    PageHinkley,
    Project,
    Retraining,
    Source,
    Training,
)
from headrace.project.compile import compile_project, event_struct
from headrace.project.definition import DriftDefinition
from headrace_monitor.core.asking import request_id_of
from headrace_monitor.core.drift import CohortDetector, restored
from headrace_monitor.core.loss_change import Figure
from headrace_monitor.core.places import Places
from headrace_monitor.core.priors import Concern
from headrace_monitor.core.quality import qualities_of
from headrace_monitor.core.services import Services
from headrace_monitor.core.watch import Watch, watch_of
from headrace_monitor.core.windows import Rows, Windows

DAY = 86_400.0
PLAN = DriftDefinition("page_hinkley", "log_loss", DAY, 0.02, 0.8, 7)


class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float | None = None


def build(signature: object) -> None: ...


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")
VIEW = FeatureView(
    "carrier", source=LANDINGS, entity="carrier", features={"mean": Mean("delay", "3h"), "n": Count("3h")}
)
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d",
                "u",
                [Key("carrier")],
                [VIEW.by("carrier")],
                label=Binary("late", "24h"),
                settle=0,
                training=Training(build, first_after="3d"),
                monitoring=[PageHinkley()],
                retraining=Retraining(),
            )
        ],
        sources=[LANDINGS],
        views=[VIEW],
    )
)
DEPLOYMENT = PROJECT.deployments[0]


def decision(unit: str, at_s: float, value: float = 0.5, version: int = 1, **more: object) -> DecisionMade:
    score = Score(version, "m", value)
    answer = Served(score) if version else FellBack("prior", "no version yet", score)
    return DecisionMade(f"r{unit}", "d", unit, at_s, answer, 0, **more)  # type: ignore[arg-type]


def windows(rows: int = 100) -> Windows:
    found = Windows(DEPLOYMENT)
    for number in range(rows):
        found.decide(decision(f"u{number}", number * DAY / rows), number % 2, number)
    return found


def label(found: Windows, count: int, known_s: float, since: int = 0) -> None:
    for number in range(since, count):
        found.observe(Told(f"u{number}", 1.0, known_s))


def closed(decisions: Sequence[DecisionMade], labels: Sequence[float] = ()) -> Rows:
    """The rows of a closed window with these decisions."""
    found = Windows(DEPLOYMENT)
    for number, made in enumerate(decisions):
        found.decide(made, 0, number)
    for made, value in zip(decisions, labels, strict=False):
        found.observe(Told(made.unit, value, made.at_s))
    return found.rows_of(0.0, 2 * DAY)


def test_a_window_is_open_while_the_clock_is_inside_it() -> None:
    found = windows()
    label(found, 100, DAY)
    assert found.closable(DAY - 1) is None
    assert found.closable(DAY) == (0.0, DAY)


def test_a_window_closes_when_enough_of_its_labels_are_known() -> None:
    found = windows()
    label(found, 97, DAY)
    assert found.closable(DAY + 3600) is None
    label(found, 98, DAY + 10, since=97)
    assert found.closable(DAY + 7200) == (0.0, DAY + 3600)


def test_a_label_counts_only_from_when_it_was_known() -> None:
    found = windows()
    label(found, 100, DAY + 800)
    assert found.closable(DAY + 800) is None
    assert found.closable(DAY + 3600) == (0.0, DAY + 3600)


def test_a_window_closes_at_the_hour_at_which_it_could_however_late_one_looks() -> None:
    found = windows()
    label(found, 100, DAY + 800)
    assert found.closable(DAY + 20_000) == (0.0, DAY + 3600)


def test_after_the_horizon_a_window_closes_with_what_there_is() -> None:
    assert windows().closable(2 * DAY - 1) is None
    assert windows().closable(2 * DAY) == (0.0, 2 * DAY)


def test_a_clock_a_thousand_years_on_costs_no_more_than_one_an_hour_on() -> None:
    assert windows().closable(3e10) == (0.0, 2 * DAY)
    assert windows().closable(253_402_300_799.0) == (0.0, 2 * DAY)


def test_a_window_of_long_ago_begins_at_a_multiple_of_its_length() -> None:
    found = Windows(DEPLOYMENT)
    found.decide(decision("u", -62_135_596_800.0 + 5), 0, 0)
    assert found.open_from_s == -62_135_596_800.0


def test_a_decision_of_a_closed_window_is_late_and_changes_nothing() -> None:
    found = windows()
    found.drop(0.0, DAY)
    assert not found.decide(decision("late", 5.0), 0, 100)
    assert (found.late_requests, found.open) == (1, {})
    found.decide(decision("late", 5.0), 0, 100, is_new=False)
    assert found.late_requests == 1


def test_an_outcome_that_comes_after_its_window_has_closed_is_counted() -> None:
    found = windows()
    found.drop(0.0, DAY + 3600)
    found.observe(Told("u1", 1.0, DAY + 3600))
    found.observe(Told("u2", 1.0, DAY + 3601))
    assert found.late_outcomes == 1


def test_a_unit_that_is_asked_about_twice_has_a_label_for_each_request() -> None:
    """The outcome of day 2 is none of the request of day 10, and closing the first window takes nothing from the second."""
    found = Windows(DEPLOYMENT)
    for day in (1.0, 10.0):
        found.decide(decision("u", day * DAY), 0, int(day))
        found.observe(Told("u", 1.0 if day == 1.0 else 0.0, (day + 0.5) * DAY))
    assert found.rows_of(10 * DAY, 12 * DAY).labels.tolist() == [0.0]
    first = found.rows_of(DAY, 3 * DAY)
    found.drop(DAY, 3 * DAY)
    assert (first.labels.tolist(), found.rows_of(10 * DAY, 12 * DAY).labels.tolist()) == ([1.0], [0.0])


def test_a_label_known_before_its_request_is_none_of_it() -> None:
    found = Windows(DEPLOYMENT)
    found.observe(Told("u", 1.0, 9 * DAY))
    found.decide(decision("u", 9.5 * DAY), 0, 0)
    assert np.isnan(found.rows_of(9 * DAY, 20 * DAY).labels).all()


def test_only_a_correction_changes_a_label_and_only_up_to_the_horizon() -> None:
    found = windows(1)
    for ident, value, known_s, corrects in (
        ("a", 1.0, 100.0, None), ("b", 0.0, 120.0, None), ("a", 0.0, 130.0, None), ("c", 0.0, 200.0, "a"), ("d", 1.0, DAY + 1, "a"),
    ):  # fmt: skip
        found.observe(Told("u0", value, known_s, ident, corrects=corrects))
    assert found.rows_of(0.0, 2 * DAY).labels.tolist() == [0.0]
    assert found.rows_of(0.0, 150.0).labels.tolist() == [1.0]
    assert found.rows_of(0.0, 2 * DAY).beyond == 1


def test_quality_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truths = (rng.random(200) < 0.3).astype(float)
    rows = [decision(f"u{n}", 0.0, float(p), 1, shadows=(Score(2, "m", 0.3),)) for n, p in enumerate(rng.random(200))]
    champion, shadow = qualities_of(closed(rows, truths.tolist()))
    assert champion.log_loss == pytest.approx(log_loss(truths, [row.answer.score.value for row in rows]))  # type: ignore[union-attr]
    assert (champion.role, shadow.role, shadow.version) == ("champion", "shadow", 2)
    assert shadow.auc == 0.5


def test_a_window_of_two_champions_belongs_to_none() -> None:
    assert closed([decision("a", 0.0, version=1), decision("b", 0.0, version=1)]).served_version == 1
    assert closed([decision("a", 0.0, version=1), decision("b", 0.0, version=2)]).served_version is None
    assert closed([decision("a", 0.0, version=0)]).served_version is None


def test_the_detector_alarms_at_the_same_figure_as_river() -> None:
    rng = np.random.default_rng(3)
    figures = np.concatenate([rng.normal(0.5, 0.02, 30), rng.normal(0.8, 0.02, 30)])
    river = RiverPageHinkley(min_instances=7, delta=0.02, threshold=0.8, mode="up")
    wanted = next(n for n, f in enumerate(figures) if (river.update(f), river.drift_detected)[1])
    ours = CohortDetector(PLAN, 1)
    found = next(n for n, f in enumerate(figures) if ours.update(figure_of(float(f))) is not None)
    assert found == wanted
    assert 30 < found < 40


def figure_of(loss: float) -> Figure:
    return Figure(0.0, loss)


@given(st.lists(st.floats(0.3, 1.2), max_size=40), st.integers(0, 40))
def test_a_detector_restored_in_the_middle_alarms_like_one_that_ran_through(figures: list[float], cut: int) -> None:
    through, first = CohortDetector(PLAN, 1), CohortDetector(PLAN, 1)
    fed = [Figure(float(day), loss) for day, loss in enumerate(figures)]
    alarms = [through.update(figure) for figure in fed]
    before = [first.update(figure) for figure in fed[:cut]]
    second = restored(PLAN, 1, first.state())
    assert before + [second.update(figure) for figure in fed[cut:]] == alarms


def window(day: int, loss: float, version: int = 1, **more: object) -> WindowClosed:
    quality = VersionQuality(version, "champion", 100, loss, loss, 0.7, 0.3)
    fields = {"verdict": "PASS", "qualities": (quality,), "labelled": 100} | more
    return WindowClosed("d", day * DAY, (day + 1) * DAY, 100, positive_share=0.3, **fields)  # type: ignore[arg-type]


def watch(champion: int | None = 1) -> Watch:
    found = watch_of(DEPLOYMENT, None)
    if champion is not None:
        found.on_champion(champion, 0.0)
    return found


def days(found: Watch, losses: dict[int, float], served: int | None = 1, **more: object) -> list[Any]:
    """What is said of windows of so many days."""
    return [
        event
        for day, loss in losses.items()
        for event in found.on_window(window(day, loss, served or 0, **more), served, (day + 1) * DAY)
    ]


def risen() -> tuple[Watch, FindingOpened, RetrainRequested]:
    """A deployment whose champion's loss has risen on day 10."""
    found = watch()
    finding, request = days(found, {day: 0.5 if day < 10 else 0.9 for day in range(14)})
    return found, finding, request


def finished(found: Watch, request: RetrainRequested, outcome: str, **more: Any) -> None:
    """The trainer takes a request up, and its run ends."""
    ident = request_id_of(request)
    found.on_training(RetrainAccepted("d", "run" + ident, ident, "drift", "", request.clock_s or 0.0))
    found.on_training(TrainingFinished("d", "run" + ident, outcome, "", **more))


def test_a_rise_opens_one_finding_that_knows_since_when_and_asks_once() -> None:
    found, finding, request = risen()
    assert (finding.changed_at_s, request.changed_at_s, request.finding) == (10 * DAY, 10 * DAY, finding.finding)
    assert finding.back_at == pytest.approx(0.7)
    assert days(found, dict.fromkeys(range(14, 30), 0.9)) == []


def test_a_new_champion_resolves_nothing_and_the_figure_that_is_back_does() -> None:
    found, finding, request = risen()
    finished(found, request, "registered")
    assert found.on_champion(2, 15 * DAY) == []
    assert [getattr(detector, "fed", None) for detector in found.detectors] == [()]
    assert days(found, {15: 0.9}, 2) == []
    (resolved,) = days(found, {16: 0.6}, 2)
    assert isinstance(resolved, FindingResolved)
    assert (resolved.finding, "back" in resolved.reason) == (finding.finding, True)


def test_a_request_that_was_cooled_down_is_made_again_when_that_is_over() -> None:
    found, finding, request = risen()
    found.on_training(RetrainRefused("d", request_id_of(request), "cool-down", 20 * DAY))
    said = days(found, dict.fromkeys(range(14, 25), 0.9))
    assert [(type(event), event.finding, event.clock_s) for event in said] == [
        (RetrainRequested, finding.finding, 20 * DAY)
    ]
    assert request_id_of(said[0]) != request_id_of(request)


def test_a_run_that_lacks_rows_is_asked_for_again_when_they_are_there() -> None:
    found, _, request = risen()
    finished(found, request, "waiting", missing_rows=250)
    assert [event.clock_s for event in days(found, dict.fromkeys(range(14, 25), 0.9))] == [17 * DAY]


def test_what_was_rejected_is_asked_for_again_when_the_rows_beyond_the_change_have_grown_by_half() -> None:
    found, _, request = risen()
    finished(found, request, "rejected", changed_at_s=10 * DAY, rows_after_change=400, rows_wanted=100)
    assert [event.clock_s for event in days(found, dict.fromkeys(range(14, 25), 0.9))] == [16 * DAY]


@pytest.mark.parametrize("outcome", ["rejected", "failed"])
def test_a_run_that_more_rows_would_not_help_is_asked_for_again_after_a_week_of_windows(outcome: str) -> None:
    found, _, request = risen()
    finished(found, request, outcome)
    assert [event.clock_s for event in days(found, dict.fromkeys(range(14, 25), 0.9))] == [21 * DAY]


def test_after_three_retrains_that_did_not_help_it_stops_asking_and_says_so() -> None:
    found, _, request = risen()
    said: list[Any] = []
    for round_, outcome in enumerate(("registered", "rejected", "failed")):
        finished(found, request, outcome)
        if outcome == "registered":
            found.on_champion(2, 15 * DAY)
        said = days(found, dict.fromkeys(range(15 + 10 * round_, 25 + 10 * round_), 0.9), 2)
        request = next((event for event in said if isinstance(event, RetrainRequested)), request)
    given_up = found.asks.by_key["drift"]
    assert given_up.unhelpful == 3
    assert days(found, dict.fromkeys(range(50, 80), 0.9), 2) == []
    (resolved,) = days(found, {80: 0.5}, 2)
    assert isinstance(resolved, FindingResolved)
    assert found.asks.by_key == {}


def test_what_is_asked_survives_a_restart_of_the_monitor() -> None:
    found, _, request = risen()
    again = watch_of(DEPLOYMENT, found.state({}, 0.0))
    finished(again, request, "waiting", missing_rows=250)
    assert [event.clock_s for event in days(again, dict.fromkeys(range(14, 25), 0.9))] == [17 * DAY]


def test_a_version_after_a_change_is_followed_up_as_its_rows_grow() -> None:
    found, _, request = risen()
    finished(found, request, "registered", changed_at_s=10 * DAY, rows_after_change=400, rows_wanted=100)
    found.on_champion(2, 15 * DAY)
    said = days(found, dict.fromkeys(range(15, 19), 0.5), 2)
    assert [(type(event).__name__, getattr(event, "cause", "")) for event in said] == [
        ("FindingResolved", ""),
        ("RetrainRequested", "follow_up"),
    ]
    assert said[1].changed_at_s == 10 * DAY
    assert "600 labelled rows lie beyond the change" in said[1].reason
    finished(found, said[1], "registered", changed_at_s=10 * DAY, rows_after_change=1000, rows_wanted=100)
    assert found.asks.by_key == {}


def over_prior(day: int, over: float, version: int = 1, role: str = "champion") -> WindowClosed:
    quality = VersionQuality(version, role, 100, 0.9, 0.9, 0.5, 0.3, over_prior=over, over_prior_error=0.01)
    return window(day, 0.9, version, qualities=(quality,))


def test_a_champion_that_stays_worse_than_the_prior_steps_down_until_it_is_better() -> None:
    found = watch()
    assert [found.on_window(over_prior(day, 0.2), 1, day * DAY) for day in range(2)] == [[], []]
    opened, concern = found.on_window(over_prior(2, 0.2), 1, 3 * DAY)
    assert concern == Concern(opened, True)
    assert isinstance(opened, FindingOpened)
    assert (opened.kind, opened.version, opened.about) == ("worse_than_prior", 1, "version 1")
    assert found.on_window(over_prior(3, 0.2, role="shadow"), None, 4 * DAY) == []
    (resolved,) = found.on_window(over_prior(4, -0.1, role="shadow"), None, 5 * DAY)
    assert (resolved.kind, resolved.about) == ("worse_than_prior", "version 1")


def test_of_a_version_that_is_not_champion_any_more_nobody_is_alarmed() -> None:
    found = watch()
    opened = next(event for day in range(3) for event in found.on_window(over_prior(day, 0.2), 1, day * DAY))
    assert found.on_champion(2, 3 * DAY) == [Concern(opened, False)]
    assert found.on_champion(1, 4 * DAY) == [Concern(opened, True)]


def test_a_version_that_scores_along_is_passed_over_without_an_alarm() -> None:
    found = watch()
    found.on_champion(2, 0.0)
    said = [event for day in range(3) for event in found.on_window(over_prior(day, 0.2, role="shadow"), 2, day * DAY)]
    assert [type(event) for event in said] == [FindingOpened]


def test_one_bad_window_less_than_it_takes_is_none() -> None:
    found = watch()
    overs = [0.2, 0.2, 0.01, 0.2, 0.2]
    assert [
        event for day, over in enumerate(overs) for event in found.on_window(over_prior(day, over), 1, day * DAY)
    ] == []


def test_each_detector_is_restored_with_its_own_figures() -> None:
    two = msgspec.structs.replace(DEPLOYMENT, monitoring=(PLAN, msgspec.structs.replace(PLAN, threshold=9.0)))
    found = watch_of(two, None)
    found.on_champion(1, 0.0)
    found.detectors[0].update(figure_of(0.5))
    found.detectors[1].update(figure_of(0.7))
    again = watch_of(two, found.state({}, 0.0))
    assert [detector.fed for detector in again.detectors] == [(figure_of(0.5),), (figure_of(0.7),)]  # ty: ignore[unresolved-attribute]


def beat(instance: str, at_ms: int, service: str = "feature", **more: object) -> Message:
    report = HealthReported(service, instance, ready=True, **more)  # type: ignore[arg-type]
    return Message(Record("ops.health.v1", 0, 0, None, None, (), at_ms), Envelope("", "", "", 0.0), report)


def test_a_service_is_down_when_the_log_went_on_without_it_unless_it_stopped_by_design() -> None:
    services = Services()
    services.take(beat("old", 1_000, stopping=True))
    services.take(beat("m", 100_000, "monitor"))
    assert services.down()["feature"] is False
    services.take(beat("new", 101_000))
    services.take(beat("m", 105_000, "monitor"))
    assert services.down()["feature"] is False
    services.take(beat("m", 200_000, "monitor"))
    assert services.down()["feature"] is True
    services.take(beat("third", 201_000))
    assert services.down()["feature"] is False


def test_a_service_that_ended_by_a_failure_is_down_though_it_said_that_it_stops() -> None:
    services = Services()
    services.take(beat("old", 1_000, stopping=True, failing=("end",)))
    services.take(beat("m", 100_000, "monitor"))
    assert services.down()["feature"] is True


@pytest.mark.parametrize(
    ("last", "counted"), [({}, 5), ({"stopping": True, "failing": ("end",)}, 5), ({"stopping": True}, 0)]
)
@pytest.mark.parametrize("named", ["i-{}", "always"])
def test_processes_that_end_unasked_one_after_the_other_are_counted_for_some_minutes(
    last: dict[str, object], counted: int, named: str
) -> None:
    services = Services()
    for number in range(6):
        services.take(beat(named.format(number), 10_000 * number, started_s=number))
        services.take(beat(named.format(number), 10_000 * number + 3_000, started_s=number, **last))
    services.take(beat("m", 55_000, "monitor"))
    services.take(beat("m", 62_900, "monitor"))
    assert (services.ends("feature"), services.ends("monitor")) == (counted, 0)
    services.take(beat("m", 500_000, "monitor"))
    assert services.ends("feature") == 0


def test_an_open_window_of_a_slow_deployment_keeps_what_it_needs() -> None:
    slow, fast = windows(), windows()
    fast.drop(0.0, DAY)
    assert (slow.open_from_s, fast.open_from_s) == (0.0, DAY)


def test_unmeasured_cohorts_and_those_of_another_version_do_not_feed_the_detector() -> None:
    found = watch()
    found.on_window(window(0, 0.5, verdict="UNMEASURED"), 1, 0.0)
    found.on_window(window(1, 0.5), None, 0.0)
    found.on_window(window(2, 0.5), 3, 0.0)
    assert found.detectors[0].state() == {}


def test_a_deployment_without_a_version_asks_for_its_first_when_enough_cohorts_have_closed() -> None:
    found = watch(None)
    (request,) = days(found, dict.fromkeys(range(5), 0.5), None)
    assert (request.cause, request.clock_s) == ("first", 3 * DAY)
    finished(found, request, "rejected")
    assert [event.clock_s for event in days(found, dict.fromkeys(range(5, 20), 0.5), None)] == [12 * DAY]
    found.on_champion(1, 20 * DAY)
    assert found.asks.by_key == {}


def test_the_first_version_is_asked_for_as_soon_as_there_are_rows_enough() -> None:
    training = msgspec.structs.replace(DEPLOYMENT.training, first_after_s=90 * DAY, first_after_rows=250)
    found = watch_of(msgspec.structs.replace(DEPLOYMENT, training=training), None)
    assert [event.clock_s for event in days(found, dict.fromkeys(range(9), 0.5), None)] == [3 * DAY]


def test_skew_opens_once_and_resolves_when_rows_are_equal_again() -> None:
    found = watch()
    bad = {
        "parity_rows": 100,
        "parity_tiles": 1.0,
        "parity_as_of": 0.9,
        "skew": SkewSeen("carrier.mean", 0.1, "lag: 1200 s"),
    }
    first = found.on_window(window(0, 0.5, **bad), 1, 0.0)
    assert [event.kind for event in first if isinstance(event, FindingOpened)] == ["skew"]
    assert "carrier.mean in 10.0% of them (lag: 1200 s)" in first[0].summary  # type: ignore[union-attr]
    assert found.on_window(window(1, 0.5, **bad), 1, 0.0) == []
    (resolved,) = found.on_window(window(2, 0.5, **(bad | {"parity_as_of": 1.0})), 1, 0.0)
    assert isinstance(resolved, FindingResolved)


def table(count: int = 20) -> EventTable:
    struct = event_struct(PROJECT.sources[0])
    found = EventTable(PROJECT.sources[0])
    for offset in range(count):
        found.add(struct(at=1000.0 + 300 * offset, carrier="AA", delay=float(offset)), 0, offset)
    return found


def served_row(found: EventTable, at_s: float, applied: int) -> DecisionMade:
    plan = plan_view(PROJECT, "carrier")
    seen = found.select(found.offsets < applied)
    values = as_of(plan, seen, ["AA"], np.array([at_s]), 0.0).values[0].astype("<f4")
    return decision(
        "u", at_s, row=values.tobytes(), entities={"carrier": "AA"}, applied={"events.landings.v1/0": applied}
    )


TOPICS = {"landings": "events.landings.v1"}


def test_rows_made_from_all_events_are_equal_by_both_figures() -> None:
    found = parity(PROJECT, DEPLOYMENT, {"landings": table()}, TOPICS, [served_row(table(), 7200.0, 20)])
    assert (found.rows, found.tiles, found.as_of, found.max_lag_s) == (1, 1.0, 1.0, 0.0)


def test_rows_of_another_number_of_columns_were_made_by_other_views_and_are_left_out() -> None:
    """A view was added while the window was open: its older rows are shorter, and no window is lost by them."""
    older = msgspec.structs.replace(served_row(table(), 7000.0, 20), row=b"\0" * 4)
    found = parity(PROJECT, DEPLOYMENT, {"landings": table()}, TOPICS, [older, served_row(table(), 7200.0, 20)])
    assert (found.rows, found.tiles) == (1, 1.0)


def test_features_that_came_late_show_in_one_figure_only_and_say_how_late() -> None:
    found = parity(PROJECT, DEPLOYMENT, {"landings": table()}, TOPICS, [served_row(table(), 7200.0, 10)])
    assert (found.tiles, found.as_of) == (1.0, 0.0)
    assert found.max_lag_s == 7200.0 - (1000.0 + 300 * 10)


def test_a_difference_in_code_of_one_ulp_shows_in_both_figures() -> None:
    row = served_row(table(), 7200.0, 20)
    values = np.frombuffer(row.row, "<f4").copy()
    values[0] = np.nextafter(values[0], np.float32(math.inf))
    changed = msgspec.structs.replace(row, row=values.tobytes())
    found = parity(PROJECT, DEPLOYMENT, {"landings": table()}, TOPICS, [changed])
    assert (found.tiles, found.as_of) == (0.0, 0.0)


def test_a_restart_reads_again_from_the_lowest_offset_that_it_still_needs() -> None:
    places = Places()
    for day, offset in ((0, 3), (1, 8), (1, 7), (2, 12)):
        places.note("t/0", day * DAY + 5, offset)
    assert places.from_day(DAY) == {"t/0": 7}
    assert places.from_day(2 * DAY) == {"t/0": 12}
    assert places.from_day(3 * DAY) == {"t/0": 13}


def test_a_clock_that_does_not_run_yet_reads_everything_again() -> None:
    """A blue-green rollout that ends before the first decision used to end the monitor, again at every start."""
    places = Places()
    places.note("inference.decisions.v1/0", 5 * DAY, 7)
    assert places.since(-math.inf) == {"inference.decisions.v1/0": 7}
    assert places.since(math.inf) == {"inference.decisions.v1/0": 8}


@given(st.lists(st.integers(-800_000, 800_000), min_size=1, max_size=60), st.integers(-800_000, 800_000))
def test_however_many_days_a_user_names_their_number_is_bounded_and_nothing_needed_is_left_out(
    days: list[int], since: int
) -> None:
    places, whole = Places(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace_monitor.core.places.MOST_DAYS", 8)
        for offset, day in enumerate(days):
            places.note("t/0", day * DAY, offset)
            whole.setdefault(day, offset)
    assert places.held_bytes <= 8 * 100
    needed = [offset for day, offset in whole.items() if day >= since]
    assert places.since(since * DAY)["t/0"] <= min(needed, default=len(days))
