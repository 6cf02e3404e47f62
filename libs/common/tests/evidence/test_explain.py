"""A decision explained from the log: found by its index, with its label, late scores and causes."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from msgspec.structs import replace

from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.inference import FellBack, Score, ShadowScored
from headrace.events.monitor import FindingOpened
from headrace.events.project import ProjectApplied
from headrace.events.registry import AliasMoved, ModelVersion, PassedOver, RollBack, RolloutStarted, Route, RouteChanged
from headrace.events.training import RetrainRequested, TrainingFinished
from headrace.events.verdicts import FAIL, PASS, VerdictGiven
from headrace.evidence.explain import explain_decision
from headrace.evidence.index import DecisionIndex
from headrace.evidence.index_file import LEAST_BYTES
from headrace.evidence.reading import MOST_OUTCOMES, Evidence
from headrace.evidence.why_version import why_version
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.memory import MemoryLog
from headrace.log.port import Out
from headrace.project import Binary, Deployment, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.decisions import TOPICS, decision, decision_out, outcome_out, sent, with_topics
from headrace.testing.registry import command, version_of

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
    assert [step.what for step in found.why] == ["route.changed", "roll.back"]
    assert found.why[-1].summary == "ada asks to roll back version 2: too slow"


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


def changed(revision: int, ident: str, cause: str, **route: Any) -> Out:
    found = Route("d", salt="s", revision=revision, **({"shares": {1: 1.0}, "champion": 1} | route))
    return fact("registry.facts", "d", RouteChanged("d", found), ident, cause)


async def history_of_a_version(evidence: Open) -> Evidence:
    """A drift retrains, version 2 is switched to; then a canary of version 3 comes and goes."""
    run = "run-1"
    registers = derived_id("register", run)
    opened = FindingOpened("f", "d", "drift", "loss has risen", 1.0)
    request = RetrainRequested("d", "drift", "loss has risen", "monitor", "f")
    switched = {"shares": {2: 1.0}, "champion": 2, "previous": 1}
    canary = {"shares": {2: 0.75, 3: 0.25}, "champion": 2, "previous": 1}
    newest = Route("d", {2: 1.0}, "s", 5, champion=2, previous=1, reason="version 3 rolled back")
    return await evidence(
        [
            changed(1, "first", "c1"),
            fact("monitor.findings", "d", opened, "f-record"),
            fact("training.requests", "d", request, "again", "a-window"),
            fact("training.facts", "d", TrainingFinished("d", "other", "failed", ""), "t0"),
            fact("training.facts", "d", TrainingFinished("d", run, "registered", ""), "t1"),
            fact("registry.commands", "d", command(), registers, "again"),
            fact("registry.facts", "d", version_of(2, command_id=registers), "v2", registers),
            fact("registry.facts", "d", RolloutStarted("d", "r2", 2, "blue_green", "drift"), "s2", registers),
            changed(2, "warm", registers),
            fact("monitor.verdicts", "d", VerdictGiven("d", "r2", 2, 0, PASS, PASS, 1.0), "good"),
            fact("registry.facts", "d", AliasMoved("d", "champion", 2, 1, "drift"), "a2", "good"),
            changed(3, "switch", "good", **switched),
            fact("registry.facts", "d", RolloutStarted("d", "r3", 3, "canary", "x"), "s3", "c3"),
            changed(4, "canary", "c3", **canary),
            fact("monitor.verdicts", "d", VerdictGiven("d", "r3", 3, 0, FAIL, PASS, 1.0), "bad"),
            fact("registry.facts", "d", RouteChanged("d", newest), "end", "bad"),
            fact("registry.routes", "d", newest, "r", "bad"),
        ]
    )


async def test_a_version_has_its_traffic_by_its_own_rollout_and_not_by_the_end_of_another(evidence: Open) -> None:
    opened = await history_of_a_version(evidence)
    steps = await why_version(opened, "d", 2, await opened.route("d", None))
    assert [step.what for step in steps] == [
        "route", "alias.moved", "route.changed", "verdict.given", "rollout.started", "version.registered",
        "register.version", "training.finished", "retrain.requested", "finding.opened",
    ]  # fmt: skip
    assert (steps[0].summary, steps[0].place) == ("version 2 100%: version 3 rolled back", "registry.routes.v1/0/0")
    assert steps[1].summary == "version 2 is champion in place of version 1"
    assert steps[-1].summary == "finding (drift): loss has risen"
    assert await why_version(opened, "d", None, await opened.route("d", None)) == steps


async def test_a_version_that_is_passed_over_has_the_finding_of_it_whichever_route_is_followed(evidence: Open) -> None:
    opened = FindingOpened("f", "d", "worse_than_prior", "loss lies above", 1.0, version=1)
    over = Route("d", {1: 1.0}, "s", 2, champion=1, reason="passed over", passed_over=(PassedOver(1, "f", "loss"),))
    later = replace(over, revision=3, reason="version 2 rolled back")
    found = await evidence(
        [
            changed(1, "first", "c1"),
            fact("monitor.findings", "d", opened, "f-record"),
            fact("registry.facts", "d", RouteChanged("d", over), "over", "f-record"),
            fact("registry.facts", "d", RouteChanged("d", later), "end", "bad"),
            fact("registry.routes", "d", later, "r", "bad"),
        ]
    )
    steps = await why_version(found, "d", None, await found.route("d", None))
    assert [step.what for step in steps] == ["route", "finding.opened", "route.changed"]
    assert (steps[1].summary, steps[1].place) == (
        "finding (worse than prior): loss lies above",
        "monitor.findings.v1/0/0",
    )


async def test_a_version_in_a_canary_has_its_share_by_the_step_that_gave_it(evidence: Open) -> None:
    opened = await history_of_a_version(evidence)
    canary = next(m for m in await opened.all_routes("d") if m.event.route.revision == 4)
    steps = await why_version(opened, "d", 3, canary)
    assert [(step.what, step.place) for step in steps] == [
        ("route.changed", "registry.facts.v1/0/7"), ("rollout.started", "registry.facts.v1/0/6")
    ]  # fmt: skip
    below = await why_version(opened, "d", 1, canary)
    assert [step.place for step in below][:2] == ["registry.facts.v1/0/7", "registry.facts.v1/0/5"]


async def test_a_circle_of_causes_is_walked_once(evidence: Open) -> None:
    first, second = (fact("registry.facts", "d", RouteChanged("d", ROUTE), *ids) for ids in (("a", "b"), ("b", "a")))
    opened = await evidence([first, second, fact("registry.routes", "d", ROUTE, "r", "b")])
    route = await opened.route("d", None)
    assert route is not None
    chain = await opened.chain(route)
    assert [m.envelope.id for m in chain] == ["r", "b", "a"]


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
