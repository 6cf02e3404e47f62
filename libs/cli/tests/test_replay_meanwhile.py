"""The report of a replay lists the runs, versions and rollouts that failed during it."""

from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.registry import CommandRefused, RolledBack, RolloutAborted
from headrace.events.training import RetrainAccepted, TrainingFinished, TrainingProgressed
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.memory import MemoryLog
from headrace.log.port import TopicPartition
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace.testing.registry import version_of
from headrace_cli.replay.gathering import ends_now
from headrace_cli.replay.meanwhile import lines, meanwhile_of
from headrace_cli.session import Session

TOPICS = Topics.load(requests=2)


class Published:
    """A log of facts, and what a replay of the deployment `d` reads there."""

    def __init__(self, log: MemoryLog, clock: ManualClock) -> None:
        codec = Codec(TOPICS)
        self.session = Session(log, TOPICS, codec, Projects(log, codec, TOPICS), clock)  # type: ignore[arg-type]  # a log in memory
        self._count = 0

    async def tell(self, noun: str, *events: Any) -> None:
        producer = await self.session.log.producer()
        for event in events:
            self._count += 1
            envelope = Envelope(f"f{self._count}", "", "test", 0.0)
            await producer.send([out(TOPICS.name(noun), event.deployment, event, envelope)])

    async def report(self, starts: dict[TopicPartition, int] | None = None, since_ms: int = 0) -> dict[str, Any]:
        return (await meanwhile_of(self.session, "d", starts or {}, since_ms)).report()


@pytest.fixture
async def published(memory_log: MemoryLog, clock: ManualClock) -> Published:
    await ensure_topics(memory_log, TOPICS.specs())
    return Published(memory_log, clock)


def accepted(run: str, deployment: str = "d", cause: str = "first") -> RetrainAccepted:
    return RetrainAccepted(deployment, run, f"q-{run}", cause, "because", 0.0)


async def test_a_run_is_listed_with_its_cause_and_its_end(published: Published) -> None:
    await published.tell(
        "training.facts",
        accepted("bad"), TrainingFinished("d", "bad", "failed", "build() returned LinearSVC:\n  it has no predict_proba"),
        accepted("shy", cause="drift"), TrainingFinished("d", "shy", "waiting", "120 rows lack", missing_rows=120),
        accepted("weak"), TrainingFinished("d", "weak", "rejected", "gate beats_prior: FAIL"),
        accepted("good"), TrainingFinished("d", "good", "registered", ""),
        accepted("open"), TrainingFinished("d", "open", "registered", "not shown to be no worse", is_released=False),
        accepted("late"), TrainingFinished("d", "late", "registered", ""),
        accepted("slow"), TrainingProgressed("d", "slow", "fit", 0.4),
        accepted("other", "e"), TrainingFinished("e", "other", "failed", "not ours"),
    )  # fmt: skip
    await published.tell(
        "registry.facts",
        version_of(1, deployment="d", command_id=derived_id("register", "good")),
        version_of(2, deployment="d", command_id=derived_id("register", "open")),
        CommandRefused("d", "register.version", derived_id("register", "late"), "the signature is another one"),
    )
    assert list(lines(await published.report())) == [
        "training run bad (first): failed: build() returned LinearSVC: it has no predict_proba",
        "training run shy (drift): waiting: 120 rows lack",
        "training run weak (first): rejected: gate beats_prior: FAIL",
        "training run good (first): registered as version 1",
        "training run open (first): registered as version 2, not switched to: not shown to be no worse",
        "training run late (first): refused by the registry: the signature is another one",
        "training run slow (first): under way: fit",
    ]


async def test_a_version_that_was_not_loaded_is_listed_with_its_reason_unless_it_was_loaded_later(
    published: Published,
) -> None:
    await published.tell(
        "inference.facts",
        VersionUnloadable("d", 1, "inference-1", "golden row 3 differs"),
        VersionLoadFailed("d", 2, "inference-1", "memory", "no room"), VersionWarmed("d", 2, "inference-1", 0.1),
        VersionLoadFailed("d", 3, "inference-1", "time", "not done within 30 s", 1),
        VersionLoadFailed("d", 3, "inference-1", "time", "not done within 60 s", 2),
        VersionUnloadable("e", 1, "inference-1", "not ours"),
    )  # fmt: skip
    await published.tell(
        "registry.facts",
        RolloutAborted("d", "r1", 1, "an instance rejected it"),
        RolloutAborted("d", "r4", 4, "harm was seen"),
        RolledBack("d", 5, 4, "worse than before", "monitor"),
    )
    assert list(lines(await published.report())) == [
        "version 1 could not be loaded on inference-1: golden row 3 differs",
        "version 3 could not be loaded so far on inference-1: not done within 60 s",
        "version 4 was stopped before it took traffic: harm was seen",
        "version 5 was rolled back: worse than before",
    ]


async def test_what_was_over_before_the_replay_is_not_listed_and_a_run_that_ended_in_it_is(
    published: Published,
) -> None:
    await published.tell(
        "training.facts", accepted("old"), TrainingFinished("d", "old", "failed", "long ago"), accepted("amid")
    )
    await published.tell("inference.facts", VersionUnloadable("d", 1, "inference-1", "long ago"))
    starts = await ends_now(published.session)
    assert list(lines(await published.report(starts))) == []
    await published.tell("training.facts", TrainingFinished("d", "amid", "failed", "just now"))
    assert list(lines(await published.report(starts))) == ["training run amid (first): failed: just now"]
    assert list(lines(await published.report(since_ms=10**15))) == []
