"""The work of the serving area: one model of thirty numbers behind a deployment, on a real broker, ready to be asked."""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import skops.io
from skl2onnx import to_onnx

from bench.asker import COLUMNS, DEPLOYMENTS
from bench.measure import ROOT, run_json
from bench.model import asked_rows
from headrace.events.definition import ProjectDefinition, digest_of
from headrace.events.project import ProjectApplied
from headrace.events.registry import ModelVersion, Route
from headrace.features.rows import pin_signature
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.topics import Topics
from headrace.models import artifacts, onnx_format
from headrace.project import Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of
from headrace_broker import Broker

WAIT_S = 60.0
# The version that scores along, where there is one.
SHADOW = 2


def definition() -> ProjectDefinition:
    """Two deployments of thirty numbers with limits: one answers fast, the other when the decision is committed."""
    inputs = [Number(name, -100, 100) for name in COLUMNS]
    fast = Deployment(DEPLOYMENTS["fast"], unit="id", inputs=inputs, fallback=[prior(0.5)], answer="fast")
    committed = Deployment(DEPLOYMENTS["committed"], unit="id", inputs=inputs, fallback=[prior(0.5)])
    return compile_project(Project("bench", [fast, committed]))


def in_onnx(model: Any) -> bytes:
    """The model for ONNX Runtime, which gives the same answer for every row."""
    rows = asked_rows()
    data = to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString()
    apart = np.abs(onnx_format.engine(data).predict(rows, "binary")[:, 1] - model.predict_proba(rows)[:, 1]).max()
    if apart > 1e-6:
        raise SystemExit(f"the model in ONNX gives other numbers: they differ by {apart:.2g}")
    return data


class Served:
    """A namespace of its own with the service running on it."""

    def __init__(
        self, broker: Broker, model: Any, partitions: int = 1, gateway_port: int = 0, *, has_shadow: bool = False
    ) -> None:
        self.broker, self.partitions, self.gateway_port = broker, partitions, gateway_port
        self.namespace = f"b{secrets.token_hex(4)}"
        self.topics = Topics.load(self.namespace, requests=partitions)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.has_shadow = has_shadow
        asyncio.run(self._publish(model, definition()))

    @contextlib.contextmanager
    def running(self, *services: str) -> Iterator["Served"]:
        """The named services, ready."""
        began_s = time.time()
        try:
            self.processes = [self.start(service) for service in services]
            asyncio.run(self._until_ready(services, began_s))
            yield self
        finally:
            for process in self.processes:
                process.terminate()
            for process in self.processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """A process of a service."""
        environ = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "HEADRACE_NAMESPACE": self.namespace,
            "HEADRACE_PARTITIONS_REQUESTS": str(self.partitions),
            "HEADRACE_LOG_LEVEL": "WARNING",
            "HEADRACE_GATEWAY_PORT": str(self.gateway_port),
            "OMP_NUM_THREADS": "1",
        }
        module = "bench.slow_inference" if self.has_shadow else f"headrace_{service}"
        return subprocess.Popen([sys.executable, "-m", module], env=environ, cwd=ROOT)

    def ask(self, answer: str, window: int, seconds: float, rate: float = 0.0) -> dict | None:
        """The figures of one closed loop over Kafka (an open one at `rate`); `answer`: `fast` or `committed`."""
        requests, replies = self.topics.name("inference.requests"), self.topics.name("inference.replies")
        return ask(
            self.broker,
            "ours",
            requests,
            replies,
            window,
            seconds,
            partitions=self.partitions,
            model=DEPLOYMENTS[answer],
            rate=rate,
        )

    async def _publish(self, model: Any, project: ProjectDefinition) -> None:
        log = KafkaLog(Settings(self.broker.bootstrap_servers, namespace=self.namespace))
        await log.start()
        await ensure_topics(log, self.topics.specs(project))
        place = await artifacts.publish(log, self.topics, skops.io.dumps(model), "skops", 0.0, "bench")
        onnx = await artifacts.publish(log, self.topics, in_onnx(model), "onnx", 0.0, "bench")
        facts: list[tuple[str, str, msgspec.Struct]] = [
            ("project.definitions", project.name, ProjectApplied(project.name, digest_of(project), "", project, 0.0))
        ]
        for deployment in project.deployments:
            name = deployment.name
            signature = pin_signature(project, deployment, {})
            registered = version_of(1, deployment=name, model=name, place=place, signature=signature, onnx=onnx)
            facts.append(("registry.models", f"{name}/1", ModelVersion(registered, "registered")))
            if self.has_shadow:
                other = msgspec.structs.replace(registered, version=SHADOW)
                facts.append(("registry.models", f"{name}/{SHADOW}", ModelVersion(other, "registered")))
            shadows = (SHADOW,) if self.has_shadow else ()
            facts.append(("registry.routes", name, Route(name, {1: 1.0}, "salt", 1, champion=1, shadows=shadows)))
        producer = await log.producer()
        await producer.send(
            [
                out(self.topics.name(topic), key, fact, Envelope(f"bench-{key}", "", "bench", 0.0))
                for topic, key, fact in facts
            ]
        )
        await producer.close()
        await log.stop()

    async def _until_ready(self, services: Sequence[str], since_s: float) -> None:
        """Wait until every service reports that it is ready (and inference that it owns its shards)."""
        from headrace.log.codec import Codec
        from headrace.log.views import read_all

        log = KafkaLog(Settings(self.broker.bootstrap_servers, namespace=self.namespace))
        await log.start()
        codec, topic = Codec(self.topics), self.topics.name("ops.health")
        async with asyncio.timeout(WAIT_S):
            while True:
                beats = {m.event.service: m.event for m in await read_all(log, codec, [topic]) if m.event}
                ready = {name for name, beat in beats.items() if beat.ready and beat.started_s >= since_s}
                owned = len(beats["inference"].shards) if "inference" in ready else 0
                if set(services) <= ready and ("inference" not in services or owned == self.partitions):
                    break
                await asyncio.sleep(0.1)
        await log.stop()


def ask(
    broker: Broker,
    form: str,
    requests: str,
    replies: str,
    window: int,
    seconds: float,
    *,
    model: str = "",
    partitions: int = 1,
    rate: float = 0.0,
) -> dict | None:
    """One run of `bench.asker` in a process of its own."""
    command = [sys.executable, "-m", "bench.asker", broker.bootstrap_servers, form, requests, replies]
    command += ["--partitions", str(partitions), "--model", model, "--rate", str(rate)]
    return run_json([*command, "--window", str(window), "--seconds", str(seconds)], seconds + 60)
