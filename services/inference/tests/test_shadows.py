"""Shadows: they score after the answers, in their own time, and every one of them ends in a score or a typed reason."""

import threading
import time
from typing import Any

import numpy as np
import pytest

from headrace.events.failures import BreakerOpen, NoTime, NotLoaded, Raised, RowUnfit, Shed
from headrace.events.inference import DecisionMade, Served, ShadowScored
from headrace.log.codec import Message
from headrace_inference.adapters import models, shadow_scoring
from headrace_inference.core import shadows

Bench = Any  # the fixture of conftest.py

FLIGHT = {"miles": 500.0, "carrier": "AA"}


async def shadowed(bench: Bench) -> None:
    """Version 2 answers, version 1 scores along."""
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {2: 1.0}, champion=2, shadows=(1,))


async def decided(bench: Bench, count: int, unit: str = "u{}") -> list[DecisionMade]:
    """The decisions on requests `r0` and so on, each of a unit of its own unless one is named."""
    for n in range(count):
        await bench.ask("plain", {"x": n / 10}, unit.format(n), id=f"r{n}")
    return await bench.decisions(count)


def results(found: list[Message]) -> dict[str, list[Any]]:
    """Per request the results of its shadow, in the decision or after it."""
    known: dict[str, list[Any]] = {}
    for message in found:
        event = message.event
        if isinstance(event, DecisionMade):
            failed = [found for found in [event.failure_of(1)] if found is not None]
            known.setdefault(event.request_id, []).extend([*event.shadows, *failed])
        elif isinstance(event, ShadowScored):
            known.setdefault(event.request_id, []).append(event.score or event.failure)
    return known


def are_known(count: int) -> Any:
    return lambda found: sum(map(bool, results(found).values())) >= count


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is not set, version 1 does not return."""
    opened, sound = threading.Event(), models.ask

    def ask(registered: Any, *more: Any) -> Any:
        if registered.version == 1 and len(more[1]) and more[3] != float("inf"):
            opened.wait(30)
        return sound(registered, *more)

    monkeypatch.setattr(models, "ask", ask)
    return opened


async def test_an_answer_does_not_wait_for_its_shadow_whose_score_follows_beside_the_decision(
    bench: Bench, gate: threading.Event
) -> None:
    await shadowed(bench)
    async with bench.running():
        decisions = await decided(bench, 20)
        gate.set()
        found = await bench.read("inference.decisions", are_known(20))
    assert [type(decision.answer) for decision in decisions] == [Served] * 20, [
        d for d in decisions if not isinstance(d.answer, Served)
    ][:1]
    assert [decision.shadows_due for decision in decisions] == [(1,)] * 20, decisions
    late = [message for message in found if isinstance(message.event, ShadowScored)]
    places = {m.event.request_id: m.record.partition for m in found if isinstance(m.event, DecisionMade)}
    assert len(late) == 20
    assert all(m.record.partition == places[m.event.request_id] for m in late)
    assert all(m.event.score.version == 1 for m in late)
    assert all(m.envelope.causation_id == m.event.request_id for m in late)
    rows = np.array([[n / 10] for n in range(20)], np.float32)
    wanted = bench.trained(1, 1).predict_proba(rows)[:, 1]
    scores = {m.event.request_id: m.event.score.value for m in late}
    assert [scores[f"r{n}"] for n in range(20)] == pytest.approx(wanted, abs=1e-9)


async def test_what_a_former_owner_owed_is_scored_by_the_next_one_from_the_logged_row_once(
    bench: Bench, gate: threading.Event
) -> None:
    await shadowed(bench)
    async with bench.running():
        await decided(bench, 10)
    gate.set()
    async with bench.running():
        await bench.read("inference.decisions", are_known(10))
    async with bench.running():
        await bench.ask("plain", {"x": 0.5}, id="last")
        found = await bench.read("inference.decisions", are_known(11))
    known = results(found)
    assert all(len(scores) == 1 and scores[0].version == 1 for scores in known.values())


async def test_what_cannot_be_made_again_after_a_takeover_says_so(bench: Bench, gate: threading.Event) -> None:
    await bench.register("delay", 1, vocabularies={"carrier": ("UA",)})
    await bench.register("delay", 2, vocabularies={"carrier": ("UA", "AA")})
    await bench.route("delay", {2: 1.0}, champion=2, shadows=(1,))
    await bench.land("AA", [10.0])
    async with bench.running():
        await bench.ask("delay", FLIGHT, id="r0")
        await bench.decisions(1)
    gate.set()
    async with bench.running():
        found = await bench.read("inference.decisions", are_known(1))
    (failure,) = results(found)["r0"]
    assert isinstance(failure, NoTime | RowUnfit)


async def test_what_is_owed_waits_for_a_version_that_is_loaded_again_and_not_for_one_that_nobody_wants(
    bench: Bench, gate: threading.Event
) -> None:
    await shadowed(bench)
    async with bench.running():
        await bench.ask("plain", {"x": 0.5}, id="r0")
        await bench.decisions(1)
    gate.set()
    await bench.route("plain", {2: 1.0}, champion=2)
    async with bench.running():
        found = await bench.read("inference.decisions", are_known(1))
    assert isinstance(results(found)["r0"][0], NotLoaded)


async def test_beyond_their_budget_shadows_are_dropped_and_say_so(
    bench: Bench, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadows, "MOST_ROWS", 5)
    monkeypatch.setattr(shadows, "FIRST_ROWS", 1)
    await shadowed(bench)
    async with bench.running():
        await decided(bench, 20, "u")
        await bench.read("inference.decisions", are_known(10))
        gate.set()
        found = await bench.read("inference.decisions", are_known(20))
    known = [scores[0] for scores in results(found).values()]
    assert len(known) == 20
    assert sum(isinstance(one, Shed) for one in known) >= 10
    assert all(len(scores) == 1 for scores in results(found).values())


async def test_a_shadow_that_raises_counts_against_itself_and_costs_no_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = models.predict

    def predict(engine: Any, rows: np.ndarray, output: str) -> np.ndarray:
        if bench.is_broken and threading.current_thread().name.startswith("shadow"):
            raise ValueError("broken")
        return sound(engine, rows, output)

    bench.is_broken = True
    monkeypatch.setattr(models, "predict", predict)
    await shadowed(bench)
    async with bench.running():
        for n in range(6):
            await bench.ask("plain", {"x": n / 10}, f"u{n}", id=f"r{n}")
            await bench.read("inference.decisions", are_known(n + 1))
        await bench.until(lambda: "plain/1" in bench.health.breakers)
        found = await bench.read("inference.decisions", are_known(6))
    answers = [m.event.answer for m in found if isinstance(m.event, DecisionMade)]
    assert all(isinstance(answer, Served) and answer.score.version == 2 for answer in answers)
    assert isinstance(results(found)["r0"][0], Raised)
    assert isinstance(results(found)["r5"][0], BreakerOpen)


async def test_a_slow_shadow_does_not_keep_the_same_version_from_answering(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = models.predict
    took: list[float] = []

    def predict(engine: Any, rows: np.ndarray, output: str) -> np.ndarray:
        if threading.current_thread().name.startswith("shadow"):
            time.sleep(0.3)
        return sound(engine, rows, output)

    monkeypatch.setattr(models, "predict", predict)
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.route("plain", {1: 0.5, 2: 0.5}, champion=2, shadows=(1, 2))
    async with bench.running():
        for n in range(10):
            began_s = time.monotonic()
            await bench.ask("plain", {"x": 0.5}, f"u{n}", id=f"r{n}")
            await bench.read("inference.decisions", lambda found, n=n: len(asked(found)) > n)
            took.append(time.monotonic() - began_s)
    assert sorted(took)[5] < 0.25


def asked(found: list[Message]) -> list[DecisionMade]:
    """The decisions among them."""
    return [message.event for message in found if isinstance(message.event, DecisionMade)]


async def test_late_scores_are_written_in_portions_and_all_of_them_once(
    bench: Bench, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_scoring, "_BESIDE", 3)
    monkeypatch.setattr(shadow_scoring, "_AT_ONCE", 2)
    await shadowed(bench)
    async with bench.running():
        await decided(bench, 20, "u")
        gate.set()
        found = await bench.read("inference.decisions", are_known(20))
    assert all(len(scores) == 1 and scores[0].version == 1 for scores in results(found).values())


async def test_what_a_call_took_that_was_split_to_find_a_bad_row_is_recorded_of_no_row_and_opens_no_breaker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = models.predict

    def predict(engine: Any, rows: np.ndarray, output: str) -> np.ndarray:
        if (rows > 8).any():
            raise ValueError("more than eight")
        return sound(engine, rows, output)

    monkeypatch.setattr(models, "predict", predict)
    await shadowed(bench)
    for n in range(20):
        await bench.ask("plain", {"x": 9.0 if n == 7 else n / 100}, f"u{n}", id=f"r{n}")
    async with bench.running():
        found = await bench.read("inference.decisions", are_known(20))
        await bench.ask("plain", {"x": 0.5}, "alone", id="alone")
        found = await bench.read("inference.decisions", are_known(21))
    decisions = {decision.request_id: decision for decision in asked(found)}
    assert sum(isinstance(decision.answer, Served) for decision in decisions.values()) == 20
    lies = {m.event.request_id: m.record.partition for m in found if isinstance(m.event, DecisionMade)}
    beside = {name for name in decisions if lies[name] == lies["r7"]} - {"r7", "alone"}
    assert len(beside) > 2
    late = {m.event.request_id: m.event.took_ms for m in found if isinstance(m.event, ShadowScored)}
    for name in beside:
        assert decisions[name].took_ms_of(2) is None, name
        assert not decisions[name].took_ms_of(1), name
        assert not late.get(name), name
    assert "2" in decisions["alone"].took_ms
