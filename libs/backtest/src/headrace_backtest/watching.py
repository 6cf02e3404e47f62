"""The monitor of a back-test: the monitor's own shard on a log in memory that holds what one policy would have led to.

Everything is appended at the instant of its own event time, and the clock stands at the end of what was read: so the monitor
reads live, whatever the speed. Sources are not replayed, since features are those of the logged rows: findings about sources
and about skew are none of a policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.clock import ManualClock
from headrace.events.definition import DeploymentDefinition, ProjectDefinition
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import BudgetReported, FindingOpened, FindingResolved, WindowClosed
from headrace.events.registry import AliasMoved
from headrace.events.training import RetrainRequested
from headrace.hosting.logic import Outputs
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project.labels import BINARY, CLASSES
from headrace_backtest.history import Floats, History
from headrace_backtest.versions import Version
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.shell import MonitorShard

BATCH = 2000


@dataclass(frozen=True)
class Course:
    """How requests were answered, by place: by which version, 0 where not yet, and with which scores. It changes in place."""

    numbers: NDArray[np.int64]
    answers: Floats

    @classmethod
    def of(cls, history: History) -> "Course":
        """Nothing is answered yet."""
        shape = (len(history), history.classes) if history.kind == CLASSES else (len(history),)
        return cls(np.zeros(len(history), np.int64), np.full(shape, np.nan))


@dataclass
class Told:
    """What the monitor wrote, in order. `requests`: with their ids."""

    opened: list[FindingOpened] = field(default_factory=list)
    resolved: list[FindingResolved] = field(default_factory=list)
    windows: list[WindowClosed] = field(default_factory=list)
    budgets: list[BudgetReported] = field(default_factory=list)
    requests: list[tuple[str, RetrainRequested]] = field(default_factory=list)


class Watching:
    """One deployment's monitor over one history.

    `deployment`: with the policy that is tried. `course`: how requests are answered, up to the clock. `begin_s`: the
    instant at which it starts.
    """

    def __init__(self, history: History, deployment: DeploymentDefinition, course: Course, begin_s: float) -> None:
        self._history, self._deployment, self._course = history, deployment, course
        self._topics = Topics.load("backtest")
        self._codec, self._clock = Codec(self._topics), ManualClock(begin_s)
        self._decisions = TopicPartition(self._topics.name("inference.decisions"), 0)
        self._outcomes = TopicPartition(self._topics.name("inference.outcomes"), 0)
        project = ProjectDefinition(
            "backtest", (), (), (), (), (msgspec.structs.replace(deployment, features=(), metrics=()),)
        )
        outside = Outside(behind=self._behind, reread=self._reread)
        self._shard = MonitorShard(self._topics, (project,), self._clock, Liveness(), outside)
        self._digests: dict[int, str] = {}
        self._sent = 0
        self.told = Told()

    async def start(self, champion: Version) -> None:
        """Begin with a champion."""
        await self._shard.on_start({})
        await self.promote(champion, None)

    async def promote(self, version: Version, was: int | None) -> None:
        """A version is champion from the clock on."""
        self._digests[version.number] = version.registered.model_digest
        await self.tell(version.registered, f"registered-{version.number}")
        moved = AliasMoved(self._deployment.name, "champion", version.number, was, "back-test")
        await self.tell(moved, f"alias-{version.number}")

    async def tell(self, fact: Any, ident: str) -> None:
        """A fact of the registry or the trainer, at the clock."""
        noun = "registry.facts" if type(fact).__module__.startswith("headrace.events.registry") else "training.facts"
        await self._batch([self._message(TopicPartition(self._topics.name(noun), 0), fact, ident, self._clock.now_s())])

    async def read(self, places: Sequence[int], labels: Sequence[int], to_s: float) -> None:
        """Requests that were answered, and labels that became known, up to an instant; both by place."""
        self._clock.advance(max(to_s - self._clock.now_s(), 0.0))
        messages = [self._decision(place) for place in places] + [self._outcome(place) for place in labels]
        messages.sort(key=lambda message: message.envelope.time_s)
        for begin in range(0, len(messages), BATCH):
            await self._batch(messages[begin : begin + BATCH])
        self._take(await self._shard.on_tick())

    async def _batch(self, messages: list[Message]) -> None:
        self._take(await self._shard.on_batch(messages))

    def _take(self, outputs: Outputs) -> None:
        told = self.told
        for written in outputs.outs:
            match self._event(written):
                case FindingOpened() as event:
                    told.opened.append(event)
                case FindingResolved() as event:
                    told.resolved.append(event)
                case WindowClosed() as event:
                    told.windows.append(event)
                case BudgetReported() as event:
                    told.budgets.append(event)
                case RetrainRequested() as event:
                    ident = next((value or b"" for name, value in written.headers if name == "ce_id"), b"")
                    told.requests.append((ident.decode(), event))

    def _event(self, written: Out) -> Any:
        record = Record(written.topic, 0, 0, written.key, written.value, written.headers, self._now_ms)
        return None if written.value is None else self._codec.decode(record).event

    @property
    def _now_ms(self) -> int:
        return int(self._clock.now_s() * 1000) + 1

    # what is read

    def _decision(self, place: int) -> Message:
        return self._message(self._decisions, self._made(place), f"d-{place}", float(self._history.at_s[place]), place)

    def _made(self, place: int) -> DecisionMade:
        history, number, answer = self._history, int(self._course.numbers[place]), self._course.answers[place]
        if history.kind == CLASSES:
            found = Score(number, self._digests[number], probabilities=tuple(answer.tolist()))
        else:
            found = Score(number, self._digests[number], float(answer))
        return DecisionMade(
            history.ids[place],
            self._deployment.name,
            history.units[place],
            float(history.at_s[place]),
            Served(found),
            place,
            row=history.matrix[place].tobytes(),
            signature=history.signature.digest,
            assigned=number,
        )

    def _outcome(self, place: int) -> Message:
        history = self._history
        event = OutcomeObserved(self._deployment.name, history.units[place], self._label(place), history.ids[place])
        return self._message(self._outcomes, event, f"o-{place}", float(history.known_s[place]), place)

    def _label(self, place: int) -> float | str:
        value, label = float(self._history.labels[place]), self._deployment.label
        names = () if label is None else label.classes
        return names[int(value)] if names and self._history.kind in (BINARY, CLASSES) else value

    def _message(self, tp: TopicPartition, event: Any, ident: str, at_s: float, offset: int | None = None) -> Message:
        self._sent += 1
        record = Record(
            tp.topic, tp.partition, self._sent if offset is None else offset, None, None, (), int(at_s * 1000) + 1
        )
        return Message(record, Envelope(ident, "", "backtest", at_s), event)

    # what the shard asks of the log

    async def _behind(self) -> Mapping[TopicPartition, int]:
        return {self._decisions: 0, self._outcomes: 0}

    async def _reread(self, wanted: Mapping[TopicPartition, Sequence[int]]) -> list[DecisionMade]:
        return [self._made(place) for place in wanted.get(self._decisions, ())]
