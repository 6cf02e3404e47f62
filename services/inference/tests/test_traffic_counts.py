"""What `ops.health` says of the traffic of each deployment, counted once the decisions are committed."""

from typing import Any

import msgspec
import numpy as np
import pytest
from services.inference.tests.decisions_scene import Batch, features, request

from headrace.clock import ManualClock
from headrace.events.definition import LabelDefinition
from headrace.events.inference import Score
from headrace.events.ops import DeploymentTraffic
from headrace.latency import quantile_s
from headrace.project import Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_inference.core.counting import place_of, scale_of, unknown_rows

Bench = Any  # the fixture of conftest.py

FLIGHT = {"miles": 500.0, "carrier": "AA"}


async def counted(bench: Bench, deployment: str, count: int) -> DeploymentTraffic:
    def found() -> DeploymentTraffic:
        return bench.health.report().traffic.get(deployment, DeploymentTraffic())

    await bench.until(lambda: sum(found().outcomes.values()) >= count)
    return found()


async def test_answers_are_counted_by_outcome_and_version(bench: Bench) -> None:
    await bench.register("delay", 3)
    await bench.route("delay", {3: 1.0}, champion=3)
    await bench.land("AA", [10.0, 20.0])
    async with bench.running():
        await bench.ask("delay", FLIGHT)
        await bench.ask("delay", {"miles": 500.0, "carrier": "nobody knows it"})
        await bench.ask("delay", {"miles": "far", "carrier": "AA"})
        delay = await counted(bench, "delay", 3)
        await bench.ask("fast", {"x": 1.0})
        fast = await counted(bench, "fast", 1)
        await bench.ask("plain", {"x": 1.0})
        plain = await counted(bench, "plain", 1)
    assert (delay.outcomes, delay.versions) == ({"served": 1, "prior": 1, "invalid": 1}, {"3": 1})
    assert (delay.missing, delay.stale, delay.unknown) == (1, 0, 1)
    assert (fast.outcomes, fast.versions, plain.outcomes) == ({"prior": 1}, {}, {"refused": 1})
    assert sum(delay.latency) == 3


async def test_a_request_for_a_deployment_that_does_not_exist_counts_under_no_name(bench: Bench) -> None:
    async with bench.running():
        for number in range(3):
            await bench.ask(f"made up {number}", {"x": 1.0})
        await counted(bench, "", 3)
        assert list(bench.health.report().traffic) == [""]


async def test_the_latency_of_a_decision_is_counted_from_the_append_of_its_request(
    bench: Bench, clock: ManualClock
) -> None:
    await bench.ask("fast", {"x": 1.0})
    clock.advance(3.0)
    async with bench.running():
        late = await counted(bench, "fast", 1)
        await bench.ask("fast", {"x": 1.0})
        both = await counted(bench, "fast", 2)
    assert late.latency == (*[0] * 11, 1, 0, 0, 0)
    assert late.latency_sum_s == 3.0
    assert quantile_s(both.latency, 0.25) == pytest.approx(0.0025)
    queue = bench.health.traffic.stages["queue"]
    assert (queue.counts[0], queue.counts[11], queue.total) == (1, 1, 3.0)


async def test_a_repeated_request_is_counted_once(bench: Bench) -> None:
    async with bench.running():
        for _ in range(3):
            await bench.ask("fast", {"x": 1.0}, id="the same")
        await bench.ask("fast", {"x": 1.0}, id="another")
        await counted(bench, "fast", 2)
        assert bench.health.report().traffic["fast"].outcomes == {"prior": 2}


async def test_scores_are_counted_where_they_lie_between_the_ends(bench: Bench) -> None:
    await bench.register("plain", 1)
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        for x in (-9.0, 9.0):
            await bench.ask("plain", {"x": x})
        await counted(bench, "plain", 2)
    scores = bench.health.traffic.tallies["plain"].scores
    assert (scores.counts[0], scores.counts[-1], sum(scores.counts)) == (1, 1, 2)
    assert bench.health.traffic.stages["model"].counts[0] == 2


def test_a_number_lies_in_its_declared_range_and_without_one_nowhere() -> None:
    (number,) = compile_project(Project("p", [Deployment("eta", unit="x", inputs=[Number("x")])])).deployments

    def labelled(label: LabelDefinition | None) -> tuple[float, float] | None:
        return scale_of(msgspec.structs.replace(number, label=label))

    assert labelled(LabelDefinition("eta", "number", 60.0, low=-30.0, high=90.0)) == (-30.0, 120.0)
    assert labelled(LabelDefinition("eta", "number", 60.0)) is None
    assert labelled(LabelDefinition("kind", "classes", 60.0)) == labelled(None) == scale_of(None) == (0.0, 1.0)
    assert place_of(Score(1, "", 0.0), (-30.0, 120.0)) == 0.25
    assert place_of(Score(1, ""), (0.0, 1.0)) is None


def test_a_row_is_unknown_once_however_many_of_its_categories_are() -> None:
    batch = Batch([request(0), request(1)], features((5.0, 2.0), (6.0, 2.0))).round()
    columns = batch.gathered.versions["safe", 3].signature.columns
    (call,) = batch.calls
    assert unknown_rows(call.rows, columns) == 0
    rows = np.array([[1.0, np.nan, 5.0, 2.0], [1.0, 2.0, 5.0, 2.0], [np.nan, 1.0, 5.0, 2.0]], np.float32)
    assert unknown_rows(rows, columns) == 2
    assert unknown_rows(rows[:, :1], columns[:1]) == 0
