"""Case 12: what a row lacks counts for that row alone, however often it comes, and the breaker stays closed for the others."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from headrace.events.failures import RowUnfit
from headrace.events.inference import FellBack, Invalid, Served

Bench = Any  # the fixture of conftest.py


def of_the_first(columns: int) -> LogisticRegression:
    """A model that takes no NaN, and whose score follows its first column alone."""
    rows = np.zeros((200, columns), np.float32)
    rows[:, 0] = np.linspace(0, 6000, 200)
    return LogisticRegression(max_iter=1000).fit(rows, rows[:, 0] > 3000)


async def test_rows_that_a_model_cannot_take_fall_back_alone_name_their_column_and_open_no_breaker(
    bench: Bench,
) -> None:
    await bench.land("AA", [3e38, 3e38, 3e38])  # their sum is no float32, their mean is
    await bench.land("UA", [5.0, 7.0])
    await bench.register("delay", 1, model=of_the_first(4))
    await bench.route("delay", {1: 1.0}, champion=1)
    for n in range(60):
        carrier = ("UA", "??", "AA")[n % 3]
        await bench.ask("delay", {"miles": 5000.0, "carrier": carrier}, f"u{n}", id=f"{carrier}{n}")
    async with bench.running():
        decisions = {d.request_id: d for d in await bench.decisions(60)}
    served = [d for name, d in decisions.items() if name.startswith("UA")]
    unknown = [d for name, d in decisions.items() if name.startswith("??")]
    assert all(isinstance(d.answer, Served) for d in served)
    assert all(isinstance(d.answer, FellBack) and d.answer.step == "prior" for d in unknown)
    failures = [d.failure_of(1) for d in unknown]
    assert all(isinstance(found, RowUnfit) and found.field == "carrier" for found in failures)
    assert bench.health.breakers == {}


async def test_a_feature_beyond_float32_is_missing_and_no_infinity_reaches_a_model(bench: Bench) -> None:
    await bench.land("AA", [1e39])
    await bench.register("delay", 1, model=of_the_first(4))
    await bench.route("delay", {1: 1.0}, champion=1)
    await bench.ask("delay", {"miles": 5000.0, "carrier": "AA"})
    async with bench.running():
        (decision,) = await bench.decisions()
    assert decision.missing == ("carrier.mean",)
    assert np.isnan(bench.row(decision)[2])
    assert not np.isinf(bench.row(decision)).any()
    assert decision.failure_of(1) == RowUnfit(decision.failure_of(1).reason, "carrier.mean")  # ty: ignore[possibly-missing-attribute] - it says why


async def test_numbers_beyond_float32_are_invalid_by_name_and_a_float32_of_a_limit_is_within_it(bench: Bench) -> None:
    await bench.register("plain", 1, model=of_the_first(1), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    for n in range(20):
        await bench.ask("plain", {"x": 1e39 if n % 2 else 5000.0}, f"u{n}", id=f"r{n}")
    async with bench.running():
        decisions = {d.request_id: d for d in await bench.decisions(20)}
    for n in range(20):
        answer = decisions[f"r{n}"].answer
        if n % 2:
            assert isinstance(answer, Invalid)
            assert (answer.field, "within float32" in answer.reason) == ("x", True)
        else:
            assert isinstance(answer, Served)
    assert bench.health.breakers == {}
