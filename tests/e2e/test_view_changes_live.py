"""On a real broker, a view is added, changed and dropped while requests flow. The next retrain registers, and nothing is lost or wrong meanwhile."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.e2e.commands import Shell
from tests.e2e.live import messages_of

from headrace.events.inference import DecisionMade, FellBack, OutcomeObserved, PredictionRequested, Served
from headrace.events.monitor import FindingOpened, WindowClosed
from headrace.events.registry import VersionRegistered
from headrace.events.training import TrainingFinished
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out, Producer
from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
FEATURE_DELAY_S, PANE_S, KNOWN_AFTER_S = 900.0, 300.0, 600.0
# Events come before the requests that use them, by more than features lag, and not so far ahead that features forget what requests
# use (a day after the window). So any difference is a fault.
LEAD_S, STEP_S, AHEAD_S = 8 * HOUR, 4 * HOUR, 8 * HOUR
PLACES, HISTORY_S = 5, 3 * DAY
PROJECT = """
import msgspec
from sklearn.ensemble import HistGradientBoostingClassifier

from headrace.project import (
    Binary, Count, Deployment, FeatureView, Key, Mean, Number, Project, Source, Training, beats_prior, not_worse_than_champion, prior,
)


class Visit(msgspec.Struct):
    place: str
    came_at: float
    spent: float


def build(signature):
    return HistGradientBoostingClassifier(max_iter=20, early_stopping=False)


visited = Source("visited", event=Visit, event_time="came_at", key="place")
VIEWS
views = [found for found in (globals().get("visits"), globals().get("spent")) if found is not None]
guess = Deployment("guess", unit="thing", inputs=[Number("x"), Key("place")], features=[view.by("place") for view in views],
    label=Binary("yes", horizon="1h"), evaluation_window="1h", fallback=[prior(0.5)],
    training=Training(build, history="30d", holdout="12h", embargo="1h", first_after="3650d", min_rows=500),
    gates=[beats_prior(), not_worse_than_champion(0.3)])
project = Project("views", deployments=[guess], sources=[visited], views=views)
"""
VISITS = 'visits = FeatureView("visits", visited, "place", {{"count": Count("{}h")}})\n'
SPENT = 'spent = FeatureView("spent", visited, "place", {"mean": Mean("spent", "1h")})\n'
# What each definition looks up for a place: hours over which visits are counted, hours over which the mean is taken.
STAGES = {
    "as it begins": (VISITS.format(3), (3, None)),
    "added": (VISITS.format(3) + SPENT, (3, 1)),
    "changed": (VISITS.format(1) + SPENT, (1, 1)),
    "dropped": (VISITS.format(1), (1, None)),
}


class Visit(msgspec.Struct):
    """As the project declares it."""

    place: str
    came_at: float
    spent: float


class Traffic:
    """A request per minute of event time, its label ten minutes later, visits long before. `at_s`: the instant that it has reached."""

    def __init__(self, log: KafkaLog, topics: Any, producer: Producer) -> None:
        self.log, self.topics, self.producer = log, topics, producer
        self.at_s = self.begin_s = math.floor((time.time() - 8 * DAY) / HOUR) * HOUR
        self.sent_to_s = self.begin_s
        self.visits: list[Visit] = []
        self.asked: dict[str, tuple[float, float, str]] = {}
        self._rng, self._known = np.random.default_rng(3), list[tuple[float, str, float]]()

    async def send_visits(self, to_s: float) -> None:
        """Send visits up to an instant."""
        outs: list[Out] = []
        while self.sent_to_s < to_s:
            self.sent_to_s += MINUTE
            visit = Visit(f"p{self._rng.integers(PLACES)}", self.sent_to_s, float(self._rng.integers(100)))
            self.visits.append(visit)
            envelope = Envelope(f"v{len(self.visits)}", "visit", "test", visit.came_at)
            outs.append(out(self.topics.of_source("visited"), visit.place, visit, envelope))
        await self.producer.send(outs)

    async def handled(self, topic: str, service: str, most: int = 0) -> None:
        """Wait until a service has handled all records of a topic except `most`."""
        partitions = await self.log.partitions(topic)
        async with asyncio.timeout(180):
            while True:
                ends = await self.log.end_offsets(partitions)
                reached = await self.log.committed(self.topics.group(service), ends)
                if sum(end - reached.get(tp, 0) for tp, end in ends.items()) <= most:
                    return
                await asyncio.sleep(0.05)

    async def ask(self, to_s: float) -> None:
        """Send requests up to an instant, and the labels that are known by then."""
        outs: list[Out] = []
        while self.at_s < to_s:
            self.at_s += MINUTE
            ident, x, place = f"r{len(self.asked)}", float(self._rng.normal()), f"p{self._rng.integers(PLACES)}"
            self.asked[ident] = (self.at_s, x, place)
            request = PredictionRequested("guess", {"x": x, "place": place})
            outs.append(
                out(self.topics.name("inference.requests"), ident, request, Envelope(ident, "", "test", self.at_s))
            )
            label = float(x + self._rng.normal() > 0)
            self._known.append((self.at_s + KNOWN_AFTER_S, ident, label))
        while self._known and self._known[0][0] <= self.at_s:
            known_s, ident, label = self._known.pop(0)
            observed = OutcomeObserved("guess", ident, label)
            outs.append(
                out(
                    self.topics.name("inference.outcomes"), ident, observed, Envelope(f"o-{ident}", "", "test", known_s)
                )
            )
        await self.producer.send(outs)

    async def go_back(self) -> None:
        """Send some days of history, as fast as they are read."""
        for passed_s in np.arange(STEP_S, HISTORY_S + 1, STEP_S):
            await self.send_visits(self.begin_s + passed_s + LEAD_S)
            await self.handled(self.topics.of_source("visited"), "feature")
            await self.ask(self.begin_s + passed_s)
            # NB: a run uses what is known at the deployment's clock when it is requested, and decisions move that clock.
            await self.handled(self.topics.name("inference.requests"), "inference")

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Send ten requests a second meanwhile, or fewer where the machine is too slow."""

        async def flow() -> None:
            while True:
                await self.handled(self.topics.of_source("visited"), "feature", int(LEAD_S / MINUTE) // 2)
                await self.handled(self.topics.name("inference.requests"), "inference", int(AHEAD_S / MINUTE))
                await self.send_visits(self.at_s + MINUTE + LEAD_S)
                await self.ask(self.at_s + MINUTE)
                await asyncio.sleep(0.1)

        flowing = asyncio.create_task(flow())
        try:
            yield
            assert not flowing.done()
        finally:
            flowing.cancel()
            await asyncio.gather(flowing, return_exceptions=True)

    def row(self, ident: str, looks_up: tuple[int, int | None]) -> list[float]:
        """The row of a request, computed by hand from a place's visits in whole panes before its instant less `feature_delay`."""
        at_s, x, place = self.asked[ident]
        edge_s = math.floor((at_s - FEATURE_DELAY_S) / PANE_S) * PANE_S
        counted, averaged = looks_up
        known = [visit for visit in self.visits_of(place) if visit.came_at < edge_s]
        found = [x, float(sum(visit.came_at >= edge_s - counted * HOUR for visit in known))]
        if averaged is not None:
            spent = [visit.spent for visit in known if visit.came_at >= edge_s - averaged * HOUR]
            found.append(sum(spent) / len(spent) if spent else math.nan)
        return np.array(found, "<f4").tolist()

    def visits_of(self, place: str) -> list[Visit]:
        return [visit for visit in self.visits if visit.place == place]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    found = Shell(tmp_path_factory.mktemp("views"))
    try:
        up = found.run("up", "--port", str(free_port()), within_s=400.0)
        assert up.returncode == 0, up.stderr
        yield found
    finally:
        assert found.run("down").returncode == 0


@asynccontextmanager
async def traffic_of(shell: Shell) -> AsyncIterator[Traffic]:
    settings = Settings(bootstrap_servers=shell.state["bootstrap_servers"])
    log = KafkaLog(settings)
    await log.start()
    producer = await log.producer()
    try:
        yield Traffic(log, topics_of(settings), producer)
    finally:
        await producer.close()
        await log.stop()


def apply(shell: Shell, stage: str) -> None:
    (shell.folder / "views_project.py").write_text(PROJECT.replace("VIEWS", STAGES[stage][0]))
    assert shell.json("apply", "views_project.py")["project"] == "views"


def decisions_of(shell: Shell) -> list[DecisionMade]:
    return [
        message.event
        for message in messages_of(shell, "inference.decisions")
        if isinstance(message.event, DecisionMade)
    ]


def served_by(shell: Shell, version: int) -> int:
    answers = [decision.answer for decision in decisions_of(shell)]
    return sum(isinstance(answer, Served) and answer.score.version == version for answer in answers)


def retrain(shell: Shell, version: int, why: str) -> None:
    """Request a version, and wait until the one of that number is champion and answers."""
    asked = shell.run("training", "request", "guess", "--reason", why)
    assert asked.returncode == 0, asked.stderr

    def champion() -> bool:
        for run in shell.json("training", "list"):
            assert run["stage"] == "registered" or run["share"] < 1, run
        return any(v["version"] == version and "champion" in v["aliases"] for v in shell.json("model", "list", "guess"))

    shell.until(champion, 400.0)
    shell.until(lambda: served_by(shell, version) >= 100, 200.0)


async def test_views_change_while_requests_flow_and_every_next_retrain_registers(shell: Shell) -> None:
    async with traffic_of(shell) as traffic:
        beside = asyncio.to_thread
        await beside(apply, shell, "as it begins")
        await traffic.go_back()
        async with traffic.flowing():
            await beside(retrain, shell, 1, "the first")
            for version, stage in enumerate(list(STAGES)[1:], 2):
                await beside(apply, shell, stage)
                begun = len(traffic.asked)
                await beside(shell.until, lambda begun=begun: len(traffic.asked) >= begun + 150)
                await beside(retrain, shell, version, f"a view is {stage}")
            end = len(traffic.asked)
            await beside(shell.until, lambda: len(traffic.asked) >= end + 120)
        last_s = traffic.at_s - 3 * HOUR
        await beside(shell.until, partial(is_watched, shell, last_s), 200.0)
        await beside(check, shell, traffic)


def is_watched(shell: Shell, to_s: float) -> bool:
    windows = [message.event for message in messages_of(shell, "monitor.windows")]
    return any(isinstance(window, WindowClosed) and window.to_s >= to_s for window in windows)


def check(shell: Shell, traffic: Traffic) -> None:
    nouns = (
        "project.definitions",
        "inference.decisions",
        "monitor.findings",
        "monitor.windows",
        "training.facts",
        "registry.facts",
    )
    events = [message.event for message in messages_of(shell, *nouns)]
    decisions = [event for event in events if isinstance(event, DecisionMade)]
    assert Counter(decision.request_id for decision in decisions) == Counter(traffic.asked.keys())
    versions = [event for event in events if isinstance(event, VersionRegistered)]
    assert [(version.version, version.waivers) for version in versions] == [(n, ()) for n in range(1, 5)]
    assert [event.outcome for event in events if isinstance(event, TrainingFinished)] == ["registered"] * 4
    assert [event for event in events if isinstance(event, FindingOpened)] == []
    rows_are_right(traffic, decisions, versions)
    counts = shell.json("decision", "remake", "--sample", "100", "--seed", "3")["summary"]
    assert (counts["decisions"], counts["differs"], counts["unknown"]) == (min(100, len(decisions)), 0, 0), counts
    windows_are_right(decisions, versions, [event for event in events if isinstance(event, WindowClosed)])


def rows_are_right(traffic: Traffic, decisions: list[DecisionMade], versions: list[VersionRegistered]) -> None:
    """Check that each row equals the one computed by hand from its own definition, and that no version sees a row of another."""
    stage_of = {version.signature.digest: number for number, version in enumerate(versions)}
    looked_up = [found for _, found in STAGES.values()]
    counts = Counter[tuple[int, str]]()
    for decision in decisions:
        stage, answer = stage_of[decision.signature], decision.answer
        row = np.frombuffer(decision.row, "<f4").tolist()
        assert row == pytest.approx(traffic.row(decision.request_id, looked_up[stage]), abs=0, nan_ok=True)
        assert isinstance(answer, Served | FellBack)
        if isinstance(answer, Served):
            assert answer.score.version == stage + 1
        else:
            assert answer.step == "prior"
            assert "no version yet" in answer.reason or "any more" in answer.reason or "have changed" in answer.reason
        counts[stage, type(answer).__name__] += 1
    print("answers by definition:", dict(sorted(counts.items())))
    assert all(counts[stage, "Served"] >= 80 for stage in range(4))


def windows_are_right(
    decisions: list[DecisionMade], versions: list[VersionRegistered], windows: list[WindowClosed]
) -> None:
    """Check that windows compare the rows of one definition, that all are equal, and that each of the four definitions has such windows."""
    compared = [window for window in windows if window.parity_rows]
    assert {(window.parity_tiles, window.parity_as_of) for window in compared} == {(1.0, 1.0)}
    mixed = [window for window in windows if 0 < window.parity_rows < window.requests]
    print(f"{len(windows)} windows, {len(compared)} compared, {len(mixed)} of them in part")
    for version in versions:
        at_s = [decision.at_s for decision in decisions if decision.signature == version.signature.digest]
        assert any(min(at_s) <= window.from_s and window.to_s <= max(at_s) for window in compared)
