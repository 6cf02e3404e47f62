"""Processes that a user's code forks off this one, such as a transform's process pool (the default on Linux).

A forked child has a copy of every descriptor, handler and lock. So it releases what belongs to the parent alone
(`in_each_child`): a child that outlived the parent would hold its port and lock, and a successor could not start. A
pool's child would outlive its parent, since it waits at a pipe of which it holds both ends. So children are tied to the
parent (`tie_children`): the kernel kills them as soon as the parent has ended, for whatever reason.

NB: the tie is a pipe whose one end the parent holds, and not PR_SET_PDEATHSIG, which acts when the forking *thread*
ends: a pool may outlive the thread on which it was first used. Processes that are started (`spawn`, `forkserver`,
`subprocess`) inherit nothing of ours, and are not tied.
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
    """Call `let_go(owner)` in each process that is forked off from now on, as long as `owner` lives.

    It runs on the only thread of the child, whatever the other threads were doing: it must take no lock.
    """
    found = weakref.ref(owner)

    def forked() -> None:
        if (living := found()) is not None:
            let_go(living)

    os.register_at_fork(after_in_child=forked)


def tie_children() -> bool:
    """Kill the processes that are forked off from now on, and theirs, when this one ends. False where the system
    cannot.
    """
    if not hasattr(fcntl, "F_SETSIG"):  # another system than Linux
        return False
    tie = _Tie()
    os.register_at_fork(after_in_child=tie.forked)
    return True


class _Tie:
    """A pipe that nobody writes to. Only the first process holds the writing end, so it is closed when that process
    ends.
    """

    def __init__(self) -> None:
        self._reading, writing = os.pipe()
        self._writing: int | None = writing
        self._pipe = os.fstat(self._reading)

    def forked(self) -> None:
        """In a child: close the writing end, and request a SIGKILL for when it is closed everywhere."""
        with contextlib.suppress(OSError):  # no /proc, or all descriptors are closed: the child is not tied
            if self._writing is not None:
                os.close(self._writing)
                self._writing = None
            if not os.path.samestat(os.fstat(self._reading), self._pipe):
                return
            # NB: opened again, since the target of the signal belongs to the open file, which a fork shares.
            tied = os.open(f"/proc/self/fd/{self._reading}", os.O_RDONLY | os.O_NONBLOCK)
            os.close(self._reading)
            self._reading = tied
            fcntl.fcntl(tied, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(tied, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(tied, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
            if _is_closed(tied):  # it was closed before the request
                os.kill(os.getpid(), signal.SIGKILL)


def _is_closed(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(0))
