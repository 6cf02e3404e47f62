"""The log in memory and Kafka behave the same."""

import pytest

from headrace.log.kafka import KafkaLog
from headrace.log.memory import MemoryLog
from headrace.log.port import Log
from headrace.testing.conformance import LogConformance


class TestMemoryLog(LogConformance):
    @pytest.fixture
    def log(self, memory_log: MemoryLog) -> Log:
        return memory_log

    async def delete(self, log: Log, topic: str) -> None:
        assert isinstance(log, MemoryLog)
        log.delete_topic(topic)


@pytest.mark.kafka
class TestKafka(LogConformance):
    @pytest.fixture
    def log(self, kafka_log: KafkaLog) -> Log:
        return kafka_log

    async def delete(self, log: Log, topic: str) -> None:
        assert isinstance(log, KafkaLog)
        await log.admin.delete_topics([topic])
