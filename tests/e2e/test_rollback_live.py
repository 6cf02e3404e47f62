"""A blue-green release on a real broker: a version with turned scores is switched to at once, and rolled back by its labels.

Registry, inference and monitor are processes of their own.
"""

import asyncio
import csv
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.edges import resolved
from tests.e2e.rollouts_scene import Asked, even, fitted, played, turned
from tests.zoo.whole import Whole

from headrace.events.definition import digest_of
from headrace.events.inference import DecisionMade, Served
from headrace.events.project import ProjectApplied
from headrace.events.registry import RollbackWindowBegun, RolledBack, RolloutCompleted
from headrace.events.verdicts import FAIL
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.views import read_all
from headrace.project import Binary, BlueGreen, Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace.project.deployments import GUARDRAILS

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

NAME = "switched"
# Guardrails are only reported, so that nothing but labels rolls the version back.
RELEASE = BlueGreen(guardrails=[replace(rail, dry_run=True) for rail in GUARDRAILS])
DEPLOYMENT = Deployment(
    NAME,
    unit="unit",
    inputs=[Number(f"x{n}") for n in range(8)],
    label=Binary("label", horizon="6h"),
    rollout=RELEASE,
    fallback=[prior(0.5)],
)
PROJECT = compile_project(Project("sample", [DEPLOYMENT]))


async def apply(log: KafkaLog, settings: Settings) -> None:
    """Put a project with the deployment on the log, and make its topics."""
    topics = topics_of(settings)
    await ensure_topics(log, topics.specs(PROJECT))
    applied = ProjectApplied("sample", digest_of(PROJECT), "", PROJECT, 0)
    producer = await log.producer()
    await producer.send(
        [out(topics.name("project.definitions"), "sample", applied, Envelope("p", "", "test", time.time()))]
    )
    await producer.close()


async def test_a_turned_version_that_was_switched_to_at_once_is_rolled_back_by_labels_within_its_window(
    settings: Settings, kafka_log: KafkaLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Whole(settings, tmp_path, services=("registry", "inference", "monitor"))
    for name, value in whole.environ.items():
        monkeypatch.setenv(name, value)
    await apply(kafka_log, settings)
    with whole.running():
        async with played(settings, {NAME: Asked(even, 300)}, 5) as play:
            await play.begin(tmp_path, {NAME: fitted(even, 1, 1_000)}, 1)
            await play.days([NAME], 0.5)
            await play.begin(tmp_path, {NAME: fitted(even, 3, 2_000, turned)}, 2)
            await play.days([NAME], 4, lambda: bool(play.of(NAME, RolledBack)))
            (back,) = play.of(NAME, RolledBack)
            (switched,) = [fact for fact in play.of(NAME, RolloutCompleted) if fact.version == 2]
            (window,) = [fact for fact in play.of(NAME, RollbackWindowBegun) if fact.version == 2]
            first, second = await resolved(settings, NAME)
    assert switched.promoted
    assert (back.version, back.to, back.by) == (2, 1, "monitor")
    failed = {found.metric for found in back.evidence if found.verdict == FAIL}
    assert {found.kind for found in back.evidence} == {"label"}
    assert failed <= {"ranking", "gross"}
    assert back.reason.startswith(("ranking: ", "gross: "))
    assert 0 < back.clock_s - window.clock_s < PROJECT.deployments[0].rollout.rollback_window_s
    print(back.reason)
    assert (first.title.split(" → ")[1:], first.how) == (["switch"], "promoted")
    assert (second.title.split(" → ")[1:], second.how) == (["switch", "rolled back"], "rolled back")
    assert (second.versions, second.mark, second.state) == ((2, 1), "page", "ended")
    await its_decisions_are_recalled(settings, kafka_log, tmp_path)


async def its_decisions_are_recalled(settings: Settings, log: KafkaLog, folder: Path) -> None:
    """Every decision by the version that was rolled back is exported and decided again by the one before: the labels turn."""
    words = [sys.executable, "-m", "headrace_cli", "model", "recall", NAME, "2", "--out", "recalled.csv", "--json"]
    done = await asyncio.to_thread(
        subprocess.run, words, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    topics = topics_of(settings)
    decided = await read_all(log, Codec(topics), [topics.name("inference.decisions")])
    made = [m.event for m in decided if isinstance(m.event, DecisionMade) and isinstance(m.event.answer, Served)]
    by_it = {event.request_id: event for event in made if event.answer.score.version == 2}
    with (folder / "recalled.csv").open() as file:
        rows = {row["request_id"]: row for row in csv.DictReader(file)}
    assert rows.keys() == by_it.keys()
    assert (summary["decisions"], summary["with"], summary["why_not"]) == (len(by_it), 1, {})
    assert all(float(row["value"]) == by_it[ident].answer.score.value for ident, row in rows.items())
    assert summary["flips"] > 0.8 * len(by_it)
