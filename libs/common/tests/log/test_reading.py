"""Reading up to pinned offsets continues where the broker went away, and reports its progress in records."""

from collections.abc import Sequence

import pytest

from headrace.errors import Retryable
from headrace.log import reading
from headrace.log.memory import MemoryLog, MemoryReader
from headrace.log.port import Out, Record, TopicSpec


@pytest.fixture
async def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    monkeypatch.setattr(reading, "delays_s", lambda first_s, most_s: iter([0.0] * 100))
    monkeypatch.setattr(reading, "_MOST", 10)
    found = MemoryLog()
    await found.create_topics([TopicSpec("a", 2), TopicSpec("b", 1)])
    producer = await found.producer()
    await producer.send([Out("a", None, b"%d" % n, partition=n % 2) for n in range(40)])
    await producer.send([Out("b", None, b"%d" % n, partition=0) for n in range(40, 55)])
    return found


async def test_every_record_is_passed_once_though_the_broker_goes_away_repeatedly(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, fetch, position = [0], MemoryReader.fetch, MemoryReader.position

    async def flaky_fetch(self: MemoryReader, timeout_s: float, max_records: int = 1000) -> Sequence[Record]:
        calls[0] += 1
        if calls[0] % 3 == 0:
            raise Retryable("the broker is away")
        return await fetch(self, timeout_s, max_records)

    async def flaky_position(self: MemoryReader, partition: object) -> int:
        calls[0] += 1
        if calls[0] % 7 == 0:
            raise Retryable("the broker is away")
        return await position(self, partition)  # ty: ignore[invalid-argument-type]

    monkeypatch.setattr(MemoryReader, "fetch", flaky_fetch)
    monkeypatch.setattr(MemoryReader, "position", flaky_position)
    taken: list[int] = []
    ends = await reading.pin_offsets(log, ["a", "b"])
    reports: list[tuple[int, int]] = []
    await reading.read_up_to(log, ends, lambda r: taken.append(int(r.value or b"")), lambda *far: reports.append(far))
    assert sorted(taken) == list(range(55))
    assert reports[-1] == (55, 55)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


async def test_records_after_the_pin_and_before_the_start_are_left_out(log: MemoryLog) -> None:
    ends = await reading.pin_offsets(log, ["b"])
    producer = await log.producer()
    await producer.send([Out("b", None, b"99", partition=0)])
    (tp,) = ends
    taken: list[int] = []
    await reading.read_up_to(log, ends, lambda r: taken.append(int(r.value or b"")), starts={tp: 12})
    assert taken == [52, 53, 54]


async def test_nothing_to_read_is_read_at_once(log: MemoryLog) -> None:
    ends = await reading.pin_offsets(log, ["b"])
    (tp,) = ends
    reports: list[tuple[int, int]] = []
    await reading.read_up_to(log, ends, lambda record: None, lambda *far: reports.append(far), starts={tp: 15})
    assert reports == [(0, 0)]
