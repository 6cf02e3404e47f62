"""A version's thread: who waits for it, who is refused, and what becomes of calls that nobody waits for any more."""

import asyncio
import threading
import time

import pytest

from headrace_inference.adapters.model_worker import Foreign, Heartbeat, ModelWorker, WorkerBusy, WorkerClosed


async def test_a_call_over_its_limit_hangs_until_it_returns_and_those_behind_it_are_not_blamed() -> None:
    worker, release, ran = ModelWorker("test"), threading.Event(), []

    async def second() -> None:
        await worker.run(lambda: ran.append("second"), 0.05)

    with pytest.raises(TimeoutError):
        await worker.run(lambda: release.wait(30), 0.05)
    assert worker.hangs_s > 0
    with pytest.raises(WorkerBusy):
        await second()
    release.set()
    assert await worker.run(lambda: "third", 30) == "third"
    assert worker.hangs_s == 0
    assert ran == []


async def test_a_renewed_worker_works_while_the_old_thread_hangs() -> None:
    worker, release = ModelWorker("test"), threading.Event()
    with pytest.raises(TimeoutError):
        await worker.run(lambda: release.wait(30), 0.05)
    renewed = worker.renewed()
    assert await renewed.run(threading.get_ident, 30) != threading.get_ident()
    with pytest.raises(WorkerClosed):
        await worker.run(time.monotonic, 1)
    release.set()


async def test_what_a_call_raises_is_raised_and_the_thread_goes_on() -> None:
    worker = ModelWorker("test")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0, 30)
    assert await worker.run(lambda: 2, 30) == 2
    worker.close()


@pytest.mark.parametrize("ends", [SystemExit(3), KeyboardInterrupt(), StopIteration(), TimeoutError()])
async def test_what_would_end_the_process_or_be_lost_is_an_error_like_others(ends: BaseException) -> None:
    worker = ModelWorker("test")

    def raises() -> None:
        raise ends

    with pytest.raises(Foreign):
        await worker.run(raises, 30)
    assert await worker.run(lambda: 2, 30) == 2
    worker.close()


@pytest.mark.parametrize("turns", range(5))
async def test_who_is_cancelled_as_the_result_of_his_call_comes_ends(turns: int) -> None:
    worker, is_next = ModelWorker("test"), threading.Event()
    waiting = asyncio.create_task(worker.run(lambda: 1, 30))
    behind = asyncio.create_task(worker.run(is_next.set, 30))
    await asyncio.sleep(0)
    assert is_next.wait(30)
    for _ in range(turns):
        await asyncio.sleep(0)
    is_cancelled = waiting.cancel()
    await asyncio.wait({waiting, behind})
    assert waiting.cancelled() is is_cancelled
    worker.close()


async def test_a_call_that_computes_is_distinguished_from_one_that_sits_still() -> None:
    worker, heartbeat, release = ModelWorker("test"), Heartbeat(), threading.Event()

    def computes() -> None:
        began_s = time.thread_time()
        while time.thread_time() - began_s < 0.2:
            pass
        release.wait(30)

    with pytest.raises(TimeoutError):
        await worker.run(computes, 0.5)
    spent = worker.spent(heartbeat)
    release.set()
    heartbeat.close()
    worker.close()
    assert spent.cpu_s > 0.0
    assert spent.cpu_s + spent.waited_s < spent.took_s
    assert spent.took_s >= 0.5
