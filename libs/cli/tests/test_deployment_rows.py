"""What `headrace deployment list` and `show` say of each deployment, from the log alone."""

import pytest

from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.evidence.records import read_history
from headrace.evidence.timeline import TOPICS
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project, prior
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.history import History
from headrace_cli.commands.deployment import in_a_line, rows_of
from headrace_cli.session import Session

PROJECT = compile_project(
    Project("p", [Deployment("d", "u", [Number("x")], label=Binary("y", "1h"), fallback=[prior(0.5)])])
)


async def test_a_deployment_has_its_rollout_and_the_number_of_its_open_findings(memory_log: MemoryLog) -> None:
    topics = Topics.load("")
    codec, projects = Codec(topics), Projects(memory_log, Codec(topics), topics)
    await ensure_topics(memory_log, topics.specs(PROJECT))
    history = History()
    history.drift_to_switch()
    history.finding("open")
    applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, 0.0)
    producer = await memory_log.producer()
    await producer.send([out(topics.name("project.definitions"), "p", applied, Envelope("p", "", "test", 0.0))])
    await producer.send([out(m.record.topic, "d", m.event, m.envelope) for m in history.messages])
    await producer.close()
    await projects.start()
    session = Session(memory_log, topics, codec, projects, SystemClock())
    (row,) = await rows_of(session, await read_history(memory_log, codec, topics, TOPICS))
    await projects.stop()
    assert (row["deployment"], row["project"], row["findings"]) == ("d", "p", 1)
    assert row["rollout"] == "blue green of 2: promoted"


@pytest.mark.parametrize(
    ("title", "state", "how", "shown"),
    [
        ("drift → canary → rolled back", "ended", "rolled back", "drift → canary → rolled back: x"),
        ("drift → retrain refused", "running", "refused", "drift → retrain refused: x"),
        ("drift → rejected → resolved", "ended", "rejected", "drift → rejected → resolved (rejected): x"),
        ("drift → retrain", "running", "", "drift → retrain (running): x"),
    ],
)
def test_the_end_of_an_episode_is_shown_once(title: str, state: str, how: str, shown: str) -> None:
    assert in_a_line(title, state, how, "x") == shown
