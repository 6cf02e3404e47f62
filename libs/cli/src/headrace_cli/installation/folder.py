"""The folder of an installation: its lock, and the state of the supervisor that runs in it.

The process that holds the lock (`supervisor.lock`) runs in it. A second one is refused, and files left by a killed one mean nothing.
`supervisor.json` has the details: process ids, addresses, and why processes were restarted. `kafka/log-format` names the format of the records
in the broker's log: another one is not read.
"""

import fcntl
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.errors import Misconfigured

_log = logging.getLogger("headrace.supervisor")

STATE_FILE = "supervisor.json"
LOCK_FILE = "supervisor.lock"
BROKER_FOLDER, _FORMAT_FILE = "kafka", "log-format"
# The format of records that this version writes and reads. It is raised when old records can no longer be read.
LOG_FORMAT = "3"


class StateFile:
    """The state of the supervisor in the folder, written atomically."""

    def __init__(self, home: Path) -> None:
        self._path = home / STATE_FILE
        self._written = ""

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the state."""
        scratch = self._path.with_name(f"{STATE_FILE}.new")
        self._written = json.dumps(state, indent=2)
        try:
            scratch.write_text(self._written)
            scratch.replace(self._path)
        except OSError as failed:
            # NB: a full disk must not end the supervisor; the state on disk is then old.
            _log.warning("%s could not be written: %s", STATE_FILE, failed)

    def is_lost(self) -> bool:
        """Whether somebody removed or changed the file, without which commands cannot find the broker."""
        try:
            is_ours = self._path.read_text(errors="replace") == self._written
        except OSError:
            is_ours = False
        if not is_ours:
            _log.warning("%s was changed or removed: it is written again", STATE_FILE)
        return not is_ours

    def remove(self) -> None:
        """Remove the state, because no supervisor runs here any more."""
        self._path.unlink(missing_ok=True)


def write_format(home: Path) -> None:
    """Record that the broker's log in this folder has this version's format, unless that is recorded already."""
    if _recorded(home) != LOG_FORMAT:
        (home / BROKER_FOLDER / _FORMAT_FILE).write_text(f"{LOG_FORMAT}\n")


def format_of(home: Path) -> str | None:
    """The format of the broker's log in this folder; None if it holds no record of Headrace."""
    folder = home / BROKER_FOLDER
    # The broker's own topics begin with two underscores.
    if not any("-" in found.name and not found.name.startswith("__") for found in (folder / "log").glob("*/")):
        return None
    return _recorded(home)


def _recorded(home: Path) -> str:
    """The format that is recorded in the folder; "1" if none is, as before formats were recorded."""
    try:
        return (home / BROKER_FOLDER / _FORMAT_FILE).read_text(errors="replace").strip()[:20]
    except OSError:
        return "1"


def refuse_other_format(home: Path) -> None:
    """Raises `Misconfigured` when another version of Headrace wrote the broker's log in this folder, in another format."""
    found = format_of(home)
    if found not in (None, LOG_FORMAT):
        raise Misconfigured(
            f"the log in {home / BROKER_FOLDER} has format {found}, this version of Headrace reads format {LOG_FORMAT}:"
            " `headrace up --fresh` deletes that log and begins an empty one; with another HEADRACE_HOME it is kept"
        )


def locked(home: Path) -> int | None:
    """Lock a folder; returns the file descriptor that holds the lock, None if another process holds it."""
    opened = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    # NB: never 0 to 2, even if one of them is closed, because a child gets its own input and outputs there.
    descriptor = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(opened)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def sign(lock: int, pid: int) -> None:
    """Write the process id of the holder into the lock's file."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(pid).encode(), 0)
