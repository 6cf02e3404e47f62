"""One broker process: started, watched, stopped, and (for tests) killed, frozen and thawed."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from headrace_broker.config import CLUSTER_ID, write_config
from headrace_broker.errors import BrokerError
from headrace_broker.jars import kafka_jars
from headrace_broker.java import find_java

_PR_SET_PDEATHSIG = 1

# ApiVersions v0 with correlation id 7 and no client id: the smallest request that only a serving broker answers.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 7, -1)


class Broker:
    """An Apache Kafka of one node on loopback.

    `data_dir` keeps log and configuration; `fresh` empties it first. `port=None` takes any free one. `overrides`: settings
    of the server that replace ours; `format_with`: more arguments for the formatting of a new folder (`--add-scram ...`).
    The broker runs in a process group of its own and ends with `stop`.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        fresh: bool = False,
        overrides: Mapping[str, object] | None = None,
        format_with: Sequence[str] = (),
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.port = port or free_port()
        self._controller_port = free_port()
        self._fresh = fresh
        self._overrides, self._format_with = dict(overrides or {}), list(format_with)
        self._process: subprocess.Popen[bytes] | None = None
        self._formatting: subprocess.Popen[str] | None = None
        self._is_given_up = False

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.is_alive and self._process else None

    @property
    def is_alive(self) -> bool:
        """Whether our own process runs (another broker on the port does not count)."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """The file with the output of the broker."""
        return self.data_dir / "broker.log"

    def start(self, timeout_s: float = 60.0) -> "Broker":
        """Start and wait until it serves. Raises `BrokerError` with the cause and the way out.

        `timeout_s`: how long it may neither serve nor use a core; recovery after a crash may take any time.
        """
        jars, java = kafka_jars(), find_java()
        refuse_taken(self.port)
        if self._fresh and self._process is None:
            shutil.rmtree(self.data_dir, ignore_errors=True)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        properties, logging = write_config(self.data_dir, self.port, self._controller_port, self._overrides)
        command = [java, "-Xmx512m", "-Xms128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
        command.append(f"-Dlog4j2.configurationFile={logging}")
        self._format(command, properties)
        self._refuse_given_up()
        start_of_log = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "kafka.Kafka", properties],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._wait(start_of_log, timeout_s)
        return self

    def stop(self, timeout_s: float = 20.0) -> None:
        """End it in order, and by force if it does not end."""
        if self._process is None:
            return
        if self.is_alive:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: like a loss of power."""
        if self._process is not None and self.is_alive:
            self._process.kill()
            self._process.wait()

    def give_up(self) -> None:
        """End a `start` that another thread waits in: it raises `BrokerError` soon."""
        self._is_given_up = True
        if self._formatting is not None:
            self._formatting.kill()
        self.kill()

    @property
    def is_serving(self) -> bool:
        """Whether it answers within a second."""
        return _serves(self.port)

    def freeze(self) -> None:
        """SIGSTOP: the process hangs, its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> "Broker":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is None:
            raise BrokerError("the broker is not running")
        os.kill(self.pid, number)

    def _format(self, command: Sequence[str | Path], properties: Path) -> None:
        if (self.data_dir / "log" / "meta.properties").exists():
            return
        self._refuse_given_up()
        arguments = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties, *self._format_with]
        self._formatting = subprocess.Popen(
            [str(part) for part in [*command, *arguments]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent,
        )
        with self._formatting as formatting:
            output, _ = formatting.communicate()
        self._refuse_given_up()
        if formatting.returncode:
            raise BrokerError(f"the broker's data folder {self.data_dir} could not be formatted: {_last_line(output)}")

    def _wait(self, start_of_log: int, timeout_s: float) -> None:
        idle_since_s, worked_s = time.monotonic(), 0.0
        while time.monotonic() - idle_since_s < timeout_s:
            if not self.is_alive:
                self._refuse_given_up()
                raise BrokerError(
                    f"the broker ended while starting: {_last_line(self._printed(start_of_log))} (see {self.log_file})"
                )
            if _serves(self.port):
                return
            if (now_worked_s := self._wanted_s()) > worked_s + 0.5:
                idle_since_s, worked_s = time.monotonic(), now_worked_s
            time.sleep(0.05)
        self.kill()
        raise BrokerError(
            f"the broker does not serve, and did nothing for {timeout_s:.0f} s while starting; see {self.log_file}"
        )

    def _wanted_s(self) -> float:
        """Seconds for which its threads had a core, or waited for one."""
        found = 0
        with contextlib.suppress(OSError, ValueError):
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                on_core, waiting, *_ = (thread / "schedstat").read_text().split()
                found += int(on_core) + int(waiting)
        return found / 1e9

    def _refuse_given_up(self) -> None:
        if self._is_given_up:
            raise BrokerError("the broker's start was cancelled")

    def _printed(self, start: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")


def die_with_parent() -> None:
    """Between fork and exec: ask Linux to end this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """A free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def refuse_taken(port: int) -> None:
    """Raise `BrokerError` if a process listens on `port`, with its name."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise BrokerError(
                f"port {port} is in use{holder(port)}: stop that process, or choose another port (--port)"
            ) from None


def holder(port: int) -> str:
    """` by NAME (process N)` for the process that listens on a port; empty if it is not known."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def _serves(port: int) -> bool:
    """Whether a broker answers there; one that only accepts connections may still be starting."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(_API_VERSIONS)
        return connection.recv(8)[4:] == struct.pack(">i", 7)
    return False


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("\tat")]
    return lines[-1] if lines else "it printed nothing"
