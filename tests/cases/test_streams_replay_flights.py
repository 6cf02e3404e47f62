"""The flights, whose features are computed from raw streams: `headrace replay` of files has the same effect as the flights' own player."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import log_loss, roc_auc_score
from tests.e2e.commands import Shell

from headrace.events.inference import DecisionMade, Served
from headrace.evidence.labelled import labels_by_request
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.kafka import KafkaLog
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project.compile import compile_project
from headrace_broker import free_port
from headrace_flights.project import project

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(3000)]

NAME = "flight-delay"
DAYS = 9
PROJECT = """
from dataclasses import replace

from headrace.project import Training
from headrace_flights import project as flights
from headrace_flights.train import build

soon = Training(build, history="180d", holdout="1d", embargo="12h", first_after="5d", min_rows=1000)
flight_delay = replace(flights.flight_delay, training=soon, gates=[])
project = replace(flights.project, deployments=[flight_delay])
"""


@dataclass
class Lived:
    """The records of an interval of the year on a log."""

    asked: list[str]
    decisions: list[DecisionMade]
    labels: dict[str, float]
    raw: dict[str, int]

    def rows(self) -> dict[str, bytes]:
        """The feature row of each flight that a version answered."""
        return {d.unit: d.row for d in self.decisions if isinstance(d.answer, Served)}

    def by_unit(self) -> dict[str, float]:
        """The label of each flight that has one."""
        return {d.unit: self.labels[d.request_id] for d in self.decisions if d.request_id in self.labels}

    def version(self) -> dict[str, float]:
        """The quality of the version, and how often it answered."""
        served = [d for d in self.decisions if isinstance(d.answer, Served) and d.request_id in self.labels]
        scores = [d.answer.score.value for d in served if isinstance(d.answer, Served)]
        truth = [self.labels[d.request_id] for d in served]
        return {"rows": len(truth), "loss": log_loss(truth, scores), "auc": roc_auc_score(truth, scores)}


async def lived(bootstrap_servers: str) -> Lived:
    """Read the log."""
    topics, log = Topics.load(), KafkaLog(Settings(bootstrap_servers=bootstrap_servers))
    await log.start()
    codec = Codec(topics)

    async def all_of(noun: str) -> list[Any]:
        return await read_all(log, codec, [topics.name(noun)])

    asked, outcomes, decided = [await all_of(f"inference.{noun}") for noun in ("requests", "outcomes", "decisions")]
    decisions = [message.event for message in decided if isinstance(message.event, DecisionMade)]
    raw = {}
    for stream in ("movements", "weather"):
        ends = await log.end_offsets(await log.partitions(topics.of_raw(stream)))
        raw[stream] = sum(ends.values())
    await log.stop()
    labels = labels_by_request(compile_project(project).deployment(NAME), decisions, outcomes)
    return Lived([message.envelope.id for message in asked], decisions, labels, raw)


@contextmanager
def installation(folder: Path) -> Iterator[Shell]:
    """Start a broker and all services, with the project applied."""
    folder.mkdir()
    (folder / "soon.py").write_text(PROJECT)
    shell = Shell(folder)
    try:
        up = shell.run("up", "--port", str(free_port()), within_s=600)
        assert up.returncode == 0, up.stderr
        shell.environ["KAFKA_BOOTSTRAP_SERVERS"] = shell.state["bootstrap_servers"]
        shell.json("apply", "soon.py")
        yield shell
    finally:
        shell.run("down")


def played_by_the_player(folder: Path) -> Lived:
    with installation(folder) as shell:
        until = f"2013-01-{DAYS + 1:02}"
        words = [sys.executable, "-m", "headrace_flights", "--to", until]
        subprocess.run(words, cwd=folder, env=shell.environ, check=True, timeout=1200, capture_output=True)
        return settled(shell)


def settled(shell: Shell) -> Lived:
    """Wait until every request has its decision."""

    def found() -> Lived | None:
        now = asyncio.run(lived(shell.state["bootstrap_servers"]))
        return now if len(now.decisions) == len(now.asked) else None

    return shell.until(found)


def replayed(folder: Path) -> tuple[Lived, dict[str, Any]]:
    """Replay by the command, which is ended by Ctrl-C and by kill -9 on the way."""
    with installation(folder) as shell:
        words = [sys.executable, "-m", "headrace_flights", "--to", f"2013-01-{DAYS + 1:02}", "--files", "files"]
        subprocess.run(words, cwd=folder, env=shell.environ, check=True, timeout=300)
        command = ["replay", "files/requests.parquet", "--deployment", NAME, "--unit", "flight_id", "--at", "at"]
        command += ["--events", "movements=files/movements.parquet:at:flight"]
        command += ["--events", "weather=files/weather.parquet:published_at:origin"]
        assert ended_amid(shell, command, 2000, signal.SIGINT) == 130
        assert ended_amid(shell, command, 6000, signal.SIGKILL) == -signal.SIGKILL
        ran = shell.run(*command, "--json", within_s=1500)
        print(ran.stderr[-5000:])
        assert ran.returncode == 0
        return settled(shell), json.loads(ran.stdout)


def ended_amid(shell: Shell, command: list[str], requests: int, how: signal.Signals) -> int:
    """Send a signal once about so many requests are on the log. Returns how the process ended."""
    words = [sys.executable, "-m", "headrace_cli", *command]
    with (shell.folder / "replay.log").open("ab") as log:
        child = subprocess.Popen(words, cwd=shell.folder, env=shell.environ, stdout=log, stderr=log)

    def is_amid() -> bool:
        assert child.poll() is None, (shell.folder / "replay.log").read_text()[-4000:]
        return asyncio.run(count_of_requests(shell.state["bootstrap_servers"])) > requests

    shell.until(is_amid, within_s=600)
    child.send_signal(how)
    return child.wait(60)


async def count_of_requests(bootstrap_servers: str) -> int:
    log = KafkaLog(Settings(bootstrap_servers=bootstrap_servers))
    await log.start()
    ends = await log.end_offsets(await log.partitions(Topics.load().name("inference.requests")))
    await log.stop()
    return sum(ends.values())


def test_the_command_gives_what_the_player_gives_interrupted_and_resumed_and_nothing_twice(tmp_path: Path) -> None:
    mine, report = replayed(tmp_path / "replayed")
    theirs = played_by_the_player(tmp_path / "played")
    print(json.dumps(report, indent=2), mine.version(), theirs.version(), mine.raw, theirs.raw)

    assert Counter(d.unit for d in mine.decisions) == Counter(d.unit for d in theirs.decisions)
    assert set(Counter(mine.asked).values()) == set(Counter(d.request_id for d in mine.decisions).values()) == {1}
    assert [report[name] for name in ("requests", "decisions", "lost", "duplicated")] == [len(mine.asked)] * 2 + [0, 0]
    files = {file["stream"]: (file["rows"], file["events"], file["duplicated"]) for file in report["events"]}
    assert files == {stream: (count, count, 0) for stream, count in mine.raw.items()}
    assert 0 < report["records_sent"] < len(mine.asked)

    # The same flights are answered from the same features, to the last bit; their labels are the same.
    rows, others = mine.rows(), theirs.rows()
    both = rows.keys() & others.keys()
    assert len(both) > 0.9 * max(len(rows), len(others)) > 1000
    assert [unit for unit in both if rows[unit] != others[unit]] == []
    labels, other_labels = mine.by_unit(), theirs.by_unit()
    assert {unit: labels[unit] for unit in labels.keys() & other_labels.keys()}.items() <= other_labels.items()

    (switch,) = report["switches"]
    assert (switch["version"], switch["was"]) == (1, None)
    version = next(found for found in report["versions"] if found["version"] == 1)
    assert version["loss"] == pytest.approx(mine.version()["loss"], abs=1e-9)
    assert mine.version()["loss"] == pytest.approx(theirs.version()["loss"], abs=2e-3)
    assert mine.version()["auc"] == pytest.approx(theirs.version()["auc"], abs=5e-3)
