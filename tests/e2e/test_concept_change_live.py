"""Continuous training follows a change of concept, on a real broker with all services: an abrupt change, a gradual one, and none."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from tests.cases.concept_streams import BEGIN_S, DAY, RATE, TREES, Stream, build, changing, steady
from tests.e2e.commands import Shell
from tests.e2e.edges import resolved
from tests.e2e.live import Played, played_of, replayed

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace.events.registry import Signature, VersionRegistered
from headrace.events.training import RetrainRequested, TrainingFinished
from headrace.hosting.settings import Settings
from headrace_broker import free_port
from headrace_trainer.adapters.estimators import build_estimator
from headrace_trainer.core.target import Target

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

BEFORE, AFTER, WIDTH = 15_811, 6_189, 2_000
MIN_ROWS_AFTER_CHANGE, WORST = 1_000, 1.2
PROJECT = f"""
from sklearn.ensemble import HistGradientBoostingClassifier

from headrace.project import Binary, Deployment, LossChange, Number, Project, Retraining, Training, prior


def build(signature):
    return HistGradientBoostingClassifier(max_iter={TREES}, early_stopping=False)


def declared(name, columns):
    return Deployment(name, unit="row", inputs=[Number(f"x{{n}}") for n in range(columns)], label=Binary("label", horizon="1d"),
        training=Training(build, first_after="8d"), monitoring=[LossChange()], retraining=Retraining(), fallback=[prior(0.5)])


project = Project("streams", deployments=[declared(name, columns) for name, columns in COLUMNS.items()])
"""
STREAMS = {
    "abrupt": changing("sine", 3, BEFORE, AFTER),
    "gradual": changing("mixed", 3, BEFORE, AFTER, WIDTH),
    "steady": steady("sea", 5, 22_000),
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    found = Shell(tmp_path_factory.mktemp("streams"))
    try:
        up = found.run("up", "--port", str(free_port()), within_s=400.0)
        assert up.returncode == 0, up.stderr
        columns = {name: stream.inputs.shape[1] for name, stream in STREAMS.items()}
        (found.folder / "streams_project.py").write_text(PROJECT.replace("COLUMNS", repr(columns)))
        assert found.json("apply", "streams_project.py")["project"] == "streams"
        yield found
    finally:
        assert found.run("down").returncode == 0


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    probabilities = np.clip(probabilities, 1e-15, 1 - 1e-15)
    return float(-(labels * np.log(probabilities) + (1 - labels) * np.log(1 - probabilities)).mean())


def alike(stream: Stream, rows: int, asked: slice) -> float:
    """The loss of the same recipe, fitted on so many rows beyond the change, on the rows of `asked`."""
    assert stream.changed is not None
    known = slice(stream.changed, stream.changed + rows)
    inputs = stream.inputs.astype(np.float32)
    model = build_estimator(build, Signature((), ""), 0, Target("binary")).fit(inputs[known], stream.labels[known])
    return log_loss(stream.labels[asked], model.predict_proba(inputs[asked])[:, 1])


def played(shell: Shell, name: str) -> Played:
    report = replayed(shell, STREAMS[name], name)
    print(f"{name}: {report['wall_s']:.0f} s, {report['held_s']:.0f} s of them paused")
    return played_of(shell, STREAMS[name], name)


def follows(records: Played) -> None:
    """Check that the change is found in time, and that a version trained on new rows answers in time and is as good as one fitted by hand on as many."""
    stream = records.stream
    assert stream.changed is not None
    opened = [found for found in records.of(FindingOpened) if found.kind == "drift"]
    second_s = BEGIN_S + (np.ceil(stream.changed / RATE) + 2) * DAY
    assert stream.at_s[stream.changed] < opened[0].window_to_s <= second_s
    finished = {found.run: found for found in records.of(TrainingFinished)}
    by_drift = [version for version in records.of(VersionRegistered) if version.lineage.changed_at_s is not None]
    first = by_drift[0]
    champion_from = records.first_of(first.version)
    rows = champion_from - stream.changed
    assert 0 < rows <= MIN_ROWS_AFTER_CHANGE + 3 * RATE
    asked = slice(champion_from, min(champion_from + 5_000, len(stream.labels)))
    served, by_hand = log_loss(stream.labels[asked], records.scores[asked]), alike(stream, rows, asked)
    print(
        f"{records.deployment}: found {(opened[0].window_to_s - stream.at_s[stream.changed]) / DAY:.2f} d after the change, version"
        f" {first.version} champion after {rows:,} rows; log-loss of the next {asked.stop - asked.start:,} rows {served:.4f},"
        f" of the recipe on as many new rows {by_hand:.4f}; runs {[found.outcome for found in finished.values()]}"
    )
    assert served <= WORST * by_hand


def test_an_abrupt_change_is_found_and_followed_on_a_real_broker(shell: Shell) -> None:
    records = played(shell, "abrupt")
    follows(records)
    (back,) = [found for found in records.of(FindingResolved) if found.kind == "drift"]
    assert "is back" in back.reason


def test_every_step_from_drift_to_promotion_is_a_record_of_the_log(shell: Shell) -> None:
    episodes = asyncio.run(resolved(Settings(bootstrap_servers=shell.state["bootstrap_servers"]), "abrupt"))
    (drift,) = [one for one in episodes if one.title.startswith("drift → retrain → gates")]
    assert (drift.how, drift.state) == ("promoted", "ended")
    assert drift.mttd.event_s is not None
    assert drift.mttr.event_s is not None
    assert 0 < drift.mttd.event_s < 3 * DAY
    ran = shell.json("deployment", "timeline", "abrupt")
    assert [one["id"] for one in ran["episodes"]] == [one.id for one in episodes][-5:]


def test_a_gradual_change_is_found_and_followed_on_a_real_broker(shell: Shell) -> None:
    follows(played(shell, "gradual"))


def test_without_a_change_nothing_is_found_or_retrained_on_a_real_broker(shell: Shell) -> None:
    records = played(shell, "steady")
    assert [request.cause for request in records.of(RetrainRequested)] == ["first"]
    assert records.of(FindingOpened) == []
    assert set(records.versions.tolist()) == {0, 1}
