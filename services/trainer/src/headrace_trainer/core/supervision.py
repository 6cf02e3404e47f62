"""When a run's process must be ended: it stands still, exceeds a limit, is asked to stop, or no trainer looks after it any more.

A hung process is recognised by its lack of progress, not by time: one that computes, writes to its journal or waits for a core is not
idle, however slow the machine is.
"""

from dataclasses import dataclass, field

from headrace_trainer.core.attempts import Limits

# How often a supervisor looks at its process.
LOOK_S = 0.25
# A process that computes less than this share of the time in which it was not waiting for a core stands still.
_COMPUTES = 0.02


@dataclass(frozen=True, slots=True)
class Usage:
    """What all processes below one use.

    `cpu_s`: used by those that live; `waited_s`: spent waiting for a core (both only grow while the same processes live).
    `memory_bytes`: resident, where shared memory counts in each process.
    """

    cpu_s: float = 0.0
    waited_s: float = 0.0
    memory_bytes: int = 0


@dataclass
class Idleness:
    """For how long a process has neither computed nor written anything; seconds, without those in which it waited for a core."""

    written: int = 0
    usage: Usage = field(default_factory=Usage)
    idle_s: float = 0.0

    def look(self, written: int, usage: Usage, passed_s: float) -> float:
        """The idle seconds after a look, `passed_s` after the one before. `written`: changes whenever the run writes something."""
        computed_s = max(usage.cpu_s - self.usage.cpu_s, 0.0)
        waited_s = max(usage.waited_s - self.usage.waited_s, 0.0)
        free_s = max(passed_s - waited_s, 0.0)
        if written != self.written or computed_s > _COMPUTES * max(free_s, LOOK_S):
            self.idle_s = 0.0
        else:
            self.idle_s += free_s
        self.written, self.usage = written, usage
        return self.idle_s


def choose_exceeded(usage: Usage, idle_s: float, limits: Limits) -> str:
    """The limit that a run exceeds: `memory`, `cpu` or `idle`; "" for none. `usage`: with shared memory counted once."""
    if usage.memory_bytes > limits.memory_bytes:
        return "memory"
    if usage.cpu_s > limits.cpu_s:
        return "cpu"
    return "idle" if idle_s > limits.idle_s else ""


@dataclass(frozen=True, slots=True)
class Stop:
    """A run's process must end now. `by`: the person who ends the run for good; "" where it may be begun again."""

    reason: str
    by: str = ""


def why_stop(has_folder: bool, stop_asked: str | None, alone_s: float, longest_alone_s: float) -> Stop | None:
    """Why a run must stop; None while it may go on.

    `stop_asked`: who asked for it ("" for now only), None where nobody did. `alone_s`: for how long no trainer has looked after it.
    """
    if not has_folder:
        return Stop("its folder is gone")
    if stop_asked is not None:
        return Stop(f"it was stopped by {stop_asked}" if stop_asked else "it was asked to stop", stop_asked)
    if alone_s > longest_alone_s:
        return Stop(f"no trainer has looked after it for {longest_alone_s:.0f} s")
    return None
