"""A monitor that is killed while it writes alerts, with a standby beside it: none is missed, and none is written twice."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections import Counter

import pytest
from tests.cases.test_monitor_broker import World, applied, process

from headrace.events.alerts import AlertChanged
from headrace.events.inference import BreakerChanged
from headrace.events.ops import HealthReported
from headrace.hosting.alerts import is_watchdog
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(600)]

KILLS, EACH = 3, 60


async def breakers(world: World, versions: range, state: str) -> None:
    """Breakers of these versions change, in small writes, so that many transactions of the monitor follow."""
    before = "closed" if state == "open" else "half_open"
    for version in versions:
        event = BreakerChanged("d", version, state, before, "NaN", "i")
        envelope = Envelope(f"{state}-{version}", "", "inference", time.time())
        await world.send([out(world.topics.name("inference.facts"), "d", event, envelope)])


async def written(world: World) -> Counter[tuple[int, str]]:
    """How often each alert of a breaker was written: by version and status."""
    alerts = await world.read("alerts", AlertChanged)
    of_breakers = [alert for alert in alerts if alert.labels["alertname"] == "BreakerOpen"]
    return Counter((int(alert.labels["version"]), alert.status) for alert in of_breakers)


async def until_written(world: World, at_least: int) -> Counter[tuple[int, str]]:
    async with asyncio.timeout(120):
        while (found := await written(world)).total() < at_least:
            await asyncio.sleep(0.02)
    return found


async def active_of(world: World, processes: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """The process that owns the monitor's shard, by its own reports."""
    alive = {one.pid: one for one in processes if one.poll() is None}
    async with asyncio.timeout(120):
        while True:
            reports = {one.pid: one for one in await world.read("ops.health", HealthReported) if one.pid in alive}
            owners = [pid for pid, report in reports.items() if report.shards and not report.stopping]
            if len(owners) == 1:
                return alive[owners[0]]
            await asyncio.sleep(0.1)


async def test_a_monitor_killed_while_it_writes_alerts_misses_and_repeats_none(
    settings: Settings, kafka_log: KafkaLog
) -> None:
    """Each of the killed ones is followed by its standby, and replaced by another standby."""
    world = World(settings, kafka_log)
    await ensure_topics(kafka_log, world.topics.specs())
    await world.apply(applied("d"))
    with contextlib.ExitStack() as started:
        processes = [started.enter_context(process(settings)) for _ in range(2)]
        for kill in range(KILLS):
            active = await active_of(world, processes)
            versions = range(kill * EACH, (kill + 1) * EACH)
            before = (await written(world)).total()
            writing = asyncio.create_task(breakers(world, versions, "open"))
            await until_written(world, before + EACH // 3)
            os.kill(active.pid, signal.SIGKILL)
            await writing
            await breakers(world, versions, "closed")
            processes.append(started.enter_context(process(settings)))
            await until_written(world, (kill + 1) * EACH * 2)
        found = await written(world)
        beats = [alert for alert in await world.read("alerts", AlertChanged) if is_watchdog(alert)]
    assert found == Counter({(n, status): 1 for n in range(KILLS * EACH) for status in ("firing", "resolved")})
    assert len(beats) > KILLS
    assert len({beat.starts_at for beat in beats}) == 1
