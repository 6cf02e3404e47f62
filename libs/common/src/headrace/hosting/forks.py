"""Processes that somebody else's code forks off this one: a transform's process pool (Python's own way on Linux), say.

A forked child has a copy of every descriptor, handler and lock. So what is ours alone is let go in it, as each owner says
(`in_each_child`): a child that outlived us would hold our port and our lock, and our successor could not start. And it does
outlive us, since it waits at a pipe of which it holds both ends. So it is tied to us (`tie_children`): the kernel kills it as soon
as we have ended, however that was.

NB: the tie is a pipe whose one end is ours, and not PR_SET_PDEATHSIG: that one strikes when the *thread* ends that forked, and a pool
may outlive the thread that it was first used on. Processes that are started (`spawn`, `forkserver`, `subprocess`) have
nothing of ours, and are not tied.
"""

import contextlib
import fcntl
import os
import select
import signal
import weakref
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_each_child(owner: T, let_go: Callable[[T], object]) -> None:
    """Have `let_go(owner)` called in each process that is forked off from now on, as long as `owner` lives.

    It is called on the only thread that the child has, whatever the others were in the midst of: it must take no lock.
    """
    found = weakref.ref(owner)

    def forked() -> None:
        if (living := found()) is not None:
            let_go(living)

    os.register_at_fork(after_in_child=forked)


def tie_children() -> bool:
    """Have the processes that are forked off from now on, and theirs, killed when this one ends; False where no system does that."""
    if not hasattr(fcntl, "F_SETSIG"):  # another system than Linux
        return False
    tie = _Tie()
    os.register_at_fork(after_in_child=tie.forked)
    return True


class _Tie:
    """A pipe into which nobody writes. Its writing end is held by the first process alone, so it is closed when that ends."""

    def __init__(self) -> None:
        self._reading, writing = os.pipe()
        self._writing: int | None = writing
        self._pipe = os.fstat(self._reading)

    def forked(self) -> None:
        """In a child: let go of the writing end, and ask for a SIGKILL as soon as it is closed."""
        with contextlib.suppress(OSError):  # no /proc, or a child that has closed all it had: then it is not tied
            if self._writing is not None:
                os.close(self._writing)
                self._writing = None
            if not os.path.samestat(os.fstat(self._reading), self._pipe):
                return
            # NB: opened anew, since whom to signal is kept with the open file, which a fork shares.
            tied = os.open(f"/proc/self/fd/{self._reading}", os.O_RDONLY | os.O_NONBLOCK)
            os.close(self._reading)
            self._reading = tied
            fcntl.fcntl(tied, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(tied, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(tied, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
            if _is_closed(tied):  # before we had asked
                os.kill(os.getpid(), signal.SIGKILL)


def _is_closed(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(0))
