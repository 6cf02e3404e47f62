"""Cases 27 and 28: rollouts that wait, and what they wait for."""

import math
from typing import Any

import pytest

from headrace.events.definition import RolloutDefinition
from headrace.events.ops import FailedLoads, HealthReported
from headrace.events.registry import (
    RetryRollout,
    RolloutStarted,
    StartRollout,
    TimedOut,
)
from headrace.events.verdicts import UNMEASURED
from headrace.testing.registry import CANARY, HOUR_S, registered, verdict
from headrace_registry.core import rollout
from headrace_registry.core.instances import Instances
from headrace_registry.core.machine import Unloadable, Warmed
from headrace_registry.core.timeouts import LOADS, Timeouts

BLUE_GREEN = RolloutDefinition("blue_green")


class Scene:
    """Version 1 of `d` serves and version 2 is released. A monitor and an inference instance are alive, and time passes in steps."""

    def __init__(self, plan: RolloutDefinition = CANARY) -> None:
        self.state = registered(2)
        for version, by in ((1, BLUE_GREEN), (2, plan)):
            self.send(StartRollout("d", version, "r", "me"), by)
            if version == 1:
                self.send(Warmed())
        self.instances, self.timeouts, self.now_s = Instances(), Timeouts(), 1000.0
        self.served = self.watched = 0
        self.lines: tuple[str, ...] = ()
        self.rejected: dict[str, str] = {}
        self.failed_at_s: tuple[float, ...] = ()

    def send(self, message: Any, plan: RolloutDefinition = CANARY) -> list[Any]:
        step = rollout.on_message(self.state, "d", message, f"m{self.state.entry('d').facts}", plan)
        self.state = step.state
        return list(step.facts)

    @property
    def running(self) -> Any:
        return self.state.entry("d").rollout

    def at_work(self) -> "Scene":
        """Give the canary its first share."""
        self.send(Warmed())
        self.send(verdict(self.state, 0.0))
        self.send(verdict(self.state, HOUR_S))
        assert self.running.step == "canary"
        return self

    def lives(self, *, warm: bool = False, ready: bool = True) -> None:
        names = ("d/1", "d/2") if warm else ("d/1",)
        failed = {"d/2": FailedLoads(self.failed_at_s, "memory", "no room")} if self.failed_at_s else {}
        self.instances.take(
            HealthReported(
                "inference", "i", ready, warmed=names, handled_total=self.served, in_line=self.lines,
                rejected=self.rejected, failed_loads=failed,
            ),
            self.now_s,
        )  # fmt: skip

    def fails_to_load(self) -> None:
        """Let one more load of version 2 fail on the instance."""
        self.failed_at_s = (*self.failed_at_s, self.now_s)

    def passes(self, seconds: float, *, inference: bool = True, monitor: bool = True, lag: int = 0, gets_on: bool = False,
               serves: bool = True, step_s: float = 2.0) -> list[TimedOut]:  # fmt: skip
        """Let time pass. Returns the timeouts that expire meanwhile."""
        found = []
        for _ in range(math.ceil(seconds / step_s)):
            self.now_s += step_s
            self.served, self.watched = self.served + serves, self.watched + gets_on
            if inference:
                self.lives()
            if monitor:
                report = HealthReported("monitor", "m", True, shards=(0,), lag={"t/0": lag}, handled_total=self.watched)
                self.instances.take(report, self.now_s)
            found += self.timeouts.on_look("d", self.running, self.instances, self.now_s, self.now_s).facts
        return found


# case 27


def test_a_canary_that_nobody_asks_waits_for_ever_and_its_time_begins_with_the_first_request() -> None:
    scene = Scene()
    scene.send(Warmed())
    for day in range(400):
        waits = verdict(
            scene.state, 0.0, labels=UNMEASURED, step_decisions=0, waiting_for="traffic", has_clock=day > 200
        )
        assert scene.send(waits) == []
        scene.timeouts.on_verdict("d")
        assert scene.passes(200.0, serves=False) == []
    assert (scene.running.since_s, scene.running.standing) == (None, "running")
    scene.send(verdict(scene.state, 400 * 86_400.0))
    assert scene.running.since_s == 400 * 86_400.0


def test_a_monitor_that_is_only_late_is_waited_for_and_one_that_stands_still_is_not() -> None:
    scene = Scene().at_work()
    assert scene.passes(3600.0, lag=50_000, gets_on=True) == []
    (timeout, *_) = scene.passes(400.0, lag=50_000, gets_on=False)
    assert (timeout.what, "the monitor runs" in timeout.reason) == ("pause", True)


@pytest.mark.parametrize(("monitor", "why"), [(True, "the monitor runs, and says nothing"), (False, "does not run")])
def test_silence_pauses_and_then_ends_only_while_requests_are_decided(monitor: bool, why: str) -> None:
    scene = Scene().at_work()
    (timeout, *_) = scene.passes(320.0, monitor=monitor)
    assert timeout.what == "pause"
    assert why in timeout.reason
    scene.send(TimedOut("d", scene.running.id, timeout.what, timeout.for_s, timeout.reason))
    assert scene.passes(7200.0, monitor=monitor, serves=False) == []
    (ended, *_) = scene.passes(10.0, monitor=monitor)
    assert ended.what == "silence"
    aborted, _ = scene.send(TimedOut("d", scene.running.id, ended.what, ended.for_s, ended.reason))
    assert (aborted.harmful, aborted.cause) == (False, "silence")


def test_a_registry_that_was_stopped_for_an_hour_has_not_waited_for_an_hour() -> None:
    scene = Scene().at_work()
    assert scene.passes(3600.0, step_s=600.0, monitor=False) == []


def test_a_wait_that_was_recorded_twice_or_in_another_phase_changes_nothing() -> None:
    scene = Scene().at_work()
    pause = TimedOut("d", scene.running.id, "pause", 300.0, "r")
    assert len(scene.send(pause)) == 1
    assert scene.send(pause) == []
    assert scene.send(TimedOut("d", "another", "silence", 600.0, "r")) == []
    assert scene.send(TimedOut("d", scene.running.id, "warming", 600.0, "r")) == []


# case 28


def test_loads_that_fail_end_a_rollout_so_that_it_may_be_tried_again_and_never_reject_the_version() -> None:
    scene = Scene()
    scene.lives()
    for _ in range(LOADS):
        assert scene.passes(2.0) == []
        scene.fails_to_load()
    (over,) = scene.passes(2.0)
    assert (over.what, "5 times (memory): no room" in over.reason) == ("load", True)
    aborted, _ = scene.send(TimedOut("d", scene.running.id, over.what, over.for_s, over.reason))
    assert (aborted.harmful, aborted.cause, "rollout retry d" in aborted.reason) == (False, "load", True)
    assert scene.state.entry("d").may_serve(2)
    assert next(type(fact) for fact in scene.send(RetryRollout("d", "r", "me"))) is RolloutStarted


def failing(name: str, *at_s: float) -> HealthReported:
    return HealthReported("inference", name, True, failed_loads={"d/2": FailedLoads(at_s, "time", "slow")})


def test_failed_loads_count_per_rollout_and_instance_and_are_cleared_by_a_warm_version() -> None:
    instances = Instances()
    instances.take(failing("a", 10.0, 20.0, 60.0), 100.0)
    instances.take(failing("b", 70.0, 80.0), 100.0)
    assert instances.failing("d/2", 0.0, 100.0) == ("a", 3, FailedLoads((10.0, 20.0, 60.0), "time", "slow"))
    assert instances.failing("d/2", 50.0, 100.0) == ("b", 2, FailedLoads((70.0, 80.0), "time", "slow"))
    assert instances.failing("d/2", 60.0, 100.0) == ("b", 2, FailedLoads((70.0, 80.0), "time", "slow"))
    assert instances.failing("d/1", 0.0, 100.0) is None
    instances.take(HealthReported("inference", "b", True, warmed=("d/2",)), 101.0)
    assert (found := instances.failing("d/2", 60.0, 101.0))
    assert found[:2] == ("a", 1)
    instances.take(HealthReported("inference", "a", True, warmed=("d/2",)), 101.0)
    assert instances.failing("d/2", 0.0, 101.0) is None


def test_a_version_counts_as_warmed_once_per_instance_and_again_after_it_was_lost() -> None:
    instances = Instances()
    for at_s, name, warmed in ((1.0, "a", ()), (2.0, "a", ("d/2",)), (3.0, "a", ("d/2",)), (4.0, "b", ("d/2", "d/1"))):
        instances.take(HealthReported("inference", name, True, warmed=warmed), at_s)
    assert [instances.warmings(name) for name in ("d/1", "d/2", "d/3")] == [1, 2, 0]
    instances.take(HealthReported("inference", "a", True), 5.0)
    instances.take(HealthReported("inference", "a", True, warmed=("d/2",)), 6.0)
    assert instances.warmings("d/2") == 3


def test_an_instance_that_died_is_not_waited_for() -> None:
    instances = Instances()
    instances.take(failing("dead", 1.0), 0.0)
    instances.take(HealthReported("inference", "alive", True, warmed=("d/2",)), 60.0)
    assert instances.warmed("d/2", 60.0) == {"alive": True}
    assert instances.failing("d/2", 0.0, 60.0) is None


def test_warming_runs_out_in_the_time_of_living_instances_and_an_instance_that_is_warm_begins_it_anew() -> None:
    scene = Scene()
    scene.lives()
    assert scene.passes(7200.0, inference=False) == []
    assert scene.passes(3 * 300.0 - 20.0) == []
    # NB: another instance, which stops at once. Nobody waits for it, and its activity begins the wait again.
    scene.instances.take(HealthReported("inference", "j", True, warmed=("d/2",), stopping=True), scene.now_s)
    assert scene.passes(3 * 300.0 - 20.0) == []
    over = scene.passes(40.0)[0]
    assert (over.what, "not warm on i after" in over.reason) == ("warming", True)
    aborted, _ = scene.send(TimedOut("d", scene.running.id, over.what, over.for_s, over.reason))
    assert (aborted.harmful, aborted.cause) == (False, "warming")


def test_a_version_that_waits_in_line_behind_other_loads_is_waited_for_and_its_time_begins_with_its_turn() -> None:
    scene = Scene()
    scene.lines = ("d/2",)
    assert scene.passes(7200.0) == []
    scene.lines = ("d/3",)
    assert scene.passes(3 * 300.0 - 20.0) == []
    assert scene.passes(40.0)[0].what == "warming"


def test_an_instance_that_dies_or_stops_with_a_version_in_line_keeps_nobody_waiting() -> None:
    for stopping in (False, True):
        scene = Scene()
        scene.instances.take(HealthReported("inference", "j", True, in_line=("d/2",)), scene.now_s)
        if stopping:
            scene.instances.take(
                HealthReported("inference", "j", True, in_line=("d/2",), stopping=True), scene.now_s + 1.0
            )
        assert scene.passes(3 * 300.0 - 20.0) == []
        over = scene.passes(60.0)[0]
        assert (over.what, "not warm on i after" in over.reason) == ("warming", True)


def test_a_version_is_waited_for_until_its_turn_has_come_on_every_instance_that_lives() -> None:
    scene = Scene()
    other = HealthReported("inference", "j", True, in_line=("d/1", "d/2"))
    for _ in range(600):
        scene.instances.take(other, scene.now_s)
        assert scene.passes(6.0) == []
    assert scene.passes(3 * 300.0 + 60.0)[0].what == "warming"


def test_time_in_line_does_not_reset_what_has_been_waited_so_that_the_wait_of_one_that_returns_there_ends() -> None:
    scene = Scene()
    for _ in range(8):
        scene.lines = ()
        assert scene.passes(100.0) == []
        scene.lines = ("d/2",)
        assert scene.passes(100.0) == []
    scene.lines = ()
    assert scene.passes(140.0)[0].what == "warming"


@pytest.mark.parametrize("in_line", [False, True])
def test_a_version_whose_loads_fail_ends_its_rollout_in_line_or_not(in_line: bool) -> None:
    scene = Scene()
    scene.lines = ("d/2",) if in_line else ()
    for _ in range(LOADS):
        assert scene.passes(60.0) == []
        scene.fails_to_load()
    assert scene.passes(2.0)[0].what == "load"


def test_only_a_version_that_was_rejected_for_good_is_never_released_again() -> None:
    scene = Scene()
    assert scene.instances.unloadable("d/2") is None
    scene.rejected = {"d/2": "it died twice of SIGSEGV"}
    scene.lives()
    reason = scene.instances.unloadable("d/2")
    assert reason == "it died twice of SIGSEGV"
    aborted, _ = scene.send(Unloadable(2, reason))
    assert (aborted.harmful, aborted.cause) == (True, "unloadable")
    assert not scene.state.entry("d").may_serve(2)
