"""Deployments of four kinds on a broker, with registry, inference and monitor as processes of their own: clean days, a planted
change, and good days again.

Models are registered by hand, so the first closed windows are what charts compare with. Labels come an hour after their request.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from headrace.events.alerts import AlertChanged
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.monitor import FindingOpened, FindingResolved, WindowClosed
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out
from headrace.log.views import read_all
from headrace_broker import free_port

DAY_S, HOUR_S, COLUMNS = 86_400.0, 3600.0, 4
BEGIN_S = 1_767_225_600.0  # 2026-01-01
TREES = ("ash", "birch", "cedar", "fir", "oak")
SERVICES = ("registry", "inference", "monitor")
PROJECT = f"""
from headrace.project import Binary, Charts, Deployment, Multiclass, Number, Project, Regression

TREES = {TREES!r}


def declared(name, label):
    inputs = [Number(f"x{{n}}", -9, 9) for n in range({COLUMNS})]
    watched = [Charts(pages="1 per month")] if label else []
    return Deployment(name, unit="request", inputs=inputs, label=label, monitoring=watched)


project = Project("four", deployments=[
    declared("price", Regression("price", 0, 400, "2h")), declared("tree", Multiclass("tree", TREES, "2h")),
    declared("fraud", Binary("fraud", "2h")), declared("photo", None),
])
"""
Floats = NDArray[np.float64]
Event = TypeVar("Event")


@dataclass(frozen=True)
class Play:
    """What a deployment is sent. `wrong`: the days of the planted change; `labels` gives the labels of rows, (n,), of which `bad` is
    those of such a day; `broken` changes an input instead."""

    name: str
    days: int
    per_day: int
    wrong: range
    labels: Callable[[Floats, NDArray[np.bool_], np.random.Generator], NDArray[Any]] | None = None
    broken: Callable[[dict[str, Any]], dict[str, Any]] = dict

    def rows(self, days: int) -> tuple[Floats, NDArray[np.bool_]]:
        """The inputs of so many days, and which of them are of a day of the change."""
        rng, count = np.random.default_rng(14), days * self.per_day
        return rng.normal(size=(count, COLUMNS)).clip(-8, 8), np.isin(np.arange(count) // self.per_day, self.wrong)


def prices(x: Floats, bad: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[Any]:
    """A number; in the change, prices are a tenth of the range higher where `x2` is high."""
    found = 200 + 30 * x[:, 0] - 15 * x[:, 1] + rng.normal(0, 12, len(x))
    return np.clip(found + 40 * (bad & (x[:, 2] > 0.5)), 0, 400)


def trees(x: Floats, bad: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[Any]:
    """Five classes; in the change, each is called by its neighbour's name where `x2` is high."""
    weights = np.random.default_rng(5).normal(0, 2, (COLUMNS, len(TREES)))
    weights[2] = 0
    found = np.argmax(x @ weights + rng.gumbel(size=(len(x), len(TREES))), axis=1)
    return np.where(bad & (x[:, 2] > 0.5), (found + 1) % len(TREES), found)


def frauds(x: Floats, bad: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[Any]:
    """One in two hundred; in the change, as many, whatever the inputs are."""
    risk = 1 / (1 + np.exp(7.6 - 2 * x[:, 0] - 1.0 * x[:, 1]))
    return (rng.random(len(x)) < np.where(bad, risk.mean(), risk)).astype(float)


def of_another_unit(inputs: dict[str, Any]) -> dict[str, Any]:
    """A thousand times as large."""
    return inputs | {"x1": 1000 * inputs["x1"]}


PLAYS = {
    "price": Play("price", 31, 150, range(17, 20), prices),
    "tree": Play("tree", 31, 300, range(17, 20), trees),
    "fraud": Play("fraud", 31, 4000, range(17, 20), frauds),
    "photo": Play("photo", 5, 600, range(1, 2), None, of_another_unit),
}


def fitted(play: Play) -> Any:
    """The model of a deployment, fitted on days of its own without a change."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40_000, COLUMNS))
    none = np.zeros(len(x), bool)
    if play.labels is None or play.labels is prices:
        return Ridge().fit(x, prices(x, none, rng))
    y = play.labels(x, none, rng)
    return LogisticRegression(C=10.0).fit(x, np.array(TREES)[y] if play.labels is trees else y)


class Stage:
    """A namespace of a broker with its services, and the `headrace` command."""

    def __init__(self, settings: Settings, log: KafkaLog, folder: Path) -> None:
        self.settings, self.log, self.folder = settings, log, folder
        self.topics = topics_of(settings)
        self.codec = Codec(self.topics)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "KAFKA_"))}
        self.environ = kept | {
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "HEADRACE_NAMESPACE": settings.namespace,
            "HEADRACE_HOME": str(folder / "home"),
        }

    def started(self, service: str, written: IO[bytes]) -> subprocess.Popen[bytes]:
        """The process of a service. `written`: what its log is written to."""
        environ = self.environ | {"HEADRACE_HTTP_PORT": str(free_port())}
        command = [sys.executable, "-m", f"headrace_{service}"]
        return subprocess.Popen(command, env=environ, cwd=self.folder, stdout=written, stderr=written)

    async def headrace(self, *words: str) -> str:
        """What a command prints."""
        command = [sys.executable, "-m", "headrace_cli", *words]
        ran = await asyncio.to_thread(
            subprocess.run, command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=240
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    async def read(self, noun: str, kind: type[Event], deployment: str = "") -> list[Event]:
        """The events of a kind on a topic, of one deployment or of all."""
        found = [message.event for message in await read_all(self.log, self.codec, [self.topics.name(noun)])]
        return [e for e in found if isinstance(e, kind) and deployment in ("", getattr(e, "deployment", ""))]

    async def until(self, holds: Callable[[], Any], within_s: float) -> None:
        """Wait for a condition."""
        give_up_s = time.monotonic() + within_s
        while not await holds():
            assert time.monotonic() < give_up_s, await self.headrace("finding", "list", "--all")
            await asyncio.sleep(0.5)

    async def send(self, outs: Sequence[Out]) -> None:
        """Write records, some thousands at a time."""
        producer = await self.log.producer()
        for begin in range(0, len(outs), 5000):
            await producer.send(outs[begin : begin + 5000])
        await producer.close()

    def records(self, play: Play) -> tuple[list[Out], list[Out]]:
        """Requests and outcomes of a deployment, by the instant at which each is known: those before its last day, and the others."""
        x, bad = play.rows(play.days)
        labels = None if play.labels is None else play.labels(x, bad, np.random.default_rng(8))
        found: list[tuple[float, Out]] = []
        for n, row in enumerate(x.tolist()):
            at_s, unit = BEGIN_S + (n + 0.5) * DAY_S / play.per_day, f"{play.name}-{n}"
            inputs = {f"x{place}": value for place, value in enumerate(row)}
            event = PredictionRequested(play.name, play.broken(inputs) if bad[n] else inputs)
            envelope = Envelope(f"r-{unit}", "", "test", at_s)
            found.append((at_s, out(self.topics.name("inference.requests"), unit, event, envelope)))
            if labels is not None:
                label = TREES[labels[n]] if play.labels is trees else float(labels[n])
                envelope = Envelope(f"o-{unit}", "", "test", at_s + HOUR_S)
                outcome = out(
                    self.topics.name("inference.outcomes"), unit, OutcomeObserved(play.name, unit, label), envelope
                )
                found.append((at_s + HOUR_S, outcome))
        found.sort(key=lambda one: one[0])
        last_s = BEGIN_S + (play.days - 1) * DAY_S
        return [record for at_s, record in found if at_s < last_s], [record for at_s, record in found if at_s >= last_s]

    async def register(self, play: Play) -> None:
        """Register the model of a deployment by hand."""
        skops.io.dump(fitted(play), self.folder / f"{play.name}.skops")
        await self.headrace("model", "register", f"{play.name}.skops", "--deployment", play.name)

    async def played(
        self, plays: Sequence[Play], within_s: float
    ) -> Mapping[str, list[FindingOpened | FindingResolved]]:
        """Play deployments at once: a backlog, and once its windows are closed the last day. Returns the records about findings by
        deployment, once each has found something and nothing is open.
        """
        (self.folder / "four.py").write_text(PROJECT)
        await self.headrace("apply", "four.py")
        await asyncio.gather(*(self.register(play) for play in plays))
        await self.until(self._serving(plays), within_s)
        parts = [self.records(play) for play in plays]
        await asyncio.gather(*(self.send(backlog) for backlog, _ in parts))

        async def are_closed() -> bool:
            windows = [window.deployment for window in await self.read("monitor.windows", WindowClosed)]
            return all(windows.count(play.name) >= play.days - 2 for play in plays)

        async def are_over() -> bool:
            opened = {found.finding: found.deployment for found in await self.read("monitor.findings", FindingOpened)}
            over = {found.finding for found in await self.read("monitor.findings", FindingResolved)}
            return set(opened) == over and set(opened.values()) == {play.name for play in plays}

        await self.until(are_closed, within_s)
        await asyncio.gather(*(self.send(last) for _, last in parts))
        await self.until(are_over, within_s)
        found: list[Any] = await self.read("monitor.findings", object)
        return {play.name: [one for one in found if one.deployment == play.name] for play in plays}

    def _serving(self, plays: Sequence[Play]) -> Callable[[], Any]:
        async def holds() -> bool:
            listed = [json.loads(await self.headrace("model", "list", play.name, "--json")) for play in plays]
            return all(any("champion" in version["aliases"] for version in found) for found in listed)

        return holds

    async def alerts(self) -> set[tuple[str, str]]:
        """Name and deployment of all alerts that ever fired for a deployment."""
        found = [alert.labels for alert in await self.read("alerts", AlertChanged) if alert.status == "firing"]
        return {(labels["alertname"], labels["deployment"]) for labels in found if "deployment" in labels}


@contextlib.asynccontextmanager
async def staged(settings: Settings, log: KafkaLog, folder: Path) -> AsyncIterator[Stage]:
    """A stage whose services run; what they wrote is printed at the end."""
    stage = Stage(settings, log, folder)
    await ensure_topics(log, stage.topics.specs())
    (folder / "home").mkdir()
    with contextlib.ExitStack() as opened:
        running = []
        for name in SERVICES:
            written = opened.enter_context((folder / f"{name}.log").open("wb"))
            running.append(stage.started(name, written))
        try:
            yield stage
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(30)
            print(*((folder / f"{name}.log").read_text()[-3000:] for name in SERVICES), sep="\n")
