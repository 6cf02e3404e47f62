"""Case 8: whatever a user's transform does with one message, only that message becomes a dead letter, with the reason."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.errors import Misconfigured, Poison
from headrace.log.envelope import Origin
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Key, Outcome, Project, RawStream, Source, outcomes, pipeline
from headrace.project.compile import compile_project
from headrace_pipeline.adapters.runner import TransformRunner
from headrace_pipeline.core.contract import Contract, targets_of
from headrace_pipeline.core.handled import MOST_OUTPUT_BYTES, MOST_OUTPUTS

NOW_MS = 1_364_774_400_000
NOW_S = NOW_MS / 1000


class Landing(msgspec.Struct):
    at: float
    carrier: str
    delay: float | None = None
    gate: int | None = None


class Booked(msgspec.Struct):
    flight: str
    departs_at: datetime
    booked_at: datetime


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")
BOOKINGS = Source("bookings", event=Booked, event_time="departs_at", key="flight", available_at="booked_at")
FEED = RawStream("feed")


@pipeline(FEED, to=[LANDINGS, BOOKINGS, outcomes("d")])
async def land(messages: AsyncIterator[dict[str, Any]]) -> AsyncIterator[Any]:
    async for message in messages:
        yield message["value"]


PROJECT = compile_project(
    Project(
        "p",
        [Deployment("d", "u", [Key("k")], label=Binary("late", horizon="1d"))],
        raw=[FEED],
        pipelines=[land],
        sources=[LANDINGS, BOOKINGS],
    )
)
CONTRACT = Contract(Topics.load(), PROJECT, PROJECT.pipelines[0], targets_of(land))


def write(value: Any) -> list[Any]:
    return CONTRACT.write(value, Origin("raw.feed.v1", 0, 1), "c", NOW_MS)


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        (Outcome("u", 1.0, "2021-01-01T00:00:00Z"), "at", "at must be a datetime or seconds since the epoch, got str"),
        (Outcome("u", None, NOW_S), "label", "label must be a finite number, got NoneType"),
        (Outcome("u", "late", NOW_S), "label", "must be 0 or 1, got 'late'"),
        (Outcome("u", float("nan"), NOW_S), "label", "got float nan"),
        (Outcome("u", 10**400, NOW_S), "label", "label must be"),
        (Outcome("u", 2, NOW_S), "label", r"must be 0 or 1, got 2"),
        (Outcome("u", -1.0, NOW_S), "label", "must be 0 or 1"),
        (Outcome(5, 1.0, NOW_S), "unit", "unit must be a text, got int 5"),
        (Outcome("", 1.0, NOW_S), "unit", "unit must be a text"),
        (Outcome("u" * 600, 1.0, NOW_S), "unit", "more than 512 bytes"),
        (Outcome("u", 1.0, NOW_S, id=""), "id", "id must be a printable text of at most 512 bytes, got str ''"),
        (Outcome("u", 1.0, NOW_S, request_id=7), "request_id", "request_id must be a printable text"),
        (Outcome("u", 1.0, NOW_S, corrects="a", id="a"), "corrects", "that corrects itself, a"),
        (Outcome("u", 1.0, NOW_S + 400), "at", "lies 400 s past the append time"),
        (Outcome("u", 1.0, datetime(2500, 1, 1, tzinfo=UTC)), "at", "past the append time"),
        (Outcome("u", 1.0, float("inf")), "at", "years 1..9999"),
        (Outcome("u", 1.0, 10**400), "at", "at must be"),
        (Outcome("u", 1.0, True), "at", "got bool True"),
        (Landing("noon", "AA"), "at", "broke the contract of landings"),
        (Landing(float("nan"), "AA"), "at", "years 1..9999"),
        (Landing(NOW_S + 9000, "AA"), "at", "past the append time"),
        (Landing(NOW_S, None), "carrier", "Expected `str`, got `None`"),
        (Landing(NOW_S, "AA", "late"), "delay", "Expected `float | null`"),
        (Landing(NOW_S, "AA", 1.0, 2**80), None, "cannot be written: OverflowError"),
        (Landing(NOW_S, "A" * 2_000_000), None, "the limit is 1,048,576"),
        # Every reader of the source would refuse these, so a partition would stop because of what a pipeline let pass.
        (Landing(NOW_S, "A" * 1025), "key", "key has 1025 bytes, at most 1024 are allowed"),
        (Landing(NOW_S, "AA", 1.0, 2**63), "gate", "gate must be a whole number of 64 bits"),
        (Landing(NOW_S, "\ud800"), None, "cannot be written: UnicodeEncodeError"),
        (Booked("AA1", datetime(2013, 9, 1, tzinfo=UTC), datetime(2013, 9, 1, tzinfo=UTC)), "booked_at", "past the"),
        ({"at": NOW_S}, None, "yielded dict; its outputs are Landing, Booked, Outcome"),
        (None, None, "yielded NoneType"),
        (b"\xc1", None, "yielded bytes"),
        (Odd(), None, "yielded Odd"),
        (Outcome(Odd(), 1.0, NOW_S), None, "cannot be written: RuntimeError: no words"),
    ],
)
def test_what_may_not_pass_is_poison_that_names_pipeline_field_and_reason(
    value: Any, field: str | None, reason: str
) -> None:
    with pytest.raises(Poison, match=reason) as raised:
        write(value)
    assert raised.value.reason.startswith("pipeline land ")
    assert raised.value.field == field
    assert len(raised.value.reason) < 1500


@pytest.mark.parametrize(
    "value",
    [
        Outcome("u", np.int64(1), NOW_S),
        Outcome("u", np.float32(0.0), datetime(2013, 1, 1)),
        Outcome("u", True, NOW_S + 299),
        Landing(NOW_S - 86_400 * 400, "AA"),
        Landing(0.0, "AA", float("nan")),
        Booked("AA1", datetime(2013, 9, 1, tzinfo=UTC), datetime(2013, 1, 1)),
    ],
)
def test_what_is_right_passes_and_a_business_instant_is_free(value: Any) -> None:
    assert len(write(value)) == 1


def raising(error: BaseException) -> Callable[..., AsyncIterator[Any]]:
    async def transform(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in messages:
            if message == "bad":
                raise error
            yield message

    return transform


@pytest.mark.parametrize(
    "error",
    [
        KeyError("carrier"),
        StopIteration(),
        StopAsyncIteration(),
        GeneratorExit(),
        KeyboardInterrupt(),
        SystemExit(0),
        asyncio.CancelledError(),
        RecursionError(),
        MemoryError(),
        type("Wordless", (Exception,), {"__str__": lambda self: 1 / 0})(),
        ValueError("x" * 100_000),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_is_raised_parks_that_message_and_the_next_is_handled_at_once(error: BaseException) -> None:
    runner = TransformRunner("land", raising(error))
    await runner.run(["warm"])
    begun_s = time.perf_counter()
    handled = await runner.run(["a", "bad", "b"])
    took_s = time.perf_counter() - begun_s
    assert [found.yielded for found in handled] == [["a"], [], ["b"]]
    poison = handled[1].poison
    assert poison is not None
    assert poison.reason.startswith("pipeline land failed: ")
    assert len(poison.reason) < 1200
    assert took_s < 1.0  # a tenth of that on an idle machine
    await runner.close()


async def test_a_thousand_bad_messages_in_a_row_are_a_thousand_dead_letters() -> None:
    runner = TransformRunner("land", raising(ValueError("no")))
    handled = await runner.run(["bad"] * 1500 + ["good"])
    assert sum(found.poison is not None for found in handled) == 1500
    assert handled[-1].yielded == ["good"]
    await runner.close()


async def loops(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for message in messages:
        while message == "bad":
            pass
        yield message


async def sleeps(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for message in messages:
        if message == "bad":
            time.sleep(1.5)  # noqa: ASYNC251 - what a user may write
        yield message


async def waits(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for message in messages:
        while message == "bad":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
        yield message


@pytest.mark.parametrize("transform", [loops, sleeps, waits])
async def test_a_transform_that_hangs_stops_neither_the_loop_nor_the_next_message(transform: Any) -> None:
    runner = TransformRunner("land", transform, limit_s=0.3)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.create_task(beat())
    handled = await runner.run(["a", "bad", "b"])
    beating.cancel()
    assert [found.yielded for found in handled] == [["a"], [], ["b"]]
    assert "hung: it made no step for 0.3 s" in str(handled[1].poison)
    assert beats > 10
    await runner.close()
    async with asyncio.timeout(20):  # a thread that is left behind ends when it runs Python code again
        while runner.left_count:
            await asyncio.sleep(0.01)


async def test_a_slow_transform_that_goes_on_is_not_hung() -> None:
    async def slow(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for _message in messages:
            for part in range(6):
                await asyncio.sleep(0.1)
                yield part

    runner = TransformRunner("slow", slow, limit_s=0.4)
    (handled,) = await runner.run(["a"])
    assert handled.yielded == [0, 1, 2, 3, 4, 5]
    await runner.close()


async def test_a_message_may_become_a_bounded_number_of_outputs_of_bounded_size() -> None:
    async def endless(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in messages:
            if message == "many":
                while True:
                    yield Landing(1.0, "AA")
            if message == "big":
                while True:
                    yield Landing(1.0, "A" * 1_000_000)
            yield message

    runner = TransformRunner("endless", endless, measure=CONTRACT.measure)
    handled = await runner.run(["many", "big", "good"])
    assert f"at most {MOST_OUTPUTS:,} of {MOST_OUTPUT_BYTES:,} bytes may come of one" in str(handled[0].poison)
    assert "bytes may come of one" in str(handled[1].poison)
    assert handled[2].yielded == ["good"]
    await runner.close()


async def test_a_batch_hands_over_what_it_holds_before_it_holds_too_much() -> None:
    async def big(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for _message in messages:
            yield Landing(1.0, "A" * 1_000_000)

    runner = TransformRunner("big", big, measure=CONTRACT.measure)
    first = await runner.run_to_failure([1] * 100)
    assert 10 < len(first) < 30
    assert all(found.poison is None for found in first)
    await runner.close()


async def early(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield 1
    async for message in messages:
        yield message


async def returns(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    return
    yield


async def no_generator(messages: AsyncIterator[Any]) -> None:
    return None


def too_few() -> AsyncIterator[Any]:
    raise AssertionError("never called")


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (early, "it yielded before it took a message"),
        (returns, "the transform returned"),
        (too_few, "TypeError"),
        (lambda messages: None, "TypeError"),
        (lambda messages: sys.exit(3), "SystemExit: 3"),
    ],
)
async def test_a_transform_that_cannot_start_is_reported_and_blames_no_message(transform: Any, reason: str) -> None:
    runner = TransformRunner("land", transform)
    with pytest.raises(Misconfigured, match=f"pipeline land cannot start: .*{re.escape(reason)}"):
        await runner.run(["a"])
    await runner.close()


async def test_a_transform_that_goes_on_yielding_when_it_is_asked_to_end_ends() -> None:
    async def stubborn(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in messages:
            try:
                yield message
                if message == "bad":
                    raise ValueError("no")
            finally:
                yield "more"

    runner = TransformRunner("stubborn", stubborn)
    handled = await runner.run(["a", "bad", "b"])
    assert [found.poison is None for found in handled] == [True, False, True]
    await runner.close()


def test_the_clock_of_the_sender_is_named() -> None:
    with pytest.raises(Poison, match="is the clock of the sender right"):
        write(Outcome("u", 1.0, datetime.fromtimestamp(NOW_S, UTC) + timedelta(hours=1)))
