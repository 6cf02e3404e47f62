"""The process that forwards alerts, with receivers that are away, slow to come back, or refuse."""

import logging

import pytest
from tests.cases.receivers_scene import SECRET, Hook, World, beat, on, serving, until

from headrace.hosting.alerts import resolve
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.kafka import KafkaLog


@pytest.fixture
async def world() -> World:
    made = World()
    await made.begin()
    return made


async def test_an_alert_is_delivered_once_and_a_restart_repeats_nothing(world: World) -> None:
    hook = Hook()
    with serving(hook) as url:
        await world.send(on(0), on(1))
        async with world.forwarding(url):
            await until(lambda: len(hook.alerts) == 2 and world.health.handled == 2)
        await world.send(resolve(on(0), 20.0), on(2))
        async with world.forwarding(url):
            await until(lambda: world.health.handled == 4)
    assert hook.alerts == [("firing", "c0"), ("firing", "c1"), ("resolved", "c0"), ("firing", "c2")]
    assert hook.authorization == "Bearer key"


async def test_a_receiver_that_is_away_loses_nothing_and_is_reported_until_it_takes_alerts(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Hook()
    hook.status = lambda body: 503
    with caplog.at_level(logging.DEBUG), serving(hook) as url:
        async with world.forwarding(url):
            await world.send(*[on(n) for n in range(20)])
            await until(lambda: "receiver:webhook" in world.health.failures)
            assert world.health.failures["receiver:webhook"].startswith("it answers 503")
            await world.send(resolve(on(0), 20.0), on(30))
            hook.status = lambda body: 200
            await until(lambda: world.health.handled == 22)
            assert "receiver:webhook" not in world.health.failures
    assert sorted(hook.alerts[:20]) == sorted(("firing", f"c{n}") for n in range(20))
    assert hook.alerts[20:] == [("resolved", "c0"), ("firing", "c30")]
    assert SECRET not in caplog.text


async def test_nothing_is_committed_that_was_not_taken(world: World) -> None:
    hook = Hook()
    hook.status = lambda body: 401
    with serving(hook) as url:
        await world.send(on(0))
        async with world.forwarding(url):
            await until(lambda: hook.asked > 2)
        assert world.health.handled == 0
        hook.status = lambda body: 200
        async with world.forwarding(url):
            await until(lambda: world.health.handled == 1)
    assert hook.alerts == [("firing", "c0")]


async def test_an_alert_that_is_refused_holds_back_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    hook = Hook()
    hook.status = lambda body: 400 if any(one["labels"]["about"] == "c1" for one in body["alerts"]) else 200
    with serving(hook) as url:
        await world.send(*[on(n) for n in range(4)])
        async with world.forwarding(url):
            await until(lambda: world.health.handled == 4)
    assert hook.alerts == [("firing", f"c{n}") for n in (0, 2, 3)]
    assert f"webhook refuses alert SourceChanged ({on(1).fingerprint})" in caplog.text


async def test_one_receiver_that_is_away_holds_back_no_other(world: World) -> None:
    hook = Hook()
    with serving(hook) as url:
        async with world.forwarding("http://127.0.0.1:9", "slack", "slack"), world.forwarding(url):
            await world.send(on(0))
            await until(lambda: bool(hook.alerts) and "receiver:slack" in world.health.failures)
    assert world.health.failures["receiver:slack"].startswith("no answer")


async def test_a_dead_mans_switch_is_not_fed_while_no_other_receiver_takes_alerts(world: World) -> None:
    hook, slack = Hook(), Hook()
    slack.status = lambda body: 500
    with serving(hook) as url, serving(slack) as other:
        async with (
            world.forwarding(other, name="slack"),
            world.forwarding(url, "watchdog", "watchdog", others=["slack"]),
        ):
            await world.send(beat(), on(0))
            await until(lambda: bool(hook.alerts) and "receiver:slack" in world.health.failures)
            fed = len(hook.alerts)
            await world.send(beat())
            await until(lambda: world.health.handled == 3)  # by the switch alone
            assert len(hook.alerts) == fed
            slack.status = lambda body: 200
            await until(lambda: world.health.handled == 6)
            await world.send(beat())
            await until(lambda: len(hook.alerts) == fed + 1)


@pytest.mark.kafka
async def test_on_a_real_broker_nothing_is_lost_while_a_receiver_is_away_and_nothing_repeated(
    settings: Settings, kafka_log: KafkaLog
) -> None:
    world, hook = World(kafka_log, topics_of(settings)), Hook()
    await world.begin()
    hook.status = lambda body: 503
    with serving(hook) as url:
        await world.send(on(0), on(1))
        async with world.forwarding(url):
            await until(lambda: hook.asked > 2)
        async with world.forwarding(url):
            await until(lambda: "receiver:webhook" in world.health.failures)
            hook.status = lambda body: 200
            await world.send(resolve(on(0), 20.0))
            await until(lambda: world.health.handled == 3)
        await world.send(on(2))
        async with world.forwarding(url):
            await until(lambda: world.health.handled == 4)
    assert hook.alerts == [("firing", "c0"), ("firing", "c1"), ("resolved", "c0"), ("firing", "c2")]
