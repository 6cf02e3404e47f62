"""The topic of retrain requests is the users': whatever stands there is answered within bounds, and nothing grows."""

import math
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.registry import Waiver
from headrace.events.training import RetrainAccepted, RetrainCoalesced, RetrainRefused, RetrainRequested
from headrace.log.codec import Codec
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project, Retraining, Training
from headrace.project.compile import compile_project
from headrace.stats.figures import FINDINGS
from headrace_flights.train import build
from headrace_trainer.core.triggers import CAUSES, GROUP, GROUPS, Runs, apply, on_request

NOW_MS = 1_700_000_000_000
NOW_S = NOW_MS / 1000
DEPLOYMENT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "d", "u", [Number("x")], label=Binary("y", "24h"), training=Training(build, history="30d", holdout="7d"),
                retraining=Retraining(cooldown="7d"),
            )
        ],
    )
).deployments[0]  # fmt: skip

clocks = st.one_of(st.floats(), st.sampled_from([-1.0, 0.0, 1e300, math.nan, math.inf, NOW_S, NOW_S + 301]))
texts = st.one_of(st.text(max_size=20), st.integers(0, 1_000_000).map(lambda n: "é" * n))
waivers = st.one_of(
    st.lists(st.builds(Waiver, texts, st.text(max_size=5), st.text(max_size=5)), max_size=3),
    st.integers(0, 100_000).map(lambda n: [Waiver("g", "b", "r")] * n),
)
requests = st.builds(
    RetrainRequested,
    st.one_of(st.just("d"), texts),
    st.one_of(st.sampled_from(CAUSES), texts),
    texts,
    st.text(max_size=5),
    st.one_of(st.none(), texts),
    st.none(),
    waivers.map(tuple),
)


@given(st.lists(st.tuples(requests, st.text(max_size=400), clocks, st.booleans()), max_size=5))
@settings(max_examples=25, deadline=None)
def test_every_request_gets_a_fact_that_fits_into_a_record_and_only_sound_ones_are_taken_up(
    history: list[tuple[RetrainRequested, str, float, bool]],
) -> None:
    runs, codec = Runs(), Codec(Topics.load())
    for request, ident, clock_s, is_known in history:
        step = on_request(runs, request, ident, DEPLOYMENT if is_known else None, clock_s, NOW_MS)
        (fact,) = step.facts or (None,)
        assert isinstance(fact, RetrainAccepted | RetrainCoalesced | RetrainRefused) or runs.has_answered(ident)
        if isinstance(fact, RetrainAccepted):
            assert math.isfinite(clock_s)
            assert clock_s <= NOW_S + 300
        assert fact is None or len(codec.encode(fact)) < 500_000
        assert step.state == (runs if fact is None else apply(runs, fact))
        runs = step.state
    assert len(runs.running) <= len(history)


def test_what_is_out_of_bounds_is_refused_with_what_was_got_and_what_is_allowed() -> None:
    def reason(request: RetrainRequested, clock_s: float = NOW_S) -> str:
        (fact,) = on_request(Runs(), request, "r", DEPLOYMENT, clock_s, NOW_MS).facts
        assert isinstance(fact, RetrainRefused)
        return fact.reason

    sound = RetrainRequested("d", "manual", "because", "me")
    change = msgspec.structs.replace
    assert reason(sound, math.nan) == "clock_s must lie in the years 1..9999 UTC, got nan"
    assert reason(sound, -1e300) == "clock_s must lie in the years 1..9999 UTC, got -1e+300"
    assert "lies 3,600 s past the append time" in reason(sound, NOW_S + 3600)
    assert reason(change(sound, reason="x" * 10**6)) == "a reason has 1,000,000 characters, at most 4,000 are allowed"
    assert reason(change(sound, deployment="x" * 300)) == "deployment has 300 characters, at most 200 are allowed"
    assert reason(change(sound, waivers=(Waiver("g", "b", "r"),) * 10**5)) == (
        "there are 100,000 waivers, at most 50 are allowed"
    )
    assert reason(change(sound, cause="mood")).startswith(
        "cause must be one of first, drift, skew, contract, traffic, inputs, follow_up, schedule, new_rows, manual"
    )


def test_answers_to_ever_more_requests_take_no_more_memory_than_the_newest_ten_thousand() -> None:
    runs = Runs()
    tracemalloc.start()
    for number in range(12_000):
        runs = apply(runs, RetrainRefused("d", f"{number}" + "x" * 150, "no"))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2_500_000
    assert sum(map(len, runs.answered)) <= GROUP * GROUPS
    assert runs.has_answered("11999" + "x" * 150)
    assert not runs.has_answered("0" + "x" * 150)


def test_a_request_without_a_clock_amid_a_replay_does_not_pause_drifts_for_years() -> None:
    runs = on_request(Runs(), RetrainRequested("d", "manual", "", "me"), "r1", DEPLOYMENT, NOW_S, NOW_MS).state
    (run,) = runs.running.values()
    runs = Runs({}, runs.last_clock_s, runs.answered)
    old_s = NOW_S - 10 * 365 * 86_400
    step = on_request(runs, RetrainRequested("d", "drift", "", "monitor"), "r2", DEPLOYMENT, old_s, NOW_MS)
    assert isinstance(step.facts[0], RetrainAccepted)
    assert run.run != ""


@pytest.mark.parametrize(
    ("cause", "by", "asked_by"), [("manual", "ann", "ann"), ("drift", "monitor", ""), ("first", "cli", "")]
)
def test_who_asked_by_hand_is_kept_with_the_run(cause: str, by: str, asked_by: str) -> None:
    (accepted,) = on_request(Runs(), RetrainRequested("d", cause, "", by), "r", DEPLOYMENT, NOW_S, NOW_MS).facts
    assert isinstance(accepted, RetrainAccepted)
    assert accepted.asked_by == asked_by


def test_the_same_request_on_another_log_is_another_run() -> None:
    request = RetrainRequested("d", "first", "", "monitor")
    steps = [on_request(Runs(), request, "r", DEPLOYMENT, NOW_S, NOW_MS + later) for later in (0, 0, 1)]
    idents = [step.facts[0].run for step in steps if isinstance(step.facts[0], RetrainAccepted)]
    assert idents[0] == idents[1] != idents[2]


@pytest.mark.parametrize("kind", FINDINGS)
def test_every_finding_that_a_project_may_retrain_on_is_taken_up(kind: str) -> None:
    asked = RetrainRequested("d", kind, "because", "monitor", "f", NOW_S)
    assert isinstance(on_request(Runs(), asked, "r", DEPLOYMENT, NOW_S, NOW_MS).facts[0], RetrainAccepted)


@pytest.mark.parametrize("by", ["ann", "a service"])
def test_a_waiver_of_a_gate_that_keeps_no_version_away_is_refused_whoever_sends_it(by: str) -> None:
    def answer(*gates: str) -> object:
        waivers_of = tuple(Waiver(gate, by, "an experiment") for gate in gates)
        asked = RetrainRequested("d", "manual", "because", by, waivers=waivers_of)
        (fact,) = on_request(Runs(), asked, "r", DEPLOYMENT, NOW_S, NOW_MS).facts
        return fact

    assert answer("nogate", "beats_prior", "onnx_parity", "nogate") == RetrainRefused(
        "d", "r", "no gate 'nogate', 'onnx_parity' keeps a version of d away: --waive takes beats_prior"
    )
    many = answer(*(f"g{n}" for n in range(50)))
    assert isinstance(many, RetrainRefused)
    assert "'g4' and 45 more keeps a version of d away" in many.reason
    sound = answer("beats_prior")
    assert isinstance(sound, RetrainAccepted)
    assert [waiver.gate for waiver in sound.waivers] == ["beats_prior"]
