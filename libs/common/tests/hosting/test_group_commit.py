"""Group commit: what is in one transaction, what is sent before and after it, and who waits for whom."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from headrace.errors import Retryable
from headrace.hosting.commit import MAX_PENDING, GroupCommit, is_set
from headrace.hosting.logic import Outputs
from headrace.log.port import Out, TopicPartition

# What takes longer never ends: each of these waits for turns of the loop alone.
LIMIT_S = 5.0
TP, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def out(name: str) -> Out:
    return Out("topic", None, name.encode())


def names(outs: Sequence[Out]) -> list[str]:
    return [(found.value or b"").decode() for found in outs]


class Place:
    """A group commit over a log that records, in order, what was sent and what was committed; either can be held."""

    def __init__(self, linger_s: float = 0.0) -> None:
        self.happened: list[Any] = []
        self.progress = 0
        self.held: set[str] = set()
        self.fails: Exception | None = None
        self.group = GroupCommit(self, linger_s, self._note)  # type: ignore[arg-type]

    def _note(self) -> None:
        self.progress += 1

    def later(self, outs: list[Out]) -> asyncio.Task[None]:
        async def send() -> None:
            while self.held & set(names(outs)):
                await asyncio.sleep(0)
            self.happened.append(("sent", names(outs)))

        return asyncio.create_task(send())

    async def commit(self, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> list[Any]:
        while "commit" in self.held:
            await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        self.happened.append(("committed", names(outs), dict(offsets)))
        return []

    async def close(self) -> None:
        pass

    async def flush(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.group.flush()

    def gather(
        self, *outs: str, at: int | None = None, messages: int = 1, dead: Sequence[str] = (), **more: Any
    ) -> None:
        handled = {} if at is None else {TP: at}
        outputs = Outputs(outs=[out(name) for name in outs], **more)
        self.group.gather(outputs, [out(name) for name in dead], handled, messages)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.group.run(self))
        try:
            yield task
        except BaseException:
            task.cancel()
            raise
        self.held.clear()
        self.group.close()
        _, running = await asyncio.wait([task], timeout=LIMIT_S)
        assert not running


async def turns(count: int = 50) -> None:
    """Let everything run that can run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0)


async def test_dead_letters_outputs_deferred_ones_and_offsets_are_one_transaction() -> None:
    place = Place()
    async with place.running():
        place.gather("a", at=5, dead=["poison"], deferred=lambda: [out("made")])
        place.group.gather(Outputs(outs=[out("b")]), [], {OTHER: 7}, 1)
        await place.flush()
    assert place.happened == [("committed", ["poison", "a", "b", "made"], {TP: 5, OTHER: 7})]
    assert place.group.committed == {TP: 5, OTHER: 7}
    assert place.progress == 1


async def test_what_is_deferred_is_made_only_when_it_is_about_to_be_committed() -> None:
    place, made = Place(), list[str]()
    place.gather(deferred=lambda: made.append("made") or [out("made")])
    assert made == []
    assert not place.group.is_drained
    async with place.running():
        await place.flush()
    assert place.happened == [("committed", ["made"], {})]


async def test_committed_is_called_once_per_batch_and_only_after_the_commit() -> None:
    place, called = Place(), list[str]()
    place.held = {"commit"}
    async with place.running():
        place.gather("a", committed=lambda: called.append("a"))
        place.gather("b", committed=lambda: called.append("b"))
        await turns()
        assert called == []
        place.held = set()
        await place.flush()
    assert called == ["a", "b"]


async def test_what_cannot_be_committed_is_not_counted() -> None:
    place, called = Place(), list[str]()
    place.fails = Retryable("the broker is away")
    place.gather("a", committed=lambda: called.append("a"))
    with pytest.raises(Retryable, match="the broker is away"):
        await place.group.run(place)
    assert called == []


async def test_before_is_sent_at_once_and_acknowledged_before_the_commit() -> None:
    place = Place()
    place.held = {"early"}
    async with place.running():
        place.gather("a", at=1, before=[out("early")])
        await turns()
        assert place.happened == []
        place.held = set()
        await place.flush()
    assert place.happened == [("sent", ["early"]), ("committed", ["a"], {TP: 1})]


async def test_after_is_sent_once_its_transaction_is_committed() -> None:
    place = Place()
    place.held = {"commit"}
    async with place.running():
        place.gather("a", after=[out("reply")])
        await turns()
        assert place.happened == []
        place.held = set()
        await until(lambda: len(place.happened) == 2)
    assert place.happened == [("committed", ["a"], {}), ("sent", ["reply"])]


async def test_replies_alone_need_no_transaction() -> None:
    place = Place()
    async with place.running():
        place.gather(after=[out("reply")])
        assert not place.group.is_drained
        await until(lambda: bool(place.happened))
    assert place.happened == [("sent", ["reply"])]
    assert place.progress == 1


async def test_offsets_alone_are_committed() -> None:
    place = Place()
    async with place.running():
        place.gather(at=3)
        await place.flush()
    assert place.happened == [("committed", [], {TP: 3})]


async def test_a_shard_that_reads_earlier_records_again_moves_no_offset_back() -> None:
    place = Place()
    async with place.running():
        place.gather("a", at=9)
        await place.flush()
        place.gather("b", at=4)
        place.group.gather(Outputs(), [], {OTHER: 2}, 1)
        await place.flush()
    assert place.happened[1] == ("committed", ["b"], {TP: 9, OTHER: 2})
    assert place.group.committed == {TP: 9, OTHER: 2}


async def test_a_batch_without_outputs_leaves_nothing_to_wait_for() -> None:
    place = Place()
    place.gather(messages=3)
    assert place.group.is_drained
    place.gather("a")
    assert not place.group.is_drained


async def test_while_one_transaction_commits_the_next_is_gathered() -> None:
    place = Place()
    place.held = {"commit"}
    async with place.running():
        place.gather("a", at=1)
        await turns()
        place.gather("b", at=2)
        place.gather("c", at=3)
        assert not place.group.is_drained
        place.held = set()
        await until(lambda: place.group.is_drained)
    assert place.happened == [("committed", ["a"], {TP: 1}), ("committed", ["b", "c"], {TP: 3})]


async def test_work_without_replies_lingers_and_is_committed_together() -> None:
    place = Place(linger_s=0.3)
    async with place.running():
        place.gather("a")
        await turns()
        place.gather("b")
        await turns()
        assert place.happened == []
        await until(lambda: place.group.is_drained)
    assert place.happened == [("committed", ["a", "b"], {})]


@pytest.mark.parametrize(
    "more",
    [{"after": [out("reply")]}, {"dead": ["poison"]}, {"messages": MAX_PENDING + 1}],
    ids=["reply", "dead", "many"],
)
async def test_a_reply_a_dead_letter_or_very_many_records_do_not_linger(more: dict[str, Any]) -> None:
    place = Place(linger_s=600.0)
    async with place.running():
        place.gather("a", **more)
        await until(lambda: bool(place.happened))
        # NB: the next one lingers again.
        place.gather("b")
        await turns()
        assert sum(what[0] == "committed" for what in place.happened) == 1


async def test_a_flush_does_not_linger_and_waits_until_all_is_committed() -> None:
    place = Place(linger_s=600.0)
    async with place.running():
        place.gather("a", at=1)
        await place.flush()
        assert place.happened == [("committed", ["a"], {TP: 1})]
        assert place.group.is_drained
        await place.flush()


@pytest.mark.parametrize(
    ("outs", "dead", "messages"), [(0, 1, MAX_PENDING), (MAX_PENDING + 1, 0, 1), (1, 0, MAX_PENDING + 1)]
)
async def test_beyond_what_one_transaction_should_hold_the_shard_waits(outs: int, dead: int, messages: int) -> None:
    """Records in hand: dead letters, and outputs or messages, whichever are more."""
    place = Place(linger_s=600.0)
    place.held = {"commit"}
    place.gather(*["o"] * outs, dead=["d"] * dead, messages=messages)
    waiting = asyncio.create_task(place.group.room())
    await turns()
    assert not waiting.done()
    place.held = set()
    async with place.running():
        await until(waiting.done)
    assert place.happened


async def test_up_to_that_it_continues() -> None:
    place = Place()
    place.gather("a", messages=MAX_PENDING - 1)
    place.gather("b", messages=1)
    await until(asyncio.create_task(place.group.room()).done)
    place.gather("c", messages=1)
    waiting = asyncio.create_task(place.group.room())
    await turns()
    assert not waiting.done()
    place.group.close()
    await until(waiting.done)


async def test_close_commits_what_was_gathered_and_ends() -> None:
    place = Place(linger_s=600.0)
    place.gather("a", at=1)
    place.group.close()
    async with asyncio.timeout(LIMIT_S):
        await place.group.run(place)
    assert place.happened == [("committed", ["a"], {TP: 1})]


async def test_close_wakes_all_waiters() -> None:
    place = Place()
    place.gather("a", messages=MAX_PENDING + 1)
    waiting = [asyncio.create_task(place.group.room()), asyncio.create_task(place.group.flush())]
    await turns()
    assert not any(task.done() for task in waiting)
    place.group.close()
    await until(lambda: all(task.done() for task in waiting))


async def test_a_transaction_that_fails_ends_the_run_and_commits_nothing() -> None:
    place = Place()
    place.fails = Retryable("fenced off")
    place.gather("a", at=1, after=[out("reply")])
    with pytest.raises(Retryable, match="fenced off"):
        async with asyncio.timeout(LIMIT_S):
            await place.group.run(place)
    await turns()
    assert place.happened == []
    assert place.group.committed == {}
    assert not place.group.is_drained
    assert place.progress == 0


async def test_the_replies_of_at_most_two_transactions_are_being_sent() -> None:
    place = Place()
    place.held = {"first"}
    async with place.running():
        for name, reply in (("a", "first"), ("b", "second"), ("c", "third")):
            place.gather(name, after=[out(reply)])
            await turns()
        committed = [what[1] for what in place.happened if what[0] == "committed"]
        assert committed == [["a"], ["b"]]
        assert not place.group.is_drained
        place.held = set()
        await until(lambda: ("sent", ["third"]) in place.happened)
    sent = [what[1] for what in place.happened if what[0] == "sent"]
    assert sent == [["first"], ["second"], ["third"]]


async def test_an_event_is_waited_for_up_to_its_limit() -> None:
    event = asyncio.Event()
    assert not await is_set(event, 0.01)
    asyncio.get_running_loop().call_later(0.01, event.set)
    assert await is_set(event, 20.0)
    assert await is_set(event, 0.0)


async def test_the_replies_of_all_batches_of_a_transaction_are_sent_together() -> None:
    place = Place()
    place.gather("a", after=[out("one")])
    place.gather("b", after=[out("two")])
    async with place.running():
        await until(lambda: len(place.happened) == 2)
    assert place.happened == [("committed", ["a", "b"], {}), ("sent", ["one", "two"])]


async def test_a_partition_without_handled_records_is_at_its_beginning() -> None:
    place = Place()
    async with place.running():
        place.gather(at=0)
        await place.flush()
    assert place.happened == [("committed", [], {TP: 0})]


async def test_exactly_the_limit_of_one_transaction_still_lingers() -> None:
    place = Place(linger_s=600.0)
    async with place.running():
        place.gather("a", messages=MAX_PENDING)
        await turns()
        assert place.happened == []


async def test_without_work_it_waits_until_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def passed(event: asyncio.Event, timeout_s: float) -> bool:
        """Time passes at once."""
        waits.append(timeout_s)
        await asyncio.sleep(0)
        return event.is_set()

    monkeypatch.setattr("headrace.hosting.commit.is_set", passed)
    place = Place()
    async with place.running():
        await until(lambda: len(waits) > 3)
        place.gather("a")
        await place.flush()
    assert place.happened == [("committed", ["a"], {})]
    # It looks whether it was closed, and nothing lingers.
    assert len(set(waits)) == 1


async def test_deferred_records_of_many_batches_are_made_one_by_one_without_a_pause() -> None:
    place = Place()
    for n in range(6):
        place.gather(deferred=lambda n=n: [out(f"made {n}")])
    async with place.running():
        await place.flush()
    assert place.happened == [("committed", [f"made {n}" for n in range(6)], {})]
