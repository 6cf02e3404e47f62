"""`python -m headrace_cli.installation.supervisor`: the broker and all services as child processes that are restarted when they end or hang.

One folder holds all files of a run (`folder`): the broker's data and a log per service. Children end with the supervisor, however
it ends. A service that is stopped, or that hangs although it had a core, is replaced (kill -9: its successor continues from the log).
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import HeadraceError, Misconfigured, Retryable
from headrace.hosting.logs import set_up_logs
from headrace.hosting.naming import topics_of
from headrace.hosting.runs import end_runs
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace_broker import Broker, BrokerError
from headrace_cli.installation.alerts import Alarms
from headrace_cli.installation.broker import PAUSE_S, BrokerSupervisor
from headrace_cli.installation.children import RESTART_AT_ONCE, Child, reunite, rotate
from headrace_cli.installation.disk import Disk
from headrace_cli.installation.folder import BROKER_FOLDER, StateFile, locked, refuse_other_format, sign, write_format
from headrace_cli.installation.hung import is_answering, observe
from headrace_cli.installation.services import child_of, ports_of, processes_of

_log = logging.getLogger("headrace.supervisor")

CHECK_EVERY_S = 2.0
HOUSEKEEPING_EVERY_S = 5.0
# `down` takes at most ten seconds; services get most of them to commit their current batches.
SERVICES_STOP_WITHIN_S = 6.5
BROKER_STOPS_WITHIN_S = 2.5


@dataclass
class Supervisor:
    """The supervisor of one run, in one folder. `anywhere`: health, gateway and console on any free ports."""

    home: Path
    port: int
    fresh: bool
    settings: Settings
    anywhere: bool = False
    children: dict[str, Child] = field(default_factory=dict)
    broker_supervisor: BrokerSupervisor | None = None
    disk: Disk = field(default_factory=lambda: Disk(0, 1))
    phase: str = "starting"
    _alarming: asyncio.Task[None] | None = None
    _alarms: Alarms | None = None
    _is_disk_reported: bool = False

    def __post_init__(self) -> None:
        self._file = StateFile(self.home)

    async def run(self) -> int:
        """Run until a signal; returns the exit code."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self._write_state("")
        working, stopping = asyncio.create_task(self._work()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            self._enter("stopping")
        except (HeadraceError, BrokerError, OSError) as error:
            _log.error("%s", error)
            self._write_state("", str(error))
            return 1
        finally:
            self.phase = "stopping"
            await self._stop_all(working)
            stopping.cancel()
        with contextlib.suppress(OSError):
            self._file.remove()
        return 0

    async def _work(self) -> None:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        self.disk = Disk.under(self.home)
        ports = ports_of(self.settings, anywhere=self.anywhere)
        self._enter("starting the broker")
        bootstrap = await self._start_broker()
        self._enter("creating topics")
        await self._apply_topics(bootstrap)
        self._start_services(bootstrap, ports)
        self._alarms = Alarms(self._settings(bootstrap))
        self._alarming = asyncio.create_task(self._alarms.run())
        await self._tend(bootstrap)

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self._write_state("")

    def _settings(self, bootstrap: str) -> Settings:
        return Settings.load({**os.environ, "KAFKA_BOOTSTRAP_SERVERS": bootstrap})

    async def _start_broker(self) -> str:
        given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        if given and self.fresh:
            raise Misconfigured(
                f"--fresh deletes the log of this installation's own broker, but KAFKA_BOOTSTRAP_SERVERS={given} names another broker:"
                " unset one of the two"
            )
        if given:
            return given
        if not self.fresh:
            refuse_other_format(self.home)
        self.broker_supervisor = BrokerSupervisor(Broker(self.home / BROKER_FOLDER, self.port, fresh=self.fresh))
        address = await self.broker_supervisor.start()
        write_format(self.home)
        return address

    async def _apply_topics(self, bootstrap: str) -> None:
        settings = self._settings(bootstrap)
        log = KafkaLog(settings)
        try:
            await connect(log, settings.connect_timeout_s, settings)
        except Retryable as error:
            if self.broker_supervisor is not None:
                raise
            raise Retryable(
                f"{error}: KAFKA_BOOTSTRAP_SERVERS names that broker, so `headrace up` starts none of its own;"
                " start it, or unset the variable"
            ) from error
        try:
            await ensure_topics(log, topics_of(settings).specs())
        finally:
            await log.stop()

    def _start_services(self, bootstrap: str, ports: dict[str, int]) -> None:
        now_s = asyncio.get_running_loop().time()
        for name in processes_of(self.settings):
            self.children[name] = child_of(
                name, self.home, bootstrap, ports[name], self.settings, anywhere=self.anywhere
            )
            self.children[name].start(now_s)
        self.phase = "running"
        self._write_state(bootstrap)

    async def _tend(self, bootstrap: str) -> None:
        loop = asyncio.get_running_loop()
        checked_s = kept_s = 0.0
        while True:
            changed = [self._tend_child(child, loop.time()) for child in self.children.values()]
            if self.broker_supervisor is not None:
                changed.append(self.broker_supervisor.tend(loop.time(), self.disk))
            try:
                if loop.time() - checked_s >= CHECK_EVERY_S:
                    checked_s = loop.time()
                    changed += await self._check_all()
                if loop.time() - kept_s >= HOUSEKEEPING_EVERY_S:
                    kept_s = loop.time()
                    changed.append(self._keep_house())
            except OSError as error:
                # NB: a folder that is missing for a moment (unmounted, moved) must not end the supervisor.
                _log.warning("housekeeping failed, and is tried again: %s", error)
            if any(changed):
                self._write_state(bootstrap)
            await asyncio.sleep(0.1)

    def _tend_child(self, child: Child, now_s: float) -> bool:
        """Restart a child if necessary; a start that fails now (a full disk) is tried again in the next round."""
        before = child.restarts, child.last_code
        try:
            changed = child.tend(now_s)
        except OSError as error:
            _log.warning("%s cannot be started: %s", child.name, error)
            child.due_s = now_s + PAUSE_S
            return True
        if changed and child.process is None and (child.restarts, child.last_code) != before:
            level = logging.INFO if child.last_code == RESTART_AT_ONCE else logging.WARNING
            _log.log(level, "%s %s; restarted in %.1f s", child.name, child.reason, child.pause_s)
        return changed

    async def _check_all(self) -> list[bool]:
        """Replace stopped or hung processes; returns whether anything changed."""
        checks = [self._check(child) for child in self.children.values()]
        if self.broker_supervisor is not None:
            checks.append(self.broker_supervisor.check(asyncio.get_running_loop().time()))
        return await asyncio.gather(*checks)

    async def _check(self, child: Child) -> bool:
        pid = child.pid
        if pid is None:
            return False
        answers = await is_answering(child.http_port)
        seen = observe(pid, asyncio.get_running_loop().time(), answers)
        # NB: the request took a moment: the process may have ended or been replaced.
        if seen is None or child.pid != pid:
            return False
        because = child.oversight.take(seen)
        if because is None:
            return False
        _log.warning("%s (process %d) is replaced: %s", child.name, pid, because)
        child.replace(because)
        return True

    def _keep_house(self) -> bool:
        """Shorten logs and check the disk; returns whether the state has changed."""
        self.disk = Disk.under(self.home)
        logs = {child.log: child.pid for child in self.children.values()}
        logs[self.home / "supervisor.log"] = os.getpid()
        if self.broker_supervisor is not None:
            logs[self.broker_supervisor.broker.log_file] = self.broker_supervisor.broker.pid
        for log, pid in logs.items():
            reunite(log, pid)
            rotate(log)
        self._update_alarms()
        was_reported, self._is_disk_reported = self._is_disk_reported, self.disk.is_almost_full
        if self._is_disk_reported != was_reported:
            _log.warning("%s", self.disk.text)
        return self._is_disk_reported != was_reported or self._is_disk_reported or self._file.is_lost()

    def _update_alarms(self) -> None:
        """Pass the disk's usage to the alerts, and restart their writer if it has ended."""
        if self._alarms is None:
            return
        self._alarms.disk = self.disk
        if self._alarming is not None and self._alarming.done():
            _log.error("the writer of the supervisor's alerts ended and is restarted: %r", self._alarming)
            self._alarming = asyncio.create_task(self._alarms.run())

    async def _stop_all(self, working: asyncio.Task[None]) -> None:
        if self.broker_supervisor is not None and (self.broker_supervisor.is_starting or not self.children):
            self.broker_supervisor.broker.give_up()
        for task in (working, self._alarming):
            if task is not None:
                task.cancel()
        for child in self.children.values():
            child.stop()
        give_up_s = asyncio.get_running_loop().time() + SERVICES_STOP_WITHIN_S
        while any(c.pid for c in self.children.values()) and asyncio.get_running_loop().time() < give_up_s:
            await asyncio.sleep(0.05)
        for child in self.children.values():
            if child.pid:
                _log.warning("%s did not end within %.1f s: killed", child.name, SERVICES_STOP_WITHIN_S)
            child.kill()
        # NB: training runs outlive the trainer, but not the installation.
        await asyncio.to_thread(end_runs, self.home / "runs")
        if self.broker_supervisor is not None:
            await asyncio.to_thread(self.broker_supervisor.broker.stop, BROKER_STOPS_WITHIN_S)
            self.broker_supervisor.broker.give_up()  # it must not be restarted
        await asyncio.gather(working, *([self._alarming] if self._alarming else []), return_exceptions=True)

    def _write_state(self, bootstrap: str, error: str = "") -> None:
        broker = self.broker_supervisor.report() if self.broker_supervisor is not None else None
        state = {
            "pid": os.getpid(),
            "phase": self.phase,
            "bootstrap_servers": bootstrap,
            "error": error,
            "services": {name: child.report() for name, child in self.children.items()},
            "broker": broker,
            "broker_pid": broker["pid"] if broker else None,
            "disk": {"text": self.disk.text, "is_almost_full": self.disk.is_almost_full},
        }
        self._file.write(state)


def main() -> int:
    """Run in the foreground; returns the exit code."""
    parser = argparse.ArgumentParser(description="The broker and all services, supervised.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, default=19092)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--anywhere", action="store_true", help="health, gateway and console on any free ports")
    parser.add_argument(
        "--lock", type=int, help="the descriptor that holds the folder's lock, from the starting process"
    )
    arguments = parser.parse_args()
    arguments.home.mkdir(parents=True, exist_ok=True)
    set_up_logs("supervisor", "INFO")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    lock = arguments.lock if arguments.lock is not None else locked(arguments.home)
    if lock is None:
        print(f"headrace up: another supervisor runs in {arguments.home}", file=sys.stderr)
        return 1
    sign(lock, os.getpid())
    try:
        supervisor = Supervisor(arguments.home, arguments.port, arguments.fresh, Settings.load(), arguments.anywhere)
    except Misconfigured as error:
        print(f"headrace up: {error}", file=sys.stderr)
        return 2
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    raise SystemExit(main())
