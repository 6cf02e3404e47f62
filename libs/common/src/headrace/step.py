"""The shape in which every decision of a state machine is returned to its shell."""

from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")
F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Step(Generic[S, F]):
    """What the shell must do: keep `state`, publish `facts` in this order, and come back at `wake_at_s`.

    `wake_at_s`: seconds since the epoch, by the clock that the core got; None when only a message moves the machine on.

    >>> Step("warming", ("rollout.started",))
    Step(state='warming', facts=('rollout.started',), wake_at_s=None)
    """

    state: S
    facts: tuple[F, ...] = ()
    wake_at_s: float | None = None
