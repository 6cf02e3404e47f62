"""A decision explained from the log: found by its index, with its label, late scores and causes."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.inference import FellBack, Score, ShadowScored
from headrace.events.project import ProjectApplied
from headrace.events.registry import ModelVersion, RollBack, Route, RouteChanged
from headrace.evidence.explain import explain_decision
from headrace.evidence.index import DecisionIndex
from headrace.evidence.index_file import LEAST_BYTES
from headrace.evidence.reading import MOST_OUTCOMES, Evidence
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.decisions import TOPICS, decision, decision_out, outcome_out, sent, with_topics
from headrace.testing.registry import version_of

Open = Callable[[Sequence[Out]], Any]
ROUTE = Route("d", {1: 1.0}, "s", 1, champion=1, reason="rolled back")


def fact(topic: str, key: str, event: Any, ident: str, cause: str | None = None) -> Out:
    return out(TOPICS.name(topic), key, event, Envelope(ident, "", "test", 60.0, causation_id=cause))


@pytest_asyncio.fixture
async def evidence(memory_log: MemoryLog, tmp_path: Path) -> AsyncIterator[Open]:
    """Open the log as evidence after these records were written."""
    await with_topics(memory_log)
    definition = compile_project(
        Project("p", [Deployment(name, "u", [Number("x")], label=Binary("late", horizon="1d")) for name in "de"])
    )
    codec = Codec(TOPICS)
    projects, index = Projects(memory_log, codec, TOPICS), DecisionIndex.open(tmp_path / "index", LEAST_BYTES)
    await sent(memory_log, [fact("project.definitions", "p", ProjectApplied("p", "", "", definition, 1.0), "a")])
    await projects.start()

    async def opened(outs: Sequence[Out]) -> Evidence:
        await sent(memory_log, outs)
        await index.catch_up(memory_log, TOPICS)
        return Evidence(memory_log, TOPICS, codec, projects, index)

    yield opened
    index.close()
    await projects.stop()


async def test_a_decision_is_explained_with_its_row_label_late_score_and_causes(evidence: Open) -> None:
    version = ModelVersion(version_of(1), "champion")
    columns = len(version.registered.signature.columns)
    row = np.zeros(columns, "<f4").tobytes()
    made = decision("r1", "u", row=row, shadows_due=(2,), route_offset=0)
    found = await explain_decision(
        await evidence(
            [
                fact("registry.models", "d/1", version, "m"),
                fact("registry.commands", "d", RollBack("d", 2, "too slow", "ada"), "c"),
                fact("registry.facts", "d", RouteChanged("d", ROUTE), "f", "c"),
                fact("registry.routes", "d", ROUTE, "r", "f"),
                decision_out(made, 1),
                decision_out(ShadowScored("r1", "d", "u", 2, 1_000.0, Score(2, "m", 0.25)), 1),
                outcome_out("u", 1.0, 1_060.0),
                outcome_out("other", 0.0, 1_060.0),
            ]
        ),
        "d",
        "r1",
    )
    assert (found.request_id, found.unit, found.assigned, found.outcome) == ("r1", "u", 1, 1.0)
    assert found.answer["version"] == 1
    assert found.shadows == {"2": 0.25}
    assert list(found.row) == [column.name for column in version.registered.signature.columns]
    assert (found.place, found.request_place) == ("inference.decisions.v1/1/0", "inference.requests.v1/1/0")
    assert [step.what for step in found.why] == ["route", "route.changed", "roll.back"]
    assert found.why[-1].summary == "too slow, by ada"


async def test_by_a_unit_the_newest_decision_of_this_deployment_is_found(evidence: Open) -> None:
    outs = [decision_out(decision(f"r{n}", "u", "d" if n < 3 else "e")) for n in range(200)]
    opened = await evidence(outs)
    assert (await explain_decision(opened, "d", "u")).request_id == "r2"
    assert (await explain_decision(opened, "e", "u")).request_id == "r199"


async def test_a_label_is_found_among_many_outcomes_of_the_same_unit(evidence: Open, clock: ManualClock) -> None:
    days = 86_400.0
    before = [outcome_out("u", 0.0, n * 60.0) for n in range(MOST_OUTCOMES)]
    opened = await evidence(before)
    clock.advance(60.0)
    made = decision("r1", "u", at_s=10 * days)
    await evidence([decision_out(made), outcome_out("u", 1.0, 10 * days + 60.0)])
    assert (await explain_decision(opened, "d", "r1")).outcome == 1.0


async def test_a_route_that_compaction_removed_is_the_one_of_the_time(evidence: Open, clock: ManualClock) -> None:
    before, after = ROUTE, Route("d", {2: 1.0}, "s", 2, reason="promoted")
    await evidence([fact("registry.facts", "d", RouteChanged("d", before), "f1")])
    clock.advance(60.0)
    await evidence([decision_out(decision("r1", "u", route_offset=7))])
    clock.advance(60.0)
    opened = await evidence([fact("registry.facts", "d", RouteChanged("d", after), "f2")])
    found = await explain_decision(opened, "d", "r1")
    assert [step.place for step in found.why] == ["registry.facts.v1/0/0"]


async def test_a_circle_of_causes_is_walked_once(evidence: Open) -> None:
    first, second = (fact("registry.facts", "d", RouteChanged("d", ROUTE), *ids) for ids in (("a", "b"), ("b", "a")))
    opened = await evidence([first, second, fact("registry.routes", "d", ROUTE, "r", "b")])
    assert [step.what for step in await opened.chain_of_route("d")] == ["route", "route.changed", "route.changed"]


async def test_without_a_version_the_prior_is_named(evidence: Open) -> None:
    answer = FellBack("prior", "no version yet", Score(0, "", 0.25))
    found = await explain_decision(await evidence([decision_out(decision("r1", "u", answer=answer))]), "d", "r1")
    assert (found.answer["step"], found.answer["value"], found.why) == ("prior", 0.25, ())


async def test_what_is_not_there_is_one_sentence_with_the_way_out(evidence: Open) -> None:
    opened = await evidence([decision_out(decision("r1", "u"))])
    with pytest.raises(Misconfigured, match="d has no decision on 'nobody': give a request id or a unit"):
        await explain_decision(opened, "d", "nobody")
    with pytest.raises(Misconfigured, match="e has no decision on 'r1'"):
        await explain_decision(opened, "e", "r1")


async def test_without_its_index_a_decision_is_found_by_about_when_it_was_written(
    evidence: Open, memory_log: MemoryLog
) -> None:
    opened = await evidence([])
    await sent(memory_log, [decision_out(decision("r1", "u"))])
    written_at_s = memory_log.clock.now_s()
    assert (await explain_decision(opened, "d", "r1", written_at_s)).request_id == "r1"
    assert (await explain_decision(opened, "d", "u", written_at_s - 300.0)).request_id == "r1"
    with pytest.raises(Misconfigured, match="no decision on 'r1' that was written around"):
        await explain_decision(opened, "d", "r1", written_at_s + 3600.0)
