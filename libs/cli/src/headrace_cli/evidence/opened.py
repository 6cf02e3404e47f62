"""The log as evidence: a session with the index of decisions, read up to the end of the log."""

import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.evidence.index import DecisionIndex, index_path
from headrace.evidence.reading import Evidence
from headrace.hosting.settings import Settings
from headrace_cli.installation.local import Local, settings_here
from headrace_cli.session import Session

# Shorter waits are not worth a line, and a line is worth reading for so long.
_QUIET_S, _EVERY_S = 1.0, 1.0


@asynccontextmanager
async def opened(session: Session) -> AsyncIterator[Evidence]:
    """The session's log with its index; on stderr the progress of reading that takes more than a second."""
    settings = settings_here()
    index = DecisionIndex.open(index_path(folder_of(settings), settings.namespace), settings.decision_index_bytes)
    spoken = Spoken()
    try:
        await index.catch_up(
            session.log,
            session.topics,
            lambda done, total: spoken(f"indexing decisions: {done:,} of {total:,} records"),
        )
        yield Evidence(session.log, session.topics, session.codec, session.projects, index)
    finally:
        index.close()


def folder_of(settings: Settings) -> Path:
    """The installation's home; where there is none, a folder per broker in the user's cache."""
    home = Local.here().home
    if home.is_dir():
        return home
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "headrace" / hashlib.sha256(settings.bootstrap_servers.encode()).hexdigest()[:8]


class Spoken:
    """Prints lines on stderr, at most one a second, and none in the first second."""

    def __init__(self) -> None:
        self._shown_s = time.monotonic() + _QUIET_S - _EVERY_S

    def __call__(self, line: str) -> None:
        """Print a line, if it is time."""
        now_s = time.monotonic()
        if now_s - self._shown_s >= _EVERY_S:
            self._shown_s = now_s
            print(line, file=sys.stderr, flush=True)
