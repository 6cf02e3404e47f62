"""The console area: 200 deployments and 2,000 decisions a second, looked at by three pages: its processor time and memory."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from bench.broker import own_broker
from bench.measure import ForeignLoad, Row, below, progress
from headrace.events.definition import RolloutDefinition
from headrace.events.monitor import VersionQuality, WindowClosed
from headrace.events.ops import DeploymentTraffic, HealthReported
from headrace.events.project import ProjectApplied
from headrace.events.registry import (
    AliasMoved,
    CardWritten,
    GateResult,
    RolloutAdvanced,
    RolloutStarted,
    Route,
    RouteChanged,
)
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.hosting.settings import Settings
from headrace.latency import BUCKETS
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out, Producer
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace.testing.decisions import decision, decision_out
from headrace.testing.registry import version_of

DEPLOYMENTS, A_SECOND, WINDOWS, VERSIONS, ROLLOUTS = 200, 2_000, 48, 3, 20
SETTLE_S, MEASURE_S = 20, 60
PAGES = ("now", "now,deployment/d-000,series/d-000,timeline/d-000", "services,alerts,now")
_PLAN = RolloutDefinition("canary", shares=(0.05, 0.25, 1.0))
_ROW = bytes(range(80))
_SERVICES = ("pipeline", "feature", "gateway", "registry", "monitor", "trainer", "console")


def run() -> list[Row]:
    """All rows of the area."""
    with own_broker() as (broker, folder):
        return asyncio.run(_rows(Settings(bootstrap_servers=broker.bootstrap_servers), folder))


async def _rows(settings: Settings, folder: Path) -> list[Row]:
    log, topics = KafkaLog(settings), Topics.load()
    await log.start()
    load = _Load(topics)
    with ForeignLoad() as foreign:
        try:
            await log.create_topics(topics.specs(load.definition))
            producer = await log.producer()
            for batch in load.standing():
                await producer.send(batch)
            with _console(settings, folder) as (process, url):
                share, held_mib, sent = await _measured(load, producer, process, url)
            await producer.close()
        finally:
            await log.stop()
    progress(f"console: {sent:,} events for pages")
    return [
        below("console.processor", "share of a core", [share], "under .15", 0.15, foreign.share),
        below("console.memory", "MiB resident", [held_mib], "under 300", 300.0, foreign.share),
    ]


async def _measured(load: "_Load", producer: Producer, process: psutil.Process, url: str) -> tuple[float, float, int]:
    """The share of a core, the memory in MiB, and the number of events that the pages got."""
    counts: list[int] = [0]
    pages = [asyncio.create_task(_page(url, keys, counts)) for keys in PAGES]
    flowing = asyncio.create_task(load.flow(producer))
    await asyncio.sleep(SETTLE_S)
    before, began_s = process.cpu_times(), time.monotonic()
    await asyncio.sleep(MEASURE_S)
    after, took_s = process.cpu_times(), time.monotonic() - began_s
    held_mib = process.memory_info().rss / 1024**2
    now = (await asyncio.to_thread(httpx.get, f"{url}/api/v1/documents/now", timeout=10)).json()
    rows = now["value"]["deployments"].values()
    answers = sum(row["answers_per_s"] or 0.0 for row in rows)
    progress(
        f"console: {len(rows)} rows, {answers:,.0f} answers/s, as of {time.time() - now['as_of_s']:.1f} s ago: {now['value']['word']}"
    )
    progress(f"console: {load.written / load.flowed_s:,.0f} decisions/s written")
    for task in (flowing, *pages):
        task.cancel()
    await asyncio.gather(flowing, *pages, return_exceptions=True)
    used_s = after.user + after.system - before.user - before.system
    return used_s / took_s, held_mib, counts[0]


async def _page(url: str, keys: str, counts: list[int]) -> None:
    """A page that follows documents."""
    async with (
        httpx.AsyncClient(timeout=None) as client,
        client.stream("GET", f"{url}/api/v1/live?documents={keys}") as answer,
    ):
        async for line in answer.aiter_lines():
            counts[0] += line.startswith("data:")


class _Load:
    """What the log holds, and what flows."""

    def __init__(self, topics: Topics) -> None:
        self.topics, self.began_s = topics, time.time()
        self.names = [f"d-{number:03}" for number in range(DEPLOYMENTS)]
        label = Binary("late", horizon="1h")
        found = [
            Deployment(name, unit="id", inputs=[Number("x")], label=label, fallback=[prior(0.3)]) for name in self.names
        ]
        self.definition = compile_project(Project("p", found))
        self.written, self.windows, self.flowed_s = 0, WINDOWS, 1e-9

    def standing(self) -> Iterator[list[Out]]:
        """What was there before: a project, versions, routes, rollouts, windows."""
        applied = ProjectApplied("p", "digest", "", self.definition, 1.0)
        yield [self._out("project.definitions", "p", applied)]
        for name in self.names:
            yield [self._out("registry.facts", name, fact) for fact in self._facts(name)]
            yield [self._window(name, number) for number in range(WINDOWS)]
        for number, name in enumerate(self.names[:ROLLOUTS]):
            started = RolloutStarted(name, f"r{number}", VERSIONS, "canary", "better", _PLAN, 1)
            step = RolloutAdvanced(name, f"r{number}", VERSIONS, "canary", 0.05, 0, 5.0)
            yield [self._out("registry.facts", name, fact) for fact in (started, step)]

    def _facts(self, name: str) -> list[object]:
        gates = tuple(GateResult(f"gate {number}", "PASS", 0.1, 0.2, "m", "well within") for number in range(4))
        registered = [
            version_of(number, deployment=name, gates=gates, command_id=f"{name}-{number}", metrics={"auc": 0.7})
            for number in range(1, VERSIONS + 1)
        ]
        cards = [CardWritten(name, number, "# Card\n" + "text " * 400) for number in range(1, VERSIONS + 1)]
        route = Route(name, {1: 1.0}, "s", 1, champion=1, warm=(1, 2, 3))
        return [*registered, *cards, AliasMoved(name, "champion", 1, None, "first"), RouteChanged(name, route)]

    def _window(self, name: str, number: int) -> Out:
        quality = VersionQuality(1, "champion", 900, 0.5, 0.5, 0.75, 0.3, over_prior=-0.1, loss_error=0.01)
        from_s = 1.4e9 + number * 3600
        closed = WindowClosed(
            name, from_s, from_s + 3600, 1000, 900, 0.3, "PASS", (quality,), {"served": 1000}, drift_statistic=0.1
        )
        return self._out("monitor.windows", f"{name}/1", closed)

    async def flow(self, producer: Producer) -> None:
        """Decisions, reports, windows and verdicts, as they come; for ever."""
        began_s = time.monotonic()
        for half in range(1_000_000):
            await producer.send(
                [*self._decisions(A_SECOND // 2), *(self._reports() if half % 2 == 0 else self._judged(half))]
            )
            self.flowed_s = time.monotonic() - began_s
            await asyncio.sleep(max(began_s + (half + 1) / 2 - time.monotonic(), 0.0))

    def _decisions(self, count: int) -> list[Out]:
        first, self.written = self.written, self.written + count
        return [
            decision_out(
                decision(
                    f"request-{n}",
                    f"unit-{n}",
                    at_s=1.4e9 + n,
                    deployment=self.names[n % DEPLOYMENTS],
                    row=_ROW,
                    request_offset=n,
                ),
                n % 2,
                self.topics,
            )
            for n in range(first, first + count)
        ]

    def _reports(self) -> list[Out]:
        """A report of every instance; two of inference, each with half of the answers."""
        each = self.written // DEPLOYMENTS // 2
        latency = (each // 2, each - each // 2, *[0] * (BUCKETS - 2))
        traffic = {name: DeploymentTraffic({"served": each}, {"1": each}, latency) for name in self.names}
        others = [
            HealthReported(name, f"{name}-1", True, started_s=self.began_s, handled_total=self.written)
            for name in _SERVICES
        ]
        warmed = tuple(f"{name}/{version}" for name in self.names for version in (1, 2, 3))
        serving = [
            HealthReported(
                "inference",
                f"inference-{n}",
                True,
                started_s=self.began_s,
                traffic=traffic,
                warmed=warmed,
                handled_total=self.written,
            )
            for n in (1, 2)
        ]
        return [
            self._out("ops.health", f"{report.service}/{report.instance}", report) for report in (*others, *serving)
        ]

    def _judged(self, half: int) -> list[Out]:
        """A verdict on every rollout, and in ten seconds a window of every deployment: an hour of theirs."""
        evidence = (
            Evidence("errors", "guardrail", "PASS", 0.0, 0.02, "", half),
            Evidence("level", "label", "INCONCLUSIVE", -0.01, 0.01, "", half),
        )
        verdicts = [
            self._out(
                "monitor.verdicts",
                name,
                VerdictGiven(
                    name,
                    f"r{n}",
                    VERSIONS,
                    0,
                    "PASS",
                    "INCONCLUSIVE",
                    1.4e9 + half,
                    half,
                    half,
                    half,
                    evidence=evidence,
                ),
            )
            for n, name in enumerate(self.names[:ROLLOUTS])
        ]
        tenth = half // 2 % 10
        self.windows += tenth == 0
        size = DEPLOYMENTS // 10
        return verdicts + [self._window(name, self.windows) for name in self.names[tenth * size : (tenth + 1) * size]]

    def _out(self, base: str, key: str, event: object) -> Out:
        ident = f"{base}-{key}-{time.monotonic_ns()}"
        return out(self.topics.name(base), key, event, Envelope(ident, "", "bench", time.time()))  # ty: ignore[invalid-argument-type]


@contextmanager
def _console(settings: Settings, folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """The console as a process of its own, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "HEADRACE_CONSOLE_PORT": str(port),
        "HEADRACE_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([sys.executable, "-m", "headrace_console"], env=environ)
    url = f"http://127.0.0.1:{port}"
    try:
        _until(url, process)
        yield psutil.Process(process.pid), url
        process.terminate()
        process.wait(10)
    finally:
        process.kill()
        process.wait()


def _until(url: str, process: subprocess.Popen[bytes]) -> None:
    began_s = time.monotonic()
    while time.monotonic() - began_s < 60 and process.poll() is None:
        try:
            if json.loads(httpx.get(f"{url}/api/v1/documents/now", timeout=2).content)["as_of_s"]:
                progress(f"console: everything was read {time.monotonic() - began_s:.1f} s after its start")
                return
        except (httpx.TransportError, ValueError):
            pass
        time.sleep(0.1)
    raise SystemExit("the console does not answer")
