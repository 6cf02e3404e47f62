"""Whatever a request holds, it gets one decision, and the next one is answered."""

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from headrace.clock import ManualClock
from headrace.events.inference import DecisionMade, Invalid, PredictionRequested, Served
from headrace.instants import EARLIEST_S, LATEST_S
from headrace.log.codec import Message, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Record
from headrace_inference.core import admission

Bench = Any  # the fixture of conftest.py
AT_S = 1_364_774_400.0

SCALARS = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.sampled_from([1e39, -1e39, 3.5e38, 10**400, "x" * 600, math.nan, math.inf]),
)
NAMES = st.sampled_from(["x", "miles", "carrier", "", "y", "n" * 513])
DEADLINES = st.one_of(st.none(), st.integers(-(2**63), 2**64), st.sampled_from([0, 10**300, -(10**300), 10**400]))
INSTANTS = st.one_of(
    st.floats(EARLIEST_S, LATEST_S), st.sampled_from([math.nan, math.inf, -math.inf, 1e300, AT_S, AT_S + 301])
)
REQUESTS = st.tuples(
    st.builds(
        PredictionRequested,
        deployment=st.sampled_from(["plain", "delay", "fast", "safe", "nobody", "", "d" * 513]),
        inputs=st.dictionaries(NAMES, SCALARS, max_size=4)
        | st.fixed_dictionaries({"x": SCALARS})
        | st.fixed_dictionaries({"miles": SCALARS, "carrier": SCALARS}),
        unit=st.one_of(st.none(), st.text(max_size=3), st.just("u" * 2_000)),
        deadline_ms=DEADLINES,
    ),
    INSTANTS,
    st.sampled_from(["", "i" * 2_000, "\u00e9" * 513]),
    st.sampled_from([None, b"", b"\xff\xfe", b"k"]),
)


@settings(
    deadline=None,
    max_examples=25,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(asked=st.lists(REQUESTS, min_size=1, max_size=6))
def test_every_request_gets_exactly_one_decision_whatever_it_holds(
    bench_kind: Any, clock: ManualClock, asked: list[tuple[PredictionRequested, float, str, bytes | None]]
) -> None:
    asyncio.run(_decide(bench_kind, clock, asked))


async def _decide(kind: Any, clock: ManualClock, asked: list[Any]) -> None:
    bench = await kind(MemoryLog(clock), clock).set_up()
    shard = await bench.shard()
    topic = bench.topics.name("inference.requests")
    messages = []
    for offset, (request, at_s, more, key) in enumerate(asked):
        record = Record(topic, 0, offset, key, b"", (("ce_correlationid", b"c" * 60_000),), int(AT_S * 1000))
        messages.append(Message(record, Envelope(f"{more}{offset}", "", "test", at_s), request))
    outputs = await shard.on_batch(messages)
    outs = outputs.deferred() if outputs.deferred is not None else []
    decisions = [bench.codec.decode(_as_record(one, n)).event for n, one in enumerate(outs)]
    assert sorted(decision.request_offset for decision in decisions) == list(range(len(asked)))
    assert all(len(one.value or b"") + sum(len(v) for _, v in one.headers) < 10_000 for one in outs)
    assert all(decision.at_s <= AT_S + 300 for decision in decisions)
    await shard.on_close()


def _as_record(made: Any, offset: int) -> Record:
    return Record(made.topic, 0, offset, made.key, made.value, made.headers, int(AT_S * 1000))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"time_s": AT_S + 301}, "ce_time"),
        ({"time_s": AT_S + 100 * 365 * 86400}, "ce_time"),
        ({"deadline_ms": -1}, "deadline_ms"),
        ({"deadline_ms": 2**62}, "deadline_ms"),
        ({"inputs": {"x": 1e39}}, "x"),
        ({"inputs": {"x": -3.5e38}}, "x"),
    ],
)
async def test_what_nobody_can_mean_is_invalid_and_names_its_field(
    bench: Bench, changes: dict[str, Any], field: str
) -> None:
    inputs = changes.pop("inputs", {"x": 1.0})
    async with bench.running():
        await bench.ask("plain", inputs, **changes)
        (decision,) = await bench.decisions()
    assert isinstance(decision.answer, Invalid)
    assert decision.answer.field == field
    assert decision.at_s <= AT_S + 300


async def test_what_raises_over_one_request_is_refused_alone_and_the_others_are_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = admission.admit

    def admit(request: PredictionRequested, *more: Any, **named: Any) -> Any:
        if request.inputs.get("x") == 13.0:
            raise ZeroDivisionError("planted")
        return sound(request, *more, **named)

    monkeypatch.setattr(admission, "admit", admit)
    model = DecisionTreeClassifier(max_depth=1).fit(np.array([[0.0], [1.0]]), [0, 1])
    await bench.register("plain", 1, model=model, vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    topic = bench.topics.name("inference.requests")
    async with bench.running():
        requests = [PredictionRequested("plain", {"x": float(n)}, "u1") for n in range(20)]
        await bench.send([out(topic, "u1", r, Envelope(f"r{n}", "", "test", AT_S)) for n, r in enumerate(requests)])
        decisions = await bench.decisions(20)
    found: dict[str, DecisionMade] = {decision.request_id: decision for decision in decisions}
    assert len(found) == len(decisions) == 20
    assert [name for name, decision in found.items() if isinstance(decision.answer, Invalid)] == ["r13"]
    assert "ZeroDivisionError: planted" in found["r13"].answer.reason
    assert all(isinstance(decision.answer, Served) for name, decision in found.items() if name != "r13")


async def test_twenty_retries_of_one_bad_row_open_no_breaker_and_as_a_probe_it_is_no_verdict(bench: Bench) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    rows = np.repeat(np.arange(4, dtype=np.float32), 5).reshape(-1, 1)
    model = make_pipeline(OrdinalEncoder(handle_unknown="error"), DecisionTreeClassifier(max_depth=1))
    await bench.register("plain", 1, model=model.fit(rows, rows[:, 0] > 1), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        for n in range(20):
            await bench.ask("plain", {"x": 77.0}, "client", id=f"r{n}")
            await bench.decisions(n + 1)
        await bench.ask("plain", {"x": 1.0}, "other", id="good")
        decisions = await bench.decisions(21)
    assert bench.health.breakers == {}
    found = {decision.request_id: decision.answer for decision in decisions}
    assert isinstance(found["good"], Served)
