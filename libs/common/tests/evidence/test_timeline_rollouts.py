"""Episodes of rollouts, roll-backs and people's commands."""

from headrace.events.inference import VersionWarmed
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
from headrace.events.registry.version_facts import AliasMoved
from headrace.events.verdicts import FAIL, Evidence, evidence_text
from headrace.evidence.steps import sentence
from headrace.testing.history import EVENT_S, HOUR_S, History, kinds, registered_by_hand
from headrace.testing.registry import version_of

HARM = Evidence("AUC loss", "label", FAIL, 0.2, 0.1, bound="over .1, 97.5 % sure")


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
    (episode,) = history.episodes()
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
    (episode,) = history.episodes()
    assert (episode.title, episode.state) == ("schedule → retrain → gates → canary → rolled back", "ended")
    assert (episode.how, episode.mark) == ("rolled back", "page")
    assert episode.standing == "version 2 rolled back and rejected: labels show harm [AUC loss: over .1, 97.5 % sure]"
    assert episode.mttr.text == "no finding began it"


def test_evidence_that_the_reason_names_is_not_said_twice() -> None:
    reason = f"{evidence_text(HARM)}; its share is given back"
    assert (
        sentence(RolloutAborted("d", "r", 2, reason, True, (HARM,))) == f"version 2 rolled back and rejected: {reason}"
    )


def test_a_roll_back_by_hand_is_a_story_with_its_person_and_reason() -> None:
    history = History()
    history.drift_to_switch()
    command = history.by_hand(RollBack("d", 2, "customers complain", "anna"), "cli-1")
    history.add(
        RolledBack("d", 2, 1, "rolled back by anna: customers complain", "anna"), "back", command, history.wall_s
    )
    history.add(AliasMoved("d", "champion", 1, 2, "customers complain"), "alias", command, history.wall_s, 0.0)
    _, episode = history.episodes()
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
    (episode,) = history.episodes()
    assert (episode.title, episode.how) == ("drift → retrain → gates → switch → rolled back", "rolled back")
    assert (episode.state, episode.mark, episode.steps[-1].kind) == ("ended", "page", "alias.moved")


def test_what_a_switch_brought_is_the_newest_step_of_its_story() -> None:
    history = History()
    history.gained(2, 0.5)  # of a switch that nobody knows
    history.drift_to_switch()
    history.gained(2, 0.02)
    history.drift_to_switch(version=3)
    history.gained(2, 0.0123, 0.001, days=14, is_final=True)
    second, third = history.episodes()
    assert [step.id for step in second.steps if step.kind == "efficacy.reported"] == ["gained-2-14"]
    assert (second.steps[-1].sentence, second.steps[-1].state) == (
        "version 2 gains .0123 per request against version 1 (+.001 to +.0236) over 14 days and 21,000 requests",
        "ok",
    )
    assert (second.how, second.standing) == ("promoted", second.steps[-1].sentence)
    assert second.mttr.event_s == 0.0
    assert third.steps[-1].kind == "finding.resolved"


def test_a_switch_that_lost_asks_for_attention_and_one_without_bounds_is_not_known() -> None:
    history = History()
    history.drift_to_switch()
    history.gained(2, -0.02)
    (episode,) = history.episodes()
    assert (episode.steps[-1].sentence, episode.steps[-1].state) == (
        "version 2 loses .02 per request against version 1 over 1 day and 1,500 requests, without bounds, so far",
        "unknown",
    )
    history.gained(2, -0.02, -0.03, days=3)
    (episode,) = history.episodes()
    assert episode.steps[-1].state == "attention"


def test_what_a_roll_back_brought_belongs_to_the_roll_back() -> None:
    history = History()
    history.drift_to_switch()
    command = history.by_hand(RollBack("d", 2, "customers complain", "anna"), "cli-1")
    history.add(RolledBack("d", 2, 1, "rolled back by anna", "anna"), "back", command, history.wall_s)
    history.add(AliasMoved("d", "champion", 1, 2, "customers complain"), "alias", command, history.wall_s, 0.0)
    history.gained(1, 0.02)
    _, episode = history.episodes()
    assert kinds(episode) == ["roll.back", "rolled.back", "alias.moved", "efficacy.reported"]


def test_a_rollout_by_hand_is_a_story_without_a_training() -> None:
    history = History()
    history.by_hand(registered_by_hand(), "cli-0")
    history.add(version_of(1, command_id="cli-0", by="anna"), "v1", "cli-0")
    history.by_hand(StartRollout("d", 1, "try it", "anna"), "cli-1")
    history.add(RolloutStarted("d", "r1", 1, "shadow", "try it", by="anna"), "r1-started", "cli-1")
    history.add(RolloutCompleted("d", "r1", 1, history.at_s, False, "its time is over"), "r1-end", "verdict")
    (episode,) = history.episodes()
    assert (episode.title, episode.how) == ("registered by anna → shadow → no switch", "completed")
    assert kinds(episode)[:3] == ["register.version", "version.registered", "start.rollout"]


def test_a_pause_and_an_approval_are_steps_of_the_story_that_they_are_about() -> None:
    history = History()
    history.run("run1", history.request("q1", None, cause="schedule"))
    registering = history.registered(2, "run1", "q1")
    history.add(RolloutQueued("d", 2, "it waits for approval", "trainer"), "queued", registering, after_s=0.0)
    assert history.episodes()[0].state == "running"
    history.by_hand(ApproveVersion("d", 2, "looks right", "bob"), "cli-1")
    history.add(VersionApproved("d", 2, "looks right", "bob"), "approved", "cli-1")
    rollout = history.rollout(2, "cli-1", "canary")
    history.by_hand(PauseRollout("d", "a holiday", "anna"), "cli-2")
    history.add(RolloutPaused("d", rollout, 2, "paused by anna: a holiday"), "paused", "cli-2")
    history.add(ApprovalAwaited("d", rollout, 2, "no label can judge it"), "awaited", "verdict-1")
    (episode,) = history.episodes()
    assert episode.title == "schedule → retrain → gates → waits → approved → canary → approval"
    assert [step.by for step in episode.steps if step.kind in ("approve.version", "pause.rollout")] == ["bob", "anna"]
    assert (episode.state, episode.mark) == ("running", "attention")
    assert episode.standing == "version 2 waits for a person's approval: no label can judge it"


def test_a_refused_command_is_a_story_that_ends_at_once() -> None:
    history = History()
    history.by_hand(RollBack("d", 9, "it is bad", "anna"), "cli-1")
    assert history.episodes()[0].state == "running"
    history.add(CommandRefused("d", "roll.back", "cli-1", "champion is 2, not 9 as expected"), "no", "cli-1")
    (episode,) = history.episodes()
    assert (episode.state, episode.how, episode.mark) == ("ended", "refused", "attention")
    assert episode.steps[-1].sentence == "refused (roll back): champion is 2, not 9 as expected"


def test_an_alias_by_hand_is_a_story() -> None:
    history = History()
    history.by_hand(SetAlias("d", "blessed", 2, None, "the auditors' choice", "anna"), "cli-1")
    history.add(AliasMoved("d", "blessed", 2, None, "the auditors' choice"), "alias", "cli-1")
    (episode,) = history.episodes()
    assert (episode.state, episode.how) == ("ended", "done")
    assert episode.steps[-1].sentence == "alias blessed names version 2: the auditors' choice"


def test_a_tenant_that_a_person_sends_elsewhere_is_a_story_and_other_routes_are_none() -> None:
    history = History()
    history.add(RouteChanged("d", Route("d", {1: 1.0}, "s", 2, champion=1, reason="warming version 2")), "route", "x")
    history.by_hand(SetOverride("d", "acme", 2, "a pilot", "anna"), "cli-1")
    route = Route("d", {1: 1.0}, "s", 3, champion=1, overrides={"acme": 2}, reason="acme is answered by version 2")
    history.add(RouteChanged("d", route), "override", "cli-1")
    (episode,) = history.episodes()
    assert [step.sentence for step in episode.steps] == [
        "anna asks to answer tenant acme by version 2: a pilot", "the route changed: acme is answered by version 2",
    ]  # fmt: skip
    assert (episode.state, episode.how) == ("ended", "done")


def test_instances_that_start_again_later_are_no_steps_of_an_old_story() -> None:
    history = History()
    history.drift_to_switch()
    history.add(VersionWarmed("d", 2, "inference-3", 0.4), "late", after_s=HOUR_S)
    (episode,) = history.episodes()
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
    one, two = history.episodes()
    assert (one.versions, one.state, one.how) == ((2,), "ended", "aborted")
    assert (two.versions, two.state, two.rollouts) == ((3,), "running", ("d-r3",))
