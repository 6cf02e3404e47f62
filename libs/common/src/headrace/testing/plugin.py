"""Pytest fixtures: a manual clock, the log in memory, and a real Kafka (started once, a namespace per test)."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from headrace.bus.kafka import KafkaLog
    from headrace.clock import ManualClock
    from headrace.settings import Settings
    from headrace.testing.memory import MemoryLog
    from headrace_broker import Broker


@pytest.fixture
def clock() -> "ManualClock":
    """A clock that moves only when told to; starts at 2013-04-01."""
    from headrace.clock import ManualClock

    return ManualClock()


@pytest.fixture
def memory_log(clock: "ManualClock") -> "MemoryLog":
    """A fresh log in memory."""
    from headrace.testing.memory import MemoryLog

    return MemoryLog(clock)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Kafka: KAFKA_BOOTSTRAP_SERVERS, else one started for this session."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    with _broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator["Broker"]:
    """A broker of one's own, for tests that kill or freeze it."""
    with _broker(tmp_path / "kafka") as broker:
        yield broker


@pytest.fixture
def settings(kafka: str) -> "Settings":
    """Settings for the real Kafka, under a namespace that no other test has."""
    from headrace.settings import Settings

    return Settings(bootstrap_servers=kafka, namespace=f"t{secrets.token_hex(4)}")


@pytest_asyncio.fixture
async def kafka_log(settings: "Settings") -> AsyncIterator["KafkaLog"]:
    """A connection to the real Kafka."""
    from headrace.bus.kafka import KafkaLog

    log = KafkaLog(settings)
    await log.start()
    yield log
    await log.stop()


def _broker(folder: Path) -> "Broker":
    from headrace_broker import Broker

    return Broker(folder, fresh=True)
