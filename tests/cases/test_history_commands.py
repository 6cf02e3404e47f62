"""The commands that show a deployment's history, on a real broker."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.errors import Misconfigured
from headrace.events.registry import RollBack, RolledBack
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import out
from headrace.log.kafka import KafkaLog
from headrace.testing.history import History
from headrace_cli.main import app

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture
def history(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace with a drift that led to a switch, which a person took back."""
    history = History()
    history.drift_to_switch("bins")
    command = history.by_hand(RollBack("bins", 2, "customers complain", "anna"), "cli-1")
    history.add(RolledBack("bins", 2, 1, "rolled back by anna: customers complain", "anna"), "back", command)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("HEADRACE_NAMESPACE", settings.namespace)

    async def write() -> None:
        topics, log = topics_of(settings), KafkaLog(settings)
        await log.start()
        await ensure_topics(log, topics.specs())
        producer = await log.producer()
        for message in history.messages:
            topic = topics.prefixed(message.record.topic)
            await producer.send([out(topic, "bins", message.event, message.envelope)])
        await producer.close()
        await log.stop()

    asyncio.run(write())


def ran(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def printed(*words: str) -> Any:
    return json.loads(ran(*words, "--json"))


@pytest.mark.usefixtures("history")
def test_a_deployments_history_is_shown_with_both_clocks_and_every_record() -> None:
    command = [sys.executable, "-m", "headrace_cli", "deployment", "timeline", "bins"]
    text = subprocess.check_output(command, env={**os.environ, "COLUMNS": "80"}, text=True, timeout=60)
    assert max(map(len, text.splitlines())) <= 80
    assert "event time  wall clock" in text
    assert "MTTD 2 h event time (from the change to the finding)" in text
    found = printed("deployment", "timeline", "bins")
    assert [one["title"] for one in found["episodes"]] == [
        "drift → retrain → gates → switch", "roll back by anna → rolled back",
    ]  # fmt: skip
    assert found["medians"]["mttd_event_s"] == 7200.0
    assert printed("deployment", "timeline", "bins", "--last", "1")["episodes"] == found["episodes"][1:]
    assert printed("deployment", "timeline", "bins", "--since", "2099-01-01T00:00:00Z")["episodes"] == []
    seen = printed("topic", "show", found["episodes"][1]["steps"][0]["place"])
    assert (seen["id"], seen["value"]["reason"]) == ("cli-1", "customers complain")
    result = CliRunner().invoke(app, ["deployment", "timeline", "nobody"])
    assert isinstance(result.exception, Misconfigured)
    assert str(result.exception) == "no applied project declares 'nobody' (declared: none)"
    assert ran("finding", "list") == "no finding is open\n"
    (row,) = printed("finding", "list", "--all")
    assert (row["finding"], row["resolved"], row["retrains"][0]["version"]) == ("bins-f2", "log-loss is back: .421", 2)
    story = " ".join(ran("finding", "show", "bins").split())
    assert "drift of bins (resolved, warning)" in story
    assert "accepted as run binsrun2, registered as version 2" in story
