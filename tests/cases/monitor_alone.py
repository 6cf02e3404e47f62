"""A monitor's shard with its inputs, and nothing else."""

from collections.abc import Mapping, Sequence

from headrace.clock import ManualClock
from headrace.events.alerts import AlertChanged
from headrace.events.definition import ProjectDefinition
from headrace.events.inference import (
    DecisionMade,
    OutcomeObserved,
    Score,
    Served,
)
from headrace.events.monitor import WindowClosed
from headrace.events.ops import HealthReported
from headrace.hosting.health import Health
from headrace.hosting.triage import Learn
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.shell import MonitorShard

DAY = 86_400.0
NOW = 1_780_000_000.0
TOPICS = Topics.load()
CODEC = Codec(TOPICS)
DECISIONS, OUTCOMES = TOPICS.name("inference.decisions"), TOPICS.name("inference.outcomes")
FACTS = TOPICS.name("inference.facts")
RELEASES, ROUTES = TOPICS.name("registry.facts"), TOPICS.name("registry.routes")


def one(name: str, **more: object) -> Deployment:
    fields: dict = {"label": Binary("y", horizon="1h")} | more
    return Deployment(name, "u", [Number("x")], **fields)


def compiled(*deployments: Deployment, name: str = "p") -> ProjectDefinition:
    return compile_project(Project(name, list(deployments)))


class Monitor:
    """A shard with its inputs. A record that is put is read at once."""

    def __init__(self, *projects: ProjectDefinition, learn: Learn | None = None) -> None:
        self.learn = learn
        self.clock, self.liveness, self.health = ManualClock(NOW), Liveness(), Health("monitor", "m", failures={})
        self.ends: dict[TopicPartition, int] = {TopicPartition(t, 0): 0 for t in (DECISIONS, OUTCOMES, FACTS)}
        self.shard = self.make(projects)
        self.outs: list[Out] = []
        self.dead: list[tuple[Message, str]] = []

    def make(self, projects: Sequence[ProjectDefinition]) -> MonitorShard:
        async def behind() -> Mapping[TopicPartition, int]:
            return dict.fromkeys(self.ends, 0)

        return MonitorShard(TOPICS, projects, self.clock, self.liveness, Outside(behind, learn=self.learn), self.health)

    async def start(self, committed: Mapping[TopicPartition, int] | None = None) -> Mapping[TopicPartition, int]:
        return await self.shard.on_start(committed or {})

    def message(self, topic: str, event: object, time_s: float, headers: tuple = ()) -> Message:
        tp = TopicPartition(topic, 0)
        offset = self.ends.setdefault(tp, 0)
        self.ends[tp] += 1
        record = Record(topic, 0, offset, b"k", None, headers, int(self.clock.now_s() * 1000))
        return Message(record, Envelope(f"{topic}{offset}", "", "t", time_s), event)

    async def read(self, *messages: Message) -> None:
        found = await self.shard.on_batch(messages)
        self.outs += found.outs
        self.dead += [(message, poison.reason) for message, poison in found.dead]

    async def tick(self, after_s: float = 3.0) -> None:
        self.clock.advance(after_s)
        self.outs += (await self.shard.on_tick()).outs

    async def live(self, name: str, days: int = 3, since: int = 0, label: float = 1.0) -> None:
        """Days of requests with their outcomes."""
        for n in range(since * 10, (since + days) * 10):
            at_s = n * DAY / 10
            answer = Served(Score(1, "m", 0.4))
            await self.read(
                self.message(DECISIONS, DecisionMade(f"r{n}", name, f"u{n}", at_s, answer, n), at_s),
                self.message(OUTCOMES, OutcomeObserved(name, f"u{n}", label if n % 2 else 0.0), at_s + 60),
            )
        await self.tick()

    def beat(self, service: str, instance: str = "", **more: object) -> None:
        """A heartbeat of a service, and one of the monitor."""
        for who in (service, "monitor"):
            report = HealthReported(who, (who == service and instance) or who, True, **(more if who == service else {}))  # type: ignore[arg-type]
            record = Record("ops.health.v1", 0, 0, None, None, (), int(self.clock.now_s() * 1000))
            self.liveness.on_record(report, record)

    @property
    def events(self) -> list:
        return [CODEC.decode(Record(o.topic, 0, 0, o.key, o.value, o.headers)).event for o in self.outs]

    def windows(self, name: str) -> list[WindowClosed]:
        return [e for e in self.events if isinstance(e, WindowClosed) and e.deployment == name]

    def alerts(self, name: str) -> list[str]:
        return [e.status for e in self.events if isinstance(e, AlertChanged) and e.labels["alertname"] == name]
