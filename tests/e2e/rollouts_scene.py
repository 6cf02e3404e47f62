"""Deployments of every kind of label, their versions, good and bad, and many days of their traffic, played fast.

The traffic is made here, so the truth is known: a number, five classes, a rare event and an even one, each by a linear rule with noise.
Versions are scikit-learn models that were fitted to samples of the same rule, or to samples whose labels were spoiled.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from headrace.asking.playback import Pace, Playing, Step
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.registry import RolledBack, RolloutAborted, RolloutAdvanced, RolloutCompleted
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out
from headrace.log.views import View
from headrace_cli.models.registration import Registration, register_file

Floats = NDArray[np.float64]
# What becomes of the labels of a sample before a version is fitted to it.
Spoiling = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]

DAY, HOUR = 86_400.0, 3600.0
COLUMNS, NAMES = 8, ("news", "sports", "arts", "trade", "other")
WEIGHTS = np.random.default_rng(11).normal(size=(COLUMNS, len(NAMES)))
# Labels of a request: most are known within the label delay of the projects (2h), some within the horizon (6h), a few never.
NEVER, LATE = 0.01, 0.05
# How the rollout of a version ends; a promoted one may be rolled back later.
ENDS = (RolloutCompleted, RolloutAborted, RolledBack)


def number(inputs: Floats, rng: np.random.Generator) -> NDArray[Any]:
    """A number in 0..100."""
    return np.clip(50 + 6 * inputs @ WEIGHTS[:, 0] + 6 * rng.normal(size=len(inputs)), 0, 100)


def five(inputs: Floats, rng: np.random.Generator) -> NDArray[Any]:
    """One of five classes."""
    return np.array(NAMES)[np.argmax(inputs @ WEIGHTS + rng.gumbel(size=(len(inputs), len(NAMES))), axis=1)]


def even(inputs: Floats, rng: np.random.Generator) -> NDArray[Any]:
    """0 or 1, as often."""
    return (inputs @ WEIGHTS[:, 1] + rng.normal(size=len(inputs)) > 0).astype(float)


def rare(inputs: Floats, rng: np.random.Generator) -> NDArray[Any]:
    """1 in about .5 % of requests."""
    return (rng.random(len(inputs)) < 1 / (1 + np.exp(7.75 - inputs @ WEIGHTS[:, 2]))).astype(float)


def fitted(truth: Callable[..., NDArray[Any]], seed: int, rows: int, spoil: Spoiling | None = None) -> Any:
    """A version: a model of so many rows of a truth. `spoil`: what becomes of their labels before."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, COLUMNS)).astype(np.float32)
    labels = truth(inputs.astype(np.float64), rng)
    labels = labels if spoil is None else spoil(labels, rng)
    return (Ridge() if truth is number else LogisticRegression(max_iter=1_000)).fit(inputs, labels)


def shuffled(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """The labels of other rows."""
    return rng.permutation(labels)


def turned(labels: NDArray[Any], _: np.random.Generator) -> NDArray[Any]:
    """The other label of two; of several classes the next one."""
    if labels.dtype.kind == "f":
        return 1 - labels
    return np.array([NAMES[(NAMES.index(label) + 1) % len(NAMES)] for label in labels])


def blurred(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Labels of two classes, nine of ten by chance."""
    return np.where(rng.random(len(labels)) < 0.9, rng.integers(2, size=len(labels)), labels)


@dataclass(frozen=True)
class Asked:
    """The traffic of a deployment. `truth`: of its labels, which are sent unless `has_label` is False. `units`: how many there are, 0 for
    one per request.
    """

    truth: Callable[..., NDArray[Any]]
    per_day: int
    units: int = 0
    has_label: bool = True


@dataclass(frozen=True)
class Stream:
    """Requests of a deployment in order. `known_s`: when the label is known, infinite for never."""

    at_s: Floats
    units: list[str]
    inputs: Floats
    labels: list[Any]
    known_s: Floats

    @classmethod
    def of(cls, name: str, asked: Asked, begin_s: float, days: int) -> "Stream":
        """Days of traffic, most of it around noon."""
        rng, count = np.random.default_rng(list(name.encode())), asked.per_day * days
        at_s = np.sort(begin_s + DAY * (rng.permutation(count) % days + rng.beta(2, 2, count)))
        inputs = rng.normal(size=(count, COLUMNS)).round(4)
        late_s = np.where(rng.random(count) < LATE, rng.uniform(2, 5, count), rng.uniform(0.1, 1.9, count)) * HOUR
        late_s[(rng.random(count) < NEVER) | (not asked.has_label)] = math.inf
        units = [f"u{n}" for n in (rng.integers(asked.units, size=count) if asked.units else range(count))]
        return cls(at_s, units, inputs, asked.truth(inputs, rng).tolist(), at_s + late_s)

    def outs(self, name: str, from_s: float, to_s: float, topics: Any) -> Iterator[tuple[float, Out]]:
        """The requests and outcomes of an interval, with their instants."""
        for n in range(*np.searchsorted(self.at_s, [from_s, to_s])):
            inputs = {f"x{column}": float(value) for column, value in enumerate(self.inputs[n])}
            request = PredictionRequested(name, inputs, self.units[n])
            yield self._out(f"{name}-{n}", self.at_s[n], topics.name("inference.requests"), self.units[n], request)
        for n in np.flatnonzero((self.known_s >= from_s) & (self.known_s < to_s)).tolist():
            outcome = OutcomeObserved(name, self.units[n], self.labels[n], f"{name}-{n}")
            yield self._out(f"{name}-{n}-o", self.known_s[n], topics.name("inference.outcomes"), self.units[n], outcome)

    def _out(self, ident: str, at_s: float, topic: str, unit: str, event: Any) -> tuple[float, Out]:
        return float(at_s), out(topic, unit, event, Envelope(ident, "", "test", float(at_s)))


@dataclass
class Play:
    """Traffic that is played to deployments, and what the registry has published about them. `at_s`: the instant reached."""

    streams: Mapping[str, Stream]
    topics: Any
    playing: Playing
    facts: list[Any]
    at_s: float = field(default=0.0)

    def of(self, name: str, *kinds: type) -> list[Any]:
        """Facts of some kinds about a deployment, in order."""
        return [fact for fact in self.facts if isinstance(fact, kinds) and fact.deployment == name]

    def has_begun(self, name: str, version: int) -> bool:
        """Whether a version's rollout is past its warming."""
        return any(fact.version == version for fact in self.of(name, RolloutAdvanced))

    def has_ended(self, name: str, version: int) -> bool:
        """Whether a version's rollout has ended, or was rolled back afterwards."""
        return any(fact.version == version for fact in self.of(name, *ENDS))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for facts."""
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.02)

    async def begin(self, folder: Path, models: Mapping[str, Any], version: int) -> None:
        """Register a version of deployments, and wait until the rollout of each is past its warming."""
        assert set(await asyncio.to_thread(register, folder, models)) == {version}
        await self.until(lambda: all(self.has_begun(name, version) for name in models))

    async def days(self, names: Sequence[str], most: float, until: Callable[[], bool] = lambda: False) -> None:
        """Play so many days at the most, in steps of two hours, until a condition holds."""
        begin_s = self.at_s
        steps = (self._step(names, begin_s + n * 2 * HOUR) for n in range(round(most * 12)))
        await self.playing.play(steps, stop_when=until)
        self.at_s = self.playing.at_s
        await self.playing.pace.drain()

    def _step(self, names: Sequence[str], from_s: float) -> Step:
        async def make() -> list[Out]:
            found = [
                one for name in names for one in self.streams[name].outs(name, from_s, from_s + 2 * HOUR, self.topics)
            ]
            return [record for _, record in sorted(found, key=lambda one: one[0])]

        return Step(from_s, from_s + 2 * HOUR, make)


@asynccontextmanager
async def played(settings: Settings, asked: Mapping[str, Asked], days: int) -> AsyncIterator[Play]:
    """Traffic for deployments of an installation, days of it at the most. It begins so long ago."""
    log, topics, stop, facts = KafkaLog(settings), topics_of(settings), asyncio.Event(), list[Any]()
    await log.start()

    def take(message: Message) -> None:
        facts.append(message.event)

    async def hold() -> None:
        assert not following.done()

    view = View(log, Codec(topics), [topics.name("registry.facts")], take)
    await view.start()
    following = asyncio.create_task(view.run(stop))
    playing = Playing(log, Pace(log, topics, ("inference", "monitor")), hold)
    begin_s = math.floor(time.time() / DAY - days - 2) * DAY
    try:
        yield Play(
            {name: Stream.of(name, found, begin_s, days) for name, found in asked.items()},
            topics,
            playing,
            facts,
            begin_s,
        )
    finally:
        await playing.close()
        stop.set()
        await following
        await log.stop()


def register(folder: Path, models: Mapping[str, Any]) -> list[int]:
    """Register a model per deployment as `headrace model register` does, two at a time, and return their versions.

    The environment names the broker.
    """

    def one(name: str) -> int:
        file = folder / f"{name}.skops"
        skops.io.dump(models[name], file)
        return register_file(file, Registration(name, "the test")).registered.version

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, models))
