"""What a transform may yield, and what happens to the message on which it fails."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from headrace.errors import Misconfigured, Poison
from headrace.log.envelope import Origin, read_headers
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import Binary, Outcome, Project, RawStream, Source, outcomes, pipeline
from headrace.project.compile import compile_project
from headrace.project.deployments import Deployment
from headrace.project.fields import Key
from headrace_pipeline.adapters.runner import TransformRunner
from headrace_pipeline.core.contract import Contract, read_raw, targets_of


class Landing(msgspec.Struct):
    at: float
    carrier: str


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier")
FEED = RawStream("feed")


@pipeline(FEED, to=[LANDINGS, outcomes("d")])
async def land(messages: AsyncIterator[dict]) -> AsyncIterator[Landing | Outcome]:
    seen = 0
    async for message in messages:
        seen += 1
        if message.get("twice"):
            yield Landing(message["at"], "AA")
        yield Landing(message["at"], f"n{seen}")


PROJECT = compile_project(
    Project(
        "p",
        [Deployment("d", "u", [Key("k")], label=Binary("y", "1d"))],
        raw=[FEED],
        pipelines=[land],
        sources=[LANDINGS],
    )
)
CONTRACT = Contract(Topics.load(), PROJECT, PROJECT.pipelines[0], targets_of(land))


@pytest.fixture
async def runner() -> AsyncIterator[TransformRunner]:
    running = TransformRunner("land", land.transform)
    yield running
    await running.close()


async def test_what_is_yielded_belongs_to_the_message_that_was_taken(runner: TransformRunner) -> None:
    handled = await runner.run([{"at": 1.0}, {"at": 2.0, "twice": True}, {"at": 3.0}])
    assert [len(found.yielded) for found in handled] == [1, 2, 1]


async def test_a_transform_keeps_its_state_between_batches(runner: TransformRunner) -> None:
    await runner.run([{"at": 1.0}])
    (second,) = await runner.run([{"at": 2.0}])
    assert second.yielded[0].carrier == "n2"


async def test_a_message_on_which_the_transform_fails_is_poison_and_the_next_is_handled(
    runner: TransformRunner,
) -> None:
    handled = await runner.run([{"at": 1.0}, {}, {"at": 3.0}])
    assert [found.poison is None for found in handled] == [True, False, True]
    assert "KeyError" in str(handled[1].poison)


async def test_what_was_yielded_for_a_failed_message_does_not_pass(runner: TransformRunner) -> None:
    (failed,) = await runner.run([{"twice": True, "at": None}])
    assert len(failed.yielded) == 2  # yields what it can; the contract refuses it below
    with pytest.raises(Poison, match="broke the contract of landings"):
        CONTRACT.write(Landing("noon", "AA"), Origin("raw.feed.v1", 0, 1), "c", 0)  # type: ignore[arg-type]


async def test_a_transform_that_cannot_start_says_so() -> None:
    async def broken(messages: AsyncIterator[dict]) -> AsyncIterator[Landing]:
        raise RuntimeError("no such table")
        yield  # makes it a generator

    with pytest.raises(Misconfigured, match="pipeline broken cannot start: RuntimeError: no such table"):
        await TransformRunner("broken", broken).run([{}])


def test_an_event_carries_its_origin_time_and_key() -> None:
    (record,) = CONTRACT.write(Landing(7.0, "AA"), Origin("raw.feed.v1", 1, 42, 0), "cause", 1_000_000)
    envelope = read_headers(Record(record.topic, 0, 0, record.key, record.value, record.headers))
    assert (record.key, envelope.time_s, str(envelope.origin)) == (b"AA", 7.0, "raw.feed.v1/1/42/0")


def test_an_outcome_goes_to_the_outcomes_of_its_deployment() -> None:
    (record,) = CONTRACT.write(Outcome("u1", 1.0, 9.0), Origin("raw.feed.v1", 1, 42, 0), "cause", 1_000_000)
    assert (record.topic, record.key) == ("inference.outcomes.v1", b"u1")


def test_an_outcome_may_name_its_request_its_own_id_and_what_it_corrects() -> None:
    outcome = Outcome("u1", 1.0, 9.0, request_id="r1", corrects="o1", id="o2")
    (record,) = CONTRACT.write(outcome, Origin("raw.feed.v1", 1, 42, 0), "cause", 1_000_000)
    event = msgspec.msgpack.decode(record.value or b"")
    envelope = read_headers(Record(record.topic, 0, 0, record.key, record.value, record.headers))
    assert (event["request_id"], event["corrects"], envelope.id) == ("r1", "o1", "o2")


def test_a_stranger_is_refused_with_the_names_of_what_may_pass() -> None:
    with pytest.raises(Poison, match="yielded int; its outputs are Landing, Outcome"):
        CONTRACT.write(3, Origin("raw.feed.v1", 0, 0), "cause", 1_000_000)


@pytest.mark.parametrize("value", [b"\xc1", b"", b"{", b"[1]", b'"text"', b"\xff\xfe"])
def test_raw_bytes_that_are_no_object_are_poison(value: bytes) -> None:
    with pytest.raises(Poison):
        read_raw(Record("raw.feed.v1", 0, 0, None, value))


async def test_a_transform_that_ended_between_two_messages_starts_anew() -> None:
    async def restless(messages: AsyncIterator[dict]) -> AsyncIterator[Landing]:
        task = asyncio.current_task()
        async for message in messages:
            yield Landing(message["at"], "AA")
            asyncio.get_running_loop().call_later(0.01, task.cancel)  # as a time-out of its own would

    running = TransformRunner("restless", restless)
    await running.run([{"at": 1.0}])
    assert running._thread is not None
    async with asyncio.timeout(5):
        while not running._thread.is_idle:
            await asyncio.sleep(0.001)
    (handled,) = await running.run([{"at": 2.0}])
    assert handled.poison is None
    await running.close()


async def test_a_transform_that_waits_for_ever_loses_that_message_only() -> None:
    async def stuck(messages: AsyncIterator[dict]) -> AsyncIterator[Landing]:
        async for message in messages:
            if message["at"] == 2.0:
                await asyncio.Event().wait()
            yield Landing(message["at"], "AA")

    running = TransformRunner("stuck", stuck, limit_s=0.05)
    handled = await running.run([{"at": 1.0}, {"at": 2.0}, {"at": 3.0}])
    assert [found.poison is None for found in handled] == [True, False, True]
    assert "hung: it made no step for 0.05 s" in str(handled[1].poison)
    await running.close()
