"""Processes that a user's code forks off a service end with it, hold nothing of it, and can be ended separately."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from headrace.hosting.health import Health
from headrace.hosting.http import HealthServer

WITHIN_S = 20.0

# As a service does it: signals, tie and health first; then code of a user's, on a thread of its own.
PROGRAM = """
import os, signal, sys, threading, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from headrace.hosting.forks import tie_children
from headrace.hosting.health import Health
from headrace.hosting.http import HealthServer
from headrace.hosting.stopping import STOPPING

def grandchild(_):
    child = os.fork()
    while not child:
        signal.pause()
    return child

STOPPING.begin("service")
tie_children()
STOPPING.hand_over(lambda: None)
health = Health("service", "1")
HealthServer(health, "127.0.0.1", 0).start()
"""

POOL = """
pool = ProcessPoolExecutor(2, mp_context=get_context("fork"))
first = threading.Thread(target=lambda: pool.submit(pow, 2, 3).result())
first.start()
first.join()
grandchildren = list(pool.map(grandchild, range(2)))
print(health.http_port, *pool._processes, *grandchildren, flush=True)
signal.pause()
"""

ENDS_ITS_WORKER = """
worker = get_context("fork").Process(target=time.sleep, args=(1000,))
worker.start()
worker.terminate()
worker.join()
print(worker.exitcode, flush=True)
os._exit(0)
"""


@pytest.fixture
def service() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM + POOL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        for left in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            with contextlib.suppress(psutil.NoSuchProcess):  # one that ended with another meanwhile
                left.kill()
        process.kill()


def reported(process: subprocess.Popen[str]) -> tuple[int, list[psutil.Process]]:
    """Its health port, and the processes that it forked off: two workers, and one child of each of these."""
    assert process.stdout is not None
    port, *pids = map(int, process.stdout.readline().split())
    assert len(pids) == 4
    return port, [psutil.Process(pid) for pid in pids]


def test_a_forked_child_ends_with_its_service_and_not_with_the_forking_thread(
    service: subprocess.Popen[str],
) -> None:
    port, forked = reported(service)
    assert [process.is_running() for process in forked] == [True] * 4
    service.kill()
    service.wait()
    _, alive = psutil.wait_procs(forked, WITHIN_S)
    assert not alive
    HealthServer(Health("service", "2"), "127.0.0.1", port).stop()


def test_a_forked_child_holds_no_port_of_the_service(service: subprocess.Popen[str]) -> None:
    port, forked = reported(service)
    socket.create_connection(("127.0.0.1", port), WITHIN_S).close()
    held = [found.laddr.port for process in forked for found in process.net_connections() if found.status == "LISTEN"]
    assert held == []


def test_a_signal_ends_a_worker_though_the_service_only_stops_in_order() -> None:
    command = [sys.executable, "-c", PROGRAM + ENDS_ITS_WORKER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert (done.returncode, done.stdout) == (0, f"{-signal.SIGTERM}\n"), done.stderr
