"""Which parts of the core each record reaches, and what is published of it: the core as one, without a service."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from services.monitor.tests.test_rollout_analysis import NEW, OLD
from services.monitor.tests.watched import DAY, DEPLOYMENT, PROJECT, decision

from headrace.events.inference import BreakerChanged, OutcomeObserved, Score, ShadowScored
from headrace.events.monitor import FindingOpened, MonitorState, RolloutJudged, SourceProfile, WindowClosed
from headrace.events.ops import HealthReported
from headrace.events.registry import (
    AliasMoved,
    ModelVersion,
    RolloutAborted,
    RolloutAdvanced,
    RolloutPaused,
    RolloutStarted,
    Route,
)
from headrace.events.training import RetrainRefused
from headrace.features.rows import bare_signature
from headrace.hosting.alerts import Alarm, fire
from headrace.log.envelope import Envelope
from headrace.log.port import Record, TopicPartition
from headrace.step import Step
from headrace.testing.registry import version_of
from headrace_monitor.core.clock import InputPlaces, Reading
from headrace_monitor.core.evaluation import SAMPLE_ROWS, evaluate, lookback_s, prior_of
from headrace_monitor.core.facts import MonitoringFailed, WindowReported
from headrace_monitor.core.findings import on_champion
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.monitoring import Monitoring, TopicNames
from headrace_monitor.core.now import Now
from headrace_monitor.core.windows import Late

NOW = Now(1_000_000.0, 5.0)
NAMES = TopicNames(
    "dec",
    "out",
    "facts",
    "silences",
    {"dlq.feature": "feature"},
    lambda name: f"events.{name}.v1",
    lambda name: name.removeprefix("ns."),
)


class World:
    """The core of a monitor that watches the deployment `d`."""

    def __init__(self, *history: Any) -> None:
        self.core = Monitoring(NAMES, [PROJECT], Liveness())
        for event in history:
            self.core.on_history(event, NOW)
        self.starts = self.core.start_offsets(
            {TopicPartition("dec", 0): 9, TopicPartition("facts", 0): 9, TopicPartition("dlq.feature", 0): 9}, ["facts"]
        )

    @property
    def watched(self) -> Any:
        return self.core.deployments.watched["d"]

    def take(self, event: Any, topic: str = "dec", offset: int = 20, headers: Any = (), **more: Any) -> list[Any]:
        record = Record(topic, 0, offset, b"k", b"", headers, 1_000_000_000)
        envelope = Envelope(
            more.pop("ident", "e"), "", "t", more.pop("time_s", DAY), correlation_id=more.pop("correlation", "")
        )
        return list(self.core.on_record(event, record, envelope, NOW))


def names(facts: list[Any]) -> list[str]:
    return [fact.labels["alertname"] for fact in facts]


def test_the_history_is_taken_over() -> None:
    memory = MonitorState("d", {"dec/0": 3}, 2 * DAY, 4, {}, closed_windows=7)
    state = RolloutJudged(
        "d", RolloutStarted("d", "r1", NEW, "canary", "", DEPLOYMENT.rollout, OLD), replay_from={"dec/0": 2}
    )
    alert = fire(Alarm("PartitionStopped", {"service": "x"}, "critical", "", ""), 0.0)
    signature = bare_signature(PROJECT, DEPLOYMENT)
    registered = version_of(3, signature=type(signature)(signature.columns, "own", signature.views_digest))
    world = World(memory, state, alert, ModelVersion(registered, "registered"))
    assert (
        world.watched.findings.champion,
        world.watched.findings.windows_closed,
        world.watched.windows.closed_to_s,
    ) == (4, 7, 2 * DAY)
    assert world.starts == {
        TopicPartition("dec", 0): 2,
        TopicPartition("facts", 0): 9,
        TopicPartition("dlq.feature", 0): 9,
    }
    assert world.core.alerting.table.firing == [alert]
    assert len(world.core.rollouts.replay_from()) == 1
    rows = world.watched.windows
    rows.add_decision(decision("u", 3 * DAY), 0, 1)
    inputs = world.core.window_inputs(world.watched, rows.rows_of(3 * DAY, 4 * DAY), ())
    assert (inputs.comparable, inputs.topics, list(inputs.tables)) == (
        {signature.digest, "own"},
        {"landings": "events.landings.v1"},
        ["landings"],
    )
    assert (inputs.project, inputs.deployment, len(inputs.rows), inputs.sample) == (PROJECT, DEPLOYMENT, 1, ())


def test_a_dead_letter_from_before_this_start_counts_as_if_it_had_come_now() -> None:
    alert = fire(Alarm("DeadLettered", {"service": "feature"}, "warning", "", ""), 0.0)
    world = World(alert)
    assert world.core.alerting.table.firing == [alert]
    world.core._liveness.on_record(
        HealthReported("feature", "i", True), Record("ops", 0, 0, b"k", b"", (), 1_000_000_000)
    )
    assert world.core.alerting.look([], Now(1_000_000.0, 64.0)).facts == ()
    (over,) = world.core.alerting.look([], Now(1_000_000.0, 66.0)).facts
    assert (over.labels, over.status) == (alert.labels, "resolved")


def test_decisions_that_were_read_before_a_fact_are_counted_before_it() -> None:
    world = World()
    world.take(Route("d", {OLD: 0.5, NEW: 0.5}, "s", 1), "routes", 0)
    world.take(RolloutStarted("d", "r1", NEW, "canary", "", DEPLOYMENT.rollout, OLD), "facts")
    world.take(RolloutAdvanced("d", "r1", NEW, "canary", 0.5, 0, clock_s=0.0), "facts")
    world.take(decision("u", DAY, version=NEW, assigned=NEW, route_offset=0))
    world.take(RolloutAdvanced("d", "r1", NEW, "canary", 1.0, 1, clock_s=0.0), "facts")
    (reached, _) = world.core.rollouts.look(lambda _: DAY, 5.0, lambda _: {}, is_idle=True).facts
    assert (reached.verdict.decisions, reached.verdict.step_decisions) == (1, 0)


def test_each_record_goes_to_those_that_it_concerns() -> None:
    world = World()
    (memory,) = world.take(decision("u", DAY))
    assert (type(memory), world.watched.windows.rows_in(DAY)) == (MonitorState, 1)
    assert world.take(OutcomeObserved("d", "u", 1.0), "out") == []
    assert len(world.watched.windows.labels) == 1
    (refused,) = world.take(OutcomeObserved("d", "u", 7.0), "out")
    assert refused.field == "label"
    assert world.take(ShadowScored("ru", "d", "u", 7, DAY, Score(7, "", 0.75)), offset=21) == []
    assert len(world.watched.windows.rows_of(DAY, 2 * DAY).shadows) == 1
    assert world.take(AliasMoved("d", "previous", 3, None, "r"), "facts") == []
    assert world.take(AliasMoved("e", "champion", 3, None, "r"), "facts") == []
    (moved,) = world.take(AliasMoved("d", "champion", 3, None, "r"), "facts")
    assert (moved.champion, world.watched.findings.champion) == (3, 3)
    (trained,) = world.take(RetrainRefused("d", "q", "no"), "training")
    assert type(trained) is MonitorState
    assert world.take(RetrainRefused("e", "q", "no"), "training") == []
    (alert,) = world.take(BreakerChanged("d", 3, "open", "closed", "NaN", "i"), "inference")
    assert names([alert]) == ["BreakerOpen"]
    assert world.take("an event of a topic that is no source", "other") == []


def test_facts_of_the_registry_reach_rollouts_alerts_and_signatures() -> None:
    world = World()
    assert world.take(Route("d", {OLD: 0.5, NEW: 0.5}, "s", 1), "routes", 6) == []
    assert (
        world.take(RolloutStarted("d", "r1", NEW, "canary", "", DEPLOYMENT.rollout, OLD), "facts", correlation="corr")
        == []
    )
    assert names(world.take(RolloutPaused("d", "r1", NEW, "r", unjudged=True), "facts", ident="own")) == [
        "RolloutUnjudged"
    ]
    clock_of = world.core.clock_of(InputPlaces("dec", "out"), Reading(frozenset()))
    reached, remembered = world.core.rollouts.look(clock_of, 5.0, lambda _: {}, is_idle=True).facts
    assert (reached.correlation_id, remembered.memory.routes) == ("corr", {6: 0.5})
    (resolved,) = world.take(RolloutAborted("d", "r1", NEW, "r"), "facts", ident="own")
    assert (names([resolved]), resolved.status) == (["RolloutUnjudged"], "resolved")
    (last,) = world.core.rollouts.look(clock_of, 5.0, lambda _: {}, is_idle=True).facts
    assert (last.correlation_id, last.memory.ended) == ("own", True)
    assert world.take(version_of(9), "facts") == []


@pytest.mark.parametrize(
    ("headers", "count"), [((), 1), ((("headrace.field", b"ce_time"), ("__connect.errors.topic", b"ns.t")), 2)]
)
def test_a_dead_letter_names_its_service_and_where_it_came_from(headers: Any, count: int) -> None:
    world = World()
    facts = [fact for n in range(10) for fact in world.take(None, "dlq.feature", n, headers)]
    assert names(facts) == ["DeadLettered", "ClockSkew"][:count]
    assert facts[0].labels["service"] == "feature"
    assert [fact.labels["topic"] for fact in facts[1:]] == ["t"] * (count - 1)


def test_what_is_applied_touches_what_changed_and_ends_the_alerts_of_what_is_gone() -> None:
    world = World()
    world.core.alerting.failures.add("d", "", "why", 0.0)
    world.core.alerting.on_failure(MonitoringFailed("d", "", ValueError("no")), NOW)
    assert world.core.on_applied([PROJECT], NOW) == ([], ())
    begun, facts = world.core.on_applied([], Now(1_000_060.0, 6.0))
    assert (begun, names(list(facts)), facts[0].status, facts[0].ends_at) == (
        [],
        ["MonitoringFailed"],
        "resolved",
        "1970-01-12T13:47:40Z",
    )
    assert world.core.alerting.failures.alarms(["d"], 0.0) == []
    assert world.core.on_applied([PROJECT], NOW) == (["events.landings.v1"], ())


def test_a_deployment_that_was_gone_has_no_clock_when_it_is_declared_again() -> None:
    world = World()
    for n in range(3):
        world.take(decision(f"u{n}", DAY + n), offset=20 + n)
    places, reading = InputPlaces("dec", "out", {"dec": ["dec/0"]}), Reading(frozenset())
    assert world.core.clock_of(places, reading)("d") == DAY
    world.core.on_applied([], NOW)
    world.core.on_applied([PROJECT], NOW)
    assert world.core.clock_of(places, reading)("d") == float("-inf")


def test_the_clock_of_a_deployment_depends_on_its_decisions_outcomes_and_sources() -> None:
    world = World()
    for n in range(3):
        world.take(decision(f"u{n}", DAY + n), offset=20 + n)
    places = InputPlaces(
        "dec", "out", {"dec": ["dec/0"], "out": ["out/0"], "events.landings.v1": ["events.landings.v1/0"]}
    )
    assert world.core.clock_of(places, Reading(frozenset()))("d") == DAY
    for unread in ("out/0", "events.landings.v1/0"):
        assert world.core.clock_of(places, Reading(frozenset({unread})))("d") == float("-inf")
    assert world.core.clock_of(places, Reading(frozenset()))("e") == float("-inf")


def test_a_window_that_closed_or_failed_is_dropped_and_remembered() -> None:
    world = World(MonitorState("d", {}, 0.0, 4, {}))
    world.take(decision("u", DAY))
    failed, why, memory = world.core.on_window_failed(world.watched, DAY, 2 * DAY + 5, ValueError("no"))
    assert (type(failed), failed.window.requests, failed.window.from_s, failed.champion) == (WindowReported, 1, DAY, 4)
    assert (why.deployment, why.part, str(why.error)) == ("d", "", "no")
    assert (memory.closed_to_s, world.watched.windows.open, world.watched.windows.closed_at_s) == (
        2 * DAY,
        {},
        2 * DAY + 5,
    )
    world.take(decision("u", 3 * DAY))
    world.core.alerting.failures.add("d", "", "why", 0.0)
    after = on_champion(world.watched.findings, 3).state
    opened = FindingOpened("f", "d", "drift", "s", 5.0)
    facts = world.core.on_window_closed(world.watched, 3 * DAY, 4 * DAY, Step(after, (opened,)))
    assert (facts[0], type(facts[1]), facts[1].champion, world.watched.findings.champion) == (
        opened,
        MonitorState,
        3,
        3,
    )
    assert world.core.alerting.failures.alarms(["d"], 0.0) == []


def test_what_the_monitor_holds() -> None:
    world = World()
    world.take(decision("u", DAY))
    world.take(OutcomeObserved("d", "u", 1.0), "out")
    held = world.core.holds()
    assert held.keys() == {
        "windows",
        "labels",
        "profiles",
        "events",
        "places",
        "rollout_pairs",
        "rollout_labels",
        "rollout_shadows_due",
        "rollout_units",
    }
    assert (held["windows"][0], held["labels"][0], held["events"][0], held["places"][0]) == (
        world.watched.windows.held_bytes,
        48,
        0,
        200,
    )
    assert all(at <= bound for at, bound in held.values())
    assert world.core.due(0.0) == []
    world.take(decision("v", 2 * DAY), offset=21)
    assert world.core.due(0.0) == ["d"]


def test_a_window_says_all_that_it_shows() -> None:
    world = World()
    for n in range(4):
        world.take(decision(f"u{n}", DAY + n, 0.25), offset=20 + n)
        if n < 3:
            world.take(OutcomeObserved("d", f"u{n}", float(n == 0)), "out", offset=20 + n, time_s=DAY + 60)
    rows = world.watched.windows.rows_of(DAY, 2 * DAY)
    inputs = world.core.window_inputs(world.watched, rows, ())
    found = evaluate(inputs, DAY, Late(3, 4, 5), 0.5)
    (quality,) = found.qualities
    assert (quality.version, quality.role, quality.rows) == (1, "champion", 3)
    assert found == WindowClosed(
        "d", DAY, 2 * DAY, 4, 3, 1 / 3, "PASS", (quality,), {"served": 4}, drift_statistic=0.5, sources=(SourceProfile("landings", 0),), late_requests=3,
        late_outcomes=4, late_corrections=5, label_delay_s=59.0,
    )  # fmt: skip
    part = dataclasses.replace(inputs, whole_from_s=DAY + 1)
    assert evaluate(part, DAY, Late(), None).sources == ()
    few = dataclasses.replace(rows, labels=np.array([0.0, np.nan, np.nan, np.nan]))
    judged = evaluate(dataclasses.replace(inputs, rows=few), DAY, Late(), None)
    why = "1 of 4 requests have a label, 50% are needed"
    assert (judged.verdict, judged.unmeasured, judged.labelled, judged.positive_share) == ("UNMEASURED", why, 1, 0.0)
    assert rows.sample(SAMPLE_ROWS)[0].tolist() == [20, 21, 22, 23]
    assert (prior_of(DEPLOYMENT), lookback_s(PROJECT, DEPLOYMENT)) == (None, 4 * 3_600.0)
