"""The pipeline service on a real broker: one transform hangs, one cannot start, one stream is poison. The other pipelines go on."""

import asyncio
import contextlib
import subprocess
import time

import psutil
import pytest
from tests.cases.pipeline_place import Place, has

from headrace.events.ops import PartitionResumed
from headrace.hosting.stops import Stops, stop_record
from headrace.log.port import TopicPartition
from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(300)]


async def test_a_hung_a_broken_and_a_poisoned_pipeline_harm_neither_the_service_nor_another(place: Place) -> None:
    # A pipeline that cannot start is reported, and keeps its record.
    await place.send("third", {"name": "x"})
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))

    async def is_reported() -> bool:
        beat = await place.health()
        return beat is not None and "cannot start: RuntimeError: no such table" in beat.reason

    await place.until(is_reported)
    # One pipeline hangs. Only its message is parked, and the other pipeline goes on meanwhile.
    await place.send("bad", {"do": "ok", "name": "n0"}, {"do": "spin", "name": "-"}, {"do": "ok", "name": "n1"})
    await place.until(lambda: has(place.names("noted"), "n0"))
    await place.send("good", *[{"name": f"g{n}"} for n in range(20_000)])
    await place.until(lambda: has(place.names("seen"), "g19999"))
    await place.until(lambda: has(place.names("noted"), "n1"))
    assert [reason for reason in await place.buried() if "hung" in reason] == [
        "pipeline naughty failed: hung: it made no step for 2 s"
    ]

    # Partition 0 stops at the first poison record beyond the limit, and partition 1 goes on.
    await place.send("bad", *[{"do": "raise"}] * 150, {"do": "ok", "name": "n2"})
    await place.send("bad", {"do": "ok", "name": "m0"}, partition=1)
    stops = Stops(place.log, place.codec, place.topics, "pipeline")
    await stops.start()
    following = asyncio.create_task(stops.follow())
    bad = place.topics.of_raw("bad")

    async def is_stopped() -> bool:
        return stops.at(bad, 0) is not None

    await place.until(is_stopped)
    assert stops.at(bad, 0) == 3 + 100
    await place.send("bad", {"do": "ok", "name": "m1"}, partition=1)
    await place.until(lambda: has(place.names("noted"), "m1"))
    assert len(await place.buried()) == 101
    assert "n2" not in await place.names("noted")

    # The partition stays stopped over a restart, and nothing past the stop is committed.
    assert place.end() == 0
    committed = await place.log.committed(place.topics.group("pipeline"), [TopicPartition(bad, 0)])
    assert committed[TopicPartition(bad, 0)] == 103
    place.start()
    await place.send("bad", {"do": "ok", "name": "m2"}, partition=1)
    await place.until(lambda: has(place.names("noted"), "m2"))

    async def names_the_stop() -> bool:
        beat = await place.health()
        return beat is not None and "too many of its messages" in beat.reason

    await place.until(names_the_stop)
    assert len(await place.buried()) == 101

    # An operator skips the poison records, and the partition goes on behind them.
    resumed = PartitionResumed("pipeline", bad, 0, 153, "skip", "ann")
    producer = await place.log.producer()
    await producer.send([stop_record(place.topics, resumed)])
    await producer.close()
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75  # the supervisor starts it again
    place.start()
    await place.until(lambda: has(place.names("noted"), "n2"))
    assert len(await place.buried()) == 101
    assert sorted(await place.names("noted")) == ["m0", "m1", "m2", "n0", "n1", "n2"]
    following.cancel()
    await stops.close()


@pytest.mark.parametrize("do", ["exit", "crash", "wild"])
async def test_a_message_that_ends_the_process_or_holds_the_interpreter_is_parked_after_the_second_time(
    place: Place, do: str
) -> None:
    await place.send("good", {"name": "a"})
    await place.send("bad", {"do": "ok", "name": "n0"}, {"do": do, "name": "-"}, {"do": "ok", "name": "n1"})
    for _ in range(2):
        await asyncio.to_thread(ended, place.service)
        place.start()
    await place.send("good", {"name": "b"})
    await place.until(lambda: has(place.names("noted"), "n1"))
    await place.until(lambda: has(place.names("seen"), "b"))
    assert place.service is not None
    assert place.service.poll() is None
    assert set(await place.buried()) == {"pipeline naughty ended its process on it, 2 times"}
    assert set(await place.names("noted")) == {"n0", "n1"}
    assert set(await place.names("seen")) == {"a", "b"}


def ended(service: subprocess.Popen[bytes]) -> None:
    """Waits until the process has ended by itself. If one of its threads occupies a core for long, it is killed, as by the supervisor."""
    process, deadline_s = psutil.Process(service.pid), time.monotonic() + 90
    while service.poll() is None:
        assert time.monotonic() < deadline_s
        with contextlib.suppress(psutil.Error):
            if any(thread.user_time > 15.0 for thread in process.threads()):
                service.kill()
        time.sleep(0.1)


async def test_a_pipeline_with_a_process_pool_comes_back_at_the_same_port_however_it_ends(place: Place) -> None:
    assert place.service is not None
    place.service.kill()
    place.service.wait(10)
    port = str(free_port())
    for name, how in (("a", "kill"), ("b", "crash"), ("c", "ask")):
        place.start(HEADRACE_HTTP_PORT=port)
        await place.send("fifth", {"do": "ok", "name": name})
        await place.until(lambda name=name: has(place.names("noted"), name.upper()))
        forked = psutil.Process(place.service.pid).children(recursive=True)
        assert len(forked) >= 2
        if how == "kill":
            place.service.kill()
            await asyncio.to_thread(place.service.wait, 10)
        elif how == "crash":
            await place.send("fifth", {"do": "crash", "name": "-"})
            await asyncio.to_thread(ended, place.service)
            place.start(HEADRACE_HTTP_PORT=port)  # with the same message, which is parked this time
            await asyncio.to_thread(ended, place.service)
        else:
            assert await asyncio.to_thread(place.end) == 0
        assert not psutil.wait_procs(forked, 10)[1]
    assert set(await place.buried()) == {"pipeline pooled ended its process on it, 2 times"}


async def test_what_is_in_hand_when_the_service_is_asked_to_end_is_not_acknowledged_and_is_done_after_the_restart(
    place: Place,
) -> None:
    names = [f"h{n}" for n in range(20)]
    await place.send("fourth", *[{"name": name} for name in names])
    home = place.folder / "home"

    async def has_begun() -> bool:
        return (home / "begun").exists()

    await place.until(has_begun)
    assert place.end() == 0
    fourth = TopicPartition(place.topics.of_raw("fourth"), 0)
    assert (await place.log.committed(place.topics.group("pipeline"), [fourth])).get(fourth) in (None, 0)
    (home / "go").touch()
    place.start()
    await place.until(lambda: has(place.names("noted"), names[-1]))
    assert sorted(await place.names("noted")) == sorted(names)
