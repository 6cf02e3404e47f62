"""From state to document: one test per noun, with the limit beside every value."""

from typing import Any

import msgspec
import pytest
from services.console.tests.known import DAY_S, LABEL, NOW_S, Known

from headrace.events.charts import ChartPoint
from headrace.events.definition import RolloutDefinition
from headrace.events.monitor import VersionQuality
from headrace.events.ops import PartitionStopped
from headrace.events.registry import (
    AliasMoved,
    ApprovalAwaited,
    CardWritten,
    GateResult,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutStarted,
    Waiver,
)
from headrace.events.training import RetrainRequested, TrainingProgressed
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.log.topics import Topics
from headrace.project import (
    Binary,
    Deployment,
    FeatureView,
    Mean,
    Multiclass,
    Number,
    PageHinkley,
    Project,
    Regression,
    Source,
)
from headrace.project.compile import compile_project
from headrace.project.labels import why_not_outcome
from headrace.testing.history import History
from headrace.testing.registry import version_of
from headrace_console.adapters.following import seen_of

CANARY = RolloutDefinition("canary", shares=(0.01, 0.25, 1.0), min_decisions=100, shadow_first_s=60.0, min_cycles=14)
STARTED = RolloutStarted("d", "r1", 2, "canary", "better", CANARY, 1, "anna")
LEVEL = Evidence("level", "label", "INCONCLUSIVE", -0.006, 0.01, "about 5 days to go", 900, 9)
ERRORS = Evidence("errors", "guardrail", "PASS", 0.0, 0.02, "", 40)


class Landing(msgspec.Struct):
    carrier: str
    late: float
    at: float


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")
CARRIER = FeatureView("carrier", source=LANDINGS, entity="carrier", features={"late_3h": Mean("late", window="3h")})


def rolling(*facts: Any) -> Known:
    """Version 2 under rollout against champion 1."""
    return Known().well().facts(version_of(2), STARTED, *facts)


def judged(known: Known, clock_s: float = 9.0, **changes: Any) -> Known:
    fields: dict[str, Any] = {
        "evidence": (ERRORS, LEVEL),
        "step_decisions": 40,
        "label_count": 900,
        "cycles": 9,
    } | changes
    return known.take("monitor.verdicts", VerdictGiven("d", "r1", 2, 0, "PASS", "INCONCLUSIVE", clock_s, **fields))


def test_a_rollout_shows_its_steps_and_where_it_is() -> None:
    known = rolling(RolloutAdvanced("d", "r1", 2, "canary", 0.25, 1, 5.0))
    found = known.document("deployment/d")["rollout"]
    assert (found["steps"], found["at"], found["share"], found["state"]) == ((0.0, 0.01, 0.25, 1.0), 2, 0.25, "canary")
    assert found["place"] == "registry.facts/0/10"
    assert known.now()["deployments"]["d"]["rollout"]["share"] == 0.25


def test_evidence_stands_beside_its_limit_and_what_is_missing() -> None:
    found = judged(rolling(RolloutAdvanced("d", "r1", 2, "canary", 0.01, 0, 5.0))).document("deployment/d")["rollout"]
    errors, level = found["evidence"]["errors"], found["evidence"]["level"]
    assert (errors["measured"], errors["limit"], errors["needs"]) == (0.0, 0.02, "100 decisions, 40")
    assert (level["measured"], level["limit"], level["needs"], level["verdict"]) == (
        -0.006,
        0.01,
        "14 cycles, 9",
        "INCONCLUSIVE",
    )


def test_the_history_of_evidence_grows_with_the_verdicts() -> None:
    known = judged(judged(rolling(RolloutAdvanced("d", "r1", 2, "canary", 0.01, 0, 5.0))), 10.0)
    assert known.document("deployment/d")["rollout"]["history"]["level"] == ((9.0, -0.006), (10.0, -0.006))


def test_a_rollout_that_ended_keeps_its_reason_and_has_no_buttons() -> None:
    found = rolling(RolloutAborted("d", "r1", 2, "errors", harmful=True)).document("deployment/d")
    assert (found["rollout"]["outcome"], found["rollout"]["reason"], found["rollout"]["offers"]) == (
        "rolled_back",
        "errors",
        (),
    )
    assert (found["rollout"]["state"], found["rollout"]["at"]) == ("rolled back", 0)
    assert (found["versions"]["2"]["stage"], found["versions"]["2"]["reason"]) == ("rejected", "errors")


def test_what_waits_for_approval_needs_an_approver() -> None:
    known = rolling(RolloutAdvanced("d", "r1", 2, "canary", 0.25, 1, 5.0), ApprovalAwaited("d", "r1", 2, "no label"))
    (need,) = known.now()["needs"].values()
    assert (need["kind"], need["title"], need["link"]) == (
        "approval",
        "v2 waits for an approver",
        "/deployments/d/versions/2",
    )
    assert [(offer["act"], offer["needs"]) for offer in need["offers"]] == [("approve", "approver")]


def test_the_table_shows_the_champion_its_quality_and_its_limit() -> None:
    row = Known().well().window(1).now()["deployments"]["d"]
    assert (row["champion"], row["champion_since_s"], row["mark"]) == (1, NOW_S, "ok")
    quality = row["quality"]
    assert (quality["metric"], quality["value"], quality["limit"], quality["n"]) == ("log-loss", 0.5, 0.6, 100)
    assert (quality["is_above"], quality["spark"]) == (False, (0.5, 0.5))


def test_without_a_prior_the_figure_is_the_auc() -> None:
    quality = VersionQuality(1, "champion", 100, 0.5, 0.49, 0.78, 0.3)
    found = Known().champion().window(qualities=(quality,)).now()["deployments"]["d"]["quality"]
    assert (found["metric"], found["value"], found["limit"], found["is_above"]) == ("AUC", 0.78, None, True)


def test_an_unmeasured_window_says_why() -> None:
    found = (
        Known().champion().window(labelled=60, qualities=(), verdict="UNMEASURED").now()["deployments"]["d"]["quality"]
    )
    assert (found["value"], found["verdict"], found["why"]) == (
        None,
        "UNMEASURED",
        "60 of 110 requests have their outcome",
    )


def test_a_route_names_every_version_with_its_roles() -> None:
    found = Known().champion(2).document("deployment/d")
    assert found["route"]["2"]["roles"] == ("champion",)
    assert [offer["act"] for offer in found["offers"]] == ["roll_back"]
    assert found["offers"][0]["sentence"] == "Give all traffic of d back to v1; v2 will be rejected for ever"


def test_a_training_that_runs_is_shown() -> None:
    known = Known().champion().take("training.facts", TrainingProgressed("d", "run", "fit", 0.4))
    assert known.document("deployment/d")["training"] == "training: fit, 40%"


def test_nobody_knows_a_deployment_that_was_never_there() -> None:
    known = Known()
    assert [known.document(f"{kind}/nobody") for kind in ("deployment", "series", "timeline")] == [None, None, None]
    assert [known.document(key) for key in ("version/d/9", "version/d/x", "finding/d/f9")] == [None, None, None]


def test_a_version_has_its_card_gates_and_waivers() -> None:
    gates = (GateResult("beats_prior", "FAIL", 0.1, 0.0, "m1", "worse"),)
    registered = version_of(
        1, gates=gates, waivers=(Waiver("beats_prior", "anna", "it must go on"),), metrics={"auc": 0.7}
    )
    found = Known().facts(registered, CardWritten("d", 1, "# Card")).document("version/d/1")
    assert (found["card"], found["row"]["metrics"], found["place"]) == ("# Card", {"auc": 0.7}, "registry.facts/0/1")
    assert found["gates"]["beats_prior"]["waived_by"] == "anna: it must go on"
    assert (found["row"]["gates"]["beats_prior"], found["row"]["waived"]) == ("FAIL", ("beats_prior",))


def test_a_version_that_was_rolled_back_says_by_whom() -> None:
    known = (
        Known()
        .champion(2)
        .facts(RolledBack("d", 2, 1, "it was slow", "anna"), AliasMoved("d", "champion", 1, 2, "back"))
    )
    row = known.document("version/d/2")["row"]
    assert (row["stage"], row["reason"], row["by"]) == ("rejected", "it was slow", "anna")


def test_the_figures_of_held_out_rows_come_first() -> None:
    measured = {"fit_rows": 9.0, "holdout_auc": 0.7, "loss_with_older_rows": 0.5}
    row = Known().facts(version_of(1, metrics=measured)).document("version/d/1")["row"]
    assert list(row["metrics"]) == ["holdout_auc", "fit_rows", "loss_with_older_rows"]


def test_the_loss_of_a_drift_is_never_beside_the_limit_of_the_detectors_statistic() -> None:
    known = Known().window().finding(measured=0.69, limit=0.8, detector="page_hinkley", back_at=0.5)
    found = known.document("finding/d/f1")
    assert (found["metric"], found["row"]["measured"], found["row"]["limit"]) == ("loss", 0.69, None)
    assert found["values"]["limit of the statistic"] == 0.8
    assert found["values"]["resolved at"] == 0.5


def test_a_finding_of_a_chart_is_about_its_figure_and_shows_where_its_detector_is_now() -> None:
    def point(statistic: float) -> ChartPoint:
        return ChartPoint("ranking", 1, 0.7, 0.01, 90, "", 0.75, 0.02, statistic, 100.0)

    known = Known().window(charts=(point(120.0),))
    known.finding(measured=0.69, limit=100.0, detector="charts", about="ranking", version=1)
    assert known.window(2, charts=(point(30.0),)).document("finding/d/f1")["values"]["statistic now"] == 30.0
    found = known.document("finding/d/f1")
    assert (found["metric"], found["values"]["ranking"], found["compared"]) == (
        "ranking", 0.69, "loss in excess of the expected one",
    )  # fmt: skip


def test_a_finding_has_its_measure_and_limit_and_how_it_ended() -> None:
    known = Known().finding(kind="traffic", measured=141, limit=176, detector="profile", changed_at_s=4 * DAY_S)
    found = known.document("finding/d/f1")
    assert (found["row"]["measured"], found["row"]["limit"], found["changed_at_s"]) == (141, 176, 4 * DAY_S)
    assert found["runbook"] == "docs/runbooks/SourceStopped.md"
    assert known.resolved().document("finding/d/f1")["resolved"] == "it is back"
    assert known.document("deployment/d")["findings"]["f1"]["resolved_at_s"] == 6 * DAY_S


def test_charts_have_windows_marks_and_limits() -> None:
    known = Known().champion().window(0).window(1).finding()
    known.take("training.requests", RetrainRequested("d", "drift", "a drift", "monitor", clock_s=5 * DAY_S))
    found = known.document("series/d")
    assert (found["metrics"], sorted(found["windows"])) == (
        ("auc", "log_loss", "expected_log_loss", "mean_score"),
        ["172800", "86400"],
    )
    assert found["windows"]["86400"]["figures"]["1"]["auc"] == 0.78
    assert sorted(mark["kind"] for mark in found["marks"].values()) == ["finding", "retrain", "version"]


@pytest.mark.parametrize(("is_over", "mark"), [(False, "page"), (True, "ok")])
def test_alerts_stay_in_the_list_when_they_are_over(is_over: bool, mark: str) -> None:
    (row,) = Known().alert(is_over=is_over).document("alerts")["alerts"].values()
    assert (row["mark"], row["about"], row["command"], bool(row["offers"])) == (
        mark,
        "d",
        "headrace status",
        not is_over,
    )


def test_dead_letters_are_counted_and_the_newest_kept() -> None:
    known = Known()
    reason = {"__connect.errors.exception.message": "no number", "__connect.errors.topic": "raw.x"}
    for offset in range(60):
        headers = reason | {"__connect.errors.partition": "0", "__connect.errors.offset": str(offset)}
        known.world.letters.take_letter("pipeline", f"dlq.pipeline/0/{offset}", headers, 10, NOW_S)
    known.world.letters.take_letter("pipeline", "dlq.pipeline/0/60", reason | {"headrace.stands_for": "40"}, 10, NOW_S)
    found = known.document("dead-letters")
    assert (len(found["letters"]), found["counts"]) == (50, {"pipeline": 100})
    assert found["letters"]["dlq.pipeline/0/59"]["origin"] == "raw.x/0/59"


def test_a_stopped_partition_has_the_commands_that_end_it() -> None:
    known = Known().take("ops.stops", PartitionStopped("feature", "events.x.v1", 0, 7, "bad"), key="k")
    (stop,) = known.document("dead-letters")["stops"].values()
    assert (stop["place"], stop["commands"][0]) == ("events.x.v1/0/7", "headrace topic resume events.x.v1")
    assert known.take("ops.stops", None, key="k").document("dead-letters")["stops"] == {}


def test_an_instance_has_its_rate_and_falls_silent() -> None:
    known = Known()
    for second in range(11):
        known.report("inference", at_s=NOW_S + second, handled_total=10 * second, lag={"inference.requests.v1/0": 3})
    found = known.document("services", NOW_S + 11)
    row = found["instances"]["inference/inference-1"]
    assert (row["mark"], row["word"], row["handled_per_s"], row["behind_records"]) == ("ok", "ready", 10.0, 3)
    assert found["edges"]["gateway inference.requests inference"]["behind_records"] == 3
    writers = {edge["topic"]: set[str]() for edge in found["edges"].values()}
    for edge in found["edges"].values():
        writers[edge["topic"]].add(edge["writer"])
    assert writers["registry.commands"] == {"trainer", "cli", "console"}
    assert writers["alerts.silences"] == {"cli", "console"}
    later = known.document("services", NOW_S + 60)["instances"]["inference/inference-1"]
    assert (later["mark"], later["word"], later["silent_s"], later["handled_per_s"]) == (
        "attention",
        "silent",
        50.0,
        None,
    )
    assert known.document("services", NOW_S + 700)["instances"] == {}


def test_an_instance_that_ended_on_purpose_is_not_shown() -> None:
    assert Known().report("inference").report("inference", stopping=True).document("services")["instances"] == {}


def test_the_timeline_is_one_episode_from_the_drift_to_the_switch() -> None:
    known, history, topics = Known(), History(), Topics.load()
    history.drift_to_switch()
    for message in history.messages:
        known.world.take(seen_of(message, topics))
        known.world.take_cause(message)
    found = known.document("timeline/d")
    (episode,) = found["episodes"].values()
    kinds = [step["kind"] for step in sorted(episode["steps"].values(), key=lambda step: step["order"])]
    assert (kinds[0], "rollout.completed" in kinds, episode["mark"]) == ("finding.opened", True, "ok")
    assert (episode["mttd_s"], found["median_mttd_s"]) == (7200.0, 7200.0)
    assert all(step["place"].count("/") == 2 and ".v1/" not in step["place"] for step in episode["steps"].values())
    links = {step["link"] for step in episode["steps"].values()}
    assert "/deployments/d/findings/d-f2" in links
    assert known.document("finding/d/d-f2")["episode"] == next(iter(found["episodes"]))


def test_sources_and_views_show_freshness_and_what_is_missing() -> None:
    known = Known().champion().window(missing_share=0.2)
    known.report(
        "feature",
        newest_event_s={"landings/0": 5.0, "landings/1": 9.0},
        lag={"events.landings.v1/0": 4},
        late={"landings/0": 3},
    )
    project = Project("p", [], sources=[LANDINGS], views=[CARRIER])
    found = known.apply(compile_project(project)).document("features")
    row, view = found["sources"]["p/landings"], found["views"]["p/carrier"]
    assert (row["newest_event_s"], row["behind_records"], row["late"], row["mark"]) == (9.0, 4, 3, "ok")
    assert (view["entity"], view["features"]) == ("carrier", {"late_3h": "mean of late over 3 h"})
    assert row["newest_word"] == ""
    assert Known().apply(compile_project(project)).document("features")["sources"]["p/landings"]["mark"] == "unknown"


@pytest.mark.parametrize(
    ("feature", "applied", "word"),
    [
        (True, {"events.landings.v1/0": 7}, "not known since its restart"),
        (True, {"n.events.landings.v1/0": 7}, "not known since its restart"),
        (True, {"events.takeoffs.v1/0": 7}, "none yet"), (True, {}, "none yet"), (True, None, "not known"),
        (False, {}, "not known"),
    ],
)  # fmt: skip
def test_a_feature_service_that_began_again_does_not_know_the_newest_event(
    feature: bool, applied: dict[str, int] | None, word: str
) -> None:
    known = Known().apply(compile_project(Project("p", [], sources=[LANDINGS], views=[CARRIER])))
    if feature:
        known.report("feature")
    if applied is not None:
        known.report("inference", applied=applied)
    row = known.document("features")["sources"]["p/landings"]
    assert (row["newest_event_s"], row["newest_word"]) == (None, word)


def test_calls_that_do_not_return_are_seen_though_the_instance_is_ready() -> None:
    rows = Known().report("inference", hung_calls={"delay/3": 2}).document("services")["instances"]
    row = rows["inference/inference-1"]
    words = "2 calls of delay/3 will not return and may use a core each: a restart ends them"
    assert (row["mark"], row["word"]) == ("attention", words)


@pytest.mark.parametrize(
    ("label", "example"),
    [
        (Binary("late", "24h"), 1),
        (Binary("late", "24h", classes=("no", "yes <i>")), "yes <i>"),
        (Multiclass("kind", ("a cat", "a <b>dog</b>"), "24h"), "a <b>dog</b>"),
        (Regression("cents", 100, 500, "24h"), 300.0),
    ],
)
def test_an_example_of_an_outcome_is_a_label_that_the_deployment_takes(label: Any, example: Any) -> None:
    known = Known(Deployment("d", unit="flight", inputs=[Number("miles")], label=label))
    assert known.document("deployment/d")["label_example"] == example
    definition = known.world.definition("d")
    assert definition is not None
    assert why_not_outcome("d", definition, example) is None


def test_without_a_label_no_drift_is_not_claimed() -> None:
    watched = Deployment("d", unit="flight", inputs=[Number("miles")], label=LABEL, monitoring=[PageHinkley()])
    known = Known(watched).champion().window(labelled=0, qualities=())
    row = known.document("deployment/d")["row"]
    assert (row["drift"], row["drift_word"]) == ("unknown", "no labels yet")
    row = known.window(1).document("deployment/d")["row"]
    assert (row["drift"], row["drift_word"]) == ("ok", "none")
    row = known.finding(kind="labels").document("deployment/d")["row"]
    assert (row["drift"], row["drift_word"], row["drift_link"]) == (
        "unknown",
        "too few labels",
        "/deployments/d/findings/f1",
    )
