"""No deployment, label or apply stops or blinds the monitor, and its alerts report the state as it is."""

import math

import msgspec
import pytest
from tests.cases.monitor_alone import (
    DAY,
    DECISIONS,
    NOW,
    OUTCOMES,
    RELEASES,
    ROUTES,
    Monitor,
    compiled,
    one,
)

from headrace.events.alerts import AlertChanged
from headrace.events.definition import LabelDefinition
from headrace.events.inference import (
    DecisionMade,
    OutcomeObserved,
    Score,
    Served,
)
from headrace.events.monitor import MonitorState, RolloutJudged
from headrace.events.registry import RolloutAborted, RolloutAdvanced, RolloutStarted, Route
from headrace.events.verdicts import VerdictGiven
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record, TopicPartition
from headrace.project import Canary, Count, Deployment, FeatureView, Key, Project, Source
from headrace.project.compile import compile_project


async def test_a_window_that_cannot_be_evaluated_is_reported_and_all_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from headrace_monitor.core import closing

    evaluate = closing.evaluate

    def fails(inputs, *more):
        if inputs.deployment.name == "bad" and more[0] == 0.0:
            raise ZeroDivisionError("float division by zero")
        return evaluate(inputs, *more)

    monkeypatch.setattr(closing, "evaluate", fails)
    monitor = Monitor(compiled(one("bad"), one("good")))
    await monitor.start()
    await monitor.live("bad")
    await monitor.live("good")
    assert [(w.verdict, w.requests) for w in monitor.windows("bad")] == [("UNMEASURED", 10), ("PASS", 10)]
    assert [w.verdict for w in monitor.windows("good")] == ["PASS", "PASS"]
    monitor.beat("feature")
    await monitor.tick()
    assert monitor.alerts("MonitoringFailed") == ["firing", "resolved"]


async def released(*names: str) -> Monitor:
    """Deployments that each have a canary under way."""
    monitor = Monitor(compiled(*(one(name, rollout=Canary(min_decisions=5)) for name in names)))
    await monitor.start()
    for name in names:
        plan = monitor.shard.core.deployments.declared[name].rollout
        for topic, event in (
            (RELEASES, RolloutStarted(name, f"r-{name}", 2, "canary", "", plan, 1, clock_s=0.0)),
            (ROUTES, Route(name, {1: 0.5, 2: 0.5}, "s", 1, rollout=f"r-{name}")),
            (RELEASES, RolloutAdvanced(name, f"r-{name}", 2, "canary", 0.5, 0, clock_s=0.0)),
        ):
            await monitor.read(monitor.message(topic, event, 0.0))
    return monitor


def breaks(patch: pytest.MonkeyPatch, what: str, name: str) -> None:
    """Let a step of the analysis raise for one deployment."""
    from headrace_monitor.core.rollout_analysis import RolloutAnalysis

    works = getattr(RolloutAnalysis, what)

    def step(analysis: RolloutAnalysis, *more: object, **most: object) -> object:
        if analysis.deployment.name == name:
            raise ZeroDivisionError("float division by zero")
        return works(analysis, *more, **most)

    patch.setattr(RolloutAnalysis, what, step)


@pytest.mark.parametrize("what", ["on_advanced", "take", "look"])
async def test_a_rollout_that_cannot_be_judged_is_reported_and_all_others_are_judged(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, what, "bad")
    monitor = await released("bad", "good")
    for n in range(30):
        at_s = n * DAY / 10
        await monitor.read(
            *(
                monitor.message(
                    DECISIONS, DecisionMade(f"r{n}", name, f"u{n}", at_s, Served(Score(2, "m", 0.4)), n), at_s
                )
                for name in ("bad", "good")
            )
        )
    await monitor.tick()
    assert [len(monitor.windows(name)) for name in ("bad", "good")] == [2, 2]
    judged = [e.step_decisions for e in monitor.events if isinstance(e, VerdictGiven) and e.deployment == "good"]
    assert judged[-1] == 30
    alerts = [e for e in monitor.events if isinstance(e, AlertChanged) and e.labels["alertname"] == "MonitoringFailed"]
    assert [(e.status, e.labels["deployment"], e.labels["about"]) for e in alerts] == [("firing", "bad", "rollout")]
    monkeypatch.undo()
    monitor.beat("feature")
    await monitor.tick(700.0)
    assert monitor.alerts("MonitoringFailed") == ["firing", "resolved"]


async def test_a_rollout_ends_although_what_was_read_before_could_not_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks(monkeypatch, "take", "d")
    monitor = await released("d")
    await monitor.read(
        monitor.message(DECISIONS, DecisionMade("r", "d", "u", 5.0, Served(Score(2, "m", 0.4)), 0), 5.0),
        monitor.message(RELEASES, RolloutAborted("d", "r-d", 2, "enough", harmful=True), 6.0),
    )
    await monitor.tick()
    assert [e.ended for e in monitor.events if isinstance(e, RolloutJudged)][-1]
    assert monitor.alerts("RolloutRolledBack") == ["firing"]


@pytest.mark.parametrize("length_s", [0.0, -1.0, math.nan, math.inf, 1e-9])
async def test_a_deployment_whose_windows_have_no_length_is_reported_and_all_others_are_monitored(
    length_s: float,
) -> None:
    project = compiled(one("bad"), one("good"))
    broken = msgspec.structs.replace(project.deployments[0], evaluation_window_s=length_s)
    monitor = Monitor(msgspec.structs.replace(project, deployments=(broken, *project.deployments[1:])))
    await monitor.start()
    await monitor.live("bad")
    await monitor.live("good")
    assert [w.verdict for w in monitor.windows("good")] == ["PASS", "PASS"]
    assert monitor.alerts("MonitoringFailed") == ["firing"]


@pytest.mark.parametrize("label", [2.0, -1.0, 0.5, math.nan, math.inf])
async def test_a_label_that_is_no_label_of_the_deployment_is_a_dead_letter_with_its_reason(label: float) -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    await monitor.live("d", label=label)
    assert len(monitor.dead) == 15
    assert {reason for _, reason in monitor.dead} == {f"the label of 'y' must be 0 or 1, got {label!r}"}
    assert [w.requests for w in monitor.windows("d")] == [10, 10]


@pytest.mark.parametrize(
    ("kind", "label", "why"),
    [
        ("classes", 3.0, "the index of a class, 0 to 2, got 3.0"),
        ("classes", 0.5, "the index of a class, 0 to 2, got 0.5"),
        ("classes", -1.0, "the index of a class, 0 to 2, got -1.0"),
        ("number", math.nan, "at most 3.40282e+38 in size, got nan"),
        ("number", 1e39, "at most 3.40282e+38 in size, got 1e+39"),
    ],
)
async def test_a_class_or_number_that_cannot_be_is_a_dead_letter(kind: str, label: float, why: str) -> None:
    declared = LabelDefinition("y", kind, 3600.0, classes=("a", "b", "c") if kind == "classes" else ())
    project = compiled(one("d"))
    other = msgspec.structs.replace(project.deployments[0], label=declared)
    monitor = Monitor(msgspec.structs.replace(project, deployments=(other,)))
    await monitor.start()
    await monitor.read(monitor.message(OUTCOMES, OutcomeObserved("d", "u", label), 1.0))
    assert [reason.endswith(why) for _, reason in monitor.dead] == [True]


async def test_a_restart_writes_no_second_dead_letter_of_what_it_reads_again() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start({TopicPartition(OUTCOMES, 0): 1})
    await monitor.read(
        monitor.message(OUTCOMES, OutcomeObserved("d", "u", 2.0), 1.0),
        monitor.message(OUTCOMES, OutcomeObserved("d", "u", 2.0), 1.0),
    )
    assert [message.record.offset for message, _ in monitor.dead] == [1]


async def test_an_outcome_of_tomorrow_is_a_dead_letter() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    await monitor.read(monitor.message(OUTCOMES, OutcomeObserved("d", "u", 1.0), NOW + DAY))
    assert "past the append time" in monitor.dead[0][1]


# apply


async def test_an_apply_of_another_project_touches_nothing() -> None:
    mine = compiled(one("d"))
    monitor = Monitor(mine)
    await monitor.start()
    await monitor.live("d")
    windows, findings, count = (
        monitor.shard.core.deployments.watched["d"].windows,
        monitor.shard.core.deployments.watched["d"].findings,
        len(monitor.outs),
    )
    monitor.shard.apply([mine, compiled(one("other"), name="q")])
    await monitor.tick()
    assert monitor.shard.core.deployments.watched["d"].windows is windows
    assert monitor.shard.core.deployments.watched["d"].findings is findings
    assert len(monitor.outs) == count
    await monitor.live("other")
    assert [w.requests for w in monitor.windows("other")] == [10, 10]


async def test_a_deployment_that_changed_keeps_its_open_requests_and_its_memory() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    await monitor.live("d", days=3)
    before = monitor.shard.core.deployments.watched["d"].findings.windows_closed
    monitor.shard.apply([compiled(one("d", evaluation_window="48h", owner="me"))])
    await monitor.live("d", since=3)
    assert monitor.shard.core.deployments.watched["d"].findings.windows_closed == before + 1
    last = monitor.windows("d")[-1]
    assert (last.from_s, last.to_s - last.from_s, last.requests) == (2 * DAY, 2 * DAY, 20)


async def test_a_deployment_that_changed_before_its_first_request_is_kept_with_that_request() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    monitor.shard.apply([compiled(one("d", owner="me"))])
    await monitor.tick()
    await monitor.read(monitor.message(DECISIONS, DecisionMade("r", "d", "u", 5.0, Served(Score(1, "m", 0.4)), 0), 5.0))
    kept = [e.replay_from for e in monitor.events if isinstance(e, MonitorState)]
    assert kept == [{f"{DECISIONS}/0": 0}]


async def test_a_deployment_that_is_taken_away_ends_its_alerts() -> None:
    project = compiled(one("d"), one("e"))
    broken = msgspec.structs.replace(project.deployments[0], evaluation_window_s=0.0)
    monitor = Monitor(msgspec.structs.replace(project, deployments=(broken, project.deployments[1])))
    await monitor.start()
    await monitor.tick()
    monitor.shard.apply([compiled(one("e"))])
    await monitor.tick()
    assert monitor.alerts("MonitoringFailed") == ["firing", "resolved"]
    await monitor.live("d")
    assert monitor.windows("d") == []


async def test_a_monitored_deployment_that_is_taken_away_is_kept_on_the_log_and_all_others_go_on() -> None:
    monitor = Monitor(compiled(one("d"), one("e")))
    await monitor.start()
    await monitor.live("d")
    await monitor.live("e")
    monitor.shard.apply([compiled(one("e"))])
    await monitor.tick()
    await monitor.live("d", since=3)
    await monitor.live("e", since=3)
    assert [len(monitor.windows(name)) for name in ("d", "e")] == [2, 5]
    monitor.shard.apply([compiled(one("d"), one("e"))])
    await monitor.live("d", since=6)
    assert monitor.windows("d")[-1].from_s >= 6 * DAY


async def test_a_restart_reads_again_only_what_open_windows_need() -> None:
    monitor = Monitor(compiled(one("d"), one("never")))
    await monitor.start()
    await monitor.live("d", days=20)
    states = [e for e in monitor.events if isinstance(e, MonitorState)]
    again = Monitor(compiled(one("d"), one("never")))
    for state in states:
        await again.shard.on_history(Message(Record("", 0, 0, None, None), Envelope("", "", "", 0.0), state))
    committed = {
        TopicPartition(DECISIONS, 0): 200,
        TopicPartition(OUTCOMES, 0): 200,
        TopicPartition("events.x.v1", 0): 70,
    }
    starts = await again.start(committed)
    assert 150 <= starts[TopicPartition(DECISIONS, 0)] < 200
    assert 150 <= starts[TopicPartition(OUTCOMES, 0)] < 200


async def test_a_first_decision_is_kept_so_that_a_restart_before_the_first_window_loses_none() -> None:
    monitor = Monitor(compiled(one("d")))
    await monitor.start()
    await monitor.read(monitor.message(OUTCOMES, OutcomeObserved("x", "u", 1.0), 1.0))
    await monitor.read(monitor.message(DECISIONS, DecisionMade("r", "d", "u", 5.0, Served(Score(1, "m", 0.4)), 0), 5.0))
    (state,) = [e for e in monitor.events if isinstance(e, MonitorState)]
    assert state.replay_from == {f"{DECISIONS}/0": 0, f"{OUTCOMES}/0": 1}


# bounded


async def test_events_of_a_source_that_nobody_asks_about_do_not_grow_beyond_their_bound() -> None:
    from headrace_monitor.core.sources import Sources

    class Tick(msgspec.Struct):
        at: float
        who: str
        size: float | None = None

    ticks = Source("ticks", event=Tick, event_time="at", key="who")
    view = FeatureView("v", source=ticks, entity="who", features={"n": Count("3h")})
    project = compile_project(
        Project("p", [Deployment("d", "u", [Key("who")], [view.by("who")])], sources=[ticks], views=[view])
    )
    sources = Sources(limit_bytes=2_000_000)
    sources.keep({"ticks": project.sources[0]})
    struct = msgspec.defstruct("Tick", [("at", float), ("who", str), ("size", float)], frozen=True)
    for n in range(60_000):
        record = Record("events.ticks.v1", 0, n, b"k", None, (), int(NOW * 1000))
        sources.add("ticks", struct(float(n), "AA", 1.0), None, record)
        if sources.is_loose:
            sources.tidy(-math.inf)
    sources.tidy(-math.inf)
    assert sources.held_bytes <= 2_000_000
    assert sources.whole_from_s(["ticks"]) > 0


def test_labels_of_units_that_are_never_asked_about_are_bounded_and_counted() -> None:
    from headrace.features.outcomes import KnownOutcome
    from headrace_monitor.core.labels import Labels

    project = compiled(one("d"))
    label = project.deployments[0].label
    assert label is not None
    labels = Labels(label, limit_bytes=48 * 1000)
    for n in range(3000):
        labels.add(KnownOutcome(f"u{n}", 1.0, n * 600.0))
    assert 800 <= len(labels) <= 1000
    assert labels.held_bytes <= 48_000
    assert labels.dropped == 3000 - len(labels)
    labels.forget_before(3000 * 600.0 + DAY)
    assert len(labels) == 0
