"""Failures that are a version's own and those that are not, late shadows, and streaks: cases 28 and 29, from decisions alone."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.definition import DeploymentDefinition
from headrace.events.failures import (
    Busy,
    Failure,
    Hung,
    InvalidScore,
    NoTime,
    NotLoaded,
    Raised,
    RowUnfit,
    Shed,
)
from headrace.events.inference import DecisionMade, FellBack, Refused, Score, Served, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutAdvanced, RolloutStarted, Route
from headrace.events.verdicts import FAIL, INCONCLUSIVE, PASS, UNMEASURED, Evidence, VerdictGiven
from headrace.features.outcomes import Told
from headrace.project import Binary, Canary, Deployment, Guardrail, Number, Project
from headrace.project.compile import compile_project
from headrace_monitor.core.arms import PENDING_BYTES
from headrace_monitor.core.rollout_analysis import RolloutAnalysis, begin
from headrace_monitor.core.rollout_requests import Seen

HOUR = 3600.0
OLD, NEW = 1, 2
OWN: list[Failure] = [Raised("ValueError: no"), InvalidScore("NaN"), Hung("it did not end")]
NOT_OWN: list[Failure] = [
    NotLoaded("predict returned nothing: not loaded yet"),
    Busy("it waits for a core"),
    NoTime("no time was left"),
    Shed("overload"),
    RowUnfit("3 features are missing", "x"),
]
IN_A_ROW = Guardrail("errors", 1.0, consecutive=20)


def deployment(*rails: Guardrail) -> DeploymentDefinition:
    canary = Canary(shares=[0.5, 1], margin=0.02, label_delay="2h", guardrails=rails or (IN_A_ROW,), min_decisions=20)
    found = Deployment("d", "u", [Number("x")], label=Binary("y", horizon="4h"), rollout=canary)
    return compile_project(Project("p", raw=[], sources=[], views=[], deployments=[found])).deployments[0]


def analysis_of(found: DeploymentDefinition | None = None, share: float = 0.5) -> RolloutAnalysis:
    found = found or deployment()
    analysis = begin(found, RolloutStarted("d", "r1", NEW, "canary", "", found.rollout, OLD, clock_s=0.0))
    analysis.on_route(Route("d", {OLD: 1 - share, NEW: share}, "s", 1), 0)
    analysis.on_advanced(RolloutAdvanced("d", "r1", NEW, "canary", share, 0, clock_s=0.0))
    return analysis


def decision(
    number: int,
    assigned: int,
    new: Failure | float | None = 0.3,
    old: Failure | float | None = 0.3,
    *,
    unit: str | None = None,
    row: bytes | None = None,
    at_s: float | None = None,
    override: str = "",
) -> DecisionMade:
    """What either version said: its score, why it has none, or None when it is due."""
    said = {NEW: new, OLD: old}
    scores = {v: Score(v, "", found) for v, found in said.items() if isinstance(found, float)}
    other = OLD if assigned == NEW else NEW
    answer = (
        Served(scores[assigned])
        if assigned in scores
        else FellBack("previous", "it failed", scores[other])
        if other in scores
        else Refused("nothing can answer")
    )
    answered = None if isinstance(answer, Refused) else answer.score.version
    return DecisionMade(
        f"r{number}",
        "d",
        unit if unit is not None else f"u{number}",
        at_s if at_s is not None else number * 60.0,
        answer,
        number,
        row=row if row is not None else number.to_bytes(4, "little"),
        shadows=tuple(score for version, score in scores.items() if version != answered),
        route_offset=0,
        assigned=assigned,
        failures={str(v): found for v, found in said.items() if not isinstance(found, float | None)},
        took_ms=dict.fromkeys(map(str, scores), 1.0 + number * 1e-06),
        shadows_due=tuple(v for v, found in said.items() if found is None),
        override=override,
    )


def late(number: int, version: int, said: Failure | float, at_s: float | None = None) -> ShadowScored:
    score = Score(version, "", said) if isinstance(said, float) else None
    failure = None if isinstance(said, float) else said
    return ShadowScored(f"r{number}", "d", f"u{number}", version, at_s or number * 60.0, score, failure, 1.0)


def feed(
    analysis: RolloutAnalysis, *events: DecisionMade | ShadowScored, place: str = "decisions/0", start: int = 0
) -> None:
    analysis.take([Seen(place, start + n, event) for n, event in enumerate(events)])


def verdict_of(analysis: RolloutAnalysis, clock_s: float = 0.0) -> VerdictGiven:
    (found,) = analysis.look(clock_s, is_silent=True).facts
    return found


def evidence(analysis: RolloutAnalysis, metric: str, clock_s: float = 0.0) -> Evidence | None:
    return next((found for found in verdict_of(analysis, clock_s).evidence if found.metric == metric), None)


# whose fault


@pytest.mark.parametrize("failure", OWN)
def test_what_is_a_versions_own_fault_counts_in_the_shares_and_in_the_streak(failure: Failure) -> None:
    analysis = analysis_of()
    feed(analysis, *[decision(n, NEW, new=failure) for n in range(20)])
    assert verdict_of(analysis).guardrails == FAIL


@pytest.mark.parametrize("failure", NOT_OWN)
def test_what_is_not_its_own_fault_never_fails_it_whatever_the_words_and_holds_the_share(failure: Failure) -> None:
    rails = (Guardrail("errors", 0.02, consecutive=5), Guardrail("invalid_scores", 0.01), Guardrail("degraded", 0.05))
    analysis = analysis_of(deployment(*rails))
    feed(analysis, *[decision(n, NEW if n % 2 else OLD, new=failure) for n in range(2000)])
    verdict = verdict_of(analysis)
    assert verdict.guardrails != FAIL
    held = evidence(analysis, "not_asked")
    assert held is not None
    assert (held.verdict, held.measured) == (INCONCLUSIVE, 1.0)


# case 29


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("failure", [Raised("no such column"), Hung("it did not end")])
def test_both_arms_failing_on_the_same_requests_never_rejects(failure: Failure, share: float) -> None:
    analysis, dice = analysis_of(share=share), np.random.default_rng(1)
    for n in range(0, 600, 100):
        feed(analysis, *[decision(n + i, NEW if dice.random() < share else OLD) for i in range(50)], start=n)
        bad = [decision(n + i, NEW if dice.random() < share else OLD, failure, failure) for i in range(50, 100)]
        feed(analysis, *bad, start=n + 50)
    assert verdict_of(analysis).guardrails != FAIL


def test_an_outage_that_both_arms_see_without_scoring_along_never_rejects() -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.02, consecutive=20)))
    events = [
        msgspec.structs.replace(
            made, failures={str(arm): Raised("no")}, shadows=(), answer=Refused("nothing can answer")
        )
        for n in range(400)
        for arm in [NEW if n % 2 else OLD]
        for made in [decision(n, arm)]
    ]
    feed(analysis, *events)
    assert verdict_of(analysis).guardrails != FAIL


@pytest.mark.parametrize("same", ["unit", "row"])
def test_a_clients_retries_of_one_unit_or_one_row_count_once(same: str) -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.02, consecutive=20), Guardrail("degraded", 0.02)))
    events = []
    for n in range(0, 400, 2):
        one = {"unit": "ann"} if same == "unit" else {"row": b"\0\0\x80\x7f"}
        events += [decision(n, NEW, Raised("no"), **one), decision(n + 1, OLD)]
    feed(analysis, *events)
    assert verdict_of(analysis).guardrails != FAIL
    found = evidence(analysis, "errors")
    assert found is not None
    assert found.detail.startswith("1 of 1;")


def test_a_version_that_raises_on_everything_is_found_at_its_twentieth_unit() -> None:
    analysis, failed_at = analysis_of(), None
    for n in range(100):
        feed(analysis, decision(n, NEW if n % 2 else OLD, Raised("no")), start=n)
        if failed_at is None and verdict_of(analysis).guardrails == FAIL:
            failed_at = n
    assert failed_at == 39  # the twentieth unit of the new arm


def test_by_shares_it_is_found_within_a_dozen_units_and_without_any_count() -> None:
    analysis = analysis_of(deployment(Guardrail("errors", 0.02)))
    events = [decision(n, NEW if n % 2 else OLD, Raised("no")) for n in range(24)]
    feed(analysis, *events)
    assert verdict_of(analysis).guardrails == FAIL


def test_a_streak_is_ended_by_a_good_score_and_not_by_what_both_fail() -> None:
    analysis = analysis_of()
    feed(analysis, *[decision(n, NEW, Raised("no")) for n in range(19)])
    feed(analysis, *[decision(n, NEW, Raised("no"), Raised("no")) for n in range(19, 60)], start=19)
    assert verdict_of(analysis).guardrails != FAIL
    feed(analysis, decision(60, NEW, Raised("no")), start=60)
    assert verdict_of(analysis).guardrails == FAIL
    other = analysis_of()
    feed(
        other, *[decision(n, NEW, Raised("no")) for n in range(19)], decision(19, NEW), decision(20, NEW, Raised("no"))
    )
    assert verdict_of(other).guardrails != FAIL


# late shadows


def test_a_shadow_that_comes_late_counts_as_if_it_had_stood_in_the_decision() -> None:
    rails = (Guardrail("errors", 0.02, consecutive=30), Guardrail("distribution", 0.5), Guardrail("latency", 3.0))
    on_time, behind = analysis_of(deployment(*rails), share=0.0), analysis_of(deployment(*rails), share=0.0)
    offset = 0
    for n in range(200):
        said = Raised("no") if n % 7 == 0 else 0.2 + 0.003 * n
        feed(on_time, decision(n, OLD, said), start=n)
        feed(behind, decision(n, OLD, None), late(n, NEW, said), late(n, NEW, 0.9), start=offset)
        offset += 3
        for analysis in (on_time, behind):
            analysis.add_outcome(Told(f"u{n}", float(n % 3 == 0), n * 60.0 + 600))
    one, two = (verdict_of(analysis, 200 * 60.0) for analysis in (on_time, behind))
    assert [e for e in one.evidence if e.metric != "latency"] == [e for e in two.evidence if e.metric != "latency"]
    assert one.evidence[-1].rows > 50


def test_a_late_shadow_that_raises_on_everything_is_found_and_the_streak_waits_for_a_late_control() -> None:
    analysis = analysis_of(share=0.0)
    for n in range(20):
        feed(analysis, decision(n, OLD, None), late(n, NEW, Raised("no")), start=2 * n)
        assert (verdict_of(analysis).guardrails == FAIL) == (n == 19)
    both = analysis_of()
    feed(both, *[decision(n, NEW, Raised("no"), None) for n in range(40)])
    assert verdict_of(both).guardrails != FAIL
    feed(both, *[late(n, OLD, Raised("no")) for n in range(20)], start=40)
    assert verdict_of(both).guardrails != FAIL
    feed(both, *[late(n, OLD, 0.3) for n in range(20, 40)], start=60)
    assert verdict_of(both).guardrails == FAIL


@pytest.mark.parametrize("how", ["never came", *NOT_OWN])
def test_over_two_percent_of_missing_pairs_leave_the_labels_unmeasured_and_it_is_told(how: Failure | str) -> None:
    for missing, verdict in ((2, INCONCLUSIVE), (3, UNMEASURED)):
        analysis, offset = analysis_of(share=0.0), 0
        for n in range(100):
            at_s = n * 30.0
            is_missing = n < missing
            feed(analysis, decision(n, OLD, None if is_missing else 0.3, at_s=at_s), start=offset)
            if is_missing and not isinstance(how, str):
                feed(analysis, late(n, NEW, how, at_s), start=offset + 1)
            offset += 2
            analysis.add_outcome(Told(f"u{n}", float(n % 2), at_s + 60))
        found = verdict_of(analysis, 6 * HOUR)
        told = next(e for e in found.evidence if e.metric == "missing_pairs")
        assert told.measured == missing / 100
        assert (found.labels if verdict == UNMEASURED else INCONCLUSIVE) == verdict
        assert (found.labels == UNMEASURED) == (verdict == UNMEASURED)
        if verdict == UNMEASURED:
            brier = next(e for e in found.evidence if e.metric == "brier")
            assert "3.0% of the pairs are missing (3 of 100, 2% may be)" in brier.detail


def test_shadows_that_never_come_are_bounded_in_memory() -> None:
    analysis = analysis_of(share=0.0)
    analysis._requests._pending._limit = 100
    feed(analysis, *[decision(n, OLD, None, at_s=float(n)) for n in range(1000)])
    assert analysis.held_bytes()["rollout_shadows_due"] == 100 * PENDING_BYTES
    found = verdict_of(analysis, 6 * HOUR)
    assert analysis.held_bytes()["rollout_shadows_due"] == 0
    assert next(e for e in found.evidence if e.metric == "missing_pairs").rows == 1000


# restarts


@dataclass
class Journal:
    """An analysis with its log, read record by record with a look after each; its memory is kept as it is written."""

    found: DeploymentDefinition
    share: float
    items: Sequence[tuple[str, int, object]]
    analysis: RolloutAnalysis = field(init=False)
    said: dict[int, VerdictGiven] = field(default_factory=dict)
    memory: tuple[int, RolloutJudged] | None = None

    def __post_init__(self) -> None:
        self.analysis = analysis_of(self.found, self.share)
        instants = (event.at_s if isinstance(event, DecisionMade) else 0.0 for _, _, event in self.items)
        self.clocks = list(itertools.accumulate(instants, max))

    def read(self, index: int) -> None:
        place, offset, event = self.items[index]
        if isinstance(event, Told):
            self.analysis.add_outcome(event)
        else:
            self.analysis.take([Seen(place, offset, event)])
        for verdict in self.analysis.look(self.clocks[index]).facts:
            self.said[self.analysis.state.sequence] = verdict
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
        """Killed after the record `index` was read: from its memory, the log from where it asks, and on to where it was."""
        if self.memory is None:
            self.analysis = analysis_of(self.found, self.share)
            for place in range(index + 1):
                self.read(place)
            return
        written_at, memory = self.memory
        self.analysis = RolloutAnalysis(self.found, memory)
        for place in range(written_at + 1):
            where, offset, event = self.items[place]
            if isinstance(event, Told):
                self.analysis.add_outcome(event)
            elif offset >= memory.replay_from.get(where, 0):
                self.analysis.take([Seen(where, offset, event)])
        for place in range(written_at + 1, index + 1):
            self.read(place)


said = st.one_of(
    st.floats(0.05, 0.95),
    st.sampled_from([None, None, None, Raised("no"), InvalidScore("NaN"), Shed("overload"), NotLoaded("not yet")]),
)
requests = st.tuples(
    st.sampled_from([OLD, NEW]),  # the arm
    said,
    said,
    st.integers(0, 1),  # the partition
    st.integers(1, 6),  # how many records later the shadow comes, if it does
    st.booleans(),
    st.integers(0, 12),  # the unit
    st.integers(20, 1500),  # seconds to the next request
    st.booleans(),  # whether its shadow comes at all
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
            mine[arm] = 0.5  # who answers is never due
        put(partition, decision(n, arm, mine[NEW], mine[OLD], unit=f"u{unit}", at_s=at_s))
        for version, what in mine.items():
            if what is None and comes:
                scored = late(n, version, 0.4 if n % 3 else Raised("no"), at_s)
                due += [(n + delay, partition, scored)] * (1 + is_twice)
        for one in [one for one in due if one[0] <= n]:
            due.remove(one)
            put(one[1], one[2])
        items.append(("outcomes", n, Told(f"u{unit}", float(n % 2), at_s + 600.0, f"o{n}")))
        at_s += gap_s
    for _, partition, scored in due:
        put(partition, scored)
    return items


def stable(verdict: VerdictGiven) -> VerdictGiven:
    """Without the split of units, which is counted anew after a restart."""
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
    assert {n: stable(v) for n, v in broken.said.items()} == {n: stable(v) for n, v in straight.said.items()}
    assert math.isfinite(sum(wanted.totals.values()))


def test_the_label_verdict_is_the_same_with_all_pairs_there() -> None:
    analysis = analysis_of(share=0.0)
    for n in range(100):
        feed(analysis, decision(n, OLD, 0.3, at_s=n * 30.0), start=n)
        analysis.add_outcome(Told(f"u{n}", float(n % 2), n * 30.0 + 60))
    assert evidence(analysis, "missing_pairs", 6 * HOUR) is None
    assert verdict_of(analysis, 6 * HOUR).labels in (PASS, INCONCLUSIVE)
