"""The commands `headrace rollout` and `headrace model` against a registry on a real broker."""

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.events.registry import ApprovalAwaited, RolloutAborted, RolloutAdvanced, RolloutCompleted, RolloutStarted
from headrace.events.verdicts import FAIL, UNMEASURED
from headrace_cli.main import app

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

Bench = Any  # the fixture of conftest.py


class Terminal:
    """`headrace ...` in a thread of its own, on the bench's broker and namespace."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Any) -> None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
        monkeypatch.setenv("HEADRACE_NAMESPACE", settings.namespace)
        monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "none"))
        monkeypatch.setenv("COLUMNS", "200")

    async def type(self, *words: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, list(words))

    async def json(self, *words: str) -> Any:
        ran = await self.type(*words, "--json")
        assert ran.exit_code == 0, ran.exception
        return json.loads(ran.stdout)

    async def refused(self, *words: str) -> str:
        ran = await self.type(*words)
        assert ran.exit_code == 1
        return str(ran.exception)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Any) -> Terminal:
    return Terminal(monkeypatch, settings, tmp_path)


async def test_a_canary_is_started_watched_paused_and_promoted_by_hand(kafka_bench: Bench, terminal: Terminal) -> None:
    bench = kafka_bench
    heartbeats = asyncio.create_task(keep_warm(bench))
    async with bench.running():
        await bench.register()
        await bench.until(RolloutCompleted)
        await bench.register(b"another", rollout=False)
        started = await terminal.json("rollout", "start", "d", "2", "--reason", "try it")
        assert (started["version"], started["policy"], started["expected"]["cycle_s"]) == (2, "canary", 86_400.0)
        assert started["expected"]["labels_a_day"] is None
        await bench.until(RolloutAdvanced, lambda fact: fact.step == "canary")
        assert "is under way" in await terminal.refused("rollout", "start", "d", "2")
        assert "`headrace rollout abort d`" in await terminal.refused("rollout", "rollback", "d", "--reason", "r")
        await terminal.json("rollout", "pause", "d", "--reason", "lunch")
        (row,) = await terminal.json("rollout", "status", "d")
        assert (row["state"], row["version"], row["control"], row["shares"]) == ("paused", 2, 1, {"1": 0.95, "2": 0.05})
        assert "paused by" in (await terminal.type("rollout", "status", "d")).stdout
        assert "not 7: look again" in await terminal.refused(
            "rollout", "promote", "d", "--version", "7", "--reason", "r"
        )
        await terminal.json("rollout", "promote", "d", "--reason", "good enough")
        back = await terminal.type("rollout", "rollback", "d", "--reason", "not so good")
    heartbeats.cancel()
    assert back.stdout == "version 1 is champion of d again; version 2 is rejected\n"


async def test_watching_ends_with_the_rollout_and_shows_the_evidence(kafka_bench: Bench, terminal: Terminal) -> None:
    async with kafka_bench.running():
        await kafka_bench.start_canary()
        watching = asyncio.create_task(terminal.type("rollout", "status", "d", "--watch"))
        await kafka_bench.judge(1.0, labels=FAIL)
        await kafka_bench.until(RolloutAborted)
        watched = await watching
    assert watched.exit_code == 0
    assert "canary of version 2 against 1: aborted" in watched.stdout
    assert "level" in watched.stdout


async def test_a_canary_without_labels_shows_the_command_that_gives_it_all_traffic(
    kafka_bench: Bench, terminal: Terminal
) -> None:
    bench = kafka_bench
    async with bench.running():
        await bench.start_canary()
        await bench.judge(7200.0, labels=UNMEASURED, unlabelled=True)
        await bench.until(ApprovalAwaited)
        (row,) = await terminal.json("rollout", "status", "d")
        approve = '`headrace model approve d 2 --reason "..."`'
        assert row["waits_for"] == f"a person to approve it: {approve} (no label can judge it)"
        await terminal.json("model", "approve", "d", "2", "--reason", "fine")
        await bench.judge(7201.0, labels=UNMEASURED, unlabelled=True)
        completed = await bench.until(RolloutCompleted, lambda fact: fact.version == 2)
    assert completed.event.promoted
    (row,) = await terminal.json("rollout", "status", "d")
    assert (row["champion"], row["reason"].split(":")[0].startswith("approved by ")) == (2, True)


async def test_versions_are_found_described_named_and_taken_out_of_use(
    kafka_bench: Bench, terminal: Terminal, tmp_path: Any
) -> None:
    bench = kafka_bench
    bench.warm(1)
    async with bench.running():
        await bench.register(metrics={"auc": 0.7}, reason="first")
        await bench.until(RolloutStarted)
        await bench.register(b"another", rollout=False, metrics={"auc": 0.8})
        await terminal.json("model", "tag", "d", "2", "team=ops")
        assert [v["version"] for v in await terminal.json("model", "list", "d", "--min", "auc=0.75")] == [2]
        assert [v["version"] for v in await terminal.json("model", "list", "--tag", "team=ops")] == [2]
        assert [v["version"] for v in await terminal.json("model", "list", "--as-of", "0")] == [1]
        assert await terminal.json("model", "list", "--as-of", "2013-01-01T00:00:00Z") == []
        await terminal.json("model", "alias", "d", "baseline", "2", "--expected", "0")
        assert "stands at 2, not at None" in await terminal.refused(
            "model", "alias", "d", "baseline", "1", "--expected", "0"
        )
        assert "move that to another version first" in await terminal.refused(
            "model", "archive", "d", "2", "--reason", "r"
        )
        await terminal.json("model", "alias", "d", "baseline", "1")
        await terminal.json("rollout", "tenant", "d", "acme", "--version", "2")
        assert "named by the route" in await terminal.refused("model", "archive", "d", "2", "--reason", "r")
        await terminal.json("rollout", "tenant", "d", "acme")
        await terminal.json("model", "archive", "d", "2", "--reason", "r")
        assert "another version" not in (await terminal.type("model", "delete", "d", "2", "--reason", "r")).stdout
        (shown,) = await terminal.json("model", "list", "--stage", "deleted")
        assert shown["version"] == 2
        file = tmp_path / "card.md"
        assert (await terminal.type("model", "card", "d", "1", "--out", str(file))).exit_code == 0
        assert "| why | first |" in file.read_text()
        assert (await terminal.json("model", "show", "d", "1"))["registered"]["metrics"] == {"auc": 0.7}


async def keep_warm(bench: Bench) -> None:
    """An inference instance that reports both versions as warm."""
    while True:
        bench.warm(1, 2)
        await asyncio.sleep(0.5)
