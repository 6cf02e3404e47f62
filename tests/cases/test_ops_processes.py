"""What a process reports about itself and how it ends: signals at any moment, hung or starved loops, health over HTTP, floods of log lines."""

import asyncio
import contextlib
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.clock import ManualClock
from headrace.errors import Fatal, Misconfigured
from headrace.events.ops import HealthReported
from headrace.hosting import http as health_http
from headrace.hosting.health import Health
from headrace.hosting.heartbeats import Heartbeats, Vitals
from headrace.hosting.http import HealthServer
from headrace.hosting.logs import OF_ONE_KIND, Flood
from headrace.hosting.loop_guard import LoopGuard, Silence
from headrace.hosting.runtime import Restart, _end, _whole, _worst
from headrace.log.codec import Codec
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project.applied import Projects
from headrace_broker import free_port
from headrace_cli.installation.children import last_line

SERVICES = ("pipeline", "feature", "inference", "gateway", "registry", "monitor", "trainer", "console")


def _started(service: str, bootstrap: str, **environ: str) -> subprocess.Popen[str]:
    given = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "HEADRACE_GATEWAY_PORT": "0",
        "HEADRACE_CONSOLE_PORT": "0",
        **environ,
    }
    command = [sys.executable, "-m", f"headrace_{service}"]
    # NB: SIGTERM is blocked until the process listens for it, as by the supervisor.
    return subprocess.Popen(
        command,
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
    )


def _stop(process: subprocess.Popen[str], within_s: float = 10.0) -> tuple[int, str]:
    process.terminate()
    try:
        output, _ = process.communicate(timeout=within_s)
    finally:
        process.kill()
    return process.returncode, output


@pytest.mark.parametrize("service", ["registry", "gateway"])
def test_sigterm_at_any_moment_of_a_start_ends_with_0_and_one_line(service: str) -> None:
    port = free_port()
    for delay_s in (0.0, 0.3):
        process = _started(service, f"127.0.0.1:{port}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay_s)
        code, output = _stop(process)
        assert (code, "Traceback" in output) == (0, False), output
        assert "on request" in output


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", SERVICES)
def test_sigterm_at_every_moment_of_a_start_without_a_broker_ends_with_0(service: str) -> None:
    port = free_port()
    for tenth in range(0, 60, 4):
        process = _started(service, f"127.0.0.1:{port}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(tenth / 10)
        code, output = _stop(process)
        assert (code, "Traceback" in output) == (0, False), f"after {tenth / 10} s: {output}"


def test_a_second_signal_ends_a_process_at_once_with_130() -> None:
    script = (
        "import time\nfrom headrace.hosting.stopping import STOPPING\nSTOPPING.begin('x')\nSTOPPING.hand_over(lambda: None)\n"
        "print('on', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.3)
    assert process.poll() is None
    code, _ = _stop(process, 3.0)
    assert code == 130


def test_a_bug_decides_the_exit_before_a_restart_and_stands_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    failed = ExceptionGroup("", [Restart("the project changed"), ExceptionGroup("", [KeyError("oh"), Fatal("fenced")])])
    with caplog.at_level(logging.INFO):
        assert _end("monitor", _worst(failed)) == 1
        assert _end("monitor", Restart("project x changed: restarting")) == 75
        assert _end("monitor", Misconfigured("no")) == 2
    levels = [record.levelname for record in caplog.records]
    assert levels == ["CRITICAL", "INFO", "ERROR"]
    assert "KeyError: 'oh'" in caplog.records[0].message
    assert caplog.records[0].exc_info is not None


async def test_a_loop_that_hangs_is_ended_and_the_logged_line_names_where() -> None:
    ended: list[int] = []
    guard, stop = LoopGuard("x", 1.0, ended.append), asyncio.Event()
    running = asyncio.create_task(guard.run(stop))
    await asyncio.sleep(0)
    began_s = time.monotonic()
    while not ended and time.monotonic() - began_s < 20:
        time.sleep(0.2)  # noqa: ASYNC251 - the loop is to hang
    stop.set()
    await running
    assert ended == [1]
    assert "hung" in guard.silence.description


def test_a_starved_loop_is_not_ended_and_a_frozen_process_counts_as_one_look() -> None:
    starved = Silence(60.0)
    for _ in range(600):
        starved.add(1.0, cpu_s=0.05, unhindered_s=0.05)
    assert not starved.is_hung
    assert "waited" in starved.description
    frozen = Silence(60.0)
    frozen.add(3600.0, cpu_s=0.0, unhindered_s=3600.0)
    assert not frozen.is_hung


@pytest.fixture
def server() -> Iterator[tuple[Health, int]]:
    health = Health("monitor", "monitor-1")
    health.clear("start")
    found = HealthServer(health, "127.0.0.1", 0)
    found.start()
    yield health, health.http_port
    found.stop()


def _ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


def test_silent_connections_block_no_probe(server: tuple[Health, int]) -> None:
    _, port = server
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(health_http.CONNECTIONS + 40)]
    assert [_ask(port, "/live")[0] for _ in range(5)] == [200] * 5
    for connection in silent:
        connection.close()


def test_garbage_and_huge_heads_are_answered_and_harm_nobody(server: tuple[Health, int]) -> None:
    _, port = server
    for sent, expected in [
        (b"\x16\x03\x01\x02\x00\x01\xff\r\n\r\n", b"400"),
        (b"GET /live HTTP/1.1\r\nX: " + b"a" * 100_000, b"431"),
        (b"POST /live HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / SPAM\r\n\r\n", b"400"),
    ]:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert expected in connection.recv(1000).partition(b"\r\n")[0]
    assert _ask(port, "/live") == (200, b'{"live": true}')
    assert _ask(port, "/live", "HEAD") == (200, b"")


def test_readiness_turns_red_with_its_reason_and_back(server: tuple[Health, int]) -> None:
    health, port = server
    assert _ask(port, "/ready")[0] == 200
    health.fail("broker", "the broker at b:1 has acknowledged nothing")
    health.degraded["delay"] = "its champion is not loaded"
    status, body = _ask(port, "/ready")
    assert status == 503
    assert json.loads(body) == {
        "ready": False,
        "reasons": ["the broker at b:1 has acknowledged nothing"],
        "degraded": {"delay": "its champion is not loaded"},
    }
    health.clear("broker")
    assert _ask(port, "/ready")[0] == 200


def test_a_taken_health_port_is_one_sentence_naming_the_setting(server: tuple[Health, int]) -> None:
    _, port = server
    with pytest.raises(Misconfigured, match=f"{port} cannot be used .*HEADRACE_HTTP_PORT"):
        HealthServer(Health("x", "x"), "127.0.0.1", port)


def test_a_flood_of_one_line_is_counted_and_not_written() -> None:
    now = [0.0]
    flood = Flood(lambda: now[0])

    def logged(text: str) -> str | None:
        record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, None, None)
        return record.getMessage() if flood.filter(record) else None

    written = [line for n in range(10_000) if (line := logged(f"Unable connect to node {n}: refused")) is not None]
    assert len(written) == OF_ONE_KIND
    assert logged("something else") == "something else"
    now[0] = 11.0
    assert logged("Unable connect to node 7: refused") == (
        "Unable connect to node 7: refused (and 9995 more like it, left out)"
    )
    going_on = [logged(f"Unable connect to node {n}: refused") for n in range(4)]
    assert going_on == [None] * 4, "a flood that goes on is one line per window"
    now[0] = 22.0
    assert logged("Unable connect to node 9: refused") == (
        "Unable connect to node 9: refused (and 4 more like it, left out)"
    )
    now[0] = 33.0
    again = [logged(f"Unable connect to node {n}: refused") for n in range(OF_ONE_KIND)]
    assert None not in again, "it was over: a few lines are written again"
    kinds = [logged("x" * n) for n in range(5_000)]
    assert len([line for line in kinds if line]) < 600


async def test_health_is_answered_while_the_services_loop_hangs(server: tuple[Health, int]) -> None:
    _, port = server
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(_ask(port, "/live")[0]))
    asking.start()
    asking.join(5)  # the loop of this test is blocked meanwhile
    assert found == [200]


async def test_a_missing_topic_turns_readiness_red_by_its_name_and_back(
    memory_log: MemoryLog, clock: ManualClock
) -> None:
    topics = Topics.load()
    health = Health("feature", "feature-1")
    health.clear("start")
    projects = Projects(memory_log, Codec(topics), topics)
    beats = Heartbeats(memory_log, topics, health, clock)
    vitals = Vitals(memory_log, topics, projects, health, beats, "b:1", watches_work=True)
    await memory_log.create_topics([spec for spec in topics.specs() if spec.name != "features.online.v1"])
    await vitals.look_for_topics()
    assert health.failures["topics"] == "topics are missing: features.online.v1; `headrace topic apply` creates them"
    await memory_log.create_topics(topics.specs())
    memory_log.delete_topic("inference.requests.v1")  # no topic of this service
    await vitals.look_for_topics()
    assert health.is_ready


async def test_a_heartbeat_that_is_acknowledged_keeps_readiness_green(
    memory_log: MemoryLog, clock: ManualClock
) -> None:
    topics = Topics.load()
    await memory_log.create_topics(topics.specs())
    health = Health("feature", "feature-1")
    health.clear("start")
    beats = Heartbeats(memory_log, topics, health, clock)
    vitals = Vitals(
        memory_log, topics, Projects(memory_log, Codec(topics), topics), health, beats, "b:1", watches_work=True
    )
    clock.advance(30)
    await beats.close()
    assert beats.acked_s == clock.now_s()
    vitals._silent_s = 100.0
    vitals.look()
    assert "broker" not in health.failures
    vitals._silent_s = 100.0
    vitals.look()
    assert "the broker at b:1 has acknowledged nothing since 2013-04-01T00:00:30Z" in health.failures["broker"]


async def test_a_report_that_a_change_causes_repeats_no_counts_and_the_one_of_the_second_has_them(
    memory_log: MemoryLog, clock: ManualClock
) -> None:
    """Reports of a change come up to twenty times a second: 256 deployments in each would be a gigabyte an hour."""
    topics = Topics.load()
    await memory_log.create_topics(topics.specs())
    health, stop = Health("inference", "inference-1", failures={}), asyncio.Event()
    health.traffic.of("delay", exists=True).count("served", 3, 7, lambda _: True)
    beats = Heartbeats(memory_log, topics, health, clock)
    codec, names = Codec(topics), [topics.name("ops.health")]

    async def reports(count: int) -> list[HealthReported]:
        found: list[HealthReported] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                await asyncio.sleep(0.01)
                found = [message.event for message in await read_all(memory_log, codec, names)]
        return found

    running = asyncio.create_task(beats.run(stop))
    found = await reports(1)
    while all(report.traffic for report in found):
        health.applied = {"events.landings.v1/0": len(found)}
        found = await reports(len(found) + 1)
    stop.set()
    await running
    await beats.close()
    *_, last = await reports(len(found) + 1)
    assert found[0].traffic["delay"].outcomes == {"served": 7}
    assert found[-1].applied == {"events.landings.v1/0": len(found) - 1}
    assert last.stopping
    assert last.traffic == found[0].traffic


def test_the_reason_of_an_end_is_the_last_line_of_the_service_itself_not_of_its_libraries(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    own = '{"logger": "headrace.runtime", "message": "keys cannot be read: /no/such/file"}'
    theirs = '{"logger": "asyncio", "message": "Unclosed AIOKafkaConsumer"}'
    for lines, reason in (
        ([own, theirs], "keys cannot be read: /no/such/file"),
        ([theirs], "Unclosed AIOKafkaConsumer"),
        ([own, "Segmentation fault", theirs], "Segmentation fault"),
        ([], ""),
    ):
        log.write_text("\n".join(lines))
        assert last_line(log) == reason


async def test_a_part_that_is_cancelled_by_nobody_ends_the_process_instead_of_leaving_it_in_silence() -> None:
    class Part:
        async def run(self, stop: asyncio.Event) -> None:
            let_go_of = asyncio.get_running_loop().create_future()
            let_go_of.cancel()
            await let_go_of

    with pytest.raises(Fatal, match="Part was cancelled, and nobody had requested it"):
        await _whole(Part(), asyncio.Event())


def test_a_mistaken_line_is_written_with_what_is_wrong_and_raises_nothing_in_whoever_logs_it() -> None:
    record = logging.LogRecord("user", logging.WARNING, "x.py", 1, "speed %d", ("fast",), None)
    assert Flood().filter(record)
    assert record.getMessage().startswith("speed %d (this log line cannot be formatted: TypeError: ")


def test_lines_of_more_kinds_than_are_remembered_raise_nothing_on_any_thread() -> None:
    flood, failed = Flood(lambda: 0.0), []

    def write(thread: int) -> None:
        words = ["".join(chr(97 + (n >> shift) % 16) for shift in (0, 4, 8)) for n in range(3000)]
        try:
            for word in words:
                flood.filter(logging.LogRecord("x", logging.INFO, "x.py", 1, f"{word} of {'abcd'[thread]}", (), None))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
