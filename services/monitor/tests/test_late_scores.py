"""Scores of several classes that a shadow returns after the decision count in the window like scores in time."""

from itertools import pairwise

import numpy as np
import pytest

from headrace.events.inference import DecisionMade, FellBack, Score, ShadowScored
from headrace.events.monitor import VersionQuality
from headrace.features.outcomes import KnownOutcome
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import TopicPartition
from headrace.log.topics import Topics
from headrace.project import Deployment, Multiclass, Number, Project, prior
from headrace.project.compile import compile_project
from headrace_monitor.adapters.decision_reader import DecisionReader
from headrace_monitor.core import worse_than_prior
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.windows import Late, Windows

DAY, HOUR, COUNT = 86_400.0, 3600.0, 200
NAMES = ("ash", "birch", "cedar", "fir", "oak")
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d",
                "u",
                [Number("x")],
                label=Multiclass("tree", NAMES, "2h"),
                fallback=[prior(dict.fromkeys(NAMES, 0.2))],
            )
        ],
    )
)


@pytest.mark.parametrize("is_applied_amid", [False, True])
async def test_a_version_of_several_classes_that_is_passed_over_is_compared_with_the_prior_though_it_scores_late(
    memory_log: MemoryLog, is_applied_amid: bool
) -> None:
    """Otherwise it would be passed over for ever: its scores come after the decisions, and no window would show that it is better again."""
    topics, deployment = Topics.load(), PROJECT.deployments[0]
    await ensure_topics(memory_log, topics.specs(PROJECT))
    windows, name = Windows(deployment), topics.name("inference.decisions")
    fell = FellBack("prior", "worse than the prior", Score(0, "", None, (0.2,) * 5))
    decisions = [DecisionMade(f"r{n}", "d", f"u{n}", 400.0 * n, fell, n, shadows_due=(1,)) for n in range(COUNT)]
    late = [ShadowScored(f"r{n}", "d", f"u{n}", 1, 400.0 * n, Score(1, "m", None, right(n))) for n in range(COUNT)]
    producer = await memory_log.producer()
    acks = await producer.send(
        [
            out(name, event.unit, event, Envelope(f"e{n}", "", "t", event.at_s))
            for n, event in enumerate([*decisions, *late])
        ]
    )
    for decision, ack in zip(decisions, acks, strict=False):
        windows.add_decision(decision, ack.partition, ack.offset)
    for scored, ack in zip(late, acks[COUNT:], strict=True):
        windows.add_late_score(scored, ack.partition, ack.offset)
    for n in range(COUNT):
        windows.add_outcome(KnownOutcome(f"u{n}", float(n % 5), 400.0 * n + HOUR))
    if is_applied_amid:
        before, windows = windows, Windows(deployment)
        windows.adopt(before)
        assert windows.held_bytes == before.held_bytes
    rows = windows.rows_of(0.0, DAY + 2 * HOUR)
    wanted = {
        TopicPartition(name, partition): offsets.tolist() for partition, offsets in rows.sample(COUNT // 2).items()
    }
    assert all(one < other for offsets in wanted.values() for one, other in pairwise(offsets))
    sample = await DecisionReader(memory_log, Codec(topics)).read(wanted)
    window = evaluate(WindowInputs(PROJECT, deployment, rows, sample, {}, {}, 0.0), 0.0, Late(), None)
    found: dict[int, VersionQuality] = worse_than_prior.by_version(window.qualities)
    assert (found[1].role, found[1].rows, found[1].accuracy) == ("shadow", COUNT // 2, 1.0)
    assert not worse_than_prior.is_worse(found[1])
    windows.drop(0.0, DAY + 2 * HOUR)
    assert windows.held_bytes == 0


def right(n: int) -> tuple[float, ...]:
    return tuple(np.where(np.arange(5) == n % 5, 0.8, 0.05).tolist())
