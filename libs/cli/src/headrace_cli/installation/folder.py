"""The folder of an installation: who runs in it, and what that one says of itself.

Who holds the lock (`supervisor.lock`) runs in it: a second one is refused, and files that a killed one left behind mean nothing.
`supervisor.json` only says more: who lives where, and why what was restarted was.
"""

import fcntl
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger("headrace.supervisor")

STATE_FILE = "supervisor.json"
LOCK_FILE = "supervisor.lock"


class StateFile:
    """What the one who runs in the folder says of itself, written whole or not at all."""

    def __init__(self, home: Path) -> None:
        self._path = home / STATE_FILE
        self._written = ""

    def write(self, state: Mapping[str, Any]) -> None:
        """Say this from now on."""
        scratch = self._path.with_name(f"{STATE_FILE}.new")
        self._written = json.dumps(state, indent=2)
        try:
            scratch.write_text(self._written)
            scratch.replace(self._path)
        except OSError as failed:
            # NB: a full disk must not end who looks after everything; what it says is old then.
            _log.warning("%s is not written: %s", STATE_FILE, failed)

    def is_lost(self) -> bool:
        """Whether somebody removed or changed what we wrote: without it nobody finds the broker."""
        try:
            is_ours = self._path.read_text(errors="replace") == self._written
        except OSError:
            is_ours = False
        if not is_ours:
            _log.warning("%s is not what was written: written again", STATE_FILE)
        return not is_ours

    def remove(self) -> None:
        """Nobody runs here any more."""
        self._path.unlink(missing_ok=True)


def locked(home: Path) -> int | None:
    """The lock of a folder, as a file descriptor that holds it; None when somebody else does."""
    opened = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    # NB: never 0 to 2, where one of them was closed: a child gets its own input and outputs there.
    descriptor = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(opened)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def sign(lock: int, pid: int) -> None:
    """Write into the lock's file who holds it."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(pid).encode(), 0)
