"""Decides which processes are replaced: stopped ones, and silent ones that had a core or did not want one.

An observation of a process has its state, the seconds for which its threads had a core or waited for one, and whether its health
port answered. A process that waits for a core is late, not hung: those seconds do not count. If an observation comes late, the
observer itself was frozen: it starts again, and the gap counts against no process.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from headrace.hosting.core_wait import CoreWait

STOPPED_S = 10.0
# How long a process may be silent and asleep, or silent and at work.
ASLEEP_S = 30.0
AT_WORK_S = 60.0
LATE_S = 6.0


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation. `state`: as in /proc/PID/stat, "T" is stopped. `answers`: None if it was not asked."""

    at_s: float
    state: str
    cpu_s: float
    waited_s: float
    answers: bool | None


@dataclass
class Oversight:
    """The observations of one process.

    >>> seen = Oversight()
    >>> [seen.take(Observation(at_s, "T", 1.0, 0.0, False)) for at_s in (0, 4, 8, 12)]
    [None, None, None, 'stopped for 12 s']
    """

    stopped_since_s: float | None = None
    silent_since: Observation | None = None
    last: Observation | None = None

    def take(self, seen: Observation) -> str | None:
        """Take an observation; returns why the process must be replaced, None if it need not."""
        last, self.last = self.last, seen
        if last is not None and seen.at_s - last.at_s > LATE_S:
            self.stopped_since_s = self.silent_since = None
        return self._stopped(seen) or self._silent(seen)

    def _stopped(self, seen: Observation) -> str | None:
        if seen.state != "T":
            self.stopped_since_s = None
            return None
        if self.stopped_since_s is None:
            self.stopped_since_s = seen.at_s
        stopped_s = seen.at_s - self.stopped_since_s
        return f"stopped for {stopped_s:.0f} s" if stopped_s >= STOPPED_S else None

    def _silent(self, seen: Observation) -> str | None:
        if seen.answers is not False or seen.state == "T":
            self.silent_since = None
            return None
        if self.silent_since is None:
            self.silent_since = seen
        since = self.silent_since
        worked_s, waited_s = seen.cpu_s - since.cpu_s, seen.waited_s - since.waited_s
        silent_s = seen.at_s - since.at_s
        if worked_s > AT_WORK_S:
            return f"hung: silent for {silent_s:.0f} s while it used {worked_s:.0f} s of a core"
        # NB: a process that waits for a core most of the time also sleeps a little, for a page or a lock.
        if silent_s - worked_s - waited_s > max(ASLEEP_S, waited_s):
            return f"hung: silent for {silent_s:.0f} s and asleep, not waiting for a core"
        return None


def observe(pid: int, at_s: float, answers: bool | None) -> Observation | None:
    """Observe a process with all its threads; None if it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    seen = CoreWait.of_all_threads(pid)
    return Observation(at_s, state, seen.cpu_s, seen.waited_s, answers)


async def is_answering(port: int) -> bool:
    """Whether a health port answers within two seconds."""
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /live HTTP/1.1\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False
