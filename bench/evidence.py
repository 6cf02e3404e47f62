"""The evidence area: the index of decisions on a log of a million, and `headrace explain` on it."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from bench.broker import own_broker
from bench.measure import ForeignLoad, Row, below, progress
from headrace.errors import Retryable
from headrace.events.project import ProjectApplied
from headrace.events.registry import ModelVersion, Route, RouteChanged
from headrace.evidence.index import DecisionIndex, index_path
from headrace.hosting.settings import Settings
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Log, Out
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace.testing.decisions import decision, decision_out, outcome_out
from headrace.testing.registry import version_of

DECISIONS, PARTITIONS, A_SECOND = 1_000_000, 2, 2_000
_BATCH = 10_000
_FOLLOWED_S = 15
_LIMIT_BYTES = 256 * 1024**2
_ROW = bytes(range(80))
_BEGAN_S = 1_364_774_400.0


def run() -> list[Row]:
    """All rows of the area."""
    with own_broker() as (broker, folder):
        return asyncio.run(_rows(Settings(bootstrap_servers=broker.bootstrap_servers), folder))


async def _rows(settings: Settings, folder: Path) -> list[Row]:
    log, topics = KafkaLog(settings), Topics.load()
    await log.start()
    with ForeignLoad() as load:
        try:
            await _fill(log, topics)
            built, cpu_us = await _built(log, topics, folder / "first")
            (folder / "home").mkdir()
            cold = [_explain(settings, folder / "home")]
            warm = [_explain(settings, folder / "home") for _ in range(5)]
            share = await _followed(settings, log, topics, folder / "first")
        finally:
            await log.stop()
    return [
        below("evidence.index built", "s", [built], "under 120 s for 2,000,000 records", 120.0, load.share),
        below("evidence.index", "us of CPU per record", [cpu_us], "under 45", 45.0, load.share),
        below(
            "evidence.index follows",
            "share of a core",
            [share],
            f"under .1 at {A_SECOND:,} decisions/s",
            0.1,
            load.share,
        ),
        below("evidence.explain, no index yet", "s", cold, "under 120 s", 120.0, load.share),
        below("evidence.explain", "s", warm, "under 2 s", 2.0, load.share),
    ]


async def _fill(log: Log, topics: Topics) -> None:
    """A project with one version, its route, and a million decisions, each with its outcome."""
    definition = compile_project(
        Project("p", [Deployment("d", "u", [Number("x")], label=Binary("late", horizon="1d"))])
    )
    await log.create_topics(topics.specs(definition))
    route, version = Route("d", {1: 1.0}, "s", 1, champion=1, reason="first"), ModelVersion(version_of(1), "champion")
    await _send(
        log,
        [
            out(
                topics.name("project.definitions"),
                "p",
                ProjectApplied("p", "digest", "", definition, 1.0),
                Envelope("a", "", "cli", 1.0),
            ),
            out(topics.name("registry.models"), "d/1", version, Envelope("m", "", "registry", 1.0)),
            out(topics.name("registry.facts"), "d", RouteChanged("d", route), Envelope("f", "", "registry", 1.0)),
            out(topics.name("registry.routes"), "d", route, Envelope("r", "", "registry", 1.0, "f")),
        ],
    )
    began_s = time.monotonic()
    for first in range(0, DECISIONS, _BATCH):
        await _send(log, _decisions(topics, first, _BATCH))
        await _send(log, [_outcome(topics, n) for n in range(first, first + _BATCH)])
    progress(f"evidence: {2 * DECISIONS:,} records written in {time.monotonic() - began_s:.0f} s")


def _decisions(topics: Topics, first: int, count: int) -> list[Out]:
    shared = {"deployment": "d", "row": _ROW, "signature": "0" * 32, "applied": {"landings/0": 1, "weather/1": 2}}
    return [
        decision_out(
            decision(f"request-{n}", f"unit-{n}", at_s=_BEGAN_S + n, route_offset=0, request_offset=n, **shared),
            n % PARTITIONS,
            topics,
        )
        for n in range(first, first + count)
    ]


def _outcome(topics: Topics, n: int) -> Out:
    return outcome_out(f"unit-{n}", float(n % 2), _BEGAN_S + n + 60.0, "d", n % PARTITIONS, topics)


async def _send(log: Log, outs: Iterable[Out]) -> None:
    producer = await log.producer()
    try:
        await producer.send(list(outs))
    finally:
        await producer.close()


async def _built(log: Log, topics: Topics, folder: Path) -> tuple[float, float]:
    """Seconds until everything is found, and microseconds of CPU per record."""
    index = DecisionIndex.open(index_path(folder, ""), _LIMIT_BYTES)
    began_s, cpu = time.monotonic(), time.process_time()
    await index.catch_up(log, topics)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu
    if not await index.find("request", f"request-{DECISIONS - 1}"):
        raise Retryable("the newest decision is not in the index")
    index.close()
    size = index_path(folder, "").stat().st_size
    progress(f"evidence: index of {2 * DECISIONS:,} records in {took_s:.1f} s, {size / 1e6:.0f} MB")
    return took_s, cpu_s / (2 * DECISIONS) * 1e6


async def _followed(settings: Settings, log: Log, topics: Topics, folder: Path) -> float:
    """The share of a core that a process takes which follows decisions as they come."""
    child = _follower(settings, folder)
    try:
        assert child.stdout is not None
        await asyncio.to_thread(child.stdout.readline)
        producer = await log.producer()
        process = psutil.Process(child.pid)
        before, began_s = sum(process.cpu_times()[:2]), time.monotonic()
        for n in range(_FOLLOWED_S * 10):
            await producer.send(_decisions(topics, DECISIONS + n * A_SECOND // 10, A_SECOND // 10))
            await asyncio.sleep(max(0.0, began_s + (n + 1) / 10 - time.monotonic()))
        share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began_s)
        await producer.close()
        return share
    finally:
        child.kill()
        child.wait()


def _follower(settings: Settings, folder: Path) -> subprocess.Popen[str]:
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom headrace.evidence.index import DecisionIndex, index_path\n"
        "from headrace.hosting.settings import Settings\nfrom headrace.log.kafka import KafkaLog\n"
        "from headrace.log.topics import Topics\n"
        "async def main():\n"
        "    log = KafkaLog(Settings(bootstrap_servers=sys.argv[1]))\n"
        "    await log.start()\n"
        f"    index = DecisionIndex.open(index_path(Path(sys.argv[2]), ''), {_LIMIT_BYTES})\n"
        "    await index.catch_up(log, Topics.load())\n"
        "    print('ready', flush=True)\n"
        "    await index.follow(log, Topics.load(), asyncio.Event())\n"
        "asyncio.run(main())\n"
    )
    words = [sys.executable, "-c", program, settings.bootstrap_servers, str(folder)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def _explain(settings: Settings, home: Path) -> float:
    """The seconds of a whole `headrace explain`, process start included."""
    environ = os.environ | {"KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers, "HEADRACE_HOME": str(home)}
    began_s = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "headrace_cli", "explain", "d", f"request-{DECISIONS // 3}", "--json"],
        env=environ,
        capture_output=True,
        text=True,
    )
    took_s = time.monotonic() - began_s
    if ran.returncode != 0 or '"outcome": ' not in ran.stdout:
        raise Retryable(f"headrace explain failed: {ran.stderr}{ran.stdout}")
    progress(f"evidence: headrace explain in {took_s:.2f} s")
    return took_s
