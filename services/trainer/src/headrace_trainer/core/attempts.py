"""What the end of a run's process means: done, begun again, or failed; so that nothing goes in circles.

| how it ended | means |
|---|---|
| SIGKILL and other signals from outside, or its keeper was lost | killed: again, later each time, `MOST_KILLED` times |
| SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE | a fault in native code: once more, then failed |
| neither computed nor said anything for too long | idle: once more, then failed |
| over its memory or its CPU time | failed |
| left by itself before it was done | failed |
| asked to stop for now | again when somebody wants it, not counted |
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

MOST_KILLED = 5
MOST_CRASHED = 2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_TWICE = {"crashed": MOST_CRASHED, "idle": MOST_CRASHED, "killed": MOST_KILLED}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may take. `idle_s`: how long it may neither compute nor say anything while it could have a core."""

    memory_bytes: int
    cpu_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A process of a run ended without a finish. `code`: exit code, or minus the signal. `over`: the limit for which its
    keeper ended it (`memory`, `cpu`, `idle`), else "".
    """

    code: int
    over: str = ""


@dataclass(frozen=True, slots=True)
class Again:
    """Begin once more after a pause."""

    how: str
    reason: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Do not."""

    reason: str


def on_end(ended: Ended, limits: Limits, before: Sequence[str]) -> Again | Failed:
    """What to do about an end. `before`: how the attempts before it ended."""
    if ended.over == "memory":
        return Failed(
            f"it took more than {limits.memory_bytes / 2**20:,.0f} MiB of memory (HEADRACE_TRAINING_MEMORY_BYTES):"
            " a shorter history, a smaller model, or a higher limit"
        )
    if ended.over == "cpu" or ended.code == -signal.SIGXCPU:
        return Failed(
            f"it used more than {limits.cpu_s:,.0f} s of CPU (HEADRACE_TRAINING_CPU_S): a smaller model, or a higher limit"
        )
    if ended.code >= 0 and not ended.over:
        return Failed(
            f"its process left with code {ended.code} before it was done: does build() or the estimator call os._exit?"
        )
    how, reason = _how(ended, limits)
    return again(how, reason, before)


def again(how: str, reason: str, before: Sequence[str]) -> Again | Failed:
    """Once more, later each time, unless it ended like this too often."""
    times = 1 + sum(found == how for found in before)
    if times >= _TWICE[how]:
        return Failed(f"{reason}, {times} times")
    return Again(how, reason, min(FIRST_PAUSE_S * 2 ** (times - 1), LONGEST_PAUSE_S))


def _how(ended: Ended, limits: Limits) -> tuple[str, str]:
    if ended.over == "idle":
        return "idle", f"it neither computed nor read anything for {limits.idle_s:,.0f} s though it had a core"
    number = -ended.code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in FAULTS:
        return "crashed", f"its process died of {name}, a fault in native code"
    return "killed", f"its process was killed by {name} (the machine ran out of memory, or somebody did it)"
