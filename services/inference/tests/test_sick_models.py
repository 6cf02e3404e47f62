"""Models that raise, hang or are slow, and load that is too much: what is asked no more, what is shed, and what answers instead."""

import threading
import time
from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from headrace.clock import ManualClock
from headrace.events.failures import Shed
from headrace.events.inference import (
    BreakerChanged,
    DecisionMade,
    FellBack,
    OverloadChanged,
    PredictionRequested,
    Refused,
    Served,
)
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace_inference.adapters import model_calls, models

Bench = Any  # the fixture of conftest.py

AT_S = 1_364_774_400.0
FLIGHT = {"miles": 500.0, "carrier": "AA"}


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
    assert [answer.step for answer in failed] == ["previous"] * 4
    assert failed[0].score.version == 1
    assert failed[0].reason.startswith("champion (version 2): predict")
    assert "breaker is open: 100% of the rows of 3 calls failed" in failed[3].reason
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
        await bench.until(lambda: bench.health.degraded.get("delay", "").startswith("version 2: a call has hung for"))
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
    assert without_shadows.failures == {"3": Shed("overload: shadows do not score along")}
    assert isinstance(without_shadows.answer, Served)
    assert without_baseline.answer.step == "prior"
    assert "overload: the baseline is not asked" in without_baseline.answer.reason
    assert isinstance(refused.answer, Refused)
    assert refused.answer.retry_after_s == 1.0
    assert isinstance(in_time.answer, Served)
    assert levels(facts) == [1, 2, 3, 2, 1, 0]


def levels(facts: list[Any]) -> list[int]:
    """The published levels, in order."""
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
async def test_what_a_slow_model_does_not_reach_in_time_is_asked_on_or_goes_down_the_fallback_chain(
    bench: Bench, deadline_ms: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, spent = models.predict, SpentByTheModel()

    def predict(engine: Any, rows: np.ndarray, output: str) -> np.ndarray:
        spent.seconds += 0.01 * len(rows)
        return sound(engine, rows, output)

    monkeypatch.setattr(models, "predict", predict)
    for measuring in (models, model_calls):
        monkeypatch.setattr(measuring, "time", spent)
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


class SpentByTheModel:
    """Stands for `time` where calls are measured: only a model takes any, however busy the machine is."""

    seconds = 0.0
    process_time, thread_time = staticmethod(time.process_time), staticmethod(time.thread_time)

    def monotonic(self) -> float:
        return self.seconds


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
    """The published changes: from which state to which."""
    return [(f.event.was, f.event.state) for f in facts if isinstance(f.event, BreakerChanged)]


def signed(sign: int) -> Any:
    """A model that shows by the sign of its first weight which one it is, and that takes only rows without NaN."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(100, 4))
    return LogisticRegression().fit(rows, sign * rows[:, 0] > 0)


async def test_an_error_of_a_model_that_is_no_text_costs_no_request_its_decision(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a surrogate pair cannot be written: the whole batch failed after some of its answers had been remembered."""

    def predict(engine: Any, rows: np.ndarray, output: str) -> np.ndarray:
        raise ValueError("\udc00")

    await bench.register("delay", 1)
    await bench.route("delay", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.until(lambda: bench.health.shards == (0, 1))
        monkeypatch.setattr(models, "predict", predict)
        topic = bench.topics.name("inference.requests")
        requests = [PredictionRequested("fast", {"x": 1.0}, "u1"), PredictionRequested("delay", FLIGHT, "u1")]
        await bench.send([out(topic, "u1", r, Envelope(f"r{n}", "", "test", AT_S)) for n, r in enumerate(requests)])
        decisions = await bench.decisions(2)
    (fallen,) = [decision.answer for decision in decisions if decision.deployment == "delay"]
    assert isinstance(fallen, FellBack)
    assert "ValueError: \\udc00" in fallen.reason
