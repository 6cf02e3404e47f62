"""Which trainer supervises the runs on this machine, and what is removed. Real supervisors, no broker."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace.hosting.health import Health
from headrace.hosting.runs import RunFolder, all_runs, end_runs, runs_folder
from headrace.hosting.settings import Settings
from headrace_trainer.adapters import workers as adapter
from headrace_trainer.adapters.workers import KEPT, Workers


def accepted(run: str) -> RetrainAccepted:
    return RetrainAccepted(f"d-{run}", run, f"q-{run}", "manual", "", 0.0)


@pytest_asyncio.fixture
async def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], Workers]]:
    monkeypatch.setattr(adapter, "TEND_S", 0.0)
    settings = Settings(bootstrap_servers="127.0.0.1:1", runs_folder=str(tmp_path), namespace="n")
    made: list[Workers] = []

    def make() -> Workers:
        made.append(Workers(settings, Health("trainer", "t")))
        return made[-1]

    yield make
    end_runs(tmp_path)
    for found in made:
        for process in found._begun.values():
            await asyncio.to_thread(process.wait, 20)


async def until(holds: Callable[[], Any]) -> None:
    give_up_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up_s
        await asyncio.sleep(0.02)


async def test_so_many_runs_at_once_and_another_trainer_takes_them_up_instead_of_beginning_them_again(
    workers: Callable[[], Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, wanted = workers(), [accepted("a"), accepted("b"), accepted("c")]
    await first.tend(wanted)
    await until(lambda: first.of("a").holder() and first.of("b").holder())
    supervisors = [first.of(run).holder() for run in "abc"]
    assert supervisors[2] is None
    second = workers()
    for _ in range(5):
        await second.tend(wanted)
    assert second._begun == {}
    assert [second.of(run).holder() for run in "abc"] == supervisors
    first.of("a").append(TrainingFinished("d-a", "a", "failed", "no"))
    await second.tend(wanted)
    assert list(second._begun) == ["c"]
    monkeypatch.setattr(adapter, "STRANGER_S", 0.0)
    await second.tend(wanted[2:])
    await second.tend(wanted[2:])
    await until(lambda: second.of("b").holder() is None)
    await until(lambda: second.of("c").holder())


async def test_only_the_newest_finished_runs_stay_and_what_they_take_is_reported(
    workers: Callable[[], Workers],
) -> None:
    found = workers()
    for number in range(KEPT + 5):
        folder = found.of(f"r{number}")
        folder.write_order(accepted(folder.run))
        os.utime(folder.path / "order", (number, number))
        folder.log.write_bytes(b"x" * 1000)
    await found.tend([])
    assert {run.run for run in all_runs(found.folder)} == {f"r{number}" for number in range(5, KEPT + 5)}
    assert 0 < found.health.state_bytes["runs_folder"] <= found.health.state_limits["runs_folder"]


async def test_a_run_that_cannot_be_begun_degrades_the_trainer_and_is_tried_later_each_time(
    workers: Callable[[], Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, tries = workers(), []

    def no_room(*_: Any, **__: Any) -> None:
        tries.append(time.monotonic())
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(adapter.subprocess, "Popen", no_room)
        for _ in range(50):
            await found.tend([accepted("a")])
    assert len(tries) == 1
    assert "No space left on device" in found.health.degraded["runs"]
    found.pauses.due_s.clear()
    await found.tend([accepted("a")])
    assert "runs" not in found.health.degraded


def test_installations_on_one_machine_have_folders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_HOME", raising=False)
    folders = {
        runs_folder(Settings(bootstrap_servers=where, namespace=name)) for where in ("a:1", "b:1") for name in ("", "n")
    }
    assert len(folders) == 4
    assert runs_folder(Settings(runs_folder="/x", namespace="n")) == Path("/x/n")
    assert RunFolder(Path("/x/n/run")).run == "run"
