"""Episodes that begin with a finding or a request: retrains, gates, and their durations."""

import pytest

from headrace.events.registry import (
    Route,
    RouteChanged,
)
from headrace.events.registry.state import PassedOver
from headrace.events.training import RetrainCoalesced, RetrainRefused, RetrainRequested
from headrace.events.verdicts import FAIL
from headrace.evidence.episodes import Duration
from headrace.testing.history import EVENT_S, HOUR_S, History, kinds


def test_a_drift_is_one_story_from_the_finding_to_the_switch() -> None:
    history = History()
    history.drift_to_switch()
    (episode,) = history.episodes()
    assert (episode.title, episode.state, episode.how) == ("drift → retrain → gates → switch", "ended", "promoted")
    assert kinds(episode) == [
        "finding.opened", "retrain.requested", "retrain.accepted", "training.progressed", "training.finished",
        "version.registered", "rollout.started", "rollout.advanced", "alias.moved", "rollout.completed", "finding.resolved",
    ]  # fmt: skip
    assert (episode.findings, episode.runs, episode.rollouts, episode.versions) == (
        ("d-f2",),
        ("drun2",),
        ("d-r2",),
        (1, 2),
    )
    assert (episode.mark, episode.left_out) == ("ok", 0)


def test_the_durations_of_a_drift_are_known_by_both_clocks() -> None:
    history = History()
    history.drift_to_switch()
    (episode,) = history.episodes()
    assert episode.mttd == Duration(2 * HOUR_S, None, "from the change to the finding")
    switched = next(step for step in episode.steps if step.part == "switch")
    wall_s = switched.wall_s - episode.since_wall_s
    assert episode.mttr == Duration(0.0, wall_s, "from the finding to a version taking all traffic")
    assert episode.steps[-1].since_event_s == 4 * HOUR_S
    assert (episode.since_event_s, episode.until_event_s) == (EVENT_S, EVENT_S + 4 * HOUR_S)


@pytest.mark.parametrize(("clock", "until"), [(None, "the finding names no window and no change")])
def test_a_finding_without_a_window_has_no_time_to_detection(clock: float | None, until: str) -> None:
    history = History()
    history.finding(changed_at_s=clock, window_from_s=clock)
    assert history.episodes()[0].mttd == Duration(text=until)


def test_a_refused_retrain_says_why() -> None:
    history = History()
    history.finding()
    history.add(RetrainRefused("d", history.request("q1"), "cool-down: 96 h are left"), "no", "q1")
    (episode,) = history.episodes()
    assert (episode.title, episode.state, episode.how) == ("drift → retrain refused", "running", "refused")
    assert episode.mttr == Duration(text="not over yet")
    history.resolved()
    (episode,) = history.episodes()
    assert (episode.state, episode.how) == ("ended", "resolved")
    assert episode.mttr.text == "from the finding to its resolution"


def test_a_gate_that_fails_ends_the_run() -> None:
    history = History()
    history.finding()
    history.run("run1", history.request("q1"), gate=FAIL, outcome="rejected")
    history.resolved()
    (episode,) = history.episodes()
    assert (episode.title, episode.how) == ("drift → retrain → gates → rejected → resolved", "rejected")
    failed = next(step for step in episode.steps if step.part == "gates" and step.state == "attention")
    assert failed.sentence == "gate better FAIL: .41, limit .69"


def test_two_findings_that_one_run_answers_are_one_story() -> None:
    history = History()
    history.finding("f1")
    history.request("q1", "f1")
    history.finding("f2", kind="skew")
    assert len(history.episodes()) == 2
    history.request("q2", "f2", cause="skew")
    history.run("run1", "q1")
    history.add(RetrainCoalesced("d", "run1", "q2"), "joined", "q2")
    (episode,) = history.episodes()
    assert (episode.findings, episode.title) == (("f1", "f2"), "drift → skew → retrain → gates")
    assert episode.steps[-1].sentence == "joined the run run1, which was under way"


def test_two_findings_of_one_window_are_two_stories() -> None:
    history = History()
    cause = history.finding("f1")
    history.finding("f2", kind="traffic")
    assert [episode.findings for episode in history.episodes()] == [("f1",), ("f2",)]
    assert cause == "f1-opened"


def test_requests_for_the_first_version_are_one_story() -> None:
    history = History()
    history.run("run1", history.request("q1", None, cause="first"), outcome="waiting")
    history.run("run2", history.request("q2", None, cause="first"))
    registering = history.registered(1, "run2", "q2")
    history.switched(history.rollout(1, registering), 1, registering)
    (episode,) = history.episodes()
    assert episode.title == "first version → retrain → gates → switch"
    assert (episode.how, episode.runs, episode.mttd.text) == ("promoted", ("run1", "run2"), "no finding began it")


def test_a_scheduled_request_in_the_past_counts_by_its_own_clock() -> None:
    history = History()
    event = RetrainRequested("d", "manual", "new features", "anna", None, EVENT_S)
    history.by_hand(event, "cli-1")
    (episode,) = history.episodes()
    assert (episode.title, episode.since_event_s, episode.steps[0].by) == ("asked by anna", EVENT_S, "anna")


def test_a_version_that_is_passed_over_belongs_to_its_finding() -> None:
    history = History()
    opened = history.finding(kind="worse_than_prior")
    over = PassedOver(1, "f1", "worse than the prior")
    route = Route("d", {1: 1.0}, "s", 2, champion=1, passed_over=(over,), reason="worse than the prior")
    history.add(RouteChanged("d", route), "route", opened)
    (episode,) = history.episodes()
    assert episode.steps[-1].sentence == "requests pass over version 1: worse than the prior"
