"""Monitor, registry and inference on one log in memory: a champion worse than the prior is passed over and comes back, with two classes and with five."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from headrace.clock import SystemClock
from headrace.events.alerts import AlertChanged
from headrace.events.definition import ProjectDefinition, digest_of
from headrace.events.inference import DecisionMade, FellBack, OutcomeObserved, PredictionRequested, Served
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.project import ProjectApplied
from headrace.events.registry import AliasMoved, ModelVersion, Route, RouteChanged
from headrace.features.rows import pin_signature
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.models import artifacts
from headrace.project import Binary, Deployment, Multiclass, Number, Project, prior
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.fields import LabelKind
from headrace.project.service import Context
from headrace.testing.registry import version_of
from headrace_inference.app import wire
from headrace_monitor.app import build as monitor
from headrace_registry.app import build as registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BEGIN_S, HOUR, A_WINDOW = 1_362_096_000.0, 3600.0, 60
NAMES = ("ash", "birch", "cedar", "fir", "oak")
TWO, FIVE = Binary("y", "1h"), Multiclass("y", NAMES, "1h")


class Flow:
    """One deployment with one number, from which a model knows the label. One request per minute of event time."""

    def __init__(self, log: MemoryLog, label: LabelKind) -> None:
        self.log, self.topics, self.classes = log, Topics.load(""), NAMES if label is FIVE else ()
        self.codec, self.asked = Codec(self.topics), 0
        step = prior(dict.fromkeys(NAMES, 0.2)) if self.classes else prior(0.5)
        deployment = Deployment("d", "u", [Number("x")], label=label, fallback=[step], evaluation_window="1h")
        self.project: ProjectDefinition = compile_project(Project("p", [deployment]))

    async def set_up(self) -> None:
        await ensure_topics(self.log, self.topics.specs(self.project))
        x = np.arange(2000) % max(len(self.classes), 2)
        model = LogisticRegression(C=0.05).fit(self.rows(x), x)
        place = await artifacts.publish(self.log, self.topics, skops.io.dumps(model), "skops", 0.0, "test")
        signature = pin_signature(self.project, self.project.deployments[0], {})
        kind = {"output": "classes", "classes": NAMES} if self.classes else {}
        version = version_of(1, place=place, signature=signature, **kind)
        route = Route("d", {1: 1.0}, "salt", 1, champion=1, warm=(1,))
        await self.send(
            ("project.definitions", "p", ProjectApplied("p", digest_of(self.project), "", self.project, 0.0), BEGIN_S),
            ("registry.facts", "d", version, BEGIN_S),
            ("registry.facts", "d", AliasMoved("d", "champion", 1, None, "the first"), BEGIN_S),
            ("registry.facts", "d", RouteChanged("d", route), BEGIN_S),
            ("registry.models", "d/1", ModelVersion(version, "champion", ("champion",)), BEGIN_S),
            ("registry.routes", "d", route, BEGIN_S),
        )

    @staticmethod
    def rows(x: Any) -> Any:
        return np.asarray(x, np.float32).reshape(-1, 1) * 3

    async def send(self, *events: tuple[str, str, Any, float]) -> None:
        producer = await self.log.producer()
        made = [
            out(self.topics.name(noun), key, event, Envelope(f"{noun}-{key}-{n}-{self.asked}", "", "test", at_s))
            for n, (noun, key, event, at_s) in enumerate(events)
        ]
        await producer.send(made)
        await producer.close()

    async def ask(self, count: int, *, is_as_learned: bool) -> None:
        """Send requests, have them decided, and send their labels, which are a minute later."""
        width, first = max(len(self.classes), 2), self.asked
        self.asked += count
        places = {n: (n * 7) % width for n in range(first, self.asked)}
        at_s = {n: BEGIN_S + 60.0 * n for n in places}
        asked = [
            ("inference.requests", f"u{n}", PredictionRequested("d", {"x": 3.0 * x}), at_s[n])
            for n, x in places.items()
        ]
        await self.send(*asked)
        await self.until(lambda: self.decided(self.asked))
        labels = {n: x if is_as_learned else (x + 1) % width for n, x in places.items()}
        observed = {n: NAMES[y] if self.classes else float(y) for n, y in labels.items()}
        await self.send(
            *[
                ("inference.outcomes", f"u{n}", OutcomeObserved("d", f"u{n}", y), at_s[n] + 60)
                for n, y in observed.items()
            ]
        )

    async def read(self, noun: str, kind: type) -> list[Any]:
        found = await read_all(self.log, self.codec, [self.topics.name(noun)])
        return [message.event for message in found if isinstance(message.event, kind)]

    async def decided(self, count: int) -> list[DecisionMade]:
        found = await self.read("inference.decisions", DecisionMade)
        return found if len(found) == count else []

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(25):
            while not (found := await holds()):
                await asyncio.sleep(0.02)
        return found

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the three services as their processes would."""
        stop, parts = asyncio.Event(), list[Any]()
        for name, build in {"inference": None, "registry": registry, "monitor": monitor}.items():
            projects = Projects(self.log, self.codec, self.topics)
            await projects.start()
            health = Health(name, f"{name}-1", failures={})
            context = Context(
                name, f"{name}-1", Settings(), self.log, self.topics, self.codec, projects, health, SystemClock(), stop
            )
            wired = (
                await wire(self.log, self.codec, self.topics, projects, health, SystemClock())
                if build is None
                else await build(context)
            )
            parts += [projects, *wired]
        tasks = [asyncio.create_task(part.run(stop)) for part in parts]
        try:
            yield
        finally:
            stop.set()
            # NB: the services are asked to stop, and cancelled if they do not, so that a fault is reported instead of waited for.
            _, late = await asyncio.wait(tasks, timeout=10)
            for task in late:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [error for error in ended if isinstance(error, Exception)] == []


def answers(decisions: Sequence[DecisionMade], since: int) -> list[Any]:
    return [decision.answer for decision in decisions if decision.at_s >= BEGIN_S + 60.0 * since]


@pytest.mark.parametrize("label", [TWO, FIVE], ids=["two classes", "five"])
async def test_a_champion_that_stays_worse_than_the_prior_is_passed_over_until_it_is_better(
    memory_log: MemoryLog, label: LabelKind
) -> None:
    flow = Flow(memory_log, label)
    await flow.set_up()
    async with flow.running():
        await flow.ask(A_WINDOW, is_as_learned=True)
        await flow.ask(3 * A_WINDOW + 70, is_as_learned=False)
        (opened,) = await flow.until(lambda: flow.read("monitor.findings", FindingOpened))
        assert (opened.kind, opened.version, opened.window_to_s) == ("worse_than_prior", 1, BEGIN_S + 4 * HOUR)
        await flow.until(lambda: is_passed_over(flow, 1))
        down = flow.asked
        await flow.ask(110, is_as_learned=False)
        passed = answers(await flow.decided(flow.asked), down)
        assert {type(answer) for answer in passed} == {FellBack}
        assert {answer.reason for answer in passed} == {f"champion (version 1): {opened.summary}"}
        await flow.ask(3 * A_WINDOW, is_as_learned=True)
        (resolved,) = await flow.until(lambda: flow.read("monitor.findings", FindingResolved))
        assert "below the prior's" in resolved.reason
        await flow.until(lambda: is_passed_over(flow, 0))
        up = flow.asked
        await flow.ask(10, is_as_learned=True)
        assert {type(answer) for answer in answers(await flow.decided(flow.asked), up)} == {Served}
        alerts = [
            alert
            for alert in await flow.read("alerts", AlertChanged)
            if alert.labels["alertname"] == "ModelWorseThanPrior"
        ]
        assert [alert.status for alert in alerts] == ["firing", "resolved"]


async def is_passed_over(flow: Flow, count: int) -> bool:
    routes = await flow.read("registry.routes", Route)
    return len(routes[-1].passed_over) == count and (count == 1 or len(routes) > 2)
