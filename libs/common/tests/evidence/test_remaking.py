"""Decisions made again from a log: each part from what lies there, and each planted fault is found. Recall on the same log."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import pytest_asyncio
import skops.io
from msgspec.structs import replace
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.inference import DecisionMade, FellBack, Invalid, PredictionRequested, Score, Served
from headrace.events.project import ProjectApplied
from headrace.events.registry import ModelVersion, Route, RouteChanged
from headrace.evidence import picking
from headrace.evidence.index import DecisionIndex
from headrace.evidence.index_file import LEAST_BYTES
from headrace.evidence.reading import Evidence
from headrace.evidence.recall import other_version, recalled
from headrace.evidence.recalled import Summary
from headrace.evidence.remaking import remade
from headrace.evidence.scores_again import Scorer, holds_trees
from headrace.features.rows import RowMaker, bare_signature, pin_signature
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out
from headrace.models import artifacts
from headrace.models.engine import load
from headrace.models.matching import matched
from headrace.project import Binary, Count, Deployment, FeatureView, Key, Number, Project, Source, previous, prior
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.testing.decisions import TOPICS, decision, decision_out, outcome_out, sent
from headrace.testing.registry import version_of

AT_S = 1_364_774_400.0
HOUR_S = 3600.0


class Visit(msgspec.Struct):
    came_at: float
    place: str


VISITS = Source("visits", event=Visit, event_time="came_at", key="place", partitions=1)


def project(window: str = "3h") -> Any:
    view = FeatureView("by_place", VISITS, "place", {"count": Count(window)})
    deployment = Deployment(
        "d",
        "u",
        [Number("x", low=0), Key("place")],
        features=[view.by("place")],
        label=Binary("late", "1d"),
        fallback=[previous, prior(0.25)],
    )
    return compile_project(Project("p", [deployment], sources=[VISITS], views=[view]))


PROJECT = project()
SIGNATURE = pin_signature(PROJECT, PROJECT.deployments[0], {})
INPUTS_ONLY = pin_signature(PROJECT, PROJECT.deployments[0], {}, inputs_only=True)
ROUTE = Route("d", {1: 1.0}, "s", 1, champion=1, previous=2)


def fact(topic: str, key: str, event: Any, ident: str, at_s: float = AT_S, partition: int | None = None) -> Out:
    return out(TOPICS.name(topic), key, event, Envelope(ident, "", "test", at_s), partition)


@cache
def model(columns: int, kind: type, slope: float = 1.0) -> bytes:
    rows = np.random.default_rng(1).normal(size=(400, columns))
    return skops.io.dumps(kind().fit(rows, (slope * rows[:, 0] > 0).astype(int)))


@dataclass
class Scene:
    """A log with two versions (trees over all columns, a regression over the inputs), three visits and no decisions."""

    log: MemoryLog
    evidence: Evidence
    scorers: dict[int, Scorer] = field(default_factory=dict)

    async def write(self, outs: Sequence[Out]) -> None:
        await sent(self.log, outs)
        await self.evidence.index.catch_up(self.log, TOPICS)

    def row(self, x: float, count: float, version: int = 1) -> bytes:
        """The row of a request; `count`: of visits in its place."""
        signature = self.scorers[version].registered.signature
        maker = RowMaker(PROJECT.deployments[0], SIGNATURE)
        rows = maker.rows([{"x": x, "place": "a"}], np.array([[count]]))
        return rows[:, : len(signature.columns)].tobytes()

    def made(self, ident: str, request_offset: int, x: float = 0.5, count: float = 2.0, **changes: Any) -> DecisionMade:
        """A decision as inference makes it: two of three visits were applied."""
        row = self.row(x, count)
        answer = Served(Score(1, "m1", self.scorers[1].scores([row])[0][0]))
        fields: dict[str, Any] = {
            "answer": answer, "request_offset": request_offset, "row": row, "signature": SIGNATURE.digest,
            "entities": {"by_place": "a"}, "applied": {f"{TOPICS.of_source('visits')}/0": 2}, "route_offset": 0,
            "assigned": 1,
        }  # fmt: skip
        return decision(ident, f"unit-{ident}", at_s=AT_S, **(fields | changes))


def request(ident: str, **inputs: Any) -> Out:
    event = PredictionRequested("d", {"x": 0.5, "place": "a"} | inputs, f"unit-{ident}")
    return fact("inference.requests", f"unit-{ident}", event, ident, partition=0)


@pytest_asyncio.fixture
async def scene(memory_log: MemoryLog, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Scene]:
    await memory_log.create_topics(TOPICS.specs(PROJECT))
    codec = Codec(TOPICS)
    projects, index = Projects(memory_log, codec, TOPICS), DecisionIndex.open(tmp_path / "index", LEAST_BYTES)
    await sent(memory_log, [fact("project.definitions", "p", ProjectApplied("p", "", "", PROJECT, 1.0), "a")])
    await projects.start()
    found = Scene(memory_log, Evidence(memory_log, TOPICS, codec, projects, index))
    clock.advance(2 * HOUR_S)
    visits = [Visit(AT_S - (n + 1) * HOUR_S / 2, "a") for n in range(3)]
    topic = TOPICS.of_source("visits")
    outs = [out(topic, "a", visit, Envelope(f"v{n}", "visit", "t", visit.came_at), 0) for n, visit in enumerate(visits)]
    outs += [fact("registry.routes", "d", ROUTE, "r"), fact("registry.facts", "d", RouteChanged("d", ROUTE), "f")]
    for number, (signature, kind, slope) in enumerate(
        [(SIGNATURE, HistGradientBoostingClassifier, 1.0), (INPUTS_ONLY, LogisticRegression, -1.0)], 1
    ):
        data = model(len(signature.columns), kind, slope)
        place = await artifacts.publish(memory_log, TOPICS, data, "skops", AT_S, "test")
        version = version_of(number, place=place, signature=signature)
        outs.append(fact("registry.models", f"d/{number}", ModelVersion(version, "champion"), f"m{number}"))
        engine = matched(load(data, "skops"), signature)
        found.scorers[number] = Scorer(version, engine, holds_trees(data, "skops"))
    await found.write(outs)
    clock.advance(1.0)
    yield found
    index.close()
    await projects.stop()


async def again(scene: Scene, made: DecisionMade, asked: Out | None = None) -> Any:
    """One decision, written with its request and made again."""
    await scene.write([asked or request(made.request_id), decision_out(made)])
    (found,) = await remade(scene.evidence, await picking.by_ids(scene.evidence, [made.request_id]))
    return found


async def test_a_decision_is_the_same_in_every_part_though_a_later_event_has_come_since(scene: Scene) -> None:
    found = await again(scene, scene.made("r", 0))
    assert {name: part.result for name, part in found.parts.items()} == {
        "route": "same", "step": "same", "row": "same", "score": "same"
    }  # fmt: skip
    assert (found.result, found.version, found.place) == ("same", 1, "inference.decisions.v1/0/0")


@pytest.mark.parametrize(
    ("part", "change", "detail"),
    [
        ("route", {"assigned": 2}, "then version 2, now 1"),
        ("step", {"answer": FellBack("previous", "why", Score(2, "m2", 0.5))}, "then previous (version 2)"),
        ("row", {"row": 1}, "by_place.count"),
        ("row", {"applied": {f"{TOPICS.of_source('visits')}/0": 3}}, "by_place.count"),
        ("row", {"entities": {"by_place": "b"}}, "entities then"),
        ("score", {"answer": Served(Score(1, "m1", 0.123))}, "then [0.123]"),
    ],
)
async def test_a_planted_difference_is_found_in_its_part(
    scene: Scene, part: str, change: dict[str, Any], detail: str
) -> None:
    if change.get("row"):
        change = {"row": scene.row(0.5, 3.0)}
    found = await again(scene, scene.made("r", 0, **change))
    assert found.parts[part].result == "differs"
    assert detail in found.parts[part].detail
    assert found.result == "differs"


async def test_a_regression_may_differ_in_its_last_bits_and_trees_may_not(scene: Scene) -> None:
    row = scene.row(0.5, 2.0, version=2)
    value = scene.scorers[2].scores([row])[0][0]
    assert [part.result for part in scene.scorers[2].again([row, row], [[value + 1e-9], [value]])] == ["near", "same"]
    tree = scene.scorers[1].scores([scene.row(0.5, 2.0)])[0][0]
    assert [part.result for part in scene.scorers[1].again([scene.row(0.5, 2.0)], [[tree + 1e-9]])] == ["differs"]


async def test_the_priors_answer_has_the_deployments_own_row(scene: Scene) -> None:
    route = Route("d", {}, "s", 0)
    await scene.write([fact("registry.routes", "d", route, "r0")])
    bare = bare_signature(PROJECT, PROJECT.deployments[0])
    answer = FellBack("prior", "no version yet", Score(0, "", 0.25))
    made = scene.made("r", 0, answer=answer, assigned=None, signature=bare.digest, route_offset=1)
    found = await again(scene, made)
    assert (found.result, found.version, found.score.result) == ("same", None, "none")
    assert found.is_by_prior


async def test_an_invalid_request_is_refused_again_for_the_same_reason(scene: Scene) -> None:
    made = decision("r", "unit-r", answer=Invalid("x must be at least 0, got -1", "x"), assigned=None)
    found = await again(scene, made, request("r", x=-1.0))
    assert (found.step.result, found.route.result, found.row.result) == ("same", "none", "none")
    other = await again(scene, replace(made, request_id="r2", unit="unit-r2", request_offset=1), request("r2"))
    assert other.step.detail == "then x must be at least 0, got -1, now valid"


async def test_a_route_that_compaction_removed_is_found_by_its_fact(scene: Scene) -> None:
    assert (await again(scene, scene.made("r", 0, route_offset=99))).route.result == "same"


async def test_what_is_gone_is_not_a_difference_and_says_why(scene: Scene) -> None:
    found = await again(scene, scene.made("r", 77))
    assert (found.row.result, found.row.detail) == ("unknown", "its request is not on the log any more")
    assert found.score.result == "same"
    deleted = ModelVersion(scene.scorers[1].registered, "deleted")
    await scene.write([fact("registry.models", "d/1", deleted, "gone")])
    found = await again(scene, scene.made("r2", 0))
    assert (found.score.result, found.score.detail) == ("unknown", "version 1 was deleted")


async def test_a_definition_that_was_applied_later_is_not_used(scene: Scene, clock: ManualClock) -> None:
    await scene.write([request("r"), decision_out(scene.made("r", 0))])
    clock.advance(60.0)
    await scene.write([fact("project.definitions", "p", ProjectApplied("p", "", "", project("1h"), 2.0), "b")])
    (found,) = await remade(scene.evidence, await picking.by_ids(scene.evidence, ["r"]))
    assert found.result == "same"


async def test_a_definition_that_inference_did_not_know_yet_is_not_used(scene: Scene, clock: ManualClock) -> None:
    await scene.write([fact("project.definitions", "p", ProjectApplied("p", "", "", project("1h"), 2.0), "b")])
    assert (await again(scene, scene.made("r", 0))).result == "same"


async def test_decisions_are_picked_by_sample_and_by_age(scene: Scene) -> None:
    outs = [decision_out(scene.made(f"r{n}", n), n % 2) for n in range(50)]
    await scene.write([request(f"r{n}") for n in range(50)] + outs)
    newest = await picking.last(scene.evidence, 3)
    assert sorted(m.event.request_id for m in newest) == ["r47", "r48", "r49"]
    first, second = [await picking.sample(scene.evidence, 20, seed=7) for _ in range(2)]
    assert [m.event.request_id for m in first] == [m.event.request_id for m in second]
    assert len({m.event.request_id for m in first}) == 20
    assert len(await picking.sample(scene.evidence, 500, seed=7)) == 50
    assert await picking.sample(scene.evidence, 5, seed=7, deployment="other") == []
    with pytest.raises(Misconfigured, match="the log has no decision on 'nobody': give a request id"):
        await picking.by_ids(scene.evidence, ["nobody"])
    at_s = scene.log.clock.now_s()
    assert [m.event.request_id for m in await picking.by_ids(scene.evidence, ["r7"], "d", at_s)] == ["r7"]
    with pytest.raises(Misconfigured, match="'r7' that was written around"):
        await picking.by_ids(scene.evidence, ["r7"], "d", at_s + 3600.0)
    with pytest.raises(Misconfigured, match=r"no applied project declares 'nope' \(declared: d\)"):
        await picking.by_ids(scene.evidence, ["nobody"], "nope")


async def rows_of(scene: Scene, version: int, other: int) -> list[Any]:
    return [row async for batch in recalled(scene.evidence, "d", version, other) for row in batch]


async def test_recall_decides_again_with_another_version_and_says_what_flips(scene: Scene) -> None:
    outs = [decision_out(scene.made(f"r{n}", n, x=0.5 + n)) for n in range(3)]
    outs.append(decision_out(scene.made("other", 0, answer=Served(Score(2, "m2", 0.5)))))
    await scene.write([request(f"r{n}", x=0.5 + n) for n in range(3)] + outs + [outcome_out("unit-r1", 0.0, AT_S + 60)])
    rows = await rows_of(scene, 1, 2)
    assert [row.request_id for row in rows] == ["r0", "r1", "r2"]
    assert [row.outcome for row in rows] == [None, "0.0", None]
    values = [scene.scorers[2].scores([scene.row(0.5 + n, 0.0, version=2)])[0][0] for n in range(3)]
    assert [row.new_value for row in rows] == values
    assert [(row.label, row.new_label, row.flips) for row in rows] == [("1", "0", True)] * 3
    assert (rows[2].topic, rows[2].partition, rows[2].offset) == ("inference.decisions.v1", 0, 2)
    summary = Summary()
    summary.take(rows)
    assert (summary.decisions, summary.flips, summary.first_at) == (3, 3, "2013-04-01T00:00:00Z")
    assert await other_version(scene.evidence, "d", 1) == 2


async def test_recall_says_why_a_request_is_not_decided_again(scene: Scene) -> None:
    await scene.write([request("r0"), decision_out(scene.made("r0", 0)), decision_out(scene.made("r1", 77))])
    rows = await rows_of(scene, 1, 2)
    assert [(row.new_value is None, row.why_not) for row in rows] == [
        (False, ""), (True, "its request is not on the log any more")
    ]  # fmt: skip
    with pytest.raises(Misconfigured, match="version 9 is not registered"):
        await rows_of(scene, 1, 9)
    with pytest.raises(Misconfigured, match="d has no version 9: `headrace model list d`"):
        await rows_of(scene, 9, 1)


async def test_recall_leaves_out_a_record_that_cannot_be_read(scene: Scene) -> None:
    made = decision_out(scene.made("r0", 0))
    broken = msgspec.structs.replace(made, value=msgspec.msgpack.encode({"deployment": "d"}))
    await scene.write([request("r0"), broken, made])
    assert [row.request_id for row in await rows_of(scene, 1, 2)] == ["r0"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("d", 9, None), "d has no version 9: `headrace model list d`"),
        (("d", 1, 9), "d has no version 9"),
        (("d", 1, 1), "version 1 cannot be compared with itself: name another"),
        (("nope", 3, None), r"no applied project declares 'nope' \(declared: d\)"),
    ],
)
async def test_a_recall_of_or_with_what_is_not_there_is_refused_at_once(
    scene: Scene, names: tuple[str, int, int | None], sentence: str
) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        await other_version(scene.evidence, *names)


async def test_recall_of_a_version_of_inputs_makes_the_rows_of_one_with_features(scene: Scene) -> None:
    row = scene.row(0.5, 0.0, version=2)
    answer = Served(Score(2, "m2", scene.scorers[2].scores([row])[0][0]))
    made = scene.made("r0", 0, row=row, signature=INPUTS_ONLY.digest, answer=answer, assigned=2)
    await scene.write([request("r0"), decision_out(made)])
    (found,) = await rows_of(scene, 2, 1)
    assert found.new_value == scene.scorers[1].scores([scene.row(0.5, 2.0)])[0][0]
