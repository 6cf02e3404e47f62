"""Training runs as separate processes on a real broker: what users' code can do to them, and what it cannot do."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio
from msgspec.structs import replace

from headrace.events.definition import digest_of
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.project import ProjectApplied
from headrace.events.registry import RegisterVersion
from headrace.events.training import RetrainRequested, TrainingFinished, TrainingProgressed
from headrace.hosting.naming import topics_of
from headrace.hosting.runs import AttemptBegan, AttemptEnded, RunFolder, all_runs, end_runs, runs_folder
from headrace.hosting.settings import Settings, environ_of
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.views import read_all
from headrace.project.compile import compile_project
from headrace.project.load import load_project

if TYPE_CHECKING:
    from headrace_broker import Broker

pytestmark = pytest.mark.kafka

DAY = 86_400.0
NOW_S = 1_364_774_400.0
HERE = Path(__file__).parent
PROJECT, REFERENCE = load_project(str(HERE / "trained_by_users.py"))


@dataclass
class Bench:
    """A log with sixty days of requests and labels for each asked deployment, and trainers as processes."""

    settings: Settings
    log: KafkaLog
    folder: Path
    trainers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.topics = topics_of(self.settings)
        self.codec = Codec(self.topics)

    async def set_up(self, *deployments: str, rows: int = 600) -> None:
        """Create the topics, apply the project, and write rows."""
        definition = compile_project(PROJECT)
        await ensure_topics(self.log, self.topics.specs(definition))
        applied = ProjectApplied("trained", digest_of(definition), REFERENCE, definition, NOW_S)
        outs = [out(self.topics.name("project.definitions"), "trained", applied, Envelope("p", "", "test", NOW_S))]
        rng = np.random.default_rng(0)
        for n in range(rows):
            at_s, x = NOW_S - 60 * DAY + n * 60 * DAY / rows, float(rng.normal())
            for name in deployments:
                asked, labelled = (
                    Envelope(f"{name}/{n}", "", "test", at_s),
                    Envelope(f"{name}/o{n}", "", "test", at_s + 60),
                )
                request, outcome = PredictionRequested(name, {"x": x}), OutcomeObserved(name, f"u{n}", float(x > 0))
                outs.append(out(self.topics.name("inference.requests"), f"u{n}", request, asked))
                outs.append(out(self.topics.name("inference.outcomes"), f"u{n}", outcome, labelled))
        await self.send(*outs)

    async def send(self, *outs: Any) -> None:
        producer = await self.log.producer()
        await producer.send(list(outs))
        await producer.close()

    async def ask(self, *deployments: str) -> None:
        """Request a version of each deployment."""
        topic = self.topics.name("training.requests")
        for name in deployments:
            request = RetrainRequested(name, "manual", "because", "test", None, NOW_S)
            await self.send(out(topic, name, request, Envelope(f"ask-{name}", "", "test", NOW_S)))

    def start(self, instance: str = "trainer-1") -> subprocess.Popen[bytes]:
        """Start a trainer as the supervisor would."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
        environ |= environ_of(replace(self.settings, instance=instance)) | {"SLOW_FOLDER": str(self.folder)}
        with (self.folder / f"{instance}.log").open("ab") as log:
            self.trainers.append(
                subprocess.Popen([sys.executable, "-m", "headrace_trainer"], env=environ, stdout=log, stderr=log)
            )
        return self.trainers[-1]

    async def read(self, topic: str) -> list[Any]:
        """All messages of a topic."""
        return await read_all(self.log, self.codec, [self.topics.name(topic)])

    async def finished(self, count: int = 1, within_s: float = 240.0) -> dict[str, TrainingFinished]:
        """Wait for the last facts of so many runs. Returns them by deployment."""
        give_up_s = time.monotonic() + within_s
        while True:
            found = [m.event for m in await self.read("training.facts") if isinstance(m.event, TrainingFinished)]
            if len(found) >= count:
                assert len(found) == count
                return {fact.deployment: fact for fact in found}
            assert time.monotonic() < give_up_s, self.printed()
            await asyncio.sleep(0.2)

    def runs(self) -> list[RunFolder]:
        """The runs on this machine."""
        return all_runs(runs_folder(self.settings))

    def entries(self, kind: type) -> list[Any]:
        """Entries of one kind in all journals."""
        return [entry for run in self.runs() for entry in run.read()[0] if isinstance(entry, kind)]

    def printed(self) -> str:
        """What the trainers and runs printed."""
        logs = [*self.folder.glob("*.log"), *runs_folder(self.settings).glob("*/*.log")]
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in logs)

    async def until(self, holds: Callable[[], Any], within_s: float = 240.0) -> None:
        give_up_s = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < give_up_s, self.printed()
            await asyncio.sleep(0.05)

    async def until_members(self, count: int) -> None:
        """Wait until so many trainers share the work."""
        async with asyncio.timeout(60):
            while len(await self.log.members(self.topics.group("trainer"))) < count:
                await asyncio.sleep(0.1)

    async def fitting(self) -> subprocess.Popen[bytes]:
        """Start a trainer whose run fits and does not go on until `let_go`."""
        await self.set_up("by-slow")
        self.hold()
        trainer = self.start()
        await self.ask("by-slow")
        await self.until(self.fits)
        return trainer

    def hold(self) -> None:
        """Slow runs do not go on until `let_go`."""
        (self.folder / "hold").touch()

    def let_go(self) -> None:
        (self.folder / "hold").unlink()

    def fits(self) -> list[int]:
        """The process of each slow fit that was begun."""
        path = self.folder / "fits"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    async def close(self) -> None:
        for trainer in self.trainers:
            trainer.kill()
            trainer.wait()
        end_runs(runs_folder(self.settings))


def on(settings: Settings, folder: Path) -> Settings:
    """The settings of a trainer whose runs lie in a folder of this test."""
    return replace(
        settings,
        runs_folder=str(folder / "runs"),
        training_memory_bytes=2 * 2**30,
        training_alone_s=60.0,
        allowed_projects=REFERENCE,
    )


@pytest_asyncio.fixture
async def bench(settings: Settings, kafka_log: KafkaLog, tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(on(settings, tmp_path), kafka_log, tmp_path)
    yield found
    await found.close()


async def registered_once(bench: Bench, name: str) -> None:
    """Check for exactly one command to register a deployment's version, and one last fact that reports it."""
    finished = (await bench.finished())[name]
    assert (finished.outcome, finished.reason) == ("registered", "")
    commands = await bench.read("registry.commands")
    assert [type(message.event) for message in commands] == [RegisterVersion]
    ids = Counter(message.envelope.id for message in await bench.read("training.facts"))
    assert set(ids.values()) == {1}


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_trainer_killed_in_mid_run_finds_its_run_still_going_and_one_version_results(bench: Bench) -> None:
    trainer = await bench.fitting()
    trainer.kill()
    trainer.wait()
    bench.start("trainer-2")
    bench.let_go()
    await registered_once(bench, "by-slow")
    assert len(bench.entries(AttemptBegan)) == 1
    assert len(set(bench.fits())) == 1


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_whatever_a_users_build_does_ends_its_own_run_with_one_sentence_and_the_trainer_never_notices(
    bench: Bench,
) -> None:
    bench.settings = replace(bench.settings, training_cpu_s=40.0, training_idle_s=4.0, training_memory_bytes=2**30)
    wrong = {
        "raises": "build() failed: RuntimeError: no such luck",
        "stops": "build() failed: StopIteration",
        "returns-a-dict": "build() returned a dict without fit and predict_proba",
        "calls-exit": "build() failed: the code called sys.exit(3)",
        "leaves": "its process left with code 0 before it was done",
        "spins": "it used more than 40 s of CPU (HEADRACE_TRAINING_CPU_S)",
        "hangs": "it neither computed nor read anything for 4 s though it had a core, 2 times",
        "allocates": "MemoryError",
        "segfaults": "its process died of SIGSEGV, a fault in native code, 2 times",
        "kills-itself": "its process was killed by SIGKILL",
    }
    right = ("prints", "forks")
    names = [f"by-{name}" for name in (*wrong, *right)]
    await bench.set_up(*names)
    trainer = bench.start()
    await bench.ask(*names)
    finished = await bench.finished(len(names), 840)
    for name, reason in wrong.items():
        assert (finished[f"by-{name}"].outcome, reason in finished[f"by-{name}"].reason) == ("failed", True), finished
        assert len(finished[f"by-{name}"].reason) < 1000
    assert {finished[f"by-{name}"].outcome for name in right} == {"registered"}
    assert trainer.poll() is None
    assert bench.printed().count("Traceback") < 20


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_second_trainer_that_joins_and_a_first_one_that_leaves_cost_the_run_nothing(bench: Bench) -> None:
    first = await bench.fitting()
    bench.start("trainer-2")
    await bench.until_members(2)
    first.terminate()
    await bench.until(lambda: first.poll() is not None)
    bench.let_go()
    await registered_once(bench, "by-slow")
    assert len(bench.entries(AttemptBegan)) == 1


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_killed_worker_is_begun_again_and_one_version_results(bench: Bench) -> None:
    await bench.fitting()
    os.kill(bench.fits()[0], signal.SIGKILL)
    await bench.until(lambda: len(set(bench.fits())) == 2)
    supervisor = bench.runs()[0].holder()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    await bench.until(lambda: len(set(bench.fits())) == 3)
    bench.let_go()
    await registered_once(bench, "by-slow")
    assert [entry.how for entry in bench.entries(AttemptEnded)] == ["killed", "killed"]


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_trainer_whose_disk_was_wiped_begins_the_run_anew_and_one_version_results(bench: Bench) -> None:
    trainer = await bench.fitting()
    trainer.kill()
    trainer.wait()
    bench.settings = replace(bench.settings, runs_folder=str(bench.folder / "another"))
    bench.start("trainer-2")
    await bench.until(lambda: len(set(bench.fits())) == 2)
    bench.let_go()  # both go on, and nobody reads the output of the first one
    await registered_once(bench, "by-slow")
    end_runs(bench.folder)


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_broker_that_is_killed_in_mid_run_is_waited_for(own_broker: "Broker", tmp_path: Path) -> None:
    log = KafkaLog(Settings(bootstrap_servers=own_broker.bootstrap_servers))
    await log.start()
    bench = Bench(on(Settings(bootstrap_servers=own_broker.bootstrap_servers), tmp_path), log, tmp_path)
    try:
        await bench.fitting()
        own_broker.kill()
        bench.let_go()
        await bench.until(lambda: "waiting" in {entry.stage for entry in bench.entries(TrainingProgressed)})
        await asyncio.to_thread(own_broker.start)
        await registered_once(bench, "by-slow")
        assert len(bench.entries(AttemptBegan)) == 1
        stages = Counter(entry.stage for entry in bench.entries(TrainingProgressed))
        assert stages["fit"] == 1
    finally:
        await bench.close()
        await log.stop()
