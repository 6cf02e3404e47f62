"""`python -m headrace_cli.supervisor`: the broker and all services as child processes, restarted when they die.

One folder holds everything of a run: the broker's data, a log per service, and `supervisor.json`, which says who
lives where. Children end with the supervisor, however it ends.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from headrace.bus.admin import ensure_topics
from headrace.bus.connect import connect
from headrace.bus.kafka import KafkaLog
from headrace.bus.runtime import topics_of
from headrace.errors import HeadraceError
from headrace.settings import Settings
from headrace_broker import Broker, BrokerError, die_with_parent

SERVICES = ("pipeline", "feature", "inference", "gateway", "registry", "monitor", "trainer")
STATE_FILE = "supervisor.json"
RESTART_AT_ONCE = 75
_LONGEST_PAUSE_S = 10.0


@dataclass
class Child:
    """One supervised process. `restarts` counts how often it was started again."""

    name: str
    command: list[str]
    log: Path
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    pause_s: float = 0.0
    due_s: float = 0.0
    started_s: float = 0.0
    last_code: int | None = None

    def start(self, now_s: float) -> None:
        """Start the process; it ends when we do."""
        self.started_s = now_s
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent,
            )

    def tend(self, now_s: float) -> bool:
        """Restart it when it has ended and its pause is over; returns whether anything changed."""
        if self.process is not None and self.process.poll() is None:
            return False
        if self.process is not None:
            self._note_end(self.process.returncode, now_s)
            return True
        if now_s < self.due_s:
            return False
        self.restarts += 1
        self.start(now_s)
        return True

    def _note_end(self, code: int, now_s: float) -> None:
        self.process, self.last_code = None, code
        lived_long = now_s - self.started_s > 30
        quick = code == RESTART_AT_ONCE or lived_long
        self.pause_s = 0.0 if quick else min(max(self.pause_s * 2, 0.5), _LONGEST_PAUSE_S)
        self.due_s = now_s + self.pause_s

    def stop(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclass
class Supervisor:
    """Everything of one run, in one folder."""

    home: Path
    port: int
    fresh: bool
    settings: Settings
    children: dict[str, Child] = field(default_factory=dict)
    broker: Broker | None = None

    async def run(self) -> int:
        """Until a signal."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        try:
            bootstrap = await asyncio.to_thread(self._start_broker)
            await self._apply_topics(bootstrap)
            self._start_services(bootstrap)
            await self._tend(stop, bootstrap)
        except (HeadraceError, BrokerError) as error:
            self._write_state("", str(error))
            print(f"headrace up: {error}", file=sys.stderr)
            return 1
        finally:
            await self._stop_all()
        (self.home / STATE_FILE).unlink(missing_ok=True)
        return 0

    def _start_broker(self) -> str:
        given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        if given:
            return given
        self.broker = Broker(self.home / "kafka", self.port, fresh=self.fresh)
        return self.broker.start().bootstrap_servers

    async def _apply_topics(self, bootstrap: str) -> None:
        settings = Settings.load({**os.environ, "KAFKA_BOOTSTRAP_SERVERS": bootstrap})
        log = KafkaLog(settings)
        await connect(log, settings.connect_timeout_s)
        try:
            await ensure_topics(log, topics_of(settings).specs())
        finally:
            await log.stop()

    def _start_services(self, bootstrap: str) -> None:
        now_s = asyncio.get_running_loop().time()
        for name in SERVICES:
            environ = {
                **os.environ,
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
                "HEADRACE_INSTANCE": f"{name}-1",
                "HEADRACE_APPLIED_FILE": os.environ.get("HEADRACE_APPLIED_FILE", str(self.home / "applied.json")),
                "OMP_NUM_THREADS": "1",
            }
            command = [sys.executable, "-m", f"headrace_{name}"]
            self.children[name] = Child(name, command, self.home / "logs" / f"{name}.log", environ)
            self.children[name].start(now_s)
        self._write_state(bootstrap)

    async def _tend(self, stop: asyncio.Event, bootstrap: str) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            changed = [child.tend(loop.time()) for child in self.children.values()]
            if self.broker is not None and not self.broker.is_alive:
                await asyncio.to_thread(self.broker.start)
                changed.append(True)
            if any(changed):
                self._write_state(bootstrap)
            await asyncio.sleep(0.1)

    async def _stop_all(self) -> None:
        for child in self.children.values():
            child.stop()
        give_up_s = asyncio.get_running_loop().time() + 11.0
        while any(c.process and c.process.poll() is None for c in self.children.values()):
            if asyncio.get_running_loop().time() > give_up_s:
                break
            await asyncio.sleep(0.05)
        for child in self.children.values():
            child.kill()
        if self.broker is not None:
            await asyncio.to_thread(self.broker.stop)

    def _write_state(self, bootstrap: str, error: str = "") -> None:
        children = {
            name: {"pid": c.process.pid if c.process else None, "restarts": c.restarts, "last_code": c.last_code}
            for name, c in self.children.items()
        }
        state = {"pid": os.getpid(), "bootstrap_servers": bootstrap, "error": error, "services": children}
        state["broker_pid"] = self.broker.pid if self.broker else None
        scratch = self.home / f"{STATE_FILE}.new"
        scratch.write_text(json.dumps(state, indent=2))
        scratch.replace(self.home / STATE_FILE)


def main() -> int:
    """Run in the foreground; returns the exit code."""
    parser = argparse.ArgumentParser(description="The broker and all services, supervised.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, default=19092)
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    arguments.home.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(arguments.home, arguments.port, arguments.fresh, Settings.load())
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    raise SystemExit(main())
