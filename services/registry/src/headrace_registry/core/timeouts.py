"""When a rollout has waited for too long, and what ends the wait. Nothing here is decided by how fast the machine is.

wait      | begins to count                            | stands still or begins anew                            | after           | then
----------|--------------------------------------------|--------------------------------------------------------|-----------------|------
verdict   | the step begins, a verdict, an operator    | the monitor has much to read and gets on with it; the  | `silence_s`     | hold
          |                                            | registry itself did not run (a look counts `STEP_S`)   |                 |
  on hold | the same                                   | the same; no request is decided meanwhile              | 2 x `silence_s` | silence: abort, retryable
warming   | the rollout begins, an instance is warm    | no inference instance reports (`Instances.living_s`);  | 3 x `silence_s` | warming: abort, retryable
          |                                            | one that reports loads others first                    |                 |
load      | the rollout begins, the instance is warm   | counted, per rollout and instance                      | `LOADS` times   | load: abort, retryable

A monitor that has no requests to judge reports that in its verdicts: that is no silence, and is waited for without end. A wait that has run out
goes through the log as a `TimedOut` and is acted on when it is read (`on_timed_out`): a replay has no clock.
"""

from dataclasses import dataclass
from typing import assert_never

from headrace.events.registry import RolloutPaused, TimedOut, WaitedFor
from headrace.registry.state import PAUSED, RUNNING, UNJUDGED, WARMING, Registry, Rollout
from headrace.step import Step
from headrace_registry.core.instances import Instances, lag_of, names_of
from headrace_registry.core.machine import About, Fact, running, step_of
from headrace_registry.core.transitions import aborted

# A look counts as so much at the most: who was stopped for ten minutes has not waited for ten minutes.
STEP_S = 5.0
# With more than this to read a monitor is late, as long as it gets on.
MUCH = 1_000
LOADS = 5
WARMING_FACTOR = 3.0


@dataclass(slots=True)
class _Wait:
    """What one rollout is waited for. `looked_s`: monotonic; `served`, `handled`: counts of inference and monitor at the last look,
    `living_s`, `warmings`: of the instances.
    """

    rollout: Rollout
    looked_s: float
    waited_s: float = 0.0
    served: int = 0
    handled: int = 0
    living_s: float = 0.0
    warmings: int = 0
    did_serve: bool = False


class Timeouts:
    """The waits of all running rollouts: one per deployment.

    NB: it changes in place: it is asked twenty times a second for every rollout. A restart counts all waits anew.
    """

    def __init__(self) -> None:
        self._waits: dict[str, _Wait] = {}
        self._judged: set[str] = set()
        self._began_s: dict[str, float] = {}

    def on_started(self, deployment: str, began_s: float) -> None:
        """A rollout was recorded at `began_s`, seconds since the epoch: failures to load count from then on."""
        self._began_s[deployment] = began_s

    def on_verdict(self, deployment: str) -> None:
        """A verdict came."""
        if deployment in self._waits:
            self._judged.add(deployment)

    def on_idle(self, deployment: str) -> None:
        """No rollout is under way there."""
        self._waits.pop(deployment, None)
        self._judged.discard(deployment)

    def on_look(
        self, deployment: str, rollout: Rollout, instances: Instances, monotonic_s: float, now_s: float
    ) -> "Step[Timeouts, TimedOut]":
        """What has run out by now, one wait at most. `monotonic_s`, `now_s`: the two clocks of this machine."""
        began_s, name = self._began_s.get(deployment, 0.0), f"{deployment}/{rollout.version}"
        failing = instances.failing(name, began_s, now_s)
        if failing is not None and failing[1] >= LOADS:
            instance, count, found = failing
            why = f"version {rollout.version} could not be loaded on {instance}, {count} times ({found.cause}): {found.reason}"
            return self._over(deployment, rollout, "load", 0.0, why)
        wait = self._wait(deployment, rollout, instances, monotonic_s)
        if rollout.step == WARMING:
            return self._look_at_warming(wait, deployment, instances, now_s)
        self._count(wait, deployment, instances, monotonic_s, now_s)
        return self._look_at_silence(wait, deployment, instances, now_s)

    def _over(
        self, deployment: str, rollout: Rollout, what: WaitedFor, waited_s: float, reason: str
    ) -> "Step[Timeouts, TimedOut]":
        return Step(self, (TimedOut(deployment, rollout.id, what, waited_s, reason),))

    def _wait(self, deployment: str, rollout: Rollout, instances: Instances, monotonic_s: float) -> _Wait:
        wait = self._waits.get(deployment)
        if wait is None or wait.rollout != rollout:
            is_unjudged_now = wait is not None and wait.rollout.id == rollout.id and rollout.standing == UNJUDGED
            waited_s = wait.waited_s if wait is not None and is_unjudged_now else 0.0
            looked_s = wait.looked_s if wait is not None and is_unjudged_now else monotonic_s
            wait = self._waits[deployment] = _Wait(
                rollout,
                looked_s,
                waited_s,
                served=instances.served(),
                living_s=instances.living_s,
                warmings=instances.warmings(f"{deployment}/{rollout.version}"),
            )
        return wait

    def _look_at_warming(
        self, wait: _Wait, deployment: str, instances: Instances, now_s: float
    ) -> "Step[Timeouts, TimedOut]":
        rollout, name = wait.rollout, f"{deployment}/{wait.rollout.version}"
        warmings = instances.warmings(name)
        lived_s, wait.living_s = instances.living_s - wait.living_s, instances.living_s
        if warmings != wait.warmings or rollout.standing != RUNNING:
            wait.warmings, wait.waited_s = warmings, 0.0
        elif not instances.in_line(name, now_s):
            wait.waited_s += lived_s
        if wait.waited_s < WARMING_FACTOR * rollout.plan.silence_s:
            return Step(self)
        warm = instances.warmed(name, now_s)
        missing = names_of(instance for instance, is_warm in warm.items() if not is_warm) or "no live instance"
        why = f"version {rollout.version} is not warm on {missing} after {wait.waited_s:.0f} s"
        return self._over(deployment, rollout, "warming", wait.waited_s, why)

    def _count(self, wait: _Wait, deployment: str, instances: Instances, monotonic_s: float, now_s: float) -> None:
        step_s = min(max(monotonic_s - wait.looked_s, 0.0), STEP_S)
        wait.looked_s = monotonic_s
        monitor, served = instances.monitor(now_s), instances.served()
        handled = monitor.handled_total if monitor is not None else wait.handled
        is_late = monitor is not None and lag_of(monitor) > MUCH and handled != wait.handled
        wait.did_serve |= served > wait.served
        wait.served, wait.handled = served, handled
        if deployment in self._judged or is_late or wait.rollout.standing == PAUSED:
            wait.waited_s, wait.did_serve = 0.0, False
        else:
            wait.waited_s += step_s
        self._judged.discard(deployment)

    def _look_at_silence(
        self, wait: _Wait, deployment: str, instances: Instances, now_s: float
    ) -> "Step[Timeouts, TimedOut]":
        rollout, waited_s = wait.rollout, wait.waited_s
        silence_s, monitor = rollout.plan.silence_s, instances.monitor(now_s)
        why = "the monitor does not run" if monitor is None else "the monitor runs, and says nothing of it"
        reason = f"no verdict for {waited_s:.0f} s: {why}"
        if rollout.standing == RUNNING and waited_s >= silence_s:
            return self._over(deployment, rollout, "pause", waited_s, reason)
        if rollout.standing == UNJUDGED and waited_s >= 2 * silence_s and wait.did_serve:
            return self._over(deployment, rollout, "silence", waited_s, f"{reason}, while requests are decided")
        return Step(self)


def on_timed_out(state: Registry, waited: TimedOut, about: About) -> Step[Registry, Fact]:
    """A wait ran out: pause the rollout, or abort it so that it may be tried again. A wait of another phase is over."""
    rollout, deployment = running(state, about), about.deployment
    is_running = rollout.standing == RUNNING
    if waited.rollout != rollout.id:
        return step_of(state)
    match waited.what:
        case "pause" if rollout.step != WARMING and is_running:
            paused = RolloutPaused(deployment, rollout.id, rollout.version, waited.reason, unjudged=True)
            return step_of(state, [paused])
        case "silence" if rollout.standing == UNJUDGED:
            return _aborted(state, deployment, rollout, waited)
        case "warming" if rollout.step == WARMING and is_running:
            return _aborted(state, deployment, rollout, waited)
        case "load":
            return _aborted(state, deployment, rollout, waited)
        case "pause" | "silence" | "warming":
            return step_of(state)
        case _:
            assert_never(waited.what)


def _aborted(state: Registry, deployment: str, rollout: Rollout, waited: TimedOut) -> Step[Registry, Fact]:
    assert waited.what != "pause", "a rollout that is paused is not over"
    reason = f"{waited.reason}: `headrace rollout retry {deployment}` tries again"
    return step_of(state, aborted(state.entry(deployment), deployment, rollout, reason, cause=waited.what))
