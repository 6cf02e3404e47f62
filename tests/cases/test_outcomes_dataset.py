"""`headrace dataset build` gives the same labels as plain loops, also from its cache and when the log has grown since."""

from pathlib import Path

import polars as pl
import pytest
from tests.cases.outcomes_oracle import HOUR, Outcome, Request, history, label_by_loops

from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.events.project import ProjectApplied
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.dataset.building import Wanted, build_dataset
from headrace_cli.session import Session

END_S, H = 250 * HOUR, 6 * HOUR


@pytest.mark.parametrize(("seed", "absent"), [(0, "unknown"), (1, "negative")])
async def test_dataset_build_gives_the_labels_of_plain_loops(tmp_path: Path, seed: int, absent: str) -> None:
    project = compile_project(
        Project("p", [Deployment("d", "u", [Number("x")], label=Binary("y", "6h", absent=absent))])
    )
    topics, clock = Topics.load(), SystemClock()
    log, codec = MemoryLog(clock), Codec(topics)
    await ensure_topics(log, topics.specs(project))
    applied = ProjectApplied("p", digest_of(project), "", project, 0.0)
    log.append(out(topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0)))
    projects = Projects(log, codec, topics)
    await projects.start()
    session = Session(log, topics, codec, projects, clock)  # type: ignore[arg-type]

    def put(found: Request | Outcome) -> None:
        if isinstance(found, Request):
            event, at_s, topic = PredictionRequested("d", {"x": 1.0}, found.unit), found.at_s, "inference.requests"
        else:
            event = OutcomeObserved("d", found.unit, found.value, found.request, found.corrects)  # type: ignore[assignment]
            at_s, topic = found.known_s, "inference.outcomes"
        log.append(out(topics.name(topic), found.unit, event, Envelope(found.id, "", "test", at_s)))

    requests, outcomes = history(seed)
    half = len(outcomes) // 2
    for part in ([*requests, *outcomes[:half]], outcomes[half:]):
        for found in part:
            put(found)
        manifest = await build_dataset(session, Wanted("d", 0.0, END_S), tmp_path, lambda share: None)
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    by_id = {request.id: request for request in requests}
    expected = [label_by_loops(by_id[found], outcomes, H, absent=absent) for found in rows["request_id"]]
    assert rows["label"].to_list() == [None if value != value else value for value in expected]
    assert len(rows) == len(requests)
    assert sum(manifest["outcomes"].values()) == len(outcomes)
