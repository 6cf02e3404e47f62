"""Rules that follow from failures seen with Kafka and aiokafka, each on a real broker.

Poison, fencing, dropped transactions, repeats after a rebalance and readiness at the end offset run in `make test`.
Tests that kill or freeze processes run in `make faults`.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiokafka.producer.sender
import pytest

from headrace.errors import Fenced, Misconfigured, Retryable
from headrace.hosting.settings import Settings
from headrace.log import kafka_writers
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out, TopicPartition, TopicSpec
from headrace.log.views import View
from headrace.project.service import run_service
from headrace.testing.conformance import make_topic, outs, read_values
from headrace.testing.shards import Bench, are_exact, total
from headrace_broker import Broker, free_port

pytestmark = pytest.mark.kafka


@asynccontextmanager
async def connected(servers: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(Settings(bootstrap_servers=servers))
    await connect(log, 30)
    yield log
    await log.stop()


async def test_records_of_a_failed_transaction_never_show_even_after_the_next_commit(kafka_log: KafkaLog) -> None:
    good, small, group = await make_topic(kafka_log), f"small.{secrets.token_hex(4)}", f"g{secrets.token_hex(4)}"
    await kafka_log.create_topics([TopicSpec(small, 1, {"max.message.bytes": "1000"})])
    transactor = await kafka_log.transactor(f"{group}-0", group)
    await transactor.commit(outs(good, b"first"), {})
    with pytest.raises(Retryable):
        await transactor.commit(
            [*outs(good, b"must not appear"), *outs(small, b"x" * 5000)], {TopicPartition(good, 0): 9}
        )
    await transactor.close()
    again = await kafka_log.transactor(f"{group}-0", group)
    await again.commit(outs(good, b"second"), {})
    await again.close()
    assert await read_values(kafka_log, good) == [b"first", b"second"]
    assert await kafka_log.committed(group, [TopicPartition(good, 0)]) == {}


async def test_each_shard_is_fenced_by_its_own_id(kafka_log: KafkaLog) -> None:
    topic, group = await make_topic(kafka_log, partitions=2), f"g{secrets.token_hex(4)}"
    old = [await kafka_log.transactor(f"{group}-{shard}", group) for shard in (0, 1)]
    new = await kafka_log.transactor(f"{group}-0", group)
    with pytest.raises(Fenced):
        await old[0].commit(outs(topic, b"zombie"), {})
    await old[1].commit(outs(topic, b"neighbour", partition=1), {})
    assert await read_values(kafka_log, topic) == [b"neighbour"]
    for transactor in (*old, new):
        await transactor.close()


async def test_a_view_is_ready_at_the_end_offset_over_gaps_of_transactions_and_deletions(kafka_log: KafkaLog) -> None:
    bench = await Bench(kafka_log).set_up()
    transactor = await kafka_log.transactor(f"{bench.topics.group('x')}-0", bench.topics.group("x"))
    routes = bench.topics.name("registry.routes")
    for _ in range(3):
        await transactor.commit([Out(routes, b"d", None, (), 0)], {})
    await transactor.close()
    view = View(kafka_log, bench.codec, [routes], lambda _: None)
    async with asyncio.timeout(20):
        await view.start()
    assert view.is_ready
    await view.stop()


async def test_group_commit_puts_many_records_into_few_transactions(kafka_log: KafkaLog) -> None:
    assert aiokafka.producer.sender.BACKOFF_OVERRIDE == 0.001
    bench = await Bench(kafka_log).set_up()
    await bench.ask(2000)
    async with bench.running(bench.host()):
        await bench.until(lambda counts: total(counts) >= 2000)
    outcomes = await kafka_log.partitions(bench.topics.name("inference.outcomes"))
    markers = sum((await kafka_log.end_offsets(outcomes)).values()) - 2000
    assert 0 < markers < 200


async def test_a_missing_broker_is_reported_with_host_port_and_cause() -> None:
    port = free_port()
    with pytest.raises(Retryable, match=rf"no Kafka broker at 127\.0\.0\.1:{port}: .*given up after 1 s"):
        await connect(KafkaLog(Settings(bootstrap_servers=f"127.0.0.1:{port}")), 1.0)


async def test_a_service_without_a_broker_gives_up_with_a_non_zero_code(capfd: pytest.CaptureFixture[str]) -> None:
    async def build(context: object) -> list:
        return []

    settings = Settings(bootstrap_servers=f"127.0.0.1:{free_port()}", connect_timeout_s=1.0)
    assert await run_service("feature", build, settings) == 1


async def test_a_topic_error_of_the_admin_is_not_overlooked(kafka_log: KafkaLog) -> None:
    with pytest.raises(Misconfigured, match="could not be created"):
        await kafka_log.create_topics([TopicSpec("not/a/topic", 1)])


@pytest.mark.faults
async def test_a_frozen_broker_makes_a_send_give_up_with_its_outcome_unknown(
    own_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_writers, "SEND_TIMEOUT_S", 2.0)
    async with connected(own_broker.bootstrap_servers) as log:
        topic, producer = await make_topic(log), await log.producer()
        own_broker.freeze()
        try:
            with pytest.raises(Retryable, match="not known whether"):
                await producer.send(outs(topic, b"a"))
        finally:
            own_broker.thaw()
        await producer.close()


@pytest.mark.faults
@pytest.mark.timeout(180)
async def test_a_broker_killed_under_load_loses_nothing_and_needs_no_restart_of_the_service(own_broker: Broker) -> None:
    async with connected(own_broker.bootstrap_servers) as log:
        bench = await Bench(log).set_up()
        async with bench.running(bench.host()):
            await bench.ask(500)
            await bench.until(lambda counts: total(counts) >= 100)
            own_broker.kill()
            await asyncio.to_thread(own_broker.start)
            await bench.ask(500, start=500)
            counts = await bench.until(lambda counts: total(counts) >= 1000)
    assert total(counts) == 1000
    assert are_exact(counts)


_WORKER = """
import asyncio, sys
from headrace.log.kafka import KafkaLog
from headrace.hosting.settings import Settings
from headrace.testing.shards import Bench
async def main():
    log = KafkaLog(Settings(bootstrap_servers=sys.argv[1])); await log.start()
    await Bench(log, sys.argv[2]).host().run(asyncio.Event())
asyncio.run(main())
"""


@pytest.mark.faults
@pytest.mark.timeout(180)
async def test_a_process_frozen_in_its_work_is_fenced_when_it_wakes_and_leaves_no_duplicate(own_broker: Broker) -> None:
    async with connected(own_broker.bootstrap_servers) as log:
        bench = await Bench(log).set_up()
        command = [sys.executable, "-c", _WORKER, own_broker.bootstrap_servers, bench.topics.namespace]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            await bench.ask(300)
            await bench.until(lambda counts: total(counts) >= 1)
            os.kill(process.pid, signal.SIGSTOP)
            await bench.ask(300, start=300)
            async with bench.running(bench.host()):
                await bench.until(lambda counts: total(counts) >= 600)
                os.kill(process.pid, signal.SIGCONT)
                await bench.ask(100, start=600)
                counts = await bench.until(lambda counts: total(counts) >= 700)
        finally:
            process.kill()
            await process.wait()
    assert total(counts) == 700
    assert are_exact(counts)


async def test_a_dead_letter_of_a_record_at_the_limit_still_fits(kafka_log: KafkaLog) -> None:
    bench = await Bench(kafka_log).set_up()
    producer = await kafka_log.producer()
    await producer.send(outs(bench.topics.dlq("inference"), b"x" * 1_048_576))
    await producer.close()
    assert len((await bench.dead())[0] or b"") == 1_048_576
