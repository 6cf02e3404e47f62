"""While the broker is killed or frozen, the gateway reports it within ten seconds, keeps no client waiting and no more memory, and recovers by itself."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.hosting.core_wait import CoreWait
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import out
from headrace.log.connecting import connect
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.topics import Topics
from headrace.project import Category, Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace_broker import Broker, free_port

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(400)]

PROJECT = compile_project(
    Project(
        "p", [Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")], fallback=[prior(0.26)])]
    )
)
ASK, READY = "/v1/deployments/delay/predict", "/v2/health/ready"
BODY = {"inputs": {"miles": 500, "carrier": "AA"}, "deadline_ms": 1000}
UNREADY_WITHIN_S = 10.0
OUTAGE_S = 30.0


@dataclass(frozen=True)
class Stand:
    """Gateway and inference on a broker of their own."""

    broker: Broker
    url: str
    pids: tuple[int, int]

    def memory_mib(self) -> float:
        return int(Path(f"/proc/{self.pids[0]}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def waits(self) -> tuple[float, float, float]:
        """The present instant, and the seconds for which the gateway and this process have waited for a core."""
        return time.monotonic(), CoreWait.read(self.pids[0]).waited_s, CoreWait.read().waited_s

    def are_alive(self) -> bool:
        return all(Path(f"/proc/{pid}").exists() for pid in self.pids)


@asynccontextmanager
async def standing(broker: Broker) -> AsyncIterator[Stand]:
    topics, log = Topics.load(), KafkaLog(Settings(bootstrap_servers=broker.bootstrap_servers))
    await connect(log, 60)
    await ensure_topics(log, topics.specs(PROJECT))
    producer = await log.producer()
    applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, time.time())
    await producer.send([out(topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0))])
    await producer.close()
    await log.stop()
    port = free_port()
    environ = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "HEADRACE_GATEWAY_PORT": str(port)}
    with process("headrace_inference", environ) as inference, process("headrace_gateway", environ) as gateway:
        stand = Stand(broker, f"http://127.0.0.1:{port}", (gateway.pid, inference.pid))
        await until_served(stand, 120)
        yield stand


@contextmanager
def process(module: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen([sys.executable, "-m", module], env=os.environ | environ, stderr=subprocess.DEVNULL)
    try:
        yield running
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=15) == 0
    finally:
        running.kill()
        running.wait()


async def until_served(stand: Stand, within_s: float) -> None:
    """Whether the gateway is ready and answers a request."""
    async with asyncio.timeout(within_s), httpx.AsyncClient(base_url=stand.url, timeout=40) as client:
        while True:
            try:
                ready, answer = await client.get(READY), await client.post(ASK, json=BODY)
                if (ready.status_code, answer.status_code) == (200, 200):
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("strike", "mend"), [(Broker.freeze, Broker.thaw), (Broker.kill, Broker.start)], ids=["frozen", "killed"]
)
async def test_without_its_broker_the_gateway_reports_it_answers_in_time_and_goes_on_without_a_restart(
    own_broker: Broker, strike: Callable[[Broker], object], mend: Callable[[Broker], object]
) -> None:
    async with standing(own_broker) as stand, httpx.AsyncClient(base_url=stand.url, timeout=40) as client:
        before_mib, statuses, slowest_s, starved_s = stand.memory_mib(), Counter[int](), 0.0, 0.0
        used = CoreWait.read(stand.pids[0])
        strike(own_broker)
        began_s = time.monotonic()
        unready_after_s = None
        try:
            while time.monotonic() - began_s < OUTAGE_S:
                sent = stand.waits()
                ready, unknown, *answers = await asyncio.gather(
                    client.get(READY),
                    client.get("/v2/models/nobody"),
                    *(client.post(ASK, json=BODY) for _ in range(50)),
                )
                took_s, *waits_s = (after - before for after, before in zip(stand.waits(), sent, strict=True))
                # NB: both wait at the same time, so the sum would subtract too much.
                waited_s = max(waits_s)
                slowest_s, starved_s = max(slowest_s, took_s - waited_s), max(starved_s, waited_s)
                statuses += Counter(answer.status_code for answer in answers)
                assert unknown.status_code == 404
                assert (await client.get("/v2/health/live")).status_code == 200
                if ready.status_code == 503 and unready_after_s is None:
                    unready_after_s = time.monotonic() - began_s
                    assert "broker" in ready.json()["reason"], ready.json()
                assert ready.status_code == (200 if unready_after_s is None else 503)
                await asyncio.sleep(0.1)
        finally:
            mend(own_broker)
        assert statuses.keys() <= {200, 503, 504}, statuses
        assert unready_after_s is not None
        assert unready_after_s <= UNREADY_WITHIN_S
        # A deadline of 1 s, and a second for the unknown model. Time in which a process waited for a core is not counted.
        assert slowest_s < 3, (slowest_s, starved_s)
        busy_s = CoreWait.read(stand.pids[0]).cpu_s - used.cpu_s
        assert stand.memory_mib() < before_mib + 30
        back_s = time.monotonic()
        await until_served(stand, 60)
        print(
            f"unready after {unready_after_s:.1f} s, slowest {slowest_s:.1f} s (and {starved_s:.1f} s for a core), {dict(statuses)},"
            f" {busy_s:.1f} s on a core, back {time.monotonic() - back_s:.1f} s"
        )
        assert stand.are_alive()
