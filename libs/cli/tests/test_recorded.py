"""What rollouts are simulated on, read from the log in memory: scores that were served, shadows, labels by the one join."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.definition import digest_of
from headrace.events.inference import (
    DecisionMade,
    Expired,
    FellBack,
    OutcomeObserved,
    Score,
    Served,
    ShadowScored,
)
from headrace.events.project import ProjectApplied
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import Binary, Canary, Deployment, Multiclass, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.projects.expectations import expect
from headrace_cli.session import Session
from headrace_cli.simulation.recorded import Recorded, recorded, scaled
from headrace_cli.simulation.running import simulate_rollouts

START, HOUR, DAY = 1_364_774_400.0, 3600.0, 86_400.0
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment("d", "u", [Number("x")], label=Binary("late", "24h"), rollout=Canary(block="6h", min_cycles=5)),
            Deployment("kinds", "u", [Number("x")], label=Multiclass("kind", ["a", "b", "c"], "24h")),
            Deployment("bare", "u", [Number("x")]),
        ],
    )
)


class Bench:
    """A log with a project, and decisions and outcomes to put on it."""

    def __init__(self, log: MemoryLog, clock: ManualClock) -> None:
        self.log, self.topics, self.sent = log, Topics.load(), 0
        self.codec = Codec(self.topics)
        self.projects = Projects(log, self.codec, self.topics)
        self.session = Session(log, self.topics, self.codec, self.projects, clock)  # type: ignore[arg-type]

    async def set_up(self) -> "Bench":
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        self.put("project.definitions", "p", ProjectApplied("p", digest_of(PROJECT), "", PROJECT, START), START)
        await self.projects.start()
        return self

    def put(self, topic: str, key: str, event: msgspec.Struct, at_s: float) -> None:
        self.sent += 1
        self.log.append(out(self.topics.name(topic), key, event, Envelope(f"e{self.sent}", "", "test", at_s)))

    def decide(self, ident: str, at_s: float, answer: object, deployment: str = "d", **more: object) -> None:
        made = DecisionMade(ident, deployment, f"unit-{ident}", START + at_s, answer, 0, **more)  # type: ignore[arg-type]
        self.put("inference.decisions", made.unit, made, START + at_s)

    def serve(self, ident: str, at_s: float, value: float, version: int = 1, **more: object) -> None:
        self.decide(ident, at_s, Served(Score(version, "", value)), **more)

    def label(self, ident: str, at_s: float, label: float | str, deployment: str = "d", **more: str) -> None:
        event = OutcomeObserved(deployment, f"unit-{ident}", label, **more)
        self.put("inference.outcomes", event.unit, event, START + at_s)

    async def read(self, name: str = "d", most: int = 1_000) -> Recorded:
        found = self.projects.deployment(name)
        assert found is not None
        return await recorded(self.log, self.codec, self.topics, found[1], most)


@pytest.fixture
async def bench(memory_log: MemoryLog, clock: ManualClock) -> Bench:
    clock.advance(400 * DAY)  # nothing below lies ahead of its append time
    return await Bench(memory_log, clock).set_up()


async def test_only_answers_of_versions_count_each_request_once_in_order(bench: Bench) -> None:
    bench.serve("b", 20.0, 0.2, version=2)
    bench.serve("a", 10.0, 0.1)
    bench.serve("a", 10.0, 0.9)
    bench.serve("preview", 11.0, 0.9, override="preview")
    bench.serve("other", 12.0, 0.9, deployment="kinds")
    bench.decide("fell", 13.0, FellBack("prior", "r", Score(0, "", 0.5)))
    bench.decide("late", 14.0, Expired(5))
    found = await bench.read()
    assert found.scores.tolist() == pytest.approx([0.1, 0.2])
    assert (found.at_s - START).tolist() == [10.0, 20.0]
    assert (found.versions, found.cut, len(found)) == ((1, 2), 0, 2)


async def test_labels_come_by_unit_and_by_request_with_how_late_they_came(bench: Bench) -> None:
    for place, ident in enumerate("abcd"):
        bench.serve(ident, place * 10.0, 0.5)
    bench.label("a", 3600.0, 1.0)
    bench.label("b", 2 * 3600.0, 0.0, request_id="b")
    bench.label("c", 2 * DAY, 1.0)  # beyond the horizon
    bench.label("d", 50.0, "perhaps")  # no label of this kind
    found = await bench.read()
    assert np.array_equal(found.labels, [1.0, 0.0, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(found.lag_s, [3600.0, 7190.0, np.nan, np.nan], equal_nan=True)
    assert (found.labelled, found.missing_share) == (2, 0.5)


async def test_shadows_count_where_they_came_late_too(bench: Bench) -> None:
    bench.serve("a", 10.0, 0.1, shadows=(Score(7, "", 0.3),))
    bench.serve("b", 20.0, 0.2, shadows_due=(7,))
    bench.serve("c", 30.0, 0.2, shadows_due=(7,))
    for value in (0.4, 0.9):
        late = ShadowScored("b", "d", "unit-b", 7, START + 20.0, Score(7, "", value))
        bench.put("inference.decisions", "unit-b", late, START + 20.0)
    unasked = ShadowScored("a", "d", "unit-a", 7, START + 10.0, Score(7, "", 0.8))
    bench.put("inference.decisions", "unit-a", unasked, START + 10.0)
    found = await bench.read()
    assert found.others[7].tolist() == pytest.approx([0.3, 0.4, np.nan], nan_ok=True)


async def test_several_classes_have_a_column_each(bench: Bench) -> None:
    for ident, at_s, shares in (("a", 10.0, (0.7, 0.2, 0.1)), ("b", 20.0, (0.1, 0.1, 0.8)), ("c", 30.0, (0.5, 0.5))):
        bench.decide(ident, at_s, Served(Score(1, "", None, shares)), deployment="kinds")
    bench.label("a", 60.0, "c", deployment="kinds")
    found = await bench.read("kinds")
    assert (found.scores.shape, found.classes) == ((2, 3), 3)
    assert scaled(found, found.labels[:1]).tolist() == [2.0]


async def test_of_a_long_log_the_newest_decisions_are_read_and_the_rest_is_counted(bench: Bench) -> None:
    for place in range(40):
        bench.serve(f"r{place}", place * 10.0, 0.5)
        bench.label(f"r{place}", place * 10.0 + 5.0, 1.0)
    found = await bench.read(most=10)
    assert (len(found), found.cut) == (10, 30)
    assert found.labelled == 10
    assert found.at_s.min() > START + 100.0


async def test_rollouts_are_simulated_and_expected_from_the_log(bench: Bench, tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    for place in range(7 * 60):
        at_s, value = place * DAY / 60, float(dice.random())
        bench.serve(f"r{place}", at_s, value, version=3)
        bench.label(f"r{place}", at_s + HOUR, float(dice.random() < value))
    plan = tmp_path / "plan.toml"
    plan.write_text('margin = 0.03\nlabel_delay = "2h"\n')
    seen: list[float] = []
    report = await simulate_rollouts(bench.session, "d", plan, 20, progress=lambda share, text: seen.append(share))
    assert (report.simulated.cycles, report.simulated.judging.margin, report.delay_s) == (7, 0.03, 2 * HOUR)
    rows = {row.version: row for row in report.simulated.rows}
    assert rows["the same scores"].passed.share == 1.0
    assert rows["labels flipped"].failed.share == 1.0
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    expected = await expect(bench.session, "d", None)
    assert (expected.cycles, len(expected.harms), expected.labels_a_day) == (6, 5, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "no applied project declares 'nope' (declared: bare, d, kinds)"),
        (
            "bare",
            "bare declares no label: its rollouts end by guardrails and a person, so there is nothing to simulate",
        ),
        ("d", "no version of d has answered a request yet, so there is nothing to simulate: let a champion answer"),
    ],
)
async def test_without_anything_to_simulate_the_way_out_is_named(bench: Bench, name: str, message: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        await simulate_rollouts(bench.session, name, None, 20)
    assert str(refused.value).startswith(message)


async def test_decisions_without_labels_say_how_to_write_outcomes(bench: Bench) -> None:
    bench.serve("a", 10.0, 0.5)
    with pytest.raises(Misconfigured, match=r"none of the 1 answers of d on the log has a label: write outcomes"):
        await simulate_rollouts(bench.session, "d", None, 20)
