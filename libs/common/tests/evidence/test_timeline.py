"""The timeline of a deployment: every kind of episode, from messages alone."""

import pytest

from headrace.events.registry import (
    ApprovalAwaited,
    ApproveVersion,
    CommandRefused,
    PauseRollout,
    RollBack,
    RolledBack,
    RolloutAborted,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutStarted,
    Route,
    RouteChanged,
    SetAlias,
    SetOverride,
    StartRollout,
    VersionApproved,
)
from headrace.events.registry.state import PassedOver
from headrace.events.registry.version_facts import AliasMoved
from headrace.events.training import RetrainCoalesced, RetrainRefused, RetrainRequested
from headrace.events.verdicts import FAIL, Evidence, evidence_text
from headrace.evidence.episodes import Duration, Episode
from headrace.evidence.steps import sentence
from headrace.evidence.timeline import MOST_DEPLOYMENTS, Timeline
from headrace.testing.history import EVENT_S, HOUR_S, History, registered_by_hand

HARM = Evidence("AUC loss", "label", FAIL, 0.2, 0.1, bound="over .1, 97.5 % sure")


def told(history: History, deployment: str = "d") -> list[Episode]:
    timeline = Timeline()
    for message in history.messages:
        timeline.take(message)
    return timeline.episodes(deployment)


def kinds(episode: Episode) -> list[str]:
    return [step.kind for step in episode.steps if step.part not in ("warm", "gates")]


def test_a_drift_is_one_story_from_the_finding_to_the_switch() -> None:
    history = History()
    history.drift_to_switch()
    (episode,) = told(history)
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
    (episode,) = told(history)
    assert episode.mttd == Duration(2 * HOUR_S, None, "from the change to the finding")
    switched = next(step for step in episode.steps if step.part == "switch")
    wall_s = switched.wall_s - episode.since_wall_s
    assert episode.mttr == Duration(0.0, wall_s, "from the finding to a version taking all traffic")
    assert episode.steps[-1].since_event_s == 4 * HOUR_S
    assert (episode.since_event_s, episode.until_event_s) == (EVENT_S, EVENT_S + 4 * HOUR_S)


def test_of_a_run_only_the_newest_progress_is_kept() -> None:
    history = History()
    history.drift_to_switch()
    (episode,) = told(history)
    assert [step.id for step in episode.steps if step.kind == "training.progressed"] == ["drun2-0.8"]


def test_every_step_names_its_record_and_its_cause() -> None:
    history = History()
    history.drift_to_switch()
    (episode,) = told(history)
    by_place = {m.record.place: m.envelope.id for m in history.messages}
    assert all(by_place[step.place] == step.id for step in episode.steps)
    assert all(by_place[step.cause_place] == step.cause for step in episode.steps if step.cause)
    assert (episode.steps[0].cause, episode.steps[0].cause_place) == ("window-d-d-f2", "monitor.windows.v1/0/0")


def test_a_canary_is_promoted_step_by_step() -> None:
    history = History()
    history.finding()
    history.run("run1", history.request("q1"))
    registering = history.registered(2, "run1", "q1")
    rollout = history.rollout(2, registering, "canary")
    for number, share in enumerate((0.01, 0.05, 0.25)):
        history.at_s += HOUR_S
        history.step(rollout, 2, share, number)
    history.switched(rollout, 2, f"{rollout}-verdict-2")
    (episode,) = told(history)
    assert (episode.title, episode.how) == ("drift → retrain → gates → canary → promoted", "promoted")
    shares = [step.sentence for step in episode.steps if step.kind == "rollout.advanced"]
    assert shares[:2] == ["version 2 canary, 1% of units", "version 2 canary, 5% of units"]
    assert (episode.mttr.event_s, episode.state) == (3 * HOUR_S, "running")
    assert episode.standing == "promoted; the finding is still open"


def test_a_canary_that_labels_show_to_harm_is_rolled_back() -> None:
    history = History()
    history.run("run1", history.request("q1", None, cause="schedule"))
    rollout = history.rollout(2, history.registered(2, "run1", "q1"), "canary")
    cause = history.step(rollout, 2, 0.05, 0)
    history.add(RolloutAborted("d", rollout, 2, "labels show harm", True, (HARM,), history.at_s, "harm"), "end", cause)
    (episode,) = told(history)
    assert (episode.title, episode.state) == ("schedule → retrain → gates → canary → rolled back", "ended")
    assert (episode.how, episode.mark) == ("rolled back", "page")
    assert episode.standing == "version 2 rolled back and rejected: labels show harm [AUC loss: over .1, 97.5 % sure]"
    assert episode.mttr.text == "no finding began it"


def test_evidence_that_the_reason_names_is_not_said_twice() -> None:
    reason = f"{evidence_text(HARM)}; its share is given back"
    assert (
        sentence(RolloutAborted("d", "r", 2, reason, True, (HARM,))) == f"version 2 rolled back and rejected: {reason}"
    )


def test_a_refused_retrain_says_why() -> None:
    history = History()
    history.finding()
    history.add(RetrainRefused("d", history.request("q1"), "cool-down: 96 h are left"), "no", "q1")
    (episode,) = told(history)
    assert (episode.title, episode.state, episode.how) == ("drift → retrain refused", "running", "refused")
    assert episode.mttr == Duration(text="not over yet")
    history.resolved()
    (episode,) = told(history)
    assert (episode.state, episode.how) == ("ended", "resolved")
    assert episode.mttr.text == "from the finding to its resolution"


def test_a_gate_that_fails_ends_the_run() -> None:
    history = History()
    history.finding()
    history.run("run1", history.request("q1"), gate=FAIL, outcome="rejected")
    history.resolved()
    (episode,) = told(history)
    assert (episode.title, episode.how) == ("drift → retrain → gates → rejected → resolved", "rejected")
    failed = next(step for step in episode.steps if step.part == "gates" and step.state == "attention")
    assert failed.sentence == "gate better FAIL: .41, limit .69"


def test_a_roll_back_by_hand_is_a_story_with_its_person_and_reason() -> None:
    history = History()
    history.drift_to_switch()
    command = history.by_hand(RollBack("d", 2, "customers complain", "anna"), "cli-1")
    history.add(
        RolledBack("d", 2, 1, "rolled back by anna: customers complain", "anna"), "back", command, history.wall_s
    )
    history.add(AliasMoved("d", "champion", 1, 2, "customers complain"), "alias", command, history.wall_s, 0.0)
    _, episode = told(history)
    assert (episode.title, episode.how, episode.state) == ("roll back by anna → rolled back", "rolled back", "ended")
    assert kinds(episode) == ["roll.back", "rolled.back", "alias.moved"]
    assert (episode.steps[0].by, episode.steps[0].reason) == ("anna", "customers complain")
    assert episode.steps[0].sentence == "anna asks to roll back version 2: customers complain"
    # The installation plays the past: the wall clock of a command is no event time.
    assert episode.since_event_s == EVENT_S + 4 * HOUR_S


def test_a_roll_back_on_evidence_belongs_to_the_rollout_that_it_undoes() -> None:
    history = History()
    history.drift_to_switch()
    history.add(RolledBack("d", 2, 1, "labels show harm", "monitor", (HARM,), history.at_s), "back", "verdict-9")
    history.add(AliasMoved("d", "champion", 1, 2, "labels show harm"), "alias", "verdict-9", after_s=0.0)
    (episode,) = told(history)
    assert (episode.title, episode.how) == ("drift → retrain → gates → switch → rolled back", "rolled back")
    assert (episode.state, episode.mark, episode.steps[-1].kind) == ("ended", "page", "alias.moved")


def test_two_findings_that_one_run_answers_are_one_story() -> None:
    history = History()
    history.finding("f1")
    history.request("q1", "f1")
    history.finding("f2", kind="skew")
    assert len(told(history)) == 2
    history.request("q2", "f2", cause="skew")
    history.run("run1", "q1")
    history.add(RetrainCoalesced("d", "run1", "q2"), "joined", "q2")
    (episode,) = told(history)
    assert (episode.findings, episode.title) == (("f1", "f2"), "drift → skew → retrain → gates")
    assert episode.steps[-1].sentence == "joined the run run1, which was under way"


def test_two_findings_of_one_window_are_two_stories() -> None:
    history = History()
    cause = history.finding("f1")
    history.finding("f2", kind="traffic")
    assert [episode.findings for episode in told(history)] == [("f1",), ("f2",)]
    assert cause == "f1-opened"


def test_deployments_are_told_apart_however_their_records_lie() -> None:
    one, two, both = History(), History(), History()
    one.drift_to_switch("a")
    two.drift_to_switch("b", 3)
    timeline, offsets = Timeline(), dict[str, int]()
    for message in sorted([*one.messages, *two.messages], key=lambda m: m.record.timestamp_ms):
        topic = message.record.topic
        offsets[topic] = offsets.get(topic, -1) + 1
        record = type(message.record)(topic, 0, offsets[topic], b"", b"", (), message.record.timestamp_ms)
        both.messages.append(type(message)(record, message.envelope, message.event))
    for message in both.messages:
        timeline.take(message)
    assert timeline.deployments == ["a", "b"]
    assert [e.versions for name in "ab" for e in timeline.episodes(name)] == [(1, 2), (1, 3)]
    assert [e.title for name in "ab" for e in timeline.episodes(name)] == ["drift → retrain → gates → switch"] * 2
    assert timeline.medians("a").mttd_event_s == 2 * HOUR_S


def test_a_record_that_is_read_again_changes_nothing() -> None:
    history = History()
    history.drift_to_switch()
    timeline = Timeline()
    assert [timeline.take(message) for message in history.messages].count("d") > 10
    before = timeline.episodes("d")
    assert {timeline.take(message) for message in history.messages} == {None}
    again = History()
    again.messages, again._ends = [], {topic: end + 5 for topic, end in history._ends.items()}
    for message in history.messages:
        again.add(message.event, message.envelope.id, message.envelope.causation_id or "")
    for message in again.messages:
        timeline.take(message)
    assert timeline.episodes("d") == before


@pytest.mark.parametrize("first", [False, True])
def test_the_topics_may_come_in_any_order(first: bool) -> None:
    history = History()
    history.drift_to_switch()
    topics = sorted({message.record.topic for message in history.messages}, reverse=first)
    shuffled = [message for topic in topics for message in history.messages if message.record.topic == topic]
    timeline = Timeline()
    for message in shuffled:
        timeline.take(message)
    (episode,) = timeline.episodes("d")
    assert (episode.title, episode.state, episode.how) == ("drift → retrain → gates → switch", "ended", "promoted")


def test_memory_is_bounded_and_the_newest_stay() -> None:
    history = History()
    for number in range(2, 42):
        history.drift_to_switch(version=number)
    timeline = Timeline(most_episodes=10, most_steps=100)
    for message in history.messages:
        timeline.take(message)
    assert timeline.step_count("d") <= 100
    assert [episode.versions[-1] for episode in timeline.episodes("d")][-3:] == [39, 40, 41]
    assert [episode.versions[-1] for episode in timeline.episodes("d", 1)] == [41]
    assert timeline.episode_with("d", "finding:d-f2") is None
    found = timeline.episode_with("d", "run:drun41")
    assert found is not None
    assert found.findings == ("d-f41",)


def test_a_long_story_keeps_its_beginning_and_its_newest_steps() -> None:
    history = History()
    history.finding()
    for number in range(60):
        history.request(f"q{number}")
        history.add(RetrainRefused("d", f"q{number}", "cool-down"), f"no{number}", f"q{number}")
    timeline = Timeline(most_steps=50)
    for message in history.messages:
        timeline.take(message)
    (episode,) = timeline.episodes("d")
    assert (len(episode.steps), episode.left_out, episode.state) == (50, 71, "running")
    assert (episode.steps[0].id, episode.steps[-1].id) == ("f1-opened", "no59")
    last = History()
    last._ends = dict(history._ends)
    last.resolved()
    timeline.take(last.messages[0])
    assert timeline.episodes("d")[0].state == "ended"


def test_names_that_anybody_wrote_do_not_push_deployments_out() -> None:
    history = History()
    history.drift_to_switch()
    for number in range(MOST_DEPLOYMENTS + 50):
        name = f"made-up-{number}"
        history.by_hand(PauseRollout(name, "no reason", "somebody"), name)
    timeline = Timeline()
    for message in history.messages:
        timeline.take(message)
    assert len(timeline.deployments) == MOST_DEPLOYMENTS
    assert [episode.how for episode in timeline.episodes("d")] == ["promoted"]


def test_requests_for_the_first_version_are_one_story() -> None:
    history = History()
    history.run("run1", history.request("q1", None, cause="first"), outcome="waiting")
    history.run("run2", history.request("q2", None, cause="first"))
    registering = history.registered(1, "run2", "q2")
    history.switched(history.rollout(1, registering), 1, registering)
    (episode,) = told(history)
    assert episode.title == "first version → retrain → gates → switch"
    assert (episode.how, episode.runs, episode.mttd.text) == ("promoted", ("run1", "run2"), "no finding began it")


def test_a_rollout_by_hand_is_a_story_without_a_training() -> None:
    history = History()
    history.by_hand(registered_by_hand(), "cli-0")
    from headrace.testing.registry import version_of

    history.add(version_of(1, command_id="cli-0", by="anna"), "v1", "cli-0")
    history.by_hand(StartRollout("d", 1, "try it", "anna"), "cli-1")
    history.add(RolloutStarted("d", "r1", 1, "shadow", "try it", by="anna"), "r1-started", "cli-1")
    history.add(RolloutCompleted("d", "r1", 1, history.at_s, False, "its time is over"), "r1-end", "verdict")
    (episode,) = told(history)
    assert (episode.title, episode.how) == ("registered by anna → shadow → no switch", "completed")
    assert kinds(episode)[:3] == ["register.version", "version.registered", "start.rollout"]


def test_a_pause_and_an_approval_are_steps_of_the_story_that_they_are_about() -> None:
    history = History()
    history.run("run1", history.request("q1", None, cause="schedule"))
    registering = history.registered(2, "run1", "q1")
    history.add(RolloutQueued("d", 2, "it waits for approval", "trainer"), "queued", registering, after_s=0.0)
    assert told(history)[0].state == "running"
    history.by_hand(ApproveVersion("d", 2, "looks right", "bob"), "cli-1")
    history.add(VersionApproved("d", 2, "looks right", "bob"), "approved", "cli-1")
    rollout = history.rollout(2, "cli-1", "canary")
    history.by_hand(PauseRollout("d", "a holiday", "anna"), "cli-2")
    history.add(RolloutPaused("d", rollout, 2, "paused by anna: a holiday"), "paused", "cli-2")
    history.add(ApprovalAwaited("d", rollout, 2, "no label can judge it"), "awaited", "verdict-1")
    (episode,) = told(history)
    assert episode.title == "schedule → retrain → gates → waits → approved → canary → approval"
    assert [step.by for step in episode.steps if step.kind in ("approve.version", "pause.rollout")] == ["bob", "anna"]
    assert (episode.state, episode.mark) == ("running", "attention")
    assert episode.standing == "version 2 waits for a person's approval: no label can judge it"


def test_a_refused_command_is_a_story_that_ends_at_once() -> None:
    history = History()
    history.by_hand(RollBack("d", 9, "it is bad", "anna"), "cli-1")
    assert told(history)[0].state == "running"
    history.add(CommandRefused("d", "roll.back", "cli-1", "champion is 2, not 9 as expected"), "no", "cli-1")
    (episode,) = told(history)
    assert (episode.state, episode.how, episode.mark) == ("ended", "refused", "attention")
    assert episode.steps[-1].sentence == "refused (roll back): champion is 2, not 9 as expected"


def test_an_alias_by_hand_is_a_story() -> None:
    history = History()
    history.by_hand(SetAlias("d", "blessed", 2, None, "the auditors' choice", "anna"), "cli-1")
    history.add(AliasMoved("d", "blessed", 2, None, "the auditors' choice"), "alias", "cli-1")
    (episode,) = told(history)
    assert (episode.state, episode.how) == ("ended", "done")
    assert episode.steps[-1].sentence == "alias blessed names version 2: the auditors' choice"


def test_a_tenant_that_a_person_sends_elsewhere_is_a_story_and_other_routes_are_none() -> None:
    history = History()
    history.add(RouteChanged("d", Route("d", {1: 1.0}, "s", 2, champion=1, reason="warming version 2")), "route", "x")
    history.by_hand(SetOverride("d", "acme", 2, "a pilot", "anna"), "cli-1")
    route = Route("d", {1: 1.0}, "s", 3, champion=1, overrides={"acme": 2}, reason="acme is answered by version 2")
    history.add(RouteChanged("d", route), "override", "cli-1")
    (episode,) = told(history)
    assert [step.sentence for step in episode.steps] == [
        "anna asks to answer tenant acme by version 2: a pilot", "the route changed: acme is answered by version 2",
    ]  # fmt: skip
    assert (episode.state, episode.how) == ("ended", "done")


def test_a_version_that_is_passed_over_belongs_to_its_finding() -> None:
    history = History()
    opened = history.finding(kind="worse_than_prior")
    over = PassedOver(1, "f1", "worse than the prior")
    route = Route("d", {1: 1.0}, "s", 2, champion=1, passed_over=(over,), reason="worse than the prior")
    history.add(RouteChanged("d", route), "route", opened)
    (episode,) = told(history)
    assert episode.steps[-1].sentence == "requests pass over version 1: worse than the prior"


def test_an_alert_written_just_before_its_finding_is_a_step_of_it() -> None:
    history = History()
    history.finding("f0")
    history.resolved("f0")
    history.alert("ModelDrift")
    history.finding("f1")
    first, second = told(history)
    assert kinds(first) == ["finding.opened", "finding.resolved"]
    assert kinds(second) == ["alert.changed", "finding.opened"]


def test_an_alert_whose_finding_never_came_is_no_step_of_a_later_one() -> None:
    history = History()
    history.alert("ModelDrift")
    history.wall_s += 60.0
    history.finding("f1")
    (episode,) = told(history)
    assert kinds(episode) == ["finding.opened"]


def test_an_alert_is_a_step_of_what_it_is_about() -> None:
    history = History()
    history.finding("f1", kind="traffic", about="landings")
    history.alert("SourceStopped", about="landings")
    history.alert("BreakerOpen")
    (episode,) = told(history)
    assert kinds(episode) == ["finding.opened", "alert.changed"]
    assert (episode.steps[-1].part, episode.steps[-1].event_s) == ("alerts", EVENT_S)
    assert episode.standing == "finding (traffic): log-loss of version 1 has risen"


def test_instances_that_start_again_later_are_no_steps_of_an_old_story() -> None:
    from headrace.events.inference import VersionWarmed

    history = History()
    history.drift_to_switch()
    history.add(VersionWarmed("d", 2, "inference-3", 0.4), "late", after_s=HOUR_S)
    (episode,) = told(history)
    assert [step.sentence for step in episode.steps if step.part == "warm"] == [
        "version 2 warm on inference-1 after 0.4 s", "version 2 warm on inference-2 after 0.4 s",
    ]  # fmt: skip


def test_a_rollout_that_follows_another_is_its_own_story() -> None:
    history = History()
    history.run("run1", history.request("q1", None, cause="schedule"))
    first = history.rollout(2, history.registered(2, "run1", "q1"), "canary")
    history.run("run2", history.request("q2", None, cause="schedule"))
    history.add(
        RolloutQueued("d", 3, "version 2 is under rollout", "trainer"), "queued", history.registered(3, "run2", "q2")
    )
    history.add(RolloutAborted("d", first, 2, "superseded", False, (), history.at_s, "superseded"), "end", "verdict-3")
    history.rollout(3, "verdict-3", "canary")
    one, two = told(history)
    assert (one.versions, one.state, one.how) == ((2,), "ended", "aborted")
    assert (two.versions, two.state, two.rollouts) == ((3,), "running", ("d-r3",))


@pytest.mark.parametrize(("clock", "until"), [(None, "the finding names no window and no change")])
def test_a_finding_without_a_window_has_no_time_to_detection(clock: float | None, until: str) -> None:
    history = History()
    history.finding(changed_at_s=clock, window_from_s=clock)
    assert told(history)[0].mttd == Duration(text=until)


def test_a_scheduled_request_in_the_past_counts_by_its_own_clock() -> None:
    history = History()
    event = RetrainRequested("d", "manual", "new features", "anna", None, EVENT_S)
    history.by_hand(event, "cli-1")
    (episode,) = told(history)
    assert (episode.title, episode.since_event_s, episode.steps[0].by) == ("asked by anna", EVENT_S, "anna")
