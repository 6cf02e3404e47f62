"""What a value, a unit and an instant of Python mean to the client, by HTTP and by Kafka alike, and what it refuses to ask."""

import asyncio
import math
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from libs.cli.tests.client_bench import INPUTS, Bench, both

from headrace_cli.client import (
    Rejected,
    Row,
)

VALUES = [
    (np.float64(5), 5.0),
    (np.float32(0.5), 0.5),
    (np.int64(5), 5),
    (np.bool_(True), True),
    (np.str_("AA"), "AA"),
    (Decimal("2.5"), 2.5),
    (pd.NA, None),
    (pd.NaT, None),
    (pd.Series([1.5, None], dtype="Float64")[0], 1.5),
    (pd.Series([7], dtype="Int64")[0], 7),
    (np.array(2.5), 2.5),
    (np.array(7), 7),
    (np.array("AA"), "AA"),
    (np.array(math.nan), None),
    (np.array("NaT", "datetime64[ns]"), None),
    (Decimal("sNaN"), None),
    (pd.Timestamp("2013-04-01T12:00:00.000001", tz="America/New_York"), "2013-04-01T16:00:00.000001Z"),
    (datetime(2013, 4, 1, 12), "2013-04-01T12:00:00Z"),
    (np.datetime64("2013-04-01T12", "ns"), "2013-04-01T12:00:00Z"),
    (date(2013, 4, 1), "2013-04-01"),
    (math.nan, None),
    (np.float32("nan"), None),
    (np.datetime64("NaT"), None),
    (10**30, 1e30),
    (2**63, float(2**63)),
]


@both
async def test_a_value_means_the_same_by_both_ways(bench: Bench, over: Callable) -> None:
    async with over(bench) as client:
        for given, _ in VALUES:
            await client.predict("delay", {"miles": given, "carrier": None})
    asked = [message.event.inputs for message in sorted(await bench.requests(), key=lambda m: m.record.timestamp_ms)]
    wanted = [{"miles": value, "carrier": None} for _, value in VALUES]
    assert sorted(map(repr, asked)) == sorted(map(repr, wanted))


@both
async def test_a_unit_and_an_instant_mean_the_same_by_both_ways(bench: Bench, over: Callable) -> None:
    units = [7, 7.0, "7", np.int64(7), np.float64(7), np.array(7.0), Decimal("7"), pd.Series([7])[0], 7]
    instants = [
        "2013-04-01T12:00:00",
        datetime(2013, 4, 1, 12),
        1_364_817_600,
        np.datetime64("2013-04-01T12:00:00"),
        pd.Timestamp("2013-04-01T08:00:00", tz="America/New_York"),
        pd.Timestamp("2013-04-01T12:00:00"),
        np.array(1_364_817_600.0),
        Decimal("1364817600"),
        None,
    ]
    async with over(bench) as client:
        await client.predict_many("delay", [Row(INPUTS, *pair) for pair in zip(units, instants, strict=True)])
    found = await bench.requests()
    assert {message.event.unit for message in found} == {"7"}
    assert [message.envelope.time_s for message in found].count(1_364_817_600.0) == 8


NOT_TO_BE_ASKED = [
    ({"inputs": {"miles": math.inf}}, "input miles must be finite"),
    ({"inputs": {"miles": 10**400}}, "not a number that fits"),
    ({"inputs": {"miles": [1]}}, "got list"),
    ({"inputs": {"miles": np.array([1.0, 2.0])}}, "got ndarray"),
    ({"inputs": {"carrier": "x" * 1000}}, "512 characters"),
    ({"inputs": {"carrier": "\ud800"}}, "surrogate"),
    ({"inputs": {7: 1}}, "is text"),
    ({"inputs": None}, "a mapping"),
    ({"unit": True}, "unit must be"),
    ({"unit": math.nan}, "unit must be"),
    ({"unit": b"x"}, "unit must be"),
    ({"unit": "x" * 1000}, "512 characters"),
    ({"at": "yesterday"}, "at must be an RFC 3339 instant"),
    ({"at": math.nan}, "at must be an RFC 3339 instant"),
    ({"at": True}, "at must be an RFC 3339 instant"),
    ({"at": pd.NaT}, "at must be an RFC 3339 instant"),
    ({"at": date(2013, 4, 1)}, "at must be an RFC 3339 instant"),
    ({"unit": pd.NA}, "unit must be"),
    ({"inputs": {"miles": Decimal("1e400")}}, "input miles must be finite"),
    ({"inputs": {"miles": np.datetime64("30000-01-01")}}, "not an instant"),
    ({"inputs": {"miles": pd.Timedelta("1h")}}, "got Timedelta"),
    ({"at": "2500-01-01"}, "at 2500-01-01"),
    ({"at": 1e300}, "years"),
    ({"version": "x"}, "a version is"),
    ({"version": 1.5}, "a version is"),
    ({"request_id": "é"}, "printable ASCII"),
    ({"request_id": "x" * 600}, "1..508 characters"),
    ({"request_id": ""}, "1..508 characters"),
    ({"deadline_s": math.nan}, "deadline_s must lie"),
    ({"deadline_s": math.inf}, "deadline_s must lie"),
    ({"deadline_s": -1}, "deadline_s must lie"),
    ({"deadline_s": "2"}, "deadline_s must lie"),
    ({"deployment": None}, "is text"),
    ({"deployment": ""}, "is text"),
]


@both
async def test_what_cannot_be_asked_is_rejected_alike_before_it_is_sent(bench: Bench, over: Callable) -> None:
    async with over(bench) as client:
        for changes, reason in NOT_TO_BE_ASKED:
            with pytest.raises(Rejected, match=reason):
                await client.predict(**({"deployment": "delay", "inputs": INPUTS} | changes))
    assert await bench.requests() == []


@both
async def test_a_name_that_no_deployment_has_is_rejected_whatever_it_holds(bench: Bench, over: Callable) -> None:
    following = asyncio.create_task(bench.projects.run(stop := asyncio.Event()))
    async with over(bench) as client:
        for name in ("a/b", "../x", "a b?c#d", "%2f", "\n", "é", "x" * 3000):
            with pytest.raises(Rejected):
                await client.predict(name, INPUTS)
    stop.set()
    await following
