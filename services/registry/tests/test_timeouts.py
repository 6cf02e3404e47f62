"""What a rollout waits for, how long, and what stops the wait: the table of `timeouts`, on values."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.events.ops import FailedLoads, HealthReported
from headrace.events.registry import TimedOut
from headrace.registry.state import PAUSED, RUNNING, UNJUDGED, Rollout
from headrace.testing.registry import CANARY
from headrace_registry.core.instances import Instances
from headrace_registry.core.timeouts import LOADS, MUCH, STEP_S, Timeouts

SILENCE_S = CANARY.silence_s
MOVING = Rollout("r1", 2, CANARY, control=1, step="canary")
WARMING = Rollout("r1", 2, CANARY, control=1)


class Watch:
    """A registry that looks at one rollout every few seconds while an inference instance `i` and a monitor `m` report."""

    def __init__(self, rollout: Rollout = MOVING) -> None:
        self.timeouts, self.instances, self.rollout = Timeouts(), Instances(), rollout
        self.now_s = 1_000.0
        self.served = self.handled = self.lag = 0
        self.warm: tuple[str, ...] = ("d/1",)
        self.in_line: tuple[str, ...] = ()
        self.failed_loads: dict[str, FailedLoads] = {}
        self.lives, self.monitor_lives = True, True

    def look(self, after_s: float = STEP_S) -> TimedOut | None:
        """The next look, and what has run out by it."""
        self.now_s += after_s
        if self.lives:
            report = HealthReported(
                "inference",
                "i",
                True,
                warmed=self.warm,
                in_line=self.in_line,
                handled_total=self.served,
                failed_loads=dict(self.failed_loads),
            )
            self.instances.take(report, self.now_s)
        if self.monitor_lives:
            report = HealthReported("monitor", "m", True, lag={"t/0": self.lag}, handled_total=self.handled)
            self.instances.take(report, self.now_s)
        step = self.timeouts.on_look("d", self.rollout, self.instances, self.now_s - 900.0, self.now_s)
        assert step.state is self.timeouts
        return step.facts[0] if step.facts else None

    def seconds_until_over(self, limit_s: float = 5_000.0, each: Any = lambda: None) -> float | None:
        """How long the rollout is waited for from now on, in steps of a look; None when it is waited for without end."""
        began_s = self.now_s
        while self.now_s - began_s < limit_s:
            each()
            if self.look() is not None:
                return self.now_s - began_s
        return None


def begun(rollout: Rollout = MOVING, **changes: Any) -> Watch:
    """A wait that has begun."""
    watch = Watch(rollout)
    for name, value in changes.items():
        setattr(watch, name, value)
    assert watch.look() is None
    return watch


def serve(watch: Watch) -> None:
    watch.served += 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [({}, "the monitor runs, and says nothing of it"), ({"monitor_lives": False}, "the monitor does not run")],
)
def test_without_a_verdict_for_the_time_of_silence_a_rollout_is_paused(changes: dict, why: str) -> None:
    watch = begun(**changes)
    while (over := watch.look()) is None:
        pass
    assert over == TimedOut("d", "r1", "pause", SILENCE_S, f"no verdict for 300 s: {why}")


def test_a_verdict_lets_the_wait_begin_anew_once() -> None:
    watch = begun()
    for _ in range(40):
        assert watch.look() is None
    watch.timeouts.on_verdict("d")
    assert watch.seconds_until_over() == SILENCE_S + STEP_S


def test_a_verdict_from_before_the_rollout_counts_for_nothing() -> None:
    watch = Watch()
    watch.timeouts.on_verdict("d")
    assert watch.look() is None
    assert watch.seconds_until_over() == SILENCE_S


def test_a_rollout_that_ended_leaves_no_wait_behind() -> None:
    watch = begun()
    for _ in range(40):
        watch.look()
    watch.timeouts.on_verdict("d")
    watch.timeouts.on_idle("d")
    watch.timeouts.on_idle("another")
    assert watch.look() is None
    assert watch.seconds_until_over() == SILENCE_S


def test_deployments_wait_each_for_themselves() -> None:
    watch = begun()
    watch.timeouts.on_look("e", replace(MOVING, id="r2"), watch.instances, 0.0, watch.now_s)
    watch.timeouts.on_verdict("e")
    watch.timeouts.on_idle("e")
    assert watch.seconds_until_over() == SILENCE_S


def test_a_registry_that_did_not_run_counts_a_step_at_the_most_and_a_clock_that_goes_back_nothing() -> None:
    watch = begun()
    assert watch.look(after_s=10_000.0) is None
    assert watch.look(after_s=-10_000.0) is None
    assert watch.seconds_until_over() == SILENCE_S - STEP_S


@pytest.mark.parametrize(
    ("lag", "reads", "waits"), [(MUCH + 1, 1, True), (MUCH, 1, False), (MUCH + 1, 0, False), (0, 1, False)]
)
def test_a_monitor_that_has_much_to_read_is_waited_for_while_it_gets_on(lag: int, reads: int, waits: bool) -> None:
    watch = begun(lag=lag)

    def read() -> None:
        watch.handled += reads

    assert watch.seconds_until_over(each=read) == (None if waits else SILENCE_S)


@pytest.mark.parametrize("standing", [RUNNING, UNJUDGED])
def test_an_operator_or_a_step_lets_the_wait_begin_anew(standing: str) -> None:
    watch = begun(replace(MOVING, standing=standing))
    for _ in range(40):
        watch.look()
    watch.rollout = replace(MOVING, share=0.25, number=1, standing=standing, id="r1" if standing == RUNNING else "r2")
    assert watch.look() is None
    wanted_s = SILENCE_S if standing == RUNNING else 2 * SILENCE_S
    assert watch.seconds_until_over(each=lambda: serve(watch)) == wanted_s


def test_what_an_operator_has_paused_is_waited_for_without_end() -> None:
    watch = begun(replace(MOVING, standing=PAUSED))
    assert watch.seconds_until_over(each=lambda: serve(watch)) is None
    watch.rollout = replace(MOVING, standing=UNJUDGED)
    assert watch.look() is None
    assert watch.seconds_until_over(each=lambda: serve(watch)) == 2 * SILENCE_S - STEP_S


def test_one_that_was_paused_for_silence_ends_after_twice_that_counted_from_the_same_verdict() -> None:
    watch = begun()
    watch.seconds_until_over()
    watch.rollout = replace(MOVING, standing=UNJUDGED)
    assert watch.seconds_until_over(SILENCE_S - STEP_S, each=lambda: serve(watch)) is None
    serve(watch)
    reason = "no verdict for 600 s: the monitor runs, and says nothing of it, while requests are decided"
    assert watch.look() == TimedOut("d", "r1", "silence", 2 * SILENCE_S, reason)


def test_one_that_was_paused_for_silence_does_not_end_while_no_request_is_decided() -> None:
    watch = begun(replace(MOVING, standing=UNJUDGED), served=7)
    assert watch.seconds_until_over() is None
    serve(watch)
    over = watch.look()
    assert over is not None
    assert over.what == "silence"


def test_requests_from_before_the_last_verdict_do_not_end_it() -> None:
    watch = begun(replace(MOVING, standing=UNJUDGED))
    serve(watch)
    watch.look()
    watch.timeouts.on_verdict("d")
    assert watch.seconds_until_over() is None


def test_a_version_that_does_not_get_warm_ends_its_rollout_and_the_instances_are_named() -> None:
    watch = begun(WARMING)
    assert watch.seconds_until_over(3 * SILENCE_S - STEP_S) is None
    reason = "version 2 is not warm on i after 900 s"
    assert watch.look() == TimedOut("d", "r1", "warming", 3 * SILENCE_S, reason)


def test_warming_stands_still_while_no_instance_reports() -> None:
    watch = begun(WARMING)
    for _ in range(100):
        watch.look()
    watch.lives = False
    assert watch.seconds_until_over() is None
    watch.lives = True
    # The gap counts as one step.
    assert watch.seconds_until_over() == 3 * SILENCE_S - 100 * STEP_S


def test_that_no_instance_lives_is_said() -> None:
    watch = begun(WARMING)
    watch.seconds_until_over(3 * SILENCE_S - STEP_S)
    watch.instances.take(HealthReported("inference", "i", True), watch.now_s + STEP_S)
    watch.lives = False
    over = watch.look(after_s=60.0)
    assert over is not None
    assert over.reason == "version 2 is not warm on no live instance after 900 s"


def test_warming_stands_still_while_others_are_loaded_first() -> None:
    watch = begun(WARMING, in_line=("d/2",))
    assert watch.seconds_until_over() is None
    watch.in_line = ("d/7",)
    assert watch.seconds_until_over() == 3 * SILENCE_S


def test_an_instance_that_gets_warm_lets_warming_begin_anew() -> None:
    watch = begun(WARMING)
    for _ in range(100):
        watch.look()
    # NB: another instance, which stops at once, so that it is not waited for.
    watch.instances.take(HealthReported("inference", "j", True, warmed=("d/7",), stopping=True), watch.now_s)
    assert watch.look() is None
    watch.instances.take(HealthReported("inference", "j", True, warmed=("d/7", "d/2"), stopping=True), watch.now_s)
    assert watch.look() is None
    assert watch.seconds_until_over() == 3 * SILENCE_S


def test_a_rollout_that_is_paused_while_it_warms_is_waited_for() -> None:
    assert begun(replace(WARMING, standing=PAUSED)).seconds_until_over() is None


def fail(watch: Watch, times: int, name: str = "d/2") -> None:
    before = watch.failed_loads[name].at_s if name in watch.failed_loads else ()
    watch.failed_loads[name] = FailedLoads((*before, *[watch.now_s] * times), "memory", "too large")


@pytest.mark.parametrize("rollout", [WARMING, MOVING])
def test_a_version_that_cannot_be_loaded_ends_its_rollout_after_some_tries(rollout: Rollout) -> None:
    watch = begun(rollout)
    watch.timeouts.on_started("d", watch.now_s)
    fail(watch, LOADS - 1)
    assert watch.look() is None
    fail(watch, 1)
    reason = "version 2 could not be loaded on i, 5 times (memory): too large"
    assert watch.look() == TimedOut("d", "r1", "load", 0.0, reason)


def test_loads_that_failed_before_the_rollout_or_of_another_version_count_for_nothing() -> None:
    watch = begun()
    fail(watch, LOADS)
    fail(watch, LOADS, "d/3")
    fail(watch, LOADS, "e/2")
    watch.timeouts.on_started("d", watch.now_s + 1.0)
    assert watch.look() is None
