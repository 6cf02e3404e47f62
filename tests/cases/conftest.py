"""What several files of cases share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cases.pipeline_place import Place

from headrace.bus.admin import ensure_topics
from headrace.bus.kafka import KafkaLog
from headrace.settings import Settings


@pytest.fixture
async def place(settings: Settings, kafka_log: KafkaLog, tmp_path: Path) -> AsyncIterator[Place]:
    found = Place(settings, kafka_log, tmp_path)
    await ensure_topics(kafka_log, found.topics.specs())
    found.apply()
    found.start()
    yield found
    if found.service is not None and found.service.poll() is None:
        found.service.kill()
        found.service.wait(10)
    print((tmp_path / "pipeline.log").read_text()[-8000:])
