"""A small deployment on a real broker: two versions of a model of one number, real inference, and a file of labelled rows."""

import asyncio
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression

from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.events.registry import AliasMoved, ModelVersion, Route
from headrace.features.rows import pin_signature
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.views import View, read_all
from headrace.models import artifacts
from headrace.project import Binary, Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace.testing.registry import version_of

NAME, COPY = "riding", "riding-copy"
BEGIN_S = datetime(2021, 6, 1, tzinfo=UTC).timestamp()
EVERY_S, LABEL_AFTER_S = 60.0, 3600.0
PROJECT = compile_project(
    Project(
        "replays",
        [
            Deployment(
                name, unit="rider", inputs=[Number("x", -10, 10)], label=Binary("late", "6h"), fallback=[prior(0.5)]
            )
            for name in (NAME, COPY)
        ],
    )
)


class Rows:
    """Labelled rows: `x` and `label` (NaN: never known). They are unsorted in the file, and each rider occurs several times."""

    def __init__(self, count: int, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.normal(size=count).round(4)
        self.label = (self.x + rng.normal(size=count) > 0).astype(float)
        self.label[rng.random(count) < 0.05] = np.nan
        self.at_s = BEGIN_S + EVERY_S * np.arange(count)
        self.order = rng.permutation(count)

    def write(self, path: Path) -> None:
        with path.open("w", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(["rider", "asked", "x", "late", "known", "comment"])
            for n in self.order:
                known = "" if np.isnan(self.label[n]) else self.at_s[n] + LABEL_AFTER_S
                label = "" if np.isnan(self.label[n]) else int(self.label[n])
                asked = datetime.fromtimestamp(self.at_s[n], UTC).replace(tzinfo=None).isoformat()
                writer.writerow([f"rider-{n % 50}", asked, self.x[n], label, known, "so"])
            writer.writerow(["rider-1", "someday", 1.0, 1, "", "bad"])


class Scene:
    """The records on the log, and the processes that work on it."""

    def __init__(self, log: KafkaLog, settings: Settings, folder: Path) -> None:
        self.log, self.folder, self.topics = log, folder, topics_of(settings)
        self.codec = Codec(self.topics)
        self.models = {version: trained(version) for version in (1, 2)}
        self.environ = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "HEADRACE_NAMESPACE": settings.namespace,
            "HEADRACE_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
        }
        self._children: list[subprocess.Popen[bytes]] = []

    async def set_up(self) -> None:
        """Apply the project alone, so that the prior answers."""
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        applied = ProjectApplied(PROJECT.name, digest_of(PROJECT), "", PROJECT, 0.0)
        await self.send(("project.definitions", PROJECT.name, applied))

    async def register(self) -> None:
        """Version 1 answers, and version 2 is a shadow."""
        facts: list[tuple[str, str, Any]] = []
        for version, model in self.models.items():
            place = await artifacts.publish(self.log, self.topics, skops.io.dumps(model), "skops", 0.0, "test")
            signature = pin_signature(PROJECT, PROJECT.deployment(NAME), {})
            registered = version_of(version, deployment=NAME, model=NAME, place=place, signature=signature)
            facts.append(("registry.models", f"{NAME}/{version}", ModelVersion(registered, "registered")))
        await self.send(*facts)
        await self.route(1, 2)

    async def route(self, champion: int, shadow: int) -> None:
        route = Route(NAME, {champion: 1.0}, "salt", champion, champion=champion, shadows=(shadow,))
        await self.send(("registry.routes", NAME, route))

    async def switch(self) -> None:
        """Version 2 becomes champion, and version 1 is a shadow."""
        await self.send(("registry.facts", NAME, AliasMoved(NAME, "champion", 2, 1, "it is better")))
        await self.route(2, 1)

    async def send(self, *facts: tuple[str, str, Any]) -> None:
        producer = await self.log.producer()
        await producer.send(
            [
                out(self.topics.name(topic), key, fact, Envelope(f"t-{topic}-{key}", "", "test", 0.0))
                for topic, key, fact in facts
            ]
        )
        await producer.close()

    async def read(self, noun: str) -> list[Message]:
        return await read_all(self.log, self.codec, [self.topics.name(noun)])

    async def decided(self) -> int:
        """About how many decisions have been written (offsets count commits too)."""
        partitions = await self.log.partitions(self.topics.name("inference.decisions"))
        return sum((await self.log.end_offsets(partitions)).values())

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "processes.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", *words], env=self.environ, cwd=self.folder, stdout=log, stderr=log
            )
        self._children.append(child)
        return child

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headrace_cli", *words]
        return subprocess.run(
            command, env=self.environ, cwd=self.folder, capture_output=True, text=True, timeout=400, check=False
        )

    def report(self, *words: str) -> dict[str, Any]:
        ran = self.run(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    async def until(self, holds: Callable[[], Any], within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not await holds():
                await asyncio.sleep(0.05)

    async def until_ready(self, *versions: int) -> None:
        """Wait until inference is ready and has loaded these versions."""
        warmed: set[str] = set()

        def take(message: Message) -> None:
            report = message.event
            warmed.update([*report.warmed, *(["ready"] if report.ready else [])])

        view = View(self.log, self.codec, [self.topics.name("ops.health")], take, committed=False)
        await view.start()
        following = asyncio.create_task(view.follow())
        async with asyncio.timeout(120):
            while not {"ready", *(f"{NAME}/{version}" for version in versions)} <= warmed:
                await asyncio.sleep(0.05)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await view.stop()

    def end(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()


def trained(seed: int) -> LogisticRegression:
    """A model of one number. The second version was fitted on more rows."""
    rows = np.random.default_rng(seed).normal(size=(20 * seed**3, 1)).astype(np.float32)
    noise = np.random.default_rng(seed + 10).normal(size=len(rows))
    return LogisticRegression().fit(rows, rows[:, 0] + noise > 0)
