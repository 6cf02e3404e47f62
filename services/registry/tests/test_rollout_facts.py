"""What a rollout leaves behind at each of its turns, whole facts: step, share, clock, evidence, who and why."""

from msgspec.structs import replace
from services.registry.tests.rollout_machine import BLUE_GREEN, Machine, shadowing, timed_out, unjudged, warming

from headrace.events.registry import (
    AbortRollout,
    AliasMoved,
    ArchiveVersion,
    CommandRefused,
    Lineage,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutResumed,
    StartRollout,
)
from headrace.events.verdicts import FAIL, PASS, Evidence
from headrace.testing.registry import HOUR_S, folded, registered, verdict, version_of
from headrace_registry.core.machine import Unloadable, Warmed
from headrace_registry.core.rollout import on_message
from headrace_registry.core.versions import on_archive

SHOWN = (Evidence("level", "label", PASS, 0.1, 0.2),)
SHOWN_HARM = (Evidence("latency", "guardrail", PASS), Evidence("level", "label", FAIL, 0.4, 0.2))
BETTER = "shown to be no worse than its control"


def ident(machine: Machine) -> str:
    return machine.entry.rollout.id


def test_each_share_says_since_when_and_by_what_evidence() -> None:
    machine = shadowing(Machine())
    (begun,) = machine.judge(5.0, evidence=SHOWN)
    assert begun == RolloutAdvanced("d", ident(machine), 2, "shadowing", 0.0, 0, 5.0)
    advanced, changed = machine.judge(5.0 + HOUR_S, evidence=SHOWN)
    assert advanced == RolloutAdvanced("d", ident(machine), 2, "canary", 0.01, 0, 5.0 + HOUR_S, SHOWN)
    assert (changed.route.shares, changed.route.reason) == ({1: 0.99, 2: 0.01}, "takes 0.01 of the traffic")


def test_a_promotion_says_so_in_all_its_facts() -> None:
    machine = Machine().canary()
    machine.judge(2 * HOUR_S)
    of = ident(machine)
    assert machine.judge(3 * HOUR_S, evidence=SHOWN)[:3] == [
        RolloutAdvanced("d", of, 2, "switched", 1.0, 2, 3 * HOUR_S, SHOWN),
        AliasMoved("d", "previous", 1, None, BETTER),
        AliasMoved("d", "champion", 2, 1, BETTER),
    ]
    assert machine.route.reason == BETTER
    assert machine.facts[-1] == RolloutCompleted("d", of, 2, 3 * HOUR_S, True, BETTER, SHOWN)


def test_a_switch_without_a_verdict_goes_by_the_newest_request_that_the_version_was_trained_from() -> None:
    lineage = Lineage({}, 0.0, 70.0)
    machine = Machine(plan=BLUE_GREEN)
    machine.state = folded(machine.state, [version_of(4, lineage=lineage, reason="better")])
    started, _ = machine.start(4)
    first, *_, changed, completed = machine.take(Warmed())
    assert first == RolloutAdvanced("d", started.rollout, 4, "switched", 1.0, 0, None)
    assert completed == RolloutCompleted("d", started.rollout, 4, 70.0, True, "r", (), has_clock=False)
    assert changed.route.reason == "better"


def test_an_operator_promotes_without_a_clock() -> None:
    machine = Machine().canary()
    of = ident(machine)
    facts = machine.take(PromoteRollout("d", 2, "it is time", "ann"))
    why = "promoted by ann: it is time"
    assert facts[0] == RolloutAdvanced("d", of, 2, "switched", 1.0, 1, None)
    assert facts[-1] == RolloutCompleted("d", of, 2, HOUR_S, True, why, has_clock=False)
    assert {fact.reason for fact in facts if isinstance(fact, AliasMoved)} == {why}


def test_harm_names_the_evidence_that_failed_and_nothing_else() -> None:
    machine = Machine().canary()
    of = ident(machine)
    aborted, changed = machine.judge(1.5 * HOUR_S, labels=FAIL, evidence=SHOWN_HARM)
    why = "level 0.4 against a limit of 0.2"
    assert aborted == RolloutAborted("d", of, 2, why, True, SHOWN_HARM[1:], 1.5 * HOUR_S, "harm")
    assert changed.route.reason == why


def test_a_verdict_without_a_clock_gives_no_instant() -> None:
    machine = Machine().canary()
    aborted, _ = machine.judge(1.5 * HOUR_S, labels=FAIL, has_clock=False)
    assert aborted.clock_s is None
    machine = Machine().promoted()
    rolled, *_ = machine.judge(99 * HOUR_S, labels=FAIL, has_clock=False, evidence=SHOWN_HARM)
    why = "level 0.4 against a limit of 0.2"
    assert rolled == RolledBack("d", 2, 1, why, "monitor", SHOWN_HARM[1:], None)


def test_harm_after_the_promotion_gives_the_instant_of_its_verdict() -> None:
    rolled, *_ = Machine().promoted().judge(4 * HOUR_S, labels=FAIL)
    assert rolled.clock_s == 4 * HOUR_S


def test_a_version_that_is_rejected_says_what_was_seen() -> None:
    machine = Machine().canary()
    of = ident(machine)
    aborted, changed = machine.take(Unloadable(2, "a pickle"))
    why = "version 2 was rejected: a pickle"
    assert aborted == RolloutAborted("d", of, 2, why, True, (), None, "unloadable")
    assert changed.route.reason == why
    assert Machine().canary().take(Unloadable(3, "a pickle")) == []


def test_a_wait_that_ran_out_ends_a_rollout_with_the_way_to_try_again() -> None:
    machine = warming(Machine())
    of = ident(machine)
    aborted, changed = machine.take(timed_out(machine, "warming"))
    why = "waited for warming: `headrace rollout retry d` tries again"
    assert aborted == RolloutAborted("d", of, 2, why, False, (), None, "warming")
    assert (changed.route.reason, changed.route.warm) == (why, (1,))


def test_a_wait_of_another_rollout_changes_nothing() -> None:
    machine = Machine().canary()
    assert machine.take(replace(timed_out(machine, "pause"), rollout="another")) == []


def test_a_pause_and_what_ends_it_say_who_and_why() -> None:
    machine = Machine().canary()
    of = ident(machine)
    assert machine.take(PauseRollout("d", "lunch", "ann")) == [RolloutPaused("d", of, 2, "paused by ann: lunch")]
    assert machine.take(ResumeRollout("d", "back", "bob")) == [RolloutResumed("d", of, 2, "resumed by bob: back")]
    paused = RolloutPaused("d", of, 2, "waited for pause", unjudged=True)
    assert machine.take(timed_out(machine, "pause")) == [paused]
    resumed, *_ = machine.judge(1.5 * HOUR_S)
    assert resumed == RolloutResumed("d", of, 2, "verdicts come again")


def test_a_verdict_on_another_rollout_does_not_end_a_pause() -> None:
    machine = unjudged(Machine())
    assert machine.take(replace(verdict(machine.state, 2 * HOUR_S), rollout="another")) == []


def test_what_waits_keeps_who_asked_for_it_and_begins_by_the_reason_of_its_version() -> None:
    machine = Machine().canary()
    machine.state = folded(machine.state, [version_of(5, reason="better")])
    why = "a rollout of version 2 is under way: wait for it, or abort it"
    assert machine.start(5, "trainer") == [RolloutQueued("d", 5, why, "trainer")]
    *_, started, changed = machine.take(AbortRollout("d", "r", "me"))
    assert (started.version, started.reason, started.by, started.policy) == (5, "better", "trainer", "canary")
    assert changed.route.rollout == started.rollout


def test_of_two_rollouts_of_one_version_each_has_an_id_of_its_own() -> None:
    machine = Machine(plan=BLUE_GREEN)
    first, _ = machine.start(2)
    machine.take(AbortRollout("d", "r", "me"))
    second, _ = machine.take(RetryRollout("d", "again", "ann"))
    assert (second.reason, second.by) == ("again", "ann")
    assert first.rollout != second.rollout


def test_what_is_champion_by_now_is_not_tried_again() -> None:
    machine = Machine().canary()
    machine.take(AbortRollout("d", "r", "me"))
    machine.state = folded(machine.state, [AliasMoved("d", "champion", 2, 1, "r")])
    (refused,) = machine.take(RetryRollout("d", "r", "me"), "c9")
    assert refused == CommandRefused("d", "retry.rollout", "c9", "version 2 is champion already")


def test_a_version_that_there_is_not_is_not_released_and_its_deployment_is_named() -> None:
    why = "d has no version 9: `headrace model list` shows those that there are"
    (refused,) = Machine().take(StartRollout("d", 9, "r", "me"), "c9")
    assert refused == CommandRefused("d", "start.rollout", "c9", why)


def test_without_a_champion_there_is_nothing_to_roll_back() -> None:
    (refused,) = on_message(registered(1), "d", RollBack("d", 1, "r", "me"), "c9").facts
    why = "champion is None, not 1 as expected: look again, then decide"
    assert refused == CommandRefused("d", "roll.back", "c9", why)


def test_what_was_previous_before_is_previous_again_only_if_it_may_serve_and_is_not_the_bad_one() -> None:
    archived = Machine(plan=BLUE_GREEN)
    archived.serve(2)
    archived.serve(3)
    archived.state = on_archive(archived.state, ArchiveVersion("d", 1, "r", "me"), "a").state
    archived.take(RollBack("d", 3, "r", "me"))
    assert (archived.entry.aliases, archived.route.previous) == ({"champion": 2}, None)
    again = Machine(plan=BLUE_GREEN)
    again.serve(2)
    again.serve(1)
    assert again.entry.older == 1
    again.take(RollBack("d", 1, "r", "me"))
    assert (again.entry.aliases, again.route.previous) == ({"champion": 2}, None)


def test_a_window_lasts_to_its_last_second_and_an_older_promotion_has_none() -> None:
    window_s = Machine().plan.rollback_window_s
    assert Machine().promoted().judge(3 * HOUR_S + window_s, labels=FAIL) != []
    machine = Machine().promoted()
    assert machine.take(replace(verdict(machine.state, 4 * HOUR_S, labels=FAIL), rollout="another")) == []
    assert Machine().promoted().judge(4 * HOUR_S, labels=PASS) == []
