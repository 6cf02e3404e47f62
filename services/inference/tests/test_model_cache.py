"""The model cache with its breakers, load shedding, and what health, metrics and facts say of them."""

import asyncio
import threading
from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.errors import Fatal
from headrace.events.definition import BreakerDefinition
from headrace.events.failures import BreakerOpen, Busy
from headrace.events.inference import BreakerChanged, OverloadChanged
from headrace.hosting.health import Health
from headrace.hosting.metrics import page
from headrace.log.topics import Topics
from headrace_inference.adapters.fact_publisher import FactPublisher
from headrace_inference.adapters.housekeeping import MAX_ABANDONED, Housekeeping
from headrace_inference.adapters.load_shedding import LoadShedding
from headrace_inference.adapters.model_cache import ABANDON_AFTER_S, ModelCache
from headrace_inference.adapters.model_worker import ModelWorker
from headrace_inference.adapters.models import LoadedModel
from headrace_inference.core.breaker import Call
from headrace_inference.core.lateness import Spent
from headrace_inference.core.overload import Waited

PLAN = BreakerDefinition(min_calls=2, probes=1)
NAME = ("delay", 3)


@pytest.fixture
def health() -> Health:
    return Health("inference", "i-1", failures={})


def cached(clock: ManualClock, health: Health, facts: list[Any]) -> ModelCache:
    models = ModelCache(clock, health, facts.append)
    models.put(NAME, LoadedModel(None, None, ModelWorker("test")))  # ty: ignore[invalid-argument-type] - never asked here
    health.warmed = {"delay/3"}
    return models


def test_a_breaker_that_opens_is_a_fact_a_metric_and_stands_in_health(clock: ManualClock, health: Health) -> None:
    facts: list[BreakerChanged] = []
    models = cached(clock, health, facts)
    for _ in range(2):
        models.note(NAME, PLAN, Call(clock.monotonic_s(), 1.0, 0.01, "NaN"))
    assert [(fact.was, fact.state, fact.calls, fact.failure_share) for fact in facts] == [("closed", "open", 2, 1.0)]
    assert health.report().breakers["delay/3"].startswith("open: 100% of the rows of 2 calls failed")
    assert b'headrace_inference_breakers{state="open"} 1.0' in page(health)
    assert b'headrace_inference_breakers{state="closed"} 0.0' in page(health)
    clock.advance(PLAN.open_s)
    assert models.why_not(NAME, PLAN) is None
    models.note(NAME, PLAN, Call(clock.monotonic_s(), 0.0, 0.01))
    assert [fact.state for fact in facts] == ["open", "half_open", "closed"]
    assert health.report().breakers == {}


def test_a_version_that_goes_takes_its_open_breaker_along(clock: ManualClock, health: Health) -> None:
    facts: list[BreakerChanged] = []
    models = cached(clock, health, facts)
    models.note_hang(NAME, PLAN, "predict took over 1 s")
    models.drop(NAME)
    assert [(fact.state, fact.reason) for fact in facts] == [
        ("open", "predict took over 1 s"),
        ("closed", "no route names it any more"),
    ]
    models.note(NAME, PLAN, Call(clock.monotonic_s(), 1.0, 0.01, "a call that ended late"))
    assert len(facts) == 2


async def test_a_call_that_was_merely_late_at_its_limit_and_goes_on_hanging_opens_the_breaker(
    clock: ManualClock, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts: list[BreakerChanged] = []
    models, release = cached(clock, health, facts), threading.Event()
    worker, plan = models.find(NAME).worker, BreakerDefinition(slow_s=0.5)
    with pytest.raises(TimeoutError):
        await worker.run(lambda: release.wait(60), 0.01)
    had = [Spent(took_s=0.6, cpu_s=0.1, waited_s=0.3), Spent(took_s=0.8, cpu_s=0.1, waited_s=0.3)]
    monkeypatch.setattr(ModelWorker, "spent", lambda _worker, _heartbeat: had[0])
    assert "has hung" in models.why_not(NAME, plan).reason
    assert facts == []
    had.pop(0)
    assert models.why_not(NAME, plan, as_shadow=True) is None
    assert facts == []
    for _ in range(3):
        why = models.why_not(NAME, plan)
        assert isinstance(why, BreakerOpen)
        assert ("has hung" in why.reason, why.openings) == (True, 1)
    release.set()
    assert [(fact.was, fact.state, fact.reason) for fact in facts] == [("closed", "open", "predict took over 0.8 s")]


def test_a_worker_that_hangs_for_good_is_left_behind_and_counted(
    clock: ManualClock, health: Health, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models = cached(clock, health, [])
    had = Spent(took_s=61.0, cpu_s=60.4, waited_s=0.0)
    monkeypatch.setattr(ModelWorker, "hangs_s", property(lambda worker: 61.0 if worker in hanging else 0.0))
    monkeypatch.setattr(ModelWorker, "spent", lambda _worker, _heartbeat: had)
    hanging = [models.find(NAME).worker]
    why = models.why_not(NAME, PLAN)
    models.renew_workers()
    assert ABANDON_AFTER_S < 61.0
    assert models.abandoned == 1
    assert isinstance(why, Busy)
    assert "hung for 61.0 s" in why.reason
    assert "a call of version 3 of delay hangs for good (61 s, 60 s of CPU)" in caplog.text
    models.drop(NAME)
    models.renew_workers()
    assert health.report().hung_calls == {"delay/3": 1}
    assert b"headrace_inference_hung_calls 1.0" in page(health)
    hanging.clear()  # it has returned after all
    models.renew_workers()
    assert (models.abandoned, health.report().hung_calls) == (0, {})


def test_a_worker_that_waits_for_a_core_is_not_left_behind(
    clock: ManualClock, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = cached(clock, health, [])
    monkeypatch.setattr(ModelWorker, "hangs_s", ABANDON_AFTER_S + 1)
    monkeypatch.setattr(ModelWorker, "spent", lambda _worker, _heartbeat: Spent(took_s=61.0, cpu_s=6.0, waited_s=55.0))
    models.renew_workers()
    assert models.abandoned == 0


def test_the_level_of_load_is_a_fact_a_metric_and_stands_in_health(clock: ManualClock, health: Health) -> None:
    facts: list[OverloadChanged] = []
    load = LoadShedding(clock, health, facts.append)
    assert load.note("delay", Waited(0.6, 2.4)) == 3
    assert health.report().overload == {"delay": 3}
    assert b"headrace_inference_overload_level 3.0" in page(health)
    for _ in range(3):
        clock.advance(1.0)
        load.calm_down()
    assert [(fact.was, fact.level) for fact in facts] == [(0, 3), (3, 2), (2, 1), (1, 0)]
    assert health.report().overload == {}


async def test_too_many_threads_left_behind_end_the_process(
    clock: ManualClock, health: Health, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, facts = cached(clock, health, []), FactPublisher(memory_log, Topics.load(""), health, clock)
    housekeeping = Housekeeping(facts, models, LoadShedding(clock, health, facts.add))
    monkeypatch.setattr(ModelCache, "abandoned", MAX_ABANDONED + 1)
    with pytest.raises(Fatal, match="hang for good"):
        await housekeeping.run(asyncio.Event())
