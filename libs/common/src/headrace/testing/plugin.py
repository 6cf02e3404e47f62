"""Pytest fixtures: a manual clock, the log in memory, and a real Kafka (started once, with a namespace per test).

Under pytest-xdist the workers share one Kafka. The first worker that needs it starts it, and keeps it until the others
are done.
"""

import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from headrace.clock import ManualClock
    from headrace.hosting.settings import Settings
    from headrace.log.kafka import KafkaLog
    from headrace.log.memory import MemoryLog
    from headrace_broker import Broker


@pytest.fixture
def clock() -> "ManualClock":
    """A manual clock that starts at 2013-04-01."""
    from headrace.clock import ManualClock

    return ManualClock()


@pytest.fixture
def memory_log(clock: "ManualClock") -> "MemoryLog":
    """A fresh log in memory."""
    from headrace.log.memory import MemoryLog

    return MemoryLog(clock)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Kafka: KAFKA_BOOTSTRAP_SERVERS, else one started for this session."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
    elif "PYTEST_XDIST_WORKER" in os.environ:
        yield from _shared(tmp_path_factory.getbasetemp().parent)
    else:
        with _broker(tmp_path_factory.mktemp("kafka")) as broker:
            yield broker.bootstrap_servers


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator["Broker"]:
    """A broker for one test, which may kill or freeze it."""
    with _broker(tmp_path / "kafka") as broker:
        yield broker


@pytest.fixture
def settings(kafka: str) -> "Settings":
    """Settings for the real Kafka, under a unique namespace."""
    from headrace.hosting.settings import Settings

    return Settings(bootstrap_servers=kafka, namespace=f"t{secrets.token_hex(4)}")


@pytest_asyncio.fixture
async def kafka_log(settings: "Settings") -> AsyncIterator["KafkaLog"]:
    """A connection to the real Kafka."""
    from headrace.log.kafka import KafkaLog

    log = KafkaLog(settings)
    await log.start()
    yield log
    await log.stop()


def _shared(folder: Path) -> Iterator[str]:
    """One Kafka for all workers of a run. Its address is in a file."""
    address = folder / "kafka.address"
    with (folder / "kafka.starting").open("w") as starting, (folder / "kafka.used").open("w") as used:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(used, fcntl.LOCK_SH)
        if address.exists():
            fcntl.flock(starting, fcntl.LOCK_UN)
            yield address.read_text()
            return
        with _broker(folder / f"kafka-{os.environ['PYTEST_XDIST_WORKER']}") as broker:
            address.write_text(broker.bootstrap_servers)
            fcntl.flock(starting, fcntl.LOCK_UN)
            yield broker.bootstrap_servers
            # NB: from here on no other worker may find it, and those that have are waited for.
            fcntl.flock(starting, fcntl.LOCK_EX)
            address.unlink()
            fcntl.flock(starting, fcntl.LOCK_UN)
            fcntl.flock(used, fcntl.LOCK_EX)


def _broker(folder: Path) -> "Broker":
    from headrace_broker import Broker

    return Broker(folder, fresh=True)
