"""The supervisor of the broker: it restarts one that ended, continues one that is stopped, and replaces one that hangs.

A stopped broker is continued first, because it is healthy once it runs, and a restart closes all connections. It is not
started while the disk is full, because it would end again.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from headrace.log.envelope import format_instant
from headrace_broker import Broker
from headrace_cli.installation.disk import Disk
from headrace_cli.installation.hung import Oversight, observe

_log = logging.getLogger("headrace.supervisor")

PAUSE_S = 3.0


@dataclass
class BrokerSupervisor:
    """The supervised broker. `reason`, `at`: why and when it was last restarted, continued or replaced."""

    broker: Broker
    restarts: int = 0
    reason: str = ""
    at: str = ""
    oversight: Oversight = field(default_factory=Oversight)
    _starting: asyncio.Task[Any] | None = None
    _due_s: float = 0.0
    _woken_s: float = 0.0
    _is_replaced: bool = False
    _is_noted: bool = False

    @property
    def is_starting(self) -> bool:
        """Whether it is being restarted."""
        return self._starting is not None

    async def start(self) -> str:
        """Start it for the first time; returns its address."""
        return (await asyncio.to_thread(self.broker.start)).bootstrap_servers

    def tend(self, now_s: float, disk: Disk) -> bool:
        """Restart it in the background if it has ended; returns whether anything changed."""
        if self._starting is not None:
            return self._starting.done() and self._started(now_s)
        if self.broker.is_alive or now_s < self._due_s:
            return False
        if disk.is_full:
            self._due_s = now_s + PAUSE_S
            self._is_noted = True
            self._note(f"it ended, and is restarted when there is room: {disk.text}")
            return True
        if not (self._is_replaced or self._is_noted):
            self._note("it ended")
        self.restarts += 1
        self._starting = asyncio.create_task(asyncio.to_thread(self.broker.start))
        return True

    def _started(self, now_s: float) -> bool:
        starting, self._starting, self.oversight = self._starting, None, Oversight()
        self._is_replaced = self._is_noted = False
        error = starting.exception() if starting is not None else None
        if error is not None:
            self._due_s = now_s + PAUSE_S
            self._note(f"it does not start: {error}")
        return True

    async def check(self, now_s: float) -> bool:
        """Continue it if it is stopped, replace it if it hangs; returns whether anything changed."""
        pid = self.broker.pid
        if pid is None or self._starting is not None:
            return False
        seen = observe(pid, now_s, await asyncio.to_thread(lambda: self.broker.is_serving))
        because = None if seen is None else self.oversight.take(seen)
        if seen is None or because is None:
            return False
        if seen.state == "T" and now_s - self._woken_s > 60.0:
            self._woken_s, self.oversight = now_s, Oversight()
            self._note(f"continued: it was {because}")
            self.broker.thaw()
        else:
            self._is_replaced = True
            self._note(f"replaced: {because}")
            await asyncio.to_thread(self.broker.kill)
        return True

    def _note(self, reason: str) -> None:
        if reason != self.reason:
            _log.warning("the broker: %s", reason)
            self.reason, self.at = reason, format_instant(int(time.time()))

    def report(self) -> dict[str, Any]:
        """Its state for `supervisor.json`."""
        where = {"pid": self.broker.pid, "port": self.broker.port, "log": str(self.broker.log_file)}
        return where | {"restarts": self.restarts, "reason": self.reason, "at": self.at}
