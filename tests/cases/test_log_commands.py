"""Fault 14: commands list the stopped partitions and resume them under an operator's name, with one sentence each."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from headrace.errors import Misconfigured
from headrace.events.ops import PartitionStopped
from headrace.hosting.settings import Settings
from headrace.hosting.stops import stop_record
from headrace.log.admin import ensure_topics
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out, TopicSpec
from headrace.log.topics import Topics
from headrace_cli.main import app

pytestmark = pytest.mark.kafka


@pytest.fixture
def topics(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Topics:
    """A namespace with a raw stream whose partition 0 is stopped at offset 3 of 5."""
    topics = Topics.load(settings.namespace)
    raw = topics.of_raw("movements")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("HEADRACE_NAMESPACE", settings.namespace)

    async def prepare() -> None:
        log = KafkaLog(settings)
        await log.start()
        await ensure_topics(log, [*topics.specs(), TopicSpec(raw, 2, topics.rule(raw).config)])
        producer = await log.producer()
        await producer.send([Out(raw, b"k", b"\xc1", partition=0)] * 5)
        await producer.send([stop_record(topics, PartitionStopped("pipeline", raw, 0, 3, "no JSON"))])
        await producer.close()
        await log.stop()

    asyncio.run(prepare())
    return topics


def printed(*words: str) -> list[dict]:
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    return found if isinstance(found, list) else found["resumed"]


def refused(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, Misconfigured), result.output
    return str(result.exception)


def test_a_stopped_partition_is_listed_refused_under_wrong_names_and_let_go_on_once(topics: Topics) -> None:
    (row,) = printed("topic", "stops")
    assert (row["topic"], row["partition"], row["offset"]) == ("raw.movements.v1", 0, 3)
    assert refused("topic", "resume", "raw.nothing") == "there is no topic raw.nothing: `headrace topic list`"
    assert "not declared" in refused("topic", "resume", "nonsense")
    assert refused("topic", "resume", "raw.movements", "--partition", "1") == (
        "partition 1 of raw.movements.v1 is not stopped; stopped are raw.movements.v1/0"
    )
    assert "must lie in 4..5 (it is stopped at 3), got 9" in refused("topic", "skip", "raw.movements", "--to", "9")
    (gone_on,) = printed("topic", "skip", topics.of_raw("movements"), "--by", "ann", "--reason", "a test feed")
    assert gone_on == {"topic": "raw.movements.v1", "partition": 0, "offset": 5, "how": "skip", "by": "ann"}
    assert printed("topic", "stops") == []
    assert refused("topic", "resume", "raw.movements") == "raw.movements.v1 is not stopped; nothing is"


def test_dead_letters_are_listed_beside_what_is_stopped(topics: Topics) -> None:
    result = CliRunner().invoke(app, ["dlq", "list"], catch_exceptions=False)
    assert "no dead letters" in result.output
    assert "stopped: raw.movements.v1/0 at offset 3: `headrace topic resume raw.movements.v1`" in result.output.replace("\n", " ")  # fmt: skip
