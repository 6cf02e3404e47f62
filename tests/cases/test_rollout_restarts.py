"""A monitor that is restarted at any record gives the same verdicts as one that is not."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases.rollout_failures_scene import (
    HOUR,
    NEW,
    OLD,
    analysis_of,
    decision,
    deployment,
    evidence,
    feed,
    late,
    results,
    verdict_of,
)

from headrace.events.definition import DeploymentDefinition
from headrace.events.failures import (
    Raised,
)
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace.events.verdicts import INCONCLUSIVE, PASS, VerdictGiven
from headrace.features.outcomes import KnownOutcome
from headrace.project import Guardrail
from headrace_monitor.core.rollout_analysis import RolloutAnalysis
from headrace_monitor.core.rollout_requests import Seen


@dataclass
class Journal:
    """An analysis with its log. It reads record by record, looks after each, and keeps its memory as it would be written."""

    found: DeploymentDefinition
    share: float
    items: Sequence[tuple[str, int, object]]
    analysis: RolloutAnalysis = field(init=False)
    verdicts: dict[int, VerdictGiven] = field(default_factory=dict)
    memory: tuple[int, RolloutJudged] | None = None

    def __post_init__(self) -> None:
        self.analysis = analysis_of(self.found, self.share)
        instants = (event.at_s if isinstance(event, DecisionMade) else 0.0 for _, _, event in self.items)
        self.clocks = list(itertools.accumulate(instants, max))

    def read(self, index: int) -> None:
        place, offset, event = self.items[index]
        if isinstance(event, KnownOutcome):
            self.analysis.add_outcome(event)
        else:
            self.analysis.take([Seen(place, offset, event)])
        for verdict in self.analysis.look(self.clocks[index]).facts:
            self.verdicts[self.analysis.state.sequence] = verdict
            written = self.analysis.memory({})
            again = msgspec.msgpack.decode(msgspec.msgpack.encode(written), type=RolloutJudged)
            self.memory = (index, msgspec.structs.replace(again, replay_from=self.replay_from()))

    def replay_from(self) -> dict[str, int]:
        open_s = self.analysis.open_from_s
        found = dict(self.analysis.folded)
        for place, offset, event in self.items:
            if isinstance(event, DecisionMade) and open_s is not None and event.at_s >= open_s and place in found:
                found[place] = min(found[place], offset)
        return found

    def restart(self, index: int) -> None:
        """Restart after the record `index` was read: from the memory, with the log from the offsets that it asks for, up to that record."""
        if self.memory is None:
            self.analysis = analysis_of(self.found, self.share)
            for place in range(index + 1):
                self.read(place)
            return
        written_at, memory = self.memory
        self.analysis = RolloutAnalysis(self.found, memory)
        for place in range(written_at + 1):
            where, offset, event = self.items[place]
            if isinstance(event, KnownOutcome):
                self.analysis.add_outcome(event)
            elif offset >= memory.replay_from.get(where, 0):
                self.analysis.take([Seen(where, offset, event)])
        for place in range(written_at + 1, index + 1):
            self.read(place)


requests = st.tuples(
    st.sampled_from([OLD, NEW]),  # the arm
    results,
    results,
    st.integers(0, 1),  # the partition
    st.integers(1, 6),  # how many records later the shadow's score arrives, if at all
    st.booleans(),
    st.integers(0, 12),  # the unit
    st.integers(20, 1500),  # seconds to the next request
    st.booleans(),  # whether the shadow's score arrives at all
)


def log_of(history: list) -> list[tuple[str, int, object]]:
    """Two partitions of decisions and late shadows, some of these twice, and outcomes."""
    offsets, at_s = {0: 0, 1: 0}, 0.0
    due: list[tuple[int, int, ShadowScored]] = []
    items: list[tuple[str, int, object]] = []

    def put(partition: int, event: object) -> None:
        items.append((f"decisions/{partition}", offsets[partition], event))
        offsets[partition] += 1

    for n, (arm, new, old, partition, delay, is_twice, unit, gap_s, comes) in enumerate(history):
        mine = {NEW: new, OLD: old}
        if mine[arm] is None:
            mine[arm] = 0.5  # the version that answers is never due
        put(partition, decision(n, arm, mine[NEW], mine[OLD], unit=f"u{unit}", at_s=at_s))
        for version, what in mine.items():
            if what is None and comes:
                scored = late(n, version, 0.4 if n % 3 else Raised("no"), at_s)
                due += [(n + delay, partition, scored)] * (1 + is_twice)
        for one in [one for one in due if one[0] <= n]:
            due.remove(one)
            put(one[1], one[2])
        items.append(("outcomes", n, KnownOutcome(f"u{unit}", float(n % 2), at_s + 600.0, f"o{n}")))
        at_s += gap_s
    for _, partition, scored in due:
        put(partition, scored)
    return items


def stable(verdict: VerdictGiven) -> VerdictGiven:
    """The verdict without the split of units, which is counted again after a restart."""
    kept = tuple(e for e in verdict.evidence if e.metric != "sample_ratio")
    return msgspec.structs.replace(verdict, evidence=kept, guardrails="")


@given(
    st.lists(requests, min_size=20, max_size=40),
    st.lists(st.integers(0, 200), min_size=3, max_size=10),
    st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=12, deadline=None)
def test_restarts_at_any_record_lead_to_the_same_verdicts_as_none(
    history: list, kills: list[int], share: float
) -> None:
    rails = (Guardrail("errors", 0.1, consecutive=3), Guardrail("invalid_scores", 0.1), Guardrail("degraded", 0.2),
             Guardrail("latency", 3.0), Guardrail("distribution", 0.4))  # fmt: skip
    found, items = deployment(*rails), log_of(history)
    straight, broken = Journal(found, share, items), Journal(found, share, items)
    killed = {kill % len(items) for kill in kills}
    for index in range(len(items)):
        straight.read(index)
        broken.read(index)
        if index in killed:
            broken.restart(index)
    wanted, got = straight.analysis.memory({}), broken.analysis.memory({})
    for name in (
        "totals",
        "decisions",
        "step_decisions",
        "step_seen",
        "step_unasked",
        "folded",
        "open_from_s",
        "sequence",
    ):
        assert getattr(got, name) == getattr(wanted, name), name
    for name, numbers in wanted.tests.items():
        for key, values in numbers.items():
            assert got.tests[name][key] == pytest.approx(values), (name, key)
    assert {n: stable(v) for n, v in broken.verdicts.items()} == {n: stable(v) for n, v in straight.verdicts.items()}
    assert math.isfinite(sum(wanted.totals.values()))


def test_the_label_verdict_is_the_same_with_all_pairs_there() -> None:
    analysis = analysis_of(share=0.0)
    for n in range(100):
        feed(analysis, decision(n, OLD, 0.3, at_s=n * 30.0), start=n)
        analysis.add_outcome(KnownOutcome(f"u{n}", float(n % 2), n * 30.0 + 60))
    assert evidence(analysis, "missing_pairs", 6 * HOUR) is None
    assert verdict_of(analysis, 6 * HOUR).labels in (PASS, INCONCLUSIVE)
