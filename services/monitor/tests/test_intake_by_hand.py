"""What each record of an input changes, and what is refused: by hand, without a service."""

import math
from typing import Any

import numpy as np
import pytest
from services.monitor.tests.watched import DAY, PROJECT, Landing, decision
from services.monitor.tests.windows_scene import flat

from headrace.events.inference import Invalid, OutcomeObserved, Score, ShadowScored
from headrace.events.monitor import MonitorState
from headrace.events.ops import HealthReported
from headrace.events.registry import RolloutStarted
from headrace.features.outcomes import key_of
from headrace.log.envelope import Envelope, Origin
from headrace.log.port import Record, TopicPartition
from headrace_monitor.core.clock import Clocks, Reading
from headrace_monitor.core.deployments import Deployments
from headrace_monitor.core.facts import InstantRefused, Refused
from headrace_monitor.core.held_rows import Among
from headrace_monitor.core.intake import Intake
from headrace_monitor.core.late_scores import PLACED_DTYPE, SHADOW_DTYPE, LateScores
from headrace_monitor.core.late_scores import key_of as late_key
from headrace_monitor.core.now import Now
from headrace_monitor.core.replay import Replay
from headrace_monitor.core.rollouts import Rollouts
from headrace_monitor.core.sources import COMPACT_AFTER, Sources

NOW_S = 1_000_000.0
LANDINGS = "events.landings.v1"


class World:
    """An intake with everything behind it, for the deployment `d` and its source `landings`."""

    def __init__(self, committed: dict[TopicPartition, int] | None = None) -> None:
        self.deployments, self.clocks = Deployments(), Clocks()
        self.rollouts = Rollouts(self.deployments.declared)
        self.replay = Replay(self.deployments, self.rollouts)
        self.deployments.declare([PROJECT])
        self.intake = Intake(
            self.deployments, self.clocks, self.rollouts, self.replay, lambda name: f"events.{name}.v1"
        )
        self.begun = self.intake.follow_sources()
        self.intake.begin(committed or {})
        self.deployments.set_up_all()

    @property
    def windows(self) -> Any:
        return self.deployments.watched["d"].windows

    def decide(self, at_s: float, offset: int = 0, append_s: float = NOW_S, **more: Any) -> Any:
        made = decision(f"u{offset}", at_s, **more)
        step = self.intake.on_decision(made, record("t", offset, append_s), Now(0.0, 5.0))
        return None if step is None else step.facts

    def observe(self, event: OutcomeObserved, offset: int = 0, known_s: float = NOW_S, append_s: float = NOW_S) -> Any:
        step = self.intake.on_outcome(
            event, record("o", offset, append_s), Envelope(f"o{offset}", "", "t", known_s), 5.0
        )
        return None if step is None else step.facts


def record(topic: str, offset: int = 0, append_s: float = NOW_S, partition: int = 0) -> Record:
    return Record(topic, partition, offset, b"k", b"", (), int(append_s * 1000))


def test_a_decision_is_counted_noted_and_remembered_once() -> None:
    world = World()
    (memory,) = world.decide(DAY, 3)
    assert (type(memory), memory.deployment) == (MonitorState, "d")
    assert world.decide(DAY + 1, 4) is None
    assert (world.windows.rows_in(DAY), world.replay.offsets.since(-math.inf)) == (2, {"t/0": 3})
    rows = world.windows.rows_of(DAY, 2 * DAY)
    assert rows.table["offset"].tolist() == [3, 4]
    world.decide(DAY + 2, 5)
    assert world.clocks.time_s("d", ["t/0"], [], Reading(frozenset())) == DAY


@pytest.mark.parametrize(
    ("at_s", "append_s", "stands"),
    [
        (NOW_S + 300, NOW_S, True),
        (NOW_S + 301, NOW_S, False),
        (NOW_S + 1e6, 0.0, True),
        (1e300, 0.0, False),
        (math.nan, NOW_S, False),
    ],
)
def test_an_instant_too_far_ahead_is_refused_and_moves_nothing(at_s: float, append_s: float, stands: bool) -> None:
    world = World()
    facts = world.decide(at_s, 3, append_s)
    if stands:
        assert len(world.windows.open) == 1
        return
    assert (facts, world.windows.open, world.replay.offsets.read_to) == (
        (InstantRefused("inference.requests.v1"),),
        {},
        {"t/0": 4},
    )
    again = World({TopicPartition("t", 0): 4})
    assert again.decide(at_s, 3, append_s) is None
    assert again.decide(at_s, 4, append_s) == facts


@pytest.mark.parametrize(
    ("field", "refused"), [("ce_time", True), ("available_at", True), ("miles", False), (None, False)]
)
def test_a_decision_that_refused_an_instant_counts_as_one_and_other_invalid_ones_do_not(
    field: str | None, refused: bool
) -> None:
    world = World()
    made = decision("u", DAY)
    step = world.intake.on_decision(type(made)("r", "d", "u", DAY, Invalid("no", field), 0), record("t"), Now(0.0, 5.0))
    assert step is not None
    assert (step.facts == (InstantRefused("inference.requests.v1"),)) is refused


def test_a_decision_of_a_deployment_that_nobody_declares_moves_no_clock() -> None:
    world = World()
    made = decision("u", DAY)
    assert (
        world.intake.on_decision(type(made)("r", "e", "u", DAY, made.answer, 0), record("t", 7), Now(0.0, 5.0)) is None
    )
    assert (world.windows.open, world.replay.offsets.read_to) == ({}, {"t/0": 8})


def test_what_is_read_again_counts_as_late_no_second_time() -> None:
    world = World({TopicPartition("t", 0): 5, TopicPartition("o", 0): 5})
    world.windows.closed_to_s, world.windows.closed_at_s = 2 * DAY, 2 * DAY
    for offset in (4, 5, 6):
        world.decide(DAY, offset)
        world.observe(OutcomeObserved("d", "u", 1.0), offset, DAY)
    assert (world.windows.late_requests, world.windows.late_outcomes) == (2, 2)
    assert [world.intake.is_replayed(record("t", offset)) for offset in (4, 5)] == [True, False]


@pytest.mark.parametrize(
    ("event", "known_s", "field", "reason"),
    [
        (OutcomeObserved("e", "u", 1.0), NOW_S, "deployment", ""),
        (OutcomeObserved("d", "u", 7.0), NOW_S, "label", ""),
        (OutcomeObserved("d", "u", 1.0), NOW_S + 301, "ce_time", "ce_time 1970-01-12T13:51:41+00:00 lies 301 s past"),
        (OutcomeObserved("d", "u", 1.0), math.nan, "ce_time", "ce_time must lie in the years 1..9999 UTC, got nan"),
    ],
)
def test_an_outcome_that_is_none_is_refused_with_the_field(
    event: OutcomeObserved, known_s: float, field: str, reason: str
) -> None:
    world = World()
    (refused,) = world.observe(event, 3, known_s)
    assert (type(refused), refused.field, refused.reason.startswith(reason)) == (Refused, field, True)
    assert (len(world.windows.labels), world.replay.offsets.read_to, world.replay.offsets.first) == (0, {"o/0": 4}, {})


def test_an_outcome_is_kept_with_all_that_it_says() -> None:
    world = World()
    assert world.observe(OutcomeObserved("d", "u", True, "r1", "o9"), 3, DAY) is None
    (row,) = world.windows.labels.between(-math.inf, math.inf, Among(np.array([key_of("u")], dtype=np.uint64)))
    assert (row["unit"], row["value"], row["known_s"], row["corrects"] != 0, row["id"] != 0) == (
        key_of("u"),
        1.0,
        DAY,
        True,
        True,
    )
    assert world.replay.offsets.since(DAY) == {"o/0": 3}


def test_a_late_score_counts_for_its_window_and_for_a_rollout() -> None:
    world = World()
    world.decide(DAY, 0)
    world.observe(OutcomeObserved("d", "u0", 1.0), 0, DAY + 1)
    world.intake.on_late_score(ShadowScored("ru0", "d", "u0", 7, DAY, Score(7, "", 0.75)), record("t", 1))
    world.intake.on_late_score(ShadowScored("ru0", "e", "u0", 7, DAY, Score(7, "", 0.75)), record("t", 2))
    versions, _, scores, _ = flat(world.windows.rows_of(DAY, 2 * DAY))
    assert (versions, scores, world.replay.offsets.read_to["t/0"]) == ([1, 7], [0.5, 0.75], 3)
    world.rollouts.on_registry_fact(RolloutStarted("d", "r1", 2, "canary", "", PROJECT.deployments[0].rollout, 1), "c")
    (analysis,) = world.rollouts._analyses.values()
    assert dict(analysis.folded) == {"t/0": 3}


def land(
    world: World, at_s: float, offset: int = 0, append_s: float = NOW_S, *, topic: str = LANDINGS, carrier: Any = "AA"
) -> None:
    world.intake.on_source_event(
        Landing(at_s, carrier),
        record(topic, offset, append_s),
        Envelope("e", "", "t", 0.0, origin=Origin("raw", 0, offset)),
        5.0,
    )


def test_the_events_of_a_source_hold_clocks_back_unless_their_instant_is_refused() -> None:
    world = World()
    for n in range(3):
        land(world, DAY + n, n)
        world.decide(2 * DAY + n, n)
    land(world, DAY, 2)
    land(world, DAY, 9, topic="another")
    unread = Reading(frozenset({f"{LANDINGS}/0"}), frozenset(), 5.1)
    assert world.clocks.time_s("d", ["t/0"], [f"{LANDINGS}/0"], unread) == DAY
    assert world.clocks.time_s("d", ["t/0"], [f"{LANDINGS}/0"], Reading(frozenset(), frozenset(), 5.1)) == 2 * DAY
    assert world.clocks.time_s("d", ["t/0"], [f"{LANDINGS}/0"], Reading(frozenset(), frozenset(), 5.0)) == DAY
    assert world.replay.offsets.read_to == {f"{LANDINGS}/0": 3, "t/0": 3}
    assert len(world.intake.sources.tables(["landings"])["landings"]) == 3
    ahead = World()
    for n in range(3):
        land(ahead, NOW_S + 301 + n, n)
        ahead.decide(2 * DAY + n, n)
    assert ahead.clocks.time_s("d", ["t/0"], [f"{LANDINGS}/0"], unread) == -math.inf


def test_a_record_has_a_place_where_its_deployment_is_declared_and_its_label_fits() -> None:
    intake = World().intake
    assert [
        intake.is_undeclared(OutcomeObserved(name, "u", label)) for name, label in (("d", 1.0), ("d", 7.0), ("e", 1.0))
    ] == [False, True, True]
    assert [
        intake.is_undeclared(event)
        for event in (decision("u", 0.0), ShadowScored("r", "e", "u", 1, 0.0), HealthReported("x", "i", True))
    ] == [False, True, False]


def test_which_sources_are_read_from_where() -> None:
    world = World()
    assert world.begun == [LANDINGS]
    assert world.intake.sources_to_read([LANDINGS], []) is None
    plan = world.intake.sources_to_read([], [])
    assert plan is not None
    assert (plan.topics, plan.anew, plan.since_s, plan.whole_from_s) == ([LANDINGS], [LANDINGS], -math.inf, -math.inf)
    world.windows.closed_to_s = 10 * DAY
    again = world.intake.sources_to_read([LANDINGS], [LANDINGS])
    assert again is not None
    whole_s = 10 * DAY - 4 * 3_600.0 - DAY
    assert (again.topics, again.anew, again.whole_from_s) == ([LANDINGS], [LANDINGS], whole_s)
    assert again.since_s <= whole_s - 300.0
    world.intake.begin_anew(again)
    assert world.intake.sources.whole_from_s(["landings"]) == whole_s
    other = world.intake.sources_to_read([LANDINGS, "x"], [])
    assert other is not None
    assert (other.topics, other.anew) == ([LANDINGS], [])


def test_a_source_that_is_not_read_from_its_beginning_is_not_whole() -> None:
    world = World()
    world.deployments.memories["d"] = MonitorState("d", {}, 0.0, None, {}, needed_from_s=7.0)
    world.intake.begin_at({TopicPartition(LANDINGS, 0): 0, TopicPartition("t", 0): 9})
    assert world.intake.sources.whole_from_s(["landings"]) == -math.inf
    world.intake.begin_at({TopicPartition(LANDINGS, 0): 1})
    assert world.intake.sources.whole_from_s(["landings"]) == 7.0


# sources


def test_the_events_of_sources_are_kept_as_columns_within_a_bound() -> None:
    definition = {found.name: found for found in PROJECT.sources}
    sources = Sources(limit_bytes=10_000)
    assert (sources.keep(definition), sources.keep(definition)) == (["landings"], [])
    for n in range(10):
        added = sources.add("landings", Landing(float(n), "AA"), Origin("raw", 0, n), record(LANDINGS, n))
        assert added == float(n)
    assert sources.add("landings", Landing(5.0, "AA"), Origin("raw", 0, 5), record(LANDINGS, 10)) is None
    assert (sources.held_bytes, sources.limit_bytes, sources.is_loose) == (10 * 400, 10_000, False)
    sources.tidy(5.0)
    assert sources.held_bytes == 10 * 400
    sources._loose["landings"] = 0
    assert sources.held_bytes == 10 * (24 + 64 + 2 * 8)
    for n in range(10, COMPACT_AFTER + 11):
        sources.add("landings", Landing(float(n), "AA"), Origin("raw", 0, n), record(LANDINGS, n))
    assert sources.is_loose
    sources.tidy(1_000.0 + 86_400.0)
    assert not sources.is_loose
    assert sources.held_bytes <= 10_000
    assert sources.whole_from_s(["landings"]) > 1_000.0
    assert sources.whole_from_s([]) == -math.inf
    assert sources.keep({}) == []
    assert (sources.held_bytes, sources.keep(definition), sources.whole_from_s(["landings"])) == (
        0,
        ["landings"],
        -math.inf,
    )


def test_over_the_bound_the_oldest_quarter_goes_first() -> None:
    sources = Sources(limit_bytes=100 * 400 - 1)
    sources.keep({found.name: found for found in PROJECT.sources})
    for n in range(100):
        sources.add("landings", Landing(float(n), "AA"), Origin("raw", 0, n), record(LANDINGS, n))
    sources.tidy(0.0)
    assert (len(sources.tables(["landings"])["landings"]), sources.whole_from_s(["landings"])) == (74, 26.0)


# late scores


def table(*rows: tuple[int, float, int]) -> Any:
    return np.array(list(rows), dtype=[("unit", "<u8"), ("at_s", "<f8"), ("request", "<u8")])


def test_late_numbers_join_their_rows_and_the_first_of_a_version_counts() -> None:
    rows = table((1, 5.0, 7), (1, 5.0, 8))
    late = LateScores()
    sizes = [
        late.add(late_key(1, 5.0, request), Score(version, "", value), 0, 0)
        for request, version, value in ((7, 2, 0.5), (7, 2, 0.6), (8, 3, 0.7), (9, 2, 0.8))
    ]
    assert (sizes, late.held_bytes) == ([18] * 4, 72)
    assert late.joined(rows, np.empty(0, SHADOW_DTYPE)).tolist() == [(0, 2, 0.5), (1, 3, 0.7)]
    known = np.array([(0, 2, 0.1)], SHADOW_DTYPE)
    assert late.joined(rows, known).tolist() == [(0, 2, 0.1), (1, 3, 0.7)]
    assert LateScores().joined(rows, known) is known


def test_of_several_classes_the_place_is_kept() -> None:
    rows = table((1, 5.0, 7), (1, 5.0, 8))
    late = LateScores()
    for request, offset in ((8, 41), (7, 42), (9, 43)):
        assert late.add(late_key(1, 5.0, request), Score(2, "", None, (0.5, 0.5)), 3, offset) == 18
    assert late.add(late_key(1, 5.0, 8), Score(2, "", None), 3, 44) == 0
    assert late.places(rows).tolist() == [(1, 3, 41), (0, 3, 42)]
    assert (LateScores().places(rows).tolist(), LateScores().places(rows).dtype) == ([], PLACED_DTYPE)
    other = LateScores()
    assert (other.adopt(late, rows[:1]), other.held_bytes, other.places(rows).tolist()) == (18, 18, [(0, 3, 42)])
    assert other.adopt(LateScores(), rows) == 0
