"""Real processes are stopped, killed, refused or left without disk space. Each test has an installation of its own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace.log.views import read_all
from headrace_broker import free_port
from headrace_cli.installation.alerts import Alarms
from headrace_cli.installation.disk import Disk
from headrace_cli.installation.services import SERVICES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


class Installation:
    """The `headrace` command in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_"))}
        self.environ = {
            **environ,
            "HEADRACE_HOME": str(home),
            "HEADRACE_GATEWAY_PORT": str(free_port()),
            "HEADRACE_CONSOLE_PORT": "0",
            "HEADRACE_HTTP_PORT_BASE": "0",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "headrace_cli", *words]
        return subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> tuple[int, str, float]:
        began_s = time.monotonic()
        process = self.start(*words)
        output, wrong = process.communicate(timeout=300)
        return process.returncode, output + wrong, time.monotonic() - began_s

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.home / "supervisor.json").read_text())

    def service(self, name: str) -> dict[str, Any]:
        return self.state["services"][name]

    def ready(self, name: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.service(name)['http_port']}/ready", timeout=3
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def alerts(self) -> list[tuple[str, str, str]]:
        """All alerts that were written: name, service, status."""

        async def read() -> list[tuple[str, str, str]]:
            settings = Settings(bootstrap_servers=self.state["bootstrap_servers"])
            log, topics = KafkaLog(settings), topics_of(settings)
            await log.start()
            try:
                found = await read_all(log, Codec(topics), [topics.name("alerts")])
            finally:
                await log.stop()
            return [(m.event.labels["alertname"], m.event.labels.get("service", ""), m.event.status) for m in found]

        return asyncio.run(read())

    def end(self) -> None:
        """Ends the processes that a test left."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            state = self.state
            pids = [state["pid"], state["broker_pid"], *(found["pid"] for found in state["services"].values())]
            self.run("down")
            for pid in filter(None, pids):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def until(has: Callable[[], Any], within_s: float, what: str) -> float:
    """Wait for a condition; returns how long it took."""
    began_s = time.monotonic()
    while not (found := has()):
        assert time.monotonic() - began_s < within_s, f"{what}: not within {within_s} s"
        time.sleep(0.2)
    assert found
    return time.monotonic() - began_s


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    found = Installation(tmp_path / "home")
    yield found
    found.end()


def test_every_service_that_is_stopped_is_replaced_within_30_s_and_alerts_open_and_resolve(
    installation: Installation,
) -> None:
    code, output, _ = installation.run("up", "--port", str(free_port()))
    assert code == 0, output
    for name in ("monitor", "inference", *(n for n in SERVICES if n not in ("monitor", "inference"))):
        before = installation.service(name)
        os.kill(before["pid"], signal.SIGSTOP)
        took_s = until(
            lambda name=name, before=before: installation.service(name)["pid"] not in (None, before["pid"]),
            30.0,
            f"{name} is replaced",
        )
        until(lambda name=name: installation.ready(name)[0] == 200, 90.0, f"{name} is ready again")
        print(f"{name} was replaced after {took_s:.1f} s")
        assert installation.service(name)["reason"].startswith("replaced: stopped for 1")
        assert installation.service(name)["restarts"] == before["restarts"] + 1
    until(lambda: ("MonitorDown", "monitor", "resolved") in installation.alerts(), 60.0, "MonitorDown is resolved")
    assert ("MonitorDown", "monitor", "firing") in installation.alerts()
    code, output, _ = installation.run("status")
    assert (code, "replaced: stopped for 1" in output) == (0, True)


def test_a_frozen_broker_turns_every_service_red_within_10_s_is_continued_and_they_are_green_again(
    installation: Installation,
) -> None:
    code, output, _ = installation.run("up", "--port", str(free_port()))
    assert code == 0, output
    os.kill(installation.state["broker_pid"], signal.SIGSTOP)
    took_s = until(lambda: all(installation.ready(name)[0] == 503 for name in SERVICES), 10.0, "all are red")
    assert "the broker at" in installation.ready("feature")[1]
    print(f"all red after {took_s:.1f} s")
    until(
        lambda: installation.state["broker"]["reason"].startswith("continued: it was stopped"),
        20.0,
        "the broker is continued",
    )
    until(lambda: installation.ready("gateway")[0] == 200, 15.0, "green again")
    before = installation.state["broker_pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: installation.state["broker_pid"] not in (None, before), 60.0, "the broker is started again")
    until(lambda: installation.ready("gateway")[0] == 200, 60.0, "green again")
    assert all(found["restarts"] == 0 for found in installation.state["services"].values())


def test_up_that_cannot_start_a_service_names_it_its_reason_and_its_log_and_exits_1(installation: Installation) -> None:
    installation.environ["HEADRACE_API_KEYS_FILE"] = "/no/such/file"
    code, output, _ = installation.run("up", "--port", str(free_port()))
    assert code == 1
    assert "6 of 8 services are ready" in output
    assert "gateway: " in output
    assert "ended with 2: wrongly configured" in output
    assert "/no/such/file" in output
    assert f"log {installation.home}/logs/gateway.log" in output
    code, output, _ = installation.run("status")
    assert "last end: ended with 2: wrongly configured" in output


def test_down_at_any_moment_of_a_start_ends_everything_within_10_s(installation: Installation) -> None:
    start_s = installation.run("--help")[2]
    for delay_s in (0.5, 2.0, 4.0, 7.0):
        up = installation.start("up", "--port", str(free_port()))
        with contextlib.suppress(subprocess.TimeoutExpired):
            up.wait(delay_s)
        was_there = (installation.home / "supervisor.lock").exists()
        code, output, took_s = installation.run("down")
        assert (code, took_s - start_s < 12) == (0, True), (delay_s, took_s, output)
        _, wrong = up.communicate(timeout=30)
        if "nothing was running" in output:
            assert not was_there or up.returncode != 0
        mine = [
            p for p in psutil.process_iter(["cmdline"]) if str(installation.home) in " ".join(p.info["cmdline"] or [])
        ]
        assert mine == [], (delay_s, mine, wrong)


def test_after_a_killed_supervisor_up_comes_up_again_with_the_same_ports(installation: Installation) -> None:
    port = free_port()
    assert installation.run("up", "--port", str(port))[0] == 0
    frozen = installation.service("trainer")["pid"]
    os.kill(frozen, signal.SIGSTOP)
    os.kill(installation.state["pid"], signal.SIGKILL)
    code, output, _ = installation.run("up", "--port", str(port))
    assert code == 0, output
    assert not psutil.pid_exists(frozen)


def test_a_taken_port_is_one_sentence_with_the_setting(installation: Installation) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words, environ, sentence in (
            (("--port", str(port)), {}, f"port {port} is in use by"),
            (
                ("--port", str(free_port())),
                {"HEADRACE_GATEWAY_PORT": str(port)},
                f"port {port}, for the gateway, is in use by",
            ),
            (
                ("--port", str(free_port())),
                {"HEADRACE_CONSOLE_PORT": str(port)},
                f"port {port}, for the console, is in use by",
            ),
            (
                ("--port", str(free_port())),
                {"HEADRACE_HTTP_PORT_BASE": str(port)},
                f"port {port}, for the health of pipeline, is in use",
            ),
        ):
            installation.environ |= {
                "HEADRACE_GATEWAY_PORT": str(free_port()),
                "HEADRACE_CONSOLE_PORT": "0",
                "HEADRACE_HTTP_PORT_BASE": "0",
            } | environ
            code, output, _ = installation.run("up", *words)
            assert (code, len(output.strip().splitlines())) == (1, 1), output
            assert sentence in output


def test_commands_without_a_broker_or_with_a_frozen_one_end_soon_with_one_sentence(
    own_broker: Any, tmp_path: Path
) -> None:
    installation = Installation(tmp_path / "home")
    installation.environ["KAFKA_BOOTSTRAP_SERVERS"] = own_broker.bootstrap_servers
    commands = (("status",), ("alert", "list"), ("topic", "apply"), ("predict", "x"), ("dlq", "list"))
    start_s = installation.run("--help")[2]  # the time that the interpreter alone takes here
    own_broker.freeze()
    for words in commands:
        code, output, took_s = installation.run(*words)
        assert (code, len(output.strip().splitlines())) == (1, 1), output
        assert "accepts the connection but does not answer" in output
        assert took_s - start_s < 8
    own_broker.thaw()
    own_broker.kill()
    for words in commands:
        code, output, took_s = installation.run(*words)
        assert (code, len(output.strip().splitlines())) == (1, 1), output
        assert "start one with `headrace up`" in output
        assert took_s - start_s < 8


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_end_from_outside_is_quiet(own_broker: Any, tmp_path: Path, how: signal.Signals, code: int) -> None:
    installation = Installation(tmp_path / "home")
    installation.environ["KAFKA_BOOTSTRAP_SERVERS"] = own_broker.bootstrap_servers
    assert installation.run("topic", "apply")[0] == 0
    tail = installation.start("topic", "tail", "alerts", "--follow")
    with contextlib.suppress(subprocess.TimeoutExpired):
        tail.wait(4)
    tail.send_signal(how)
    output, wrong = tail.communicate(timeout=10)
    assert (tail.returncode, output, wrong) == (code, "", "")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_leaves_no_process(tmp_path: Path, how: signal.Signals) -> None:
    installation = Installation(tmp_path / "demo")
    demo = installation.start("demo", "--folder", str(installation.home))

    def has_all() -> bool:
        assert demo.poll() is None
        return (installation.home / "supervisor.json").exists() and len(installation.state["services"]) == len(SERVICES)

    try:
        until(has_all, 120, "all services")
        state = installation.state
        pids = [state["pid"], state["broker_pid"], *(found["pid"] for found in state["services"].values())]
        assert all(map(psutil.pid_exists, pids))
        demo.send_signal(how)
        demo.communicate(timeout=120)
        assert demo.returncode == 128 + how
        until(lambda: not any(map(psutil.pid_exists, pids)), 30, "no process is left")
    finally:
        installation.end()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 200 MB."""
    place = tmp_path / "small"
    place.mkdir()
    ran = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if ran.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {ran.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_disk_that_fills_up_is_reported_before_is_survived_when_full_and_goes_on_with_room(small_disk: Path) -> None:
    installation = Installation(small_disk / "home")
    try:
        code, output, _ = installation.run("up", "--port", str(free_port()))
        assert code == 0, output
        ballast = small_disk / "ballast"
        found = os.statvfs(small_disk)
        with ballast.open("wb") as opened:
            opened.write(b"\0" * (found.f_bavail * found.f_frsize - 12 * 2**20))
        until(lambda: installation.state["disk"]["is_almost_full"], 30.0, "the state reports a full disk")
        assert "the disk is full: 9" in installation.run("status")[1]
        until(lambda: ("DiskAlmostFull", "broker", "firing") in installation.alerts(), 30.0, "it alerts")
        with contextlib.suppress(OSError), (small_disk / "more").open("wb") as opened:
            while True:
                opened.write(b"\0" * 65536)
                opened.flush()
        supervisor = installation.state["pid"]
        broker = installation.state["broker_pid"]
        if broker is not None:
            os.kill(broker, signal.SIGKILL)  # as the process would itself with its next record
        began_s = time.monotonic()
        while time.monotonic() - began_s < 20:
            assert psutil.pid_exists(supervisor)
            time.sleep(0.5)
        (small_disk / "more").unlink()
        ballast.unlink()
        until(lambda: installation.state["broker_pid"] not in (None, broker), 90.0, "the broker is back")
        until(
            lambda: all(installation.ready(name)[0] == 200 for name in ("inference", "gateway", "registry")),
            90.0,
            "they are back",
        )
        assert installation.state["pid"] == supervisor
        until(lambda: ("DiskAlmostFull", "broker", "resolved") in installation.alerts(), 60.0, "the alert is resolved")
    finally:
        installation.end()


def test_a_broker_that_is_away_for_a_minute_costs_each_log_less_than_100_kb(installation: Installation) -> None:
    assert installation.run("up", "--port", str(free_port()))[0] == 0
    assert installation.run("apply", "flights")[0] == 0
    before = {name: (installation.home / "logs" / f"{name}.log").stat().st_size for name in SERVICES}
    broker = installation.state["broker_pid"]
    began_s = time.monotonic()
    while time.monotonic() - began_s < 60:
        with contextlib.suppress(OSError):
            if installation.state["broker_pid"] is not None:
                os.kill(installation.state["broker_pid"], signal.SIGKILL)
        time.sleep(0.3)
    grown = {name: (installation.home / "logs" / f"{name}.log").stat().st_size - before[name] for name in SERVICES}
    print(grown)
    assert broker is not None
    assert max(grown.values()) < 100_000, grown


async def test_the_supervisors_alerts_go_on_after_the_broker_was_killed_and_started_again(own_broker: Any) -> None:
    settings = Settings(bootstrap_servers=own_broker.bootstrap_servers)
    log = KafkaLog(settings)
    await connect(log, 60)
    await ensure_topics(log, topics_of(settings).specs())
    await log.stop()
    alarms = Alarms(settings, Disk(99 * 2**30, 2**20))
    running = asyncio.create_task(alarms.run())
    async with asyncio.timeout(60):
        while "DiskAlmostFull" not in alarms.firing:
            await asyncio.sleep(0.1)
    own_broker.kill()
    await asyncio.sleep(20)  # time itself is tested: its clients give up, and try again
    alarms.disk = Disk(2**30, 99 * 2**30)
    await asyncio.to_thread(own_broker.start)
    async with asyncio.timeout(60):
        while "DiskAlmostFull" in alarms.firing:
            assert not running.done(), running
            await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait({running})
