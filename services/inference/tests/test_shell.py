"""The service on the log in memory: what is decided, answered and told."""

import pickle
import re
import threading
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from headrace.bus import artifacts
from headrace.clock import ManualClock
from headrace.codec import header, out
from headrace.envelope import Envelope
from headrace.events.failures import NotLoaded, RowUnfit, Shed
from headrace.events.inference import (
    BreakerChanged,
    DecisionMade,
    Expired,
    FellBack,
    Invalid,
    OverloadChanged,
    PredictionRequested,
    Refused,
    RungChanged,
    Score,
    Served,
    VersionLoadFailed,
    VersionUnloadable,
    VersionWarmed,
)
from headrace.events.registry import GoldenRow
from headrace.project import Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace_inference.adapters import models

Bench = Any  # the fixture of conftest.py

REPLY = (("headrace_reply_partition", b"3"), ("headrace_reply_id", b"ask-1"))
AT_S = 1_364_774_400.0
FLIGHT = {"miles": 500.0, "carrier": "AA"}


def row(decision: DecisionMade) -> list[float]:
    return np.frombuffer(decision.row, "<f4").tolist()


async def test_without_a_version_the_prior_answers_and_the_row_is_logged(bench: Bench) -> None:
    await bench.land("AA", [10.0, 20.0])
    async with bench.running():
        await bench.ask("delay", FLIGHT, "UA-7")
        (decision,) = await bench.decisions()
    assert decision.answer == FellBack("prior", "no version yet", Score(0, "", 0.26))
    assert row(decision)[0] == 500.0
    assert np.isnan(row(decision)[1])
    assert row(decision)[2:] == [15.0, 2.0]
    assert decision.entities == {"carrier": "AA"}
    assert decision.applied == {"events.landings.v1/0": 2, "events.landings.v1/1": 0}


async def test_an_unknown_entity_is_served_and_its_features_are_marked_missing(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", {"miles": 500.0, "carrier": "ZZ"})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, FellBack)
    assert "carrier.mean" in decision.missing


async def test_a_deployment_without_ladder_and_version_is_refused_with_the_way_out(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("plain", {"x": 1.0})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Refused)
    assert "headrace model register" in decision.answer.reason


async def test_the_decision_lies_in_the_partition_of_its_request(bench: Bench) -> None:
    async with bench.running():
        for n in range(20):
            await bench.ask("delay", FLIGHT, f"unit-{n}", id=f"r{n}")
        requests = await bench.read("inference.requests")
        decisions = await bench.read("inference.decisions", lambda found: len(found) >= 20)
    lies = {message.envelope.id: message.record.partition for message in requests}
    assert len(set(lies.values())) == 2
    assert all(lies[m.event.request_id] == m.record.partition for m in decisions)
    assert all(m.envelope.causation_id == m.event.request_id for m in decisions)


async def test_the_champion_answers_and_the_previous_version_shadows_the_same_request(bench: Bench) -> None:
    await bench.register("delay", 1, vocabularies={"carrier": ("UA",)})
    await bench.register("delay", 2, vocabularies={"carrier": ("UA", "AA")})
    await bench.route("delay", {2: 1.0}, champion=2, previous=1, shadows=(1,))
    await bench.land("AA", [10.0, 20.0])
    await bench.land("UA", [10.0])
    async with bench.running():
        await bench.ask("delay", {"miles": 500.0, "carrier": "UA"})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Served)
    assert decision.answer.score.version == 2
    assert decision.answer.score.model_digest == "digest-2"
    assert [shadow.version for shadow in decision.shadows] == [1]
    assert decision.signature == bench.versions["delay", 2].signature.digest
    assert row(decision)[:2] == [500.0, 0.0]


async def test_a_decision_tells_who_was_to_answer_how_long_it_took_and_which_shadow_gave_nothing(bench: Bench) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2, shadows=(1, 7))
    async with bench.running():
        await bench.ask("plain", {"x": 0.5})
        (decision,) = await bench.decisions()
    assert (decision.assigned, decision.override) == (2, "")
    assert decision.took_ms.keys() == {1, 2}
    assert decision.failures == {7: NotLoaded("not loaded yet")}


async def test_a_preview_is_answered_by_the_named_version_whatever_the_route_says(bench: Bench) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2, warm=(1,))
    async with bench.running():
        await bench.ask("plain", {"x": 0.5}, headers=(("headrace_version", b"1"),))
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Served)
    assert decision.answer.score.version == 1
    assert (decision.assigned, decision.override) == (1, "preview")


async def test_a_preview_that_is_not_loaded_falls_to_the_ladder_with_the_reason(bench: Bench) -> None:
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2)
    async with bench.running():
        await bench.ask("plain", {"x": 0.5}, headers=(("headrace_version", b"9"),))
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, FellBack)
    assert (decision.answer.rung, decision.answer.score.version) == ("champion", 2)
    assert decision.answer.reason == "preview (version 9): not loaded yet"
    assert decision.failures == {9: NotLoaded("not loaded yet")}


async def test_a_tenants_override_decides_before_the_shares(bench: Bench) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2, warm=(1,), overrides={"acme": 1})
    async with bench.running():
        await bench.ask("plain", {"x": 0.5}, id="r1", headers=(("headrace_tenant", b"acme"),))
        await bench.ask("plain", {"x": 0.5}, id="r2", headers=(("headrace_tenant", b"other"),))
        decisions = await bench.decisions(2)
    assert {d.request_id: (d.answer.score.version, d.override) for d in decisions} == {
        "r1": (1, "tenant"),
        "r2": (2, ""),
    }


async def test_the_score_is_the_models_on_the_logged_row(bench: Bench) -> None:
    await bench.register("plain", 1, model=(model := conftest_model()), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("plain", {"x": 0.7})
        (decision,) = await bench.decisions()
    again = model.predict_proba(np.frombuffer(decision.row, "<f4").reshape(1, -1))[0, 1]
    assert decision.answer.score.value == again


def conftest_model() -> Any:
    rows = np.linspace(-1, 1, 50, dtype=np.float32).reshape(-1, 1)
    return DecisionTreeClassifier(max_depth=2).fit(rows, rows[:, 0] > 0.1)


async def test_a_reply_goes_to_the_named_partition_after_the_commit(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r1", headers=REPLY)
        (reply,) = await bench.read("inference.replies")
    assert reply.record.partition == 3
    assert header(reply.record.headers, "headrace_reply_id") == "ask-1"
    assert reply.event.request_id == "r1"
    assert reply.event.provisional is False


async def test_a_repeated_request_gets_the_stored_answer_and_no_second_decision(bench: Bench) -> None:
    async with bench.running():
        for _ in range(3):
            await bench.ask("delay", FLIGHT, id="r1", headers=REPLY)
        replies = await bench.read("inference.replies", lambda found: len(found) >= 3)
        decisions = await bench.read("inference.decisions")
    assert len(decisions) == 1
    assert {reply.event.answer.score.value for reply in replies} == {0.26}


async def test_repeats_are_known_after_a_restart_too(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r1")
        await bench.decisions()
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r1", headers=REPLY)
        await bench.read("inference.replies")
        decisions = await bench.read("inference.decisions")
    assert len(decisions) == 1


async def test_answers_given_just_before_a_takeover_are_told_again_without_a_second_decision(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r1", headers=REPLY)
        await bench.read("inference.replies")
    async with bench.running():
        replies = await bench.read("inference.replies", lambda found: len(found) >= 2)
        decisions = await bench.read("inference.decisions")
    assert [reply.event.request_id for reply in replies] == ["r1", "r1"]
    assert len(decisions) == 1


async def test_requests_found_at_takeover_are_marked_recovered(bench: Bench) -> None:
    await bench.ask("delay", FLIGHT, "u1", id="before")
    async with bench.running():
        await bench.decisions()
        await bench.ask("delay", FLIGHT, "u1", id="after")
        decisions = await bench.decisions(2)
    assert {d.request_id: d.recovered for d in decisions} == {"before": True, "after": False}


async def test_an_unknown_deployment_and_a_broken_contract_are_invalid_and_not_dead_lettered(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("delay", {"miles": 99999.0, "carrier": "AA"}, id="r1")
        await bench.ask("nobody", {}, id="r2")
        decisions = await bench.decisions(2)
    assert all(isinstance(decision.answer, Invalid) for decision in decisions)
    assert bench.health.dead_lettered == 0


async def test_a_deployment_that_was_published_a_moment_ago_is_known(bench: Bench) -> None:
    late = compile_project(Project("late", [Deployment("newborn", unit="u", inputs=[Number("x")])]))
    async with bench.running():
        await bench.apply(late)
        await bench.ask("newborn", {"x": 1.0})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Refused)


async def test_a_request_whose_deadline_has_passed_expires(bench: Bench, clock: ManualClock) -> None:
    await bench.ask("delay", FLIGHT, deadline_ms=50)
    clock.advance(1)
    async with bench.running():
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Expired)
    assert decision.answer.late_ms == 950


async def test_garbage_is_dead_lettered_and_the_next_request_is_decided(bench: Bench) -> None:
    from headrace.bus.port import Out

    topic = bench.topics.name("inference.requests")
    async with bench.running():
        await bench.send([Out(topic, b"u1", b"\xc1")])
        await bench.ask("delay", FLIGHT, "u1")
        await bench.decisions()
        await bench.until(lambda: bench.health.dead_lettered == 1)


async def test_a_plain_json_request_is_decided_at_the_instant_of_its_header(bench: Bench) -> None:
    from headrace.bus.port import Out

    value = b'{"deployment": "delay", "inputs": {"miles": 500, "carrier": "AA"}}'
    headers = (("ce_time", b"2013-03-31T12:00:00Z"),)
    async with bench.running():
        await bench.send([Out(bench.topics.name("inference.requests"), b"flight-1", value, headers)])
        (decision,) = await bench.decisions()
    assert (decision.unit, decision.at_s) == ("flight-1", 1_364_731_200.0)


async def test_a_new_version_is_warmed_beside_the_traffic_and_told(bench: Bench) -> None:
    async with bench.running():
        await bench.register("delay", 1)
        await bench.route("delay", {}, warm=(1,))
        await bench.until(lambda: bench.health.warmed == {"delay/1"})
        await bench.ask("delay", FLIGHT, id="r1")
        await bench.decisions()
        facts = await bench.read("inference.facts", lambda found: len(found) >= 2)
        await bench.route("delay", {1: 1.0}, champion=1)
    events = [fact.event for fact in facts]
    assert any(isinstance(event, VersionWarmed) and event.version == 1 for event in events)
    assert any(isinstance(event, RungChanged) and event.rung == "prior" for event in events)


async def test_a_version_that_is_no_longer_wanted_is_unloaded(bench: Bench) -> None:
    await bench.register("delay", 1)
    await bench.route("delay", {1: 1.0})
    async with bench.running():
        assert bench.health.loaded == {"delay/1"}
        await bench.route("delay", {})
        await bench.until(lambda: not bench.health.loaded)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": b"not a model"}, "zip"),
        ({"data": b"\x80\x04\x95pickle"}, "zip"),
        ({"output": "poem"}, "output"),
        ({"output": "classes", "model": object}, "predict"),
    ],
)
async def test_a_version_that_cannot_be_loaded_is_told_and_the_ladder_answers(
    bench: Bench, changes: dict[str, Any], told: str
) -> None:
    if changes.get("model") is object:
        changes = {"model": wide_model()}
    await bench.register("delay", 1, **changes)
    await bench.route("delay", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("delay", FLIGHT)
        (decision,) = await bench.decisions()
        facts = await bench.read("inference.facts")
    unloadable = [fact.event for fact in facts if isinstance(fact.event, VersionUnloadable)]
    assert told in unloadable[0].reason
    assert isinstance(decision.answer, FellBack)
    assert decision.answer.rung == "prior"
    assert told in decision.answer.reason


async def test_a_version_that_scores_its_golden_rows_otherwise_than_where_it_was_made_is_not_served(
    bench: Bench,
) -> None:
    model = bench.trained(1, 1)
    row = np.array([0.25], np.float32)
    value = float(model.predict_proba([row])[0, 1])
    await bench.register("plain", 1, model, golden=(GoldenRow(row.tobytes(), value),))
    await bench.register("plain", 2, model, golden=(GoldenRow(row.tobytes(), value + 1e-5),))
    await bench.register("plain", 3, model, golden=(GoldenRow(b"1234" * 2, value),))
    await bench.route("plain", {1: 1.0}, warm=(2, 3))
    async with bench.running():
        facts = await bench.read("inference.facts", lambda found: len(found) >= 3)
    warmed = [fact.event.version for fact in facts if isinstance(fact.event, VersionWarmed)]
    refused = {f.event.version: f.event.reason for f in facts if isinstance(f.event, VersionUnloadable)}
    assert (warmed, sorted(refused)) == ([1], [2, 3])
    assert "golden row 0 scores" in refused[2]
    assert "golden rows have 2 values" in refused[3]


def wide_model() -> Any:
    """Wants more columns than the deployment has: its first predict raises."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(50, 9))
    return LogisticRegression().fit(rows, rows[:, 0] > 0)


def test_an_artifact_with_a_type_that_nobody_reviewed_is_refused() -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    data = skops.io.dumps(FunctionTransformer(func=threading.Thread))
    with pytest.raises(models.Unloadable, match="allow-list"):
        models.load(data)


@pytest.mark.parametrize("fault", ["raises", "nan", "shape"])
async def test_a_model_that_fails_is_passed_over_and_its_breaker_opens_until_its_probes_are_well(
    bench: Bench, clock: ManualClock, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    sound = models.predict

    def predict(engine: Any, rows: np.ndarray, output: str) -> np.ndarray:
        if not broken.is_set() or engine.estimator.coef_[0, 0] < 0:
            return sound(engine, rows, output)
        if fault == "raises":
            raise ValueError("broken")
        return np.full((len(rows), 2) if fault == "nan" else (len(rows), 5), np.nan)

    monkeypatch.setattr(models, "predict", predict)
    await two_versions(bench)
    async with bench.running():
        broken.set()
        failed = await ask_in_turn(bench, 4, 0)
        assert "delay/2" in bench.health.breakers
        broken.clear()
        clock.advance(11)
        well = await ask_in_turn(bench, 4, 4)
        facts = await bench.read("inference.facts", lambda found: len(breakers(found)) >= 3)
    assert [answer.rung for answer in failed] == ["previous"] * 4
    assert failed[0].score.version == 1
    assert failed[0].reason.startswith("champion (version 2): predict")
    assert "breaker is open: 100% of 3 calls failed" in failed[3].reason
    assert [answer.score.version for answer in well] == [2] * 4
    assert breakers(facts) == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    assert bench.health.breakers == {}


async def test_a_hung_model_costs_one_batch_its_time_and_is_not_asked_before_its_thread_is_free(
    bench: Bench, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, asked = threading.Event(), []
    sound = models.predict

    def predict(engine: Any, rows: np.ndarray, output: str) -> np.ndarray:
        if bench.is_broken and engine.estimator.coef_[0, 0] > 0:
            asked.append(len(rows))
            release.wait(30)
        return sound(engine, rows, output)

    bench.is_broken = False
    monkeypatch.setattr(models, "predict", predict)
    await two_versions(bench)
    async with bench.running():
        bench.is_broken = True
        failed = await ask_in_turn(bench, 3, 0, deadline_ms=60_000)
        bench.is_broken = False
        release.set()
        clock.advance(11)
        well = await ask_in_turn(bench, 9, 3)
        facts = await bench.read("inference.facts", lambda found: len(breakers(found)) >= 3)
    assert asked == [1]
    assert "predict took over 0.5 s" in failed[0].reason
    assert "a call has hung for" in failed[1].reason
    assert [answer.score.version for answer in well][-3:] == [2] * 3
    assert breakers(facts) == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


async def test_a_row_that_the_model_cannot_stand_does_not_cost_the_others_their_version(bench: Bench) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    rows = np.repeat(np.arange(4, dtype=np.float32), 5).reshape(-1, 1)
    model = make_pipeline(OrdinalEncoder(handle_unknown="error"), DecisionTreeClassifier(max_depth=1)).fit(
        rows, rows[:, 0] > 1
    )
    await bench.register("fast", 1, model=model, vocabularies={})
    await bench.route("fast", {1: 1.0}, champion=1)
    for n in range(20):
        await bench.ask("fast", {"x": 77.0 if n == 13 else float(n % 4)}, id=f"r{n}")
    async with bench.running():
        decisions = await bench.decisions(20)
    fallen = {d.request_id: d.answer.reason for d in decisions if isinstance(d.answer, FellBack)}
    assert list(fallen) == ["r13"]
    assert "Found unknown categories" in fallen["r13"]
    assert bench.health.breakers == {}


async def test_a_request_that_lacks_features_goes_down_to_the_baseline_which_needs_none(bench: Bench) -> None:
    await bench.register("safe", 1, pins={"inputs_only": True})
    await bench.register("safe", 2)
    await bench.route("safe", {2: 1.0}, champion=2, baseline=1)
    await bench.land("AA", [10.0])
    async with bench.running():
        await bench.ask("safe", {"miles": 500.0, "carrier": "AA"}, id="known")
        await bench.ask("safe", {"miles": 500.0, "carrier": "UA"}, id="unknown")
        found = {decision.request_id: decision for decision in await bench.decisions(2)}
    assert isinstance(found["known"].answer, Served)
    fallen = found["unknown"]
    assert fallen.answer.rung == "baseline"
    assert fallen.answer.reason == "champion (version 2): 1 of 2 features are missing or stale, 40% may be"
    assert fallen.failures == {2: RowUnfit("1 of 2 features are missing or stale, 40% may be")}
    assert fallen.signature == bench.versions["safe", 1].signature.digest
    assert row(fallen) == [500.0, 1.0]
    assert fallen.missing == ("carrier.mean",)


async def test_under_overload_shadows_go_first_then_the_baseline_then_requests(
    bench: Bench, clock: ManualClock
) -> None:
    await bench.register("safe", 1, pins={"inputs_only": True})
    await bench.register("safe", 2)
    await bench.register("safe", 3)
    await bench.route("safe", {2: 1.0}, champion=2, baseline=1, shadows=(3,))
    await bench.land("AA", [10.0])
    known, unknown = {"miles": 500.0, "carrier": "AA"}, {"miles": 500.0, "carrier": "UA"}

    async def ask_late(waited_s: float, number: int, inputs: dict[str, Any]) -> DecisionMade:
        # NB: the log's append time is the clock's: a request that was asked before the clock moved has waited.
        clock.jump(-waited_s)
        await bench.ask("safe", inputs, id=f"r{number}", deadline_ms=1000)
        clock.jump(waited_s)
        return (await bench.decisions(number + 1))[number]

    async with bench.running():
        await bench.until(lambda: bench.health.shards == (0, 1))
        calm = await ask_late(0.1, 0, known)
        without_shadows = await ask_late(0.3, 1, known)
        without_baseline = await ask_late(0.45, 2, unknown)
        refused = await ask_late(0.6, 3, known)
        in_time = await ask_late(0.3, 4, known)
        assert bench.health.overload == {"safe": 3}
        for level in (2, 1, 0):
            clock.advance(1.5)
            await bench.until(lambda level=level: bench.health.overload.get("safe", 0) == level)
        facts = await bench.read("inference.facts", lambda found: levels(found)[-1:] == [0])
    assert [shadow.version for shadow in calm.shadows] == [3]
    assert without_shadows.shadows == ()
    assert without_shadows.failures == {3: Shed("overload: shadows do not score along")}
    assert isinstance(without_shadows.answer, Served)
    assert without_baseline.answer.rung == "prior"
    assert "overload: the baseline is not asked" in without_baseline.answer.reason
    assert isinstance(refused.answer, Refused)
    assert refused.answer.retry_after_s == 1.0
    assert isinstance(in_time.answer, Served)
    assert levels(facts) == [1, 2, 3, 2, 1, 0]


def levels(facts: list[Any]) -> list[int]:
    """The levels told, in order."""
    return [fact.event.level for fact in facts if isinstance(fact.event, OverloadChanged)]


async def test_requests_without_a_deadline_wait_and_are_never_refused(bench: Bench, clock: ManualClock) -> None:
    async with bench.running():
        await bench.until(lambda: bench.health.shards == (0, 1))
        clock.jump(-3600)
        await bench.ask("delay", FLIGHT, time_s=AT_S - 3600)
        clock.jump(3600)
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, FellBack)
    assert bench.health.overload == {}


@pytest.mark.parametrize("deadline_ms", [None, 1000])
async def test_what_a_slow_model_does_not_reach_in_time_is_asked_on_or_goes_down_the_ladder(
    bench: Bench, deadline_ms: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = models.predict

    def predict(engine: Any, rows: np.ndarray, output: str) -> np.ndarray:
        time.sleep(0.01 * len(rows))
        return sound(engine, rows, output)

    monkeypatch.setattr(models, "predict", predict)
    await bench.register("delay", 1)
    await bench.route("delay", {1: 1.0}, champion=1)
    await bench.land("AA", [10.0])
    async with bench.running():
        await bench.until(lambda: bench.health.shards == (0, 1))
        topic = bench.topics.name("inference.requests")
        requests = [PredictionRequested("delay", FLIGHT, "u1", deadline_ms) for _ in range(100)]
        await bench.send([out(topic, "u1", r, Envelope(f"r{n}", "", "test", AT_S)) for n, r in enumerate(requests)])
        decisions = await bench.decisions(100)
    served = [d for d in decisions if isinstance(d.answer, Served)]
    fallen = {d.answer.reason for d in decisions if isinstance(d.answer, FellBack)}
    assert bench.health.breakers == {}
    if deadline_ms is None:
        assert len(served) == 100
    else:
        assert 16 <= len(served) < 100
        assert fallen == {"champion (version 1): no time was left to ask it"}


async def two_versions(bench: Bench) -> None:
    """Version 2 is champion and may be broken by a test, version 1 answers below it."""
    await bench.register("delay", 1, model=signed(-1))
    await bench.register("delay", 2, model=signed(1))
    await bench.route("delay", {2: 1.0}, champion=2, previous=1)
    await bench.land("AA", [10.0])


async def ask_in_turn(bench: Bench, count: int, first: int, **more: Any) -> list[Any]:
    """Answers to requests that are asked one after the other, each in a batch of its own."""
    for n in range(first, first + count):
        # NB: of one row or one unit only the first failure counts.
        await bench.ask("delay", FLIGHT | {"miles": 500.0 + n}, f"u{n}", id=f"r{n}", **more)
        decisions = await bench.decisions(n + 1)
    return [decision.answer for decision in decisions[first:]]


def breakers(facts: list[Any]) -> list[tuple[str, str]]:
    """The changes told: from which state to which."""
    return [(f.event.was, f.event.state) for f in facts if isinstance(f.event, BreakerChanged)]


def signed(sign: int) -> Any:
    """A model that tells by the sign of its first weight which one it is, and that can live with NaN-free rows only."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(100, 4))
    return LogisticRegression().fit(rows, sign * rows[:, 0] > 0)


async def test_applied_origins_appear_in_health(bench: Bench) -> None:
    async with bench.running():
        await bench.land("AA", [1.0, 2.0, 3.0])
        await bench.until(lambda: bench.health.applied == {"events.landings.v1/0": 2})


async def test_a_fast_answer_is_provisional_and_the_decision_follows(bench: Bench) -> None:
    async with bench.running():
        await bench.ask("fast", {"x": 1.0}, id="r1", headers=REPLY)
        (reply,) = await bench.read("inference.replies")
        (decision,) = await bench.decisions()
    assert reply.event.provisional is True
    assert reply.event.answer == decision.answer


@pytest.mark.parametrize("output", ["number", "classes"])
async def test_regressors_and_classifiers_of_many_classes_are_served(bench: Bench, output: str) -> None:
    rows = np.linspace(-1, 1, 60, dtype=np.float32).reshape(-1, 1)
    kinds = {"number": DecisionTreeRegressor(), "classes": DecisionTreeClassifier(max_depth=1)}
    labels = rows[:, 0] * 3 if output == "number" else np.digitize(rows[:, 0], [-0.3, 0.3])
    model = kinds[output].fit(rows, labels)
    await bench.register("plain", 1, model=model, vocabularies={}, output=output)
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("plain", {"x": float(rows[7, 0])})
        (decision,) = await bench.decisions()
    score = decision.answer.score
    said = score.value if output == "number" else score.classes
    wanted = float(labels[7]) if output == "number" else tuple(model.predict_proba(rows[7:8])[0])
    assert said == pytest.approx(wanted)


async def test_a_definition_that_changed_its_columns_no_longer_asks_the_old_version(bench: Bench) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    changed = Deployment("plain", unit="thing", inputs=[Number("y")], ladder=[prior(0.1)])
    async with bench.running():
        await bench.apply(compile_project(Project("flights", [changed])))
        await bench.until(lambda: bench.projects.deployment("plain")[1].inputs[0].name == "y")
        await bench.ask("plain", {"y": 1.0})
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, FellBack)
    assert "columns" in decision.answer.reason


def as_onnx(model: Any, columns: int) -> bytes:
    from skl2onnx import to_onnx

    return to_onnx(model, np.zeros((1, columns), np.float32), options={"zipmap": False}).SerializeToString()


async def test_a_version_is_served_by_onnx_where_it_has_such_an_artifact(bench: Bench) -> None:
    model = conftest_model()
    onnx = await artifacts.publish(bench.log, bench.topics, as_onnx(model, 1), "onnx", 0.0, "test")
    await bench.register("plain", 1, model=signed_one(-1), vocabularies={}, onnx=onnx)
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("plain", {"x": 0.7})
        (decision,) = await bench.decisions()
    assert decision.answer.score.value == pytest.approx(model.predict_proba([[0.7]])[0, 1], abs=1e-6)


def signed_one(sign: int) -> Any:
    """A model of one column that is sure of the opposite when `sign` is negative."""
    rows = np.linspace(-1, 1, 50, dtype=np.float32).reshape(-1, 1)
    return DecisionTreeClassifier(max_depth=1).fit(rows, sign * rows[:, 0] > 0)


async def test_an_onnx_artifact_that_cannot_be_loaded_leaves_the_version_to_its_own(bench: Bench) -> None:
    broken = await artifacts.publish(bench.log, bench.topics, b"not a model", "onnx", 0.0, "test")
    await bench.register("plain", 1, model=signed_one(1), vocabularies={}, onnx=broken)
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("plain", {"x": 0.7})
        (decision,) = await bench.decisions()
    assert decision.answer.score.value == 1.0


async def test_a_pipeline_that_needs_names_and_words_gets_a_frame_and_logs_the_matrix(bench: Bench) -> None:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    words = OneHotEncoder(handle_unknown="ignore")
    chosen = ColumnTransformer([("words", words, ["carrier"])], remainder="drop")
    frame = pd.DataFrame({"miles": [1.0, 2.0] * 10, "carrier": ["AA", "UA"] * 10})
    pipeline = make_pipeline(chosen, DecisionTreeClassifier()).fit(frame, [0, 1] * 10)
    await bench.register("safe", 1, model=pipeline, pins={"inputs_only": True, "frame": True})
    await bench.route("safe", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.ask("safe", {"miles": 5.0, "carrier": "UA"}, id="r0")
        await bench.ask("safe", {"miles": 5.0, "carrier": "AA"}, id="r1")
        found = {decision.request_id: decision for decision in await bench.decisions(2)}
    assert [found[f"r{n}"].answer.score.value for n in range(2)] == [1.0, 0.0]
    assert row(found["r0"]) == [5.0, 1.0]


async def test_versions_beyond_the_memory_limit_wait_until_there_is_room(bench: Bench) -> None:
    for number in (1, 2):
        await bench.register("plain", number, vocabularies={})
    bench.model_memory_bytes = 25_000  # one of them takes about 18,000
    await bench.route("plain", {1: 1.0}, champion=1, warm=(2,))
    async with bench.running():
        facts = await bench.read("inference.facts", lambda found: len(found) >= 2)
        waits = [fact.event for fact in facts if isinstance(fact.event, VersionLoadFailed)]
        assert [(event.version, event.cause, event.attempt) for event in waits] == [(2, "memory", 1)]
        assert "HEADRACE_MODEL_MEMORY_BYTES" in waits[0].reason
        await bench.route("plain", {2: 1.0}, champion=2)
        await bench.until(lambda: bench.health.warmed == {"plain/2"})


def untrusted() -> bytes:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    return skops.io.dumps(FunctionTransformer(func=threading.Thread))


def external() -> bytes:
    """An ONNX graph whose weights are said to lie in a file of the machine."""
    import onnx

    model = onnx.load_model_from_string(as_onnx(signed_one(1), 1))
    tensor = model.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"digest": "0" * 64}, "incomplete or altered"),
        ({"size_bytes": 17}, "incomplete or altered"),
        ({"format": "joblib"}, "never pickle or joblib"),
        ({"data": pickle.dumps(signed_one(1))}, "never with pickle"),
        ({"data": untrusted()}, "allow-list"),
        ({"data": external(), "format": "onnx"}, "another file"),
        ({"data": as_onnx(signed_one(1), 3), "format": "onnx"}, "predict raised"),
    ],
)
async def test_a_file_that_must_not_be_loaded_is_refused_and_told_and_the_old_version_keeps_serving(
    bench: Bench, changes: dict[str, Any], told: str
) -> None:
    await bench.register("plain", 1, model=signed_one(1), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    written = {key: changes[key] for key in ("data", "format") if key in changes}
    place = {key: value for key, value in changes.items() if key not in ("data", "format")}
    async with bench.running():
        bad = await bench.register("plain", 2, vocabularies={}, **written)
        if place:
            bad = await bench.register("plain", 2, vocabularies={}, place=msgspec.structs.replace(bad.place, **place))
        await bench.route("plain", {1: 1.0}, champion=1, warm=(2,))
        facts = await bench.read("inference.facts", lambda found: unloadable(found) != [])
        await bench.ask("plain", {"x": 0.7})
        (decision,) = await bench.decisions()
    (refused,) = unloadable(facts)
    assert refused.version == 2
    assert re.search(told, refused.reason)
    assert isinstance(decision.answer, Served)


def unloadable(facts: list[Any]) -> list[VersionUnloadable]:
    """The refusals told."""
    return [fact.event for fact in facts if isinstance(fact.event, VersionUnloadable)]
