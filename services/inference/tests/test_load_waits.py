"""Loads that take long, fail or wait in line: what is published meanwhile, and when they are tried again."""

import asyncio
import threading
from typing import Any

import pytest
from services.inference.tests.test_load_checks import of, sound

from headrace.clock import ManualClock
from headrace.events.inference import VersionLoadFailed, VersionUnloadable, VersionWarmed
from headrace.events.ops import FailedLoads
from headrace.events.registry import VersionRegistered
from headrace_inference.adapters import model_loader
from headrace_inference.core.load_check import Failed, Passed, Rejected
from headrace_inference.core.loading import PATIENCE_S

Bench = Any  # the fixture of conftest.py


async def test_a_load_that_takes_long_is_published_and_goes_on(
    bench: Bench, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, load = threading.Event(), model_loader.try_out
    # NB: here, where a version that has passed its load check is loaded: no child is watched any more.
    monkeypatch.setattr(model_loader, "try_out", lambda *version: opened.wait(30) and load(*version))
    await bench.register("plain", 1, model=sound(), vocabularies={})
    async with bench.running():
        await bench.route("plain", {1: 1.0}, champion=1)
        await bench.until(lambda: bench.health.degraded != {})
        for count in range(1, 4):
            clock.advance(PATIENCE_S)
            facts = await bench.read("inference.facts", lambda found, count=count: len(found) >= count)
        minutes = bench.health.degraded["plain"]
        opened.set()
        facts = await bench.read("inference.facts", lambda found: of(found, VersionWarmed) != [])
    published = of(facts, VersionLoadFailed)
    assert [(fact.goes_on, fact.cause, fact.attempt) for fact in published] == [(True, "time", 0)] * 3
    assert [fact.reason for fact in published] == [
        f"its load has taken {seconds} s so far and goes on" for seconds in (120, 240, 360)
    ]
    assert minutes == "version 1: loading it has taken 6 min so far"


async def test_a_load_that_failed_is_tried_again_for_as_long_as_it_takes_and_the_champion_is_reported_as_missing(
    bench: Bench, clock: ManualClock
) -> None:
    tries = Sick(7)
    bench.load_check = tries
    await bench.register("plain", 1, model=sound(), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.until(lambda: bench.health.degraded != {})
        assert bench.health.degraded == {"plain": "version 1: its load failed: the machine is full"}
        assert bench.health.is_ready
        assert bench.health.failed_loads == {"plain/1": FailedLoads((clock.now_s(),), "memory", "the machine is full")}
        while tries.left:
            before = tries.left
            clock.advance(60)
            await bench.until(lambda before=before: tries.left < before)
        clock.advance(60)
        facts = await bench.read("inference.facts", lambda found: of(found, VersionWarmed) != [])
        await bench.until(lambda: bench.health.degraded == {})
        assert (bench.health.failed_loads, bench.health.rejected, bench.health.warmed) == ({}, {}, {"plain/1"})
    failed = of(facts, VersionLoadFailed)
    assert [fact.attempt for fact in failed] == [1, 2, 3, 4, 5, 6, 7]
    assert [fact.retry_after_s for fact in failed] == [1, 2, 4, 8, 16, 32, 60]
    assert of(facts, VersionUnloadable) == []


class Sick:
    """A machine without memory for so many checks."""

    def __init__(self, times: int) -> None:
        self.left = times

    async def judge(self, *_version: Any, fresh: bool = False) -> Any:
        if not self.left:
            return Passed(1000)
        self.left -= 1
        return Failed("memory", "the machine is full")

    async def close(self) -> None: ...


class Paused:
    """A load check that goes on for one version until it may end; the others pass. `asked`: in which order."""

    def __init__(self, version: int) -> None:
        self.version, self.may_end, self.asked = version, asyncio.Event(), []

    async def judge(self, registered: VersionRegistered, *_more: Any, fresh: bool = False) -> Any:
        self.asked.append(registered.version)
        if registered.version != self.version:
            return Passed(1000)
        await self.may_end.wait()
        return Rejected("it used more than 60 s of CPU")

    async def close(self) -> None: ...


async def test_versions_that_wait_behind_one_that_is_being_checked_are_reported_as_in_line(bench: Bench) -> None:
    check = bench.load_check = Paused(2)
    for version in (1, 2, 3, 4):
        await bench.register("plain", version, model=sound(), vocabularies={})
    await bench.route("plain", {1: 1.0}, champion=1)
    async with bench.running():
        await bench.route("plain", {1: 1.0}, champion=1, warm=(2,))
        await bench.until(lambda: 2 in check.asked)
        assert bench.health.report().in_line == ()
        await bench.route("plain", {1: 1.0}, champion=1, warm=(2, 3, 4))
        await bench.until(lambda: bench.health.report().in_line == ("plain/3", "plain/4"))
        check.may_end.set()
        await bench.until(lambda: bench.health.warmed == {"plain/1", "plain/3", "plain/4"})
        await bench.until(lambda: bench.health.report().in_line == ())
    assert check.asked == [1, 2, 3, 4]
