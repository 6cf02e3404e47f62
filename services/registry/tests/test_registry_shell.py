"""The registry on the log in memory: commands and verdicts in, facts, routes and cards out, and going on after a restart."""

from typing import Any

import pytest
from msgspec.structs import replace

from headrace.events.registry import (
    AbortRollout,
    ApprovalAwaited,
    ApproveVersion,
    ArchiveVersion,
    CardWritten,
    CommandRefused,
    DeleteVersion,
    RolloutAborted,
    RolloutCompleted,
    RolloutPaused,
    RolloutQueued,
    RolloutStarted,
    Route,
    RouteChanged,
    StartRollout,
    TimedOut,
    VersionApproved,
    VersionDeleted,
    VersionRegistered,
)
from headrace.events.verdicts import FAIL, INCONCLUSIVE, UNMEASURED
from headrace.models import artifacts
from headrace.testing.registry import command
from headrace_registry.core.card import write_card

Bench = Any  # the fixture of conftest.py

HOUR_S = 3600.0


async def test_a_trained_version_is_released_by_verdicts_and_each_fact_names_its_cause(bench: Bench) -> None:
    async with bench.running():
        await bench.start_canary()
        cause = await bench.judge(HOUR_S)
        completed = await bench.until(RolloutCompleted, lambda fact: fact.version == 2)
    assert completed.event.promoted
    assert (completed.envelope.causation_id, completed.envelope.correlation_id) == (cause, cause)
    *_, route = await bench.read("registry.routes")
    assert (route.event.shares, route.event.previous, route.envelope.causation_id) == ({2: 1.0}, 1, cause)
    newest = {m.record.key: m.event for m in await bench.read("registry.models")}
    assert {k: (v.stage, v.aliases) for k, v in newest.items()} == {
        b"d/1": ("retired", ("previous",)),
        b"d/2": ("champion", ("champion",)),
    }


async def test_a_rollout_goes_on_where_it_was_after_a_restart(bench: Bench) -> None:
    async with bench.running():
        await bench.start_canary()
    async with bench.running():
        cause = await bench.judge(HOUR_S, labels=FAIL)
        aborted = await bench.until(RolloutAborted)
    assert (aborted.event.version, aborted.event.harmful, aborted.envelope.causation_id) == (2, True, cause)
    assert "level 0.4 against a limit of 0.01" in aborted.event.reason
    *_, route = await bench.read("registry.routes")
    assert isinstance(route.event, Route)
    assert (route.event.shares, route.event.champion) == ({1: 1.0}, 1)
    idents = [message.envelope.id for message in await bench.read("registry.facts")]
    assert len(idents) == len(set(idents))


async def test_an_approval_is_waited_for_across_a_restart_and_switches_with_the_next_verdict(bench: Bench) -> None:
    async with bench.running():
        await bench.start_canary()
        await bench.judge(HOUR_S, labels=UNMEASURED, unlabelled=True)
        awaited = await bench.until(ApprovalAwaited)
    assert (awaited.event.version, awaited.event.clock_s) == (2, HOUR_S)
    async with bench.running():
        await bench.judge(HOUR_S + 1.0, labels=UNMEASURED, unlabelled=True)
        await bench.send("registry.commands", "d", ApproveVersion("d", 2, "fine", "ann"))
        await bench.until(VersionApproved)
        cause = await bench.judge(HOUR_S + 2.0, labels=UNMEASURED, unlabelled=True)
        completed = await bench.until(RolloutCompleted, lambda fact: fact.version == 2)
        facts = [m.event for m in await bench.read("registry.facts")]
    assert (completed.event.clock_s, completed.envelope.causation_id) == (HOUR_S + 2.0, cause)
    assert completed.event.reason.startswith("approved by ann: ")
    assert len([fact for fact in facts if isinstance(fact, ApprovalAwaited)]) == 1


async def test_a_newer_version_takes_the_place_of_an_open_rollout_in_one_batch_of_facts(bench: Bench) -> None:
    async with bench.running():
        await bench.start_canary()
        await bench.register(b"newer")
        await bench.until(RolloutQueued)
        cause = await bench.judge(HOUR_S, labels=INCONCLUSIVE)
        started = await bench.until(RolloutStarted, lambda fact: fact.version == 3)
        aborted = await bench.until(RolloutAborted)
    assert (aborted.event.version, aborted.event.cause, aborted.event.harmful) == (2, "superseded", False)
    assert (started.event.by, started.envelope.causation_id, aborted.envelope.causation_id) == ("trainer", cause, cause)


async def test_without_verdicts_a_rollout_is_paused_and_then_aborted_while_requests_are_decided(bench: Bench) -> None:
    async with bench.running():
        await bench.start_canary()
        paused = await bench.pass_until(RolloutPaused)
        aborted = await bench.pass_until(RolloutAborted, lambda step: bench.warm(1, 2, handled=step))
        waits = [m for m in await bench.read("registry.commands") if isinstance(m.event, TimedOut)]
    assert paused.event.unjudged
    assert "the monitor does not run" in paused.event.reason
    assert (aborted.event.harmful, aborted.event.cause) == (False, "silence")
    assert "headrace rollout retry d" in aborted.event.reason
    assert [m.event.what for m in waits] == ["pause", "silence"]
    assert [m.envelope.id for m in waits] == [paused.envelope.causation_id, aborted.envelope.causation_id]


async def test_a_version_trained_meanwhile_waits_its_turn(bench: Bench) -> None:
    async with bench.running():
        await bench.start_canary()
        await bench.register(b"third")
        bench.warm(1, 2, 3)
        await bench.judge(HOUR_S, labels=FAIL)
        started = await bench.until(RolloutStarted, lambda fact: fact.version == 3)
    assert (started.event.control, started.event.plan.policy) == (1, "canary")


async def test_a_card_is_written_with_the_registration(bench: Bench) -> None:
    async with bench.running():
        await bench.register(metrics={"auc": 0.75}, rollout=False)
        card = (await bench.until(CardWritten)).event.markdown
    assert card.startswith("---\nmodel_name: ")
    assert "To try things." in card
    assert "| owner | ann |" in card
    assert "| auc | 0.75 |" in card


async def test_deleting_takes_the_artifact_off_the_log_and_a_later_registration_of_it_is_refused(bench: Bench) -> None:
    async with bench.running():
        bench.warm(1)
        await bench.register()
        await bench.until(RolloutCompleted)
        await bench.register(b"unused", rollout=False)
        for event in (ArchiveVersion("d", 2, "r", "me"), DeleteVersion("d", 2, "r", "me")):
            await bench.send("registry.commands", "d", event)
        deleted = await bench.until(VersionDeleted)
        (place,) = deleted.event.artifacts
        assert place not in await artifacts.manifests(bench.log, bench.topics)
        await bench.send("registry.commands", "d", StartRollout("d", 2, "r", "me"))
        refused = await bench.until(CommandRefused)
    assert "was deleted" in refused.event.reason
    assert not [
        m for m in await bench.read("registry.facts") if isinstance(m.event, RouteChanged) and 2 in m.event.route.warm
    ]


async def test_an_approval_of_nothing_is_refused(bench: Bench) -> None:
    async with bench.running():
        ident = await bench.send("registry.commands", "d", ApproveVersion("d", 7, "r", "ann"))
        refused = await bench.until(CommandRefused)
    assert (refused.event.command, refused.event.command_id) == ("approve.version", ident)


@pytest.mark.parametrize("partition", [-1, 1, 2**40])
async def test_an_artifact_in_a_partition_that_is_not_there_is_refused_and_the_next_command_is_carried_out(
    bench: Bench, partition: int
) -> None:
    place = await artifacts.publish(bench.log, bench.topics, b"model", "skops", 0.0, "test")
    async with bench.running():
        await bench.send("registry.commands", "d", command(place=replace(place, partition=partition)))
        refused = await bench.until(CommandRefused)
        await bench.register(rollout=False)
        registered = await bench.until(VersionRegistered)
    assert "an artifact has" in refused.event.reason or "is not complete" in refused.event.reason
    assert registered.event.version == 1


async def test_what_one_command_raises_is_its_own_dead_letter_and_the_next_one_is_carried_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(fact: Any, definition: Any) -> str:
        if fact.metrics:
            raise ZeroDivisionError("a card that cannot be written")
        return write_card(fact, definition)

    monkeypatch.setattr("headrace_registry.core.intake.write_card", raises)
    async with bench.running():
        bench.warm(1)
        await bench.register(metrics={"auc": 0.5})
        await bench.send("registry.commands", "x" * 300, AbortRollout("x" * 300, "r", "me"))
        await bench.send("registry.commands", "NOPE", AbortRollout("NOPE", "r", "me"))
        refused = await bench.until(CommandRefused)
        await bench.register()
        completed = await bench.until(RolloutCompleted)
    assert "there is no deployment 'NOPE'; there are: d" in refused.event.reason
    assert completed.event.version == 1
    partitions = await bench.log.partitions(bench.topics.dlq("registry"))
    assert sum((await bench.log.end_offsets(partitions)).values()) >= 2  # and the markers of transactions
    assert [m.event.version for m in await bench.read("registry.facts") if isinstance(m.event, VersionRegistered)] == [
        1
    ]
