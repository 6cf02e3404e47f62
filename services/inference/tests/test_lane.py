"""A version's thread: who waits for it, who is refused, and what becomes of calls that nobody waits for any more."""

import asyncio
import threading
import time

import pytest

from headrace_inference.adapters.lane import Foreign, Lane, LaneBusy, LaneClosed, Pulse


async def test_a_call_over_its_limit_hangs_until_it_returns_and_those_behind_it_are_not_blamed() -> None:
    lane, release, ran = Lane("test"), threading.Event(), []

    async def second() -> None:
        await lane.run(lambda: ran.append("second"), 0.05)

    with pytest.raises(TimeoutError):
        await lane.run(lambda: release.wait(30), 0.05)
    assert lane.hangs_s > 0
    with pytest.raises(LaneBusy):
        await second()
    release.set()
    assert await lane.run(lambda: "third", 30) == "third"
    assert lane.hangs_s == 0
    assert ran == []


async def test_a_renewed_lane_works_while_the_old_thread_hangs() -> None:
    lane, release = Lane("test"), threading.Event()
    with pytest.raises(TimeoutError):
        await lane.run(lambda: release.wait(30), 0.05)
    renewed = lane.renewed()
    assert await renewed.run(threading.get_ident, 30) != threading.get_ident()
    with pytest.raises(LaneClosed):
        await lane.run(time.monotonic, 1)
    release.set()


async def test_what_a_call_raises_is_raised_and_the_thread_goes_on() -> None:
    lane = Lane("test")
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0, 30)
    assert await lane.run(lambda: 2, 30) == 2
    lane.close()


@pytest.mark.parametrize("ends", [SystemExit(3), KeyboardInterrupt(), StopIteration(), TimeoutError()])
async def test_what_would_end_the_process_or_be_lost_is_an_error_like_others(ends: BaseException) -> None:
    lane = Lane("test")

    def raises() -> None:
        raise ends

    with pytest.raises(Foreign):
        await lane.run(raises, 30)
    assert await lane.run(lambda: 2, 30) == 2
    lane.close()


@pytest.mark.parametrize("turns", range(5))
async def test_who_is_cancelled_as_the_result_of_his_call_comes_ends(turns: int) -> None:
    lane, is_next = Lane("test"), threading.Event()
    waiting = asyncio.create_task(lane.run(lambda: 1, 30))
    behind = asyncio.create_task(lane.run(is_next.set, 30))
    await asyncio.sleep(0)
    assert is_next.wait(30)
    for _ in range(turns):
        await asyncio.sleep(0)
    is_heard = waiting.cancel()
    await asyncio.wait({waiting, behind})
    assert waiting.cancelled() is is_heard
    lane.close()


async def test_a_call_that_computes_is_told_from_one_that_sits_still() -> None:
    lane, pulse, release = Lane("test"), Pulse(), threading.Event()

    def computes() -> None:
        began_s = time.thread_time()
        while time.thread_time() - began_s < 0.2:
            pass
        release.wait(30)

    with pytest.raises(TimeoutError):
        await lane.run(computes, 0.5)
    spent = lane.spent(pulse)
    release.set()
    pulse.close()
    lane.close()
    assert spent.cpu_s > 0.0
    assert spent.cpu_s + spent.waited_s < spent.took_s
    assert spent.took_s >= 0.5
