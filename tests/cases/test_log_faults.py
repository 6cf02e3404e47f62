"""Faults 5, 10, 11, 17b: a stranger's open transaction, a topic that is created again, a frozen host, a broker that is away."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from headrace.errors import Restart
from headrace.hosting import group as shards
from headrace.hosting import watchdog as watching
from headrace.hosting.settings import Settings
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog, client_options
from headrace.log.port import TopicSpec
from headrace.log.views import View
from headrace.testing.shards import Bench, Whole, are_exact, total
from headrace_broker import Broker

pytestmark = pytest.mark.kafka


@asynccontextmanager
async def connected(servers: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(Settings(bootstrap_servers=servers))
    await connect(log, 30)
    yield log
    await log.stop()


async def until(holds, timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.05)


async def test_a_strangers_open_transaction_is_named_with_what_it_holds_back(
    kafka_log: KafkaLog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "HELD_BACK_S", 0.5)
    monkeypatch.setattr(shards, "LOOK_EVERY_S", 0.3)
    bench = await Bench(kafka_log).set_up()
    stranger = AIOKafkaProducer(**client_options(settings), transactional_id=f"{bench.topics.namespace}-stranger")
    await stranger.start()
    async with bench.running(bench.host()):
        await stranger.begin_transaction()
        await stranger.send_and_wait(bench.requests, b'{"deployment":"d","unit":"theirs"}', partition=0)
        await bench.put(b'{"deployment":"d","unit":"a"}', b'{"deployment":"d","unit":"a"}')
        await until(lambda: any(what.startswith("transaction:") for what in bench.health.failures))
        reason = bench.health.failures[f"transaction:{bench.requests}/0"]
        assert "holds back 3 records" in reason
        await stranger.abort_transaction()
        assert await bench.until(lambda counts: total(counts) == 2) == {"a": [1, 2]}
        await until(lambda: bench.health.is_ready)
    await stranger.stop()


async def test_a_topic_that_is_deleted_and_made_again_is_logged_and_the_service_starts_anew(
    kafka_log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "LOOK_EVERY_S", 0.3)
    bench = await Bench(kafka_log).set_up()
    await bench.ask(20)
    running = asyncio.create_task(bench.host().run(asyncio.Event()))
    await bench.until(lambda counts: total(counts) >= 20)
    await kafka_log.admin.delete_topics([bench.requests])
    await until(lambda: "inputs" in bench.health.failures)
    assert "topics are missing" in bench.health.failures["inputs"]
    bench.health.failures.clear()  # NB: others look too, and may be the first to see that the topic exists again
    rule = bench.topics.rule(bench.requests)
    await kafka_log.create_topics([TopicSpec(bench.requests, 2, rule.config)])
    with pytest.raises(Restart, match="created again"):
        await asyncio.wait_for(running, 60)
    bench.health.failures.clear()
    await bench.put(b'{"deployment":"d","unit":"new"}')
    async with bench.running(bench.host()):
        assert (await bench.until(lambda counts: "new" in counts))["new"] == [1]


async def test_a_member_is_known_to_its_group_until_it_is_gone(kafka_log: KafkaLog) -> None:
    bench = await Bench(kafka_log).set_up()

    async def nothing(_: object) -> None: ...

    member = await kafka_log.member("known", [bench.requests], on_assigned=nothing, on_revoked=nothing)
    async with asyncio.timeout(30):
        while not await member.is_known():
            await member.fetch(0.1)
    await member.close()
    assert not await member.is_known()


async def test_transactions_of_the_broker_are_bounded_or_reported(kafka_log: KafkaLog) -> None:
    assert (await kafka_log.longest_transaction_ms() or 0) >= 15_000


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_to_catch_up_has_a_true_limit_when_the_broker_is_frozen_and_the_view_goes_on_after(
    own_broker: Broker,
) -> None:
    async with connected(own_broker.bootstrap_servers) as log:
        bench = await Bench(log).set_up()
        seen: list[object] = []
        view = View(log, bench.codec, [bench.requests], seen.append)
        await view.start()
        following = asyncio.create_task(view.follow())
        own_broker.freeze()
        began_s = time.monotonic()
        await view.catch_up(1.0)
        assert time.monotonic() - began_s < 5.0
        own_broker.thaw()
        await bench.ask(1)
        await until(lambda: len(seen) == 1)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await view.stop()


_SOLO = """
import asyncio, sys
from headrace.log.kafka import KafkaLog
from headrace.hosting.settings import Settings
from headrace.testing.shards import Bench, Whole
async def main():
    log = KafkaLog(Settings(bootstrap_servers=sys.argv[1])); await log.start()
    bench = Bench(log, sys.argv[2])
    host = bench.host(lambda shard: Whole(bench.topics, shard), lock=bench.topics.name("training.requests"))
    await host.run(asyncio.Event())
asyncio.run(main())
"""


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_a_solo_host_that_was_frozen_for_51_s_works_again_or_ends(kafka: str) -> None:
    async with connected(kafka) as log:
        bench = await Bench(log).set_up()
        command = [sys.executable, "-c", _SOLO, kafka, bench.topics.namespace]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            await bench.ask(100)
            await bench.until(lambda counts: total(counts) >= 100)
            os.kill(process.pid, signal.SIGSTOP)
            await bench.ask(100, start=100)
            await asyncio.sleep(51)
            os.kill(process.pid, signal.SIGCONT)
            began_s = time.monotonic()
            while process.returncode is None and total(await bench.counts()) < 200:
                assert time.monotonic() - began_s < 100, "neither works nor ends"
                await asyncio.sleep(0.5)
            took_s = time.monotonic() - began_s
            if process.returncode is not None:  # as a supervisor does
                host = bench.host(lambda shard: Whole(bench.topics, shard), lock=bench.topics.name("training.requests"))
                async with bench.running(host):
                    await bench.until(lambda counts: total(counts) >= 200)
            counts = await bench.counts()
        finally:
            process.kill()
            await process.wait()
    print(f"after {took_s:.0f} s: {'ended' if process.returncode else 'works'}")
    assert total(counts) == 200
    assert are_exact(counts)


@pytest.mark.faults
@pytest.mark.timeout(180)
async def test_a_broker_frozen_for_25_s_ends_no_host(own_broker: Broker) -> None:
    async with connected(own_broker.bootstrap_servers) as log:
        bench = await Bench(log).set_up()
        lock = bench.topics.name("training.requests")
        async with bench.running(bench.host(lambda shard: Whole(bench.topics, shard), lock=lock)):
            await bench.ask(100)
            await bench.until(lambda counts: total(counts) >= 50)
            own_broker.freeze()
            await asyncio.sleep(25)
            own_broker.thaw()
            await bench.ask(100, start=100)
            counts = await bench.until(lambda counts: total(counts) >= 200)
            await until(lambda: bench.health.is_ready)
    assert total(counts) == 200
    assert are_exact(counts)
