"""A replay of a file on a real broker is killed midway and resumed: every row is sent once, every request is decided, and the figures are as computed by hand."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from tests.cases.replay_scene import COPY, NAME, Rows, Scene

from headrace.clock import SystemClock
from headrace.events.inference import DecisionMade, Served, VersionUnloadable
from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace.hosting import exclusive as alone
from headrace.hosting.exclusive import Taken
from headrace.hosting.settings import Settings
from headrace.log.kafka import KafkaLog
from headrace.project.applied import Projects
from headrace_cli.replay.played import Wanted, play
from headrace_cli.session import Session

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

COLUMNS = ("--unit", "rider", "--at", "asked", "--label", "late", "--known", "known")
COMMAND = ("replay", "rides.csv", "--deployment", NAME, *COLUMNS)


@pytest.fixture
async def scene(settings: Settings, kafka_log: KafkaLog, tmp_path: Path) -> AsyncIterator[Scene]:
    found = Scene(kafka_log, settings, tmp_path)
    await found.set_up()
    try:
        found.start("headrace_inference")
        yield found
    finally:
        found.end()
    print((tmp_path / "processes.log").read_text()[-4000:])


def failed(run: str, version: int) -> list[tuple[str, str, Any]]:
    """A run that failed, and a version that could not be loaded."""
    return [
        ("training.facts", NAME, RetrainAccepted(NAME, run, f"q-{run}", "first", "no version yet", 0.0)),
        ("training.facts", NAME, TrainingFinished(NAME, run, "failed", "why")),
        ("inference.facts", NAME, VersionUnloadable(NAME, version, "inference-1", "why")),
    ]


class Bar:
    """A progress bar that keeps the lines which a replay prints."""

    def __init__(self) -> None:
        self.lines = list[str]()

    def report(self, line: str) -> None:
        self.lines.append(line)

    def part(self, what: str, total: float | None) -> None: ...
    def reached(self, done: float, at: str) -> None: ...


async def test_a_replay_that_ended_amid_goes_on_a_second_one_is_refused_and_nothing_goes_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows(400)
    rows.write(scene.folder / "rides.csv")
    await scene.until_ready()
    await scene.send(*failed("old", 1))
    monkeypatch.setattr(alone, "GONE_WITHIN_S", 0.5)
    wanted = Wanted(scene.folder / "rides.csv", NAME, NAME, "rider", "asked", "late", "known", speed=8000.0)
    async with session_of(scene) as session:
        amid = asyncio.create_task(play(session, wanted, Bar()))
        await scene.until(lambda: is_amid(scene, 100))
        with pytest.raises(
            Taken, match=f"somebody else is playing history to {NAME} .*: wait until that has ended, or end it"
        ):
            await play(session, wanted, Bar())
        await scene.send(*failed("amid", 2))
        amid.cancel()
        await asyncio.gather(amid, return_exceptions=True)
        bar = Bar()
        report = (await play(session, replace(wanted, speed=None), bar)).report
    assert any("of the requests are on the log already: continuing from there" in line for line in bar.lines)
    await nothing_twice(scene, rows, report)
    assert report["intervals"][0]["loss"] == pytest.approx(np.log(2))
    assert [(run["run"], run["outcome"], run["reason"]) for run in report["training"]] == [("amid", "failed", "why")]
    assert [(found["version"], found["reason"]) for found in report["not_loaded"]] == [(2, "why")]


async def is_amid(scene: Scene, decided: int) -> bool:
    return await scene.decided() > decided


@asynccontextmanager
async def session_of(scene: Scene) -> AsyncIterator[Session]:
    """A session as a command opens it."""
    projects = Projects(scene.log, scene.codec, scene.topics)
    await projects.start()
    try:
        yield Session(scene.log, scene.topics, scene.codec, projects, SystemClock())
    finally:
        await projects.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_replay_that_was_killed_goes_on_and_sends_nothing_twice(scene: Scene) -> None:
    rows = Rows(2000)
    rows.write(scene.folder / "rides.csv")
    await scene.until_ready()
    assert await ended_amid(scene, 600, signal.SIGKILL) == -signal.SIGKILL
    report = scene.report(*COMMAND)
    await nothing_twice(scene, rows, report)
    known = ~np.isnan(rows.label)
    assert report["answers"] == {"fell_back": len(rows.label)}
    assert report["labelled"] == known.sum()
    assert report["intervals"][0]["loss"] == pytest.approx(np.log(2))


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_replay_reports_the_figures_of_both_versions_and_of_the_switch(scene: Scene) -> None:
    rows = Rows(3000)
    rows.write(scene.folder / "rides.csv")
    await scene.register()
    await scene.until_ready(1, 2)
    assert await ended_amid(scene, 600, signal.SIGINT) == 130
    assert "the same command continues from there" in (scene.folder / "processes.log").read_text()
    others = scene.run(*COMMAND[:-1], "+1h")
    assert (others.returncode, "give the same options to continue" in others.stderr) == (2, True)
    await scene.switch()
    report = scene.report(*COMMAND)
    decisions = await nothing_twice(scene, rows, report)
    by_hand(report, rows, scene, decisions)
    assert scene.report(*COMMAND)["records_sent"] == 0
    await asked_of_another(scene, rows, decisions)


async def ended_amid(scene: Scene, decided: int, how: signal.Signals) -> int:
    """Send a signal once so many requests are decided. Returns how the process ended."""
    first = scene.start("headrace_cli", *COMMAND, "--speed", "60000")

    async def is_amid() -> bool:
        assert first.poll() is None
        return await scene.decided() > decided

    await scene.until(is_amid)
    first.send_signal(how)
    return first.wait(60)


async def nothing_twice(scene: Scene, rows: Rows, report: dict[str, Any]) -> list[DecisionMade]:
    """Check that every row is one request with one decision, and every known label one outcome. Returns the decisions."""
    asked = Counter(message.envelope.id for message in await scene.read("inference.requests"))
    outcomes = Counter(message.envelope.id for message in await scene.read("inference.outcomes"))
    decisions = [m.event for m in await scene.read("inference.decisions") if isinstance(m.event, DecisionMade)]
    count, labels = len(rows.x), int((~np.isnan(rows.label)).sum())
    assert (len(asked), set(asked.values())) == (count, {1})
    assert (len(outcomes), set(outcomes.values())) == (labels, {1})
    assert Counter(decision.request_id for decision in decisions) == asked
    # NB: neither of the two replays has sent everything.
    assert 0 < report["records_sent"] < count + labels
    counted = ("rows", "bad_rows", "requests", "decisions", "lost", "duplicated", "outcomes")
    assert [report[name] for name in counted] == [count + 1, 1, count, count, 0, 0, labels]
    return decisions


def by_hand(report: dict[str, Any], rows: Rows, scene: Scene, decisions: list[DecisionMade]) -> None:
    """Check the figures of the report against scores of the models and labels of the file."""
    x = rows.x.astype(np.float32).reshape(-1, 1)
    scores = {version: model.predict_proba(x)[:, 1] for version, model in scene.models.items()}
    row_of = {number + 1: n for number, n in enumerate(rows.order)}
    answered = np.zeros(len(rows.x), dtype=int)
    for decision in decisions:
        assert isinstance(decision.answer, Served)
        answered[row_of[int(decision.request_id.rpartition("-")[2])]] = decision.answer.score.version
    known = ~np.isnan(rows.label)

    for version, figures in zip((1, 2), report["versions"], strict=True):
        assert figures["loss"] == pytest.approx(log_loss(rows.label[known], scores[version][known]), abs=1e-6)
        assert figures["auc"] == pytest.approx(roc_auc_score(rows.label[known], scores[version][known]), abs=1e-9)
        assert figures["prior_loss"] == pytest.approx(np.log(2))
        assert (figures["answered"], figures["rows"]) == ((answered == version).sum(), known.sum())

    before, after = report["intervals"]
    for version, figures in ((1, before), (2, after)):
        mine = known & (answered == version)
        assert figures["answered_mostly_by"] == version
        # NB: a decision within the millisecond of the switch may be counted before or after it.
        assert figures["rows"] == pytest.approx(mine.sum(), abs=10)
        assert figures["loss"] == pytest.approx(log_loss(rows.label[mine], scores[version][mine]), abs=0.01)
    (switch,) = report["switches"]
    same = switch["same_rows"]
    assert (switch["version"], switch["was"]) == (2, 1)
    assert same["difference_95"][0] < same["loss"] - same["loss_of_previous"] < same["difference_95"][1]
    assert "<svg" in (scene.folder / report["plot"]).read_text()


async def asked_of_another(scene: Scene, rows: Rows, decisions: list[DecisionMade]) -> None:
    """The requests of one deployment are sent to another, which has no version. The prior answers, and the labels are the same."""
    report = scene.report("replay", "--deployment", NAME, "--to", COPY)
    counted = ("requests", "decisions", "lost", "duplicated", "answers")
    count = len(rows.x)
    assert [report[name] for name in counted] == [count, count, 0, 0, {"fell_back": count}]
    assert report["labelled"] == int((~np.isnan(rows.label)).sum())
    assert report["intervals"][0]["loss"] == pytest.approx(np.log(2))
    made = [m.event for m in await scene.read("inference.decisions") if isinstance(m.event, DecisionMade)]
    asked = Counter((decision.unit, decision.at_s) for decision in made if decision.deployment == COPY)
    assert asked == Counter((decision.unit, decision.at_s) for decision in decisions)
