"""Fixtures that several files of cases share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cases.pipeline_place import Place

from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.kafka import KafkaLog


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
