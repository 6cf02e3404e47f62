"""What follows when a run's process has ended: another attempt or failure, so that no run is attempted for ever.

| how it ended | what follows |
|---|---|
| by SIGKILL or another signal from outside, or its supervisor was lost | killed: another attempt, later each time, `MOST_KILLED` times |
| by SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE | a fault in native code: one more attempt, then failed |
| it neither computed nor wrote anything for too long | idle: one more attempt, then failed |
| it exceeded its memory or its CPU time | failed |
| it left by itself before it was done | failed |
| it was asked to stop for now | another attempt when a trainer wants it, not counted |
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

MOST_KILLED = 5
MOST_CRASHED = 2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_MOST_TIMES = {"crashed": MOST_CRASHED, "idle": MOST_CRASHED, "killed": MOST_KILLED}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. `idle_s`: how long it may neither compute nor write anything while it could have a core."""

    memory_bytes: int
    cpu_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A process of a run ended before the run finished.

    `code`: its exit code, or minus the signal. `exceeded`: the limit for which its supervisor ended it (`memory`, `cpu`, `idle`), else "".
    """

    code: int
    exceeded: str = ""


@dataclass(frozen=True, slots=True)
class Again:
    """Begin another attempt after a pause. `how`: how this one ended, as `AttemptEnded` names it."""

    how: str
    reason: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Begin no other attempt: the run has failed for this reason."""

    reason: str


def decide_next(ended: Ended, limits: Limits, before: Sequence[str]) -> Again | Failed:
    """What follows the end of an attempt. `before`: how the attempts before it ended."""
    if ended.exceeded == "memory":
        return Failed(
            f"it took more than {limits.memory_bytes / 2**20:,.0f} MiB of memory (HEADRACE_TRAINING_MEMORY_BYTES):"
            " a shorter history, a smaller model, or a higher limit"
        )
    if ended.exceeded == "cpu" or ended.code == -signal.SIGXCPU:
        return Failed(
            f"it used more than {limits.cpu_s:,.0f} s of CPU (HEADRACE_TRAINING_CPU_S): a smaller model, or a higher limit"
        )
    if ended.code >= 0 and not ended.exceeded:
        return Failed(
            f"its process left with code {ended.code} before it was done: does build() or the estimator call os._exit?"
        )
    how, reason = _how(ended, limits)
    return decide_again(how, reason, before)


def decide_again(how: str, reason: str, before: Sequence[str]) -> Again | Failed:
    """Another attempt, later each time, unless too many have ended like this one."""
    times = 1 + sum(found == how for found in before)
    if times >= _MOST_TIMES[how]:
        return Failed(f"{reason}, {times} times")
    return Again(how, reason, min(FIRST_PAUSE_S * 2 ** (times - 1), LONGEST_PAUSE_S))


def _how(ended: Ended, limits: Limits) -> tuple[str, str]:
    if ended.exceeded == "idle":
        return "idle", f"it neither computed nor read anything for {limits.idle_s:,.0f} s though it had a core"
    number = -ended.code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in FAULTS:
        return "crashed", f"its process died of {name}, a fault in native code"
    return "killed", f"its process was killed by {name} (the machine ran out of memory, or somebody did it)"
