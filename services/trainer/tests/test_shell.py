"""The shard on the log in memory: what runs write is published once, whatever ends in between."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from headrace.clock import ManualClock
from headrace.events.registry import ArtifactPlace, RegisterVersion, Signature
from headrace.events.training import RetrainAccepted, TrainingFinished, TrainingProgressed
from headrace.hosting.health import Health
from headrace.hosting.logic import Outputs
from headrace.hosting.runs import AttemptBegan
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec, header
from headrace.log.memory import MemoryLog
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace.project.service import Context
from headrace_trainer.core.run_facts import MAX_FACTS, Fact
from headrace_trainer.shell import TrainerShard

TOPICS = Topics.load()
CODEC = Codec(TOPICS)
ACCEPTED = RetrainAccepted("d", "run-1", "q", "manual", "because", 0.0)
COMMAND = RegisterVersion("d", "m", ArtifactPlace("a" * 64, 0, 1, 1), "digest", Signature((), ""))


class Written:
    """A run whose journal holds these entries so far."""

    def __init__(self, *entries: Any) -> None:
        self.entries, self.wanted = list(entries), [()]

    async def tend(self, wanted: Sequence[RetrainAccepted]) -> None:
        self.wanted.append(tuple(found.run for found in wanted))

    def read(self, run: str, position: int) -> tuple[list[Any], int]:
        return self.entries[position:], len(self.entries)


async def shard(running: Written, *history: Any) -> TrainerShard:
    context = Context(
        "trainer", "t-1", Settings(), MemoryLog(), TOPICS, CODEC, Projects(MemoryLog(), CODEC, TOPICS),
        Health("trainer", "t-1"), ManualClock(), asyncio.Event(),
    )  # fmt: skip
    found = TrainerShard(context, running)
    source = TrainerShard(context, running)
    for fact in history:
        (made,) = [fact] if hasattr(fact, "headers") else [source._out(Fact(f"accepted-{fact.run}", fact), None)]
        await found.on_history(CODEC.decode(Record(made.topic, 0, 0, made.key, made.value, made.headers, 0)))
    return found


def idents(outputs: Outputs) -> list[str]:
    return [header(made.headers, "ce_id") or "" for made in outputs.outs]


def kinds(outputs: Outputs) -> list[str]:
    return [header(made.headers, "ce_type") or "" for made in outputs.outs]


def progress(share: float) -> TrainingProgressed:
    return TrainingProgressed("d", "run-1", "rows", share)


async def test_what_a_run_writes_is_published_once_and_the_command_leaves_with_its_last_fact() -> None:
    running = Written(AttemptBegan(1, 7), progress(0.1))
    found = await shard(running, ACCEPTED)
    assert kinds(await found.on_tick()) == ["training.progressed"]
    assert kinds(await found.on_tick()) == []
    running.entries += [COMMAND]
    assert kinds(await found.on_tick()) == []
    running.entries += [TrainingFinished("d", "run-1", "registered", "")]
    assert kinds(await found.on_tick()) == ["register.version", "training.finished"]
    await found.on_tick()
    assert running.wanted[-1] == ()


async def test_a_shard_that_is_built_anew_goes_on_where_the_facts_end_with_the_same_ids() -> None:
    entries = [progress(0.1), progress(0.2), COMMAND, TrainingFinished("d", "run-1", "registered", "")]
    whole = await (await shard(Written(*entries), ACCEPTED)).on_tick()
    for done in range(len(entries)):
        first = await (await shard(Written(*entries[:done]), ACCEPTED)).on_tick()
        second = await (await shard(Written(*entries), ACCEPTED, *first.outs)).on_tick()
        assert Counter(idents(first) + idents(second)) == Counter(idents(whole))


async def test_a_second_attempt_repeats_no_fact_and_its_finish_counts() -> None:
    entries = [AttemptBegan(1, 7), progress(0.1), AttemptBegan(2, 8), progress(0.1), progress(0.2)]
    running = Written(*entries, TrainingFinished("d", "run-1", "failed", "no"))
    assert kinds(await (await shard(running, ACCEPTED)).on_tick()) == ["training.progressed"] * 2 + [
        "training.finished"
    ]


async def test_a_run_that_writes_too_much_is_cut_short_but_for_its_end() -> None:
    entries = [progress(n / 10_000) for n in range(9_000)]
    running = Written(*entries, TrainingFinished("d", "run-1", "failed", "no"))
    published = kinds(await (await shard(running, ACCEPTED)).on_tick())
    assert len(published) <= MAX_FACTS + 2
    assert published[-1] == "training.finished"
