"""On a real broker, a champion that stays worse than the prior is passed over and comes back, and an operator can read why."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.cases.concept_streams import RATE, Stream
from tests.e2e.commands import Shell
from tests.e2e.live import Played, played_of, replayed, row_at

from headrace.events.alerts import AlertChanged
from headrace.events.inference import FellBack, Served, ShadowScored
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

WINDOW = RATE // 4
WORSE_FROM, BETTER_FROM, ROWS = 6 * WINDOW, 16 * WINDOW, 22 * WINDOW
DOWN_AT, UP_AT = WORSE_FROM + 3 * WINDOW, BETTER_FROM + WINDOW
KIND = "worse_than_prior"
# Windows close at the first full hour at which their labels are known. Requests that are under way when a route changes follow the old route.
HOUR, SLACK = RATE // 24 + 1, 4 * WINDOW
SPEED = ("--speed", "10000")
PROJECT = """
from headrace.project import Binary, Deployment, Number, Project, prior

steps = Deployment("steps", unit="row", inputs=[Number("x0"), Number("x1")], label=Binary("label", horizon="1d"), fallback=[prior(0.5)],
    evaluation_window="6h")
project = Project("steps", deployments=[steps])
"""
MODEL = """
import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression

rows = np.random.default_rng(0).normal(size=(2000, 2)).astype("float32")
skops.io.dump(LogisticRegression().fit(rows, rows[:, 0] + rows[:, 1] > 0), "steps.skops")
"""


def stream() -> Stream:
    """The concept that the model has learned, then for ten windows its contrary, then the first again."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(ROWS, 2))
    labels = inputs.sum(axis=1) + 0.3 * rng.normal(size=ROWS) > 0
    labels[WORSE_FROM:BETTER_FROM] ^= True
    return Stream("steps", inputs, labels.astype(float))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    found = Shell(tmp_path_factory.mktemp("steps"))
    try:
        up = found.run("up", "--port", str(free_port()), within_s=400.0)
        assert up.returncode == 0, up.stderr
        (found.folder / "steps_project.py").write_text(PROJECT)
        assert found.json("apply", "steps_project.py")["project"] == "steps"
        (found.folder / "train.py").write_text(MODEL)
        subprocess.run([sys.executable, "train.py"], cwd=found.folder, check=True, timeout=120)
        assert found.json("model", "register", "steps.skops", "--deployment", "steps")["version"] == 1
        yield found
    finally:
        assert found.run("down").returncode == 0


def is_champion(shell: Shell) -> bool:
    return any("champion" in version["aliases"] for version in shell.json("model", "list", "steps"))


def worse_alerts(shell: Shell) -> list[dict[str, Any]]:
    return [alert for alert in shell.json("alert", "list") if alert["alert"] == "ModelWorseThanPrior"]


def scored_along(shell: Shell, unit: str) -> dict[str, Any] | None:
    """What `explain` prints of a request, once the version that did not answer it has scored it too."""
    found = shell.json("explain", "steps", unit)
    return found if list(found["shadows"]) == ["1"] else None


def flat(text: str) -> str:
    """The output of a command without its line breaks."""
    return " ".join(text.split())


def test_a_champion_worse_than_the_prior_steps_down_is_reported_and_comes_back(shell: Shell) -> None:
    asked = stream()
    shell.until(lambda: is_champion(shell))
    replayed(shell, asked, "steps", range(BETTER_FROM), *SPEED)
    whoever_is_on_call_reads_it(shell)
    replayed(shell, asked, "steps", range(BETTER_FROM, ROWS), *SPEED)
    shell.until(lambda: worse_alerts(shell) == [], 60.0)
    (deployment,) = shell.json("status")["deployments"]
    assert (deployment["degraded"], deployment["route"]["passed_over"]) == ("", [])
    it_is_on_the_log(played_of(shell, asked, "steps"))


def whoever_is_on_call_reads_it(shell: Shell) -> None:
    """While the champion is passed over, check status, alert, and the explanations of one request and of the deployment."""
    why = "version 1 is worse than the prior: log-loss"
    status, alerts = flat(shell.run("status").stdout), flat(shell.run("alert", "list").stdout)
    one, route = (flat(shell.run("explain", "steps", *of).stdout) for of in ([f"row-{BETTER_FROM - 1}"], []))
    print(status, alerts, one, route, sep="\n\n")
    (deployment,) = shell.json("status")["deployments"]
    assert why in deployment["degraded"]
    (alert,) = worse_alerts(shell)
    assert (alert["about"], alert["command"]) == ("deployment=steps about=version 1", "headrace explain steps")
    found = shell.until(lambda: scored_along(shell, f"row-{BETTER_FROM - 1}"), 60.0)
    assert (found["answer"]["kind"], found["answer"]["step"], found["answer"]["value"]) == ("fell back", "prior", 0.5)
    assert found["answer"]["reason"].startswith(f"champion (version 1): {why}")
    for steps in (found["why_this_version"], shell.json("explain", "steps")["why_this_version"]):
        texts = {step["what"]: step["summary"] for step in steps}
        assert "version 1 is passed over" in texts["route"]
        assert why in texts["finding.opened"]


def it_is_on_the_log(played: Played) -> None:
    """The champion steps down within a few hundred rows of the third bad window, and is back as soon after the first good one."""
    (opened,), (resolved,) = played.of(FindingOpened), played.of(FindingResolved)
    assert (opened.kind, opened.version, resolved.kind, resolved.finding) == (KIND, 1, KIND, opened.finding)
    assert (row_at(played.stream, opened.window_to_s), row_at(played.stream, opened.at_s)) == (DOWN_AT, DOWN_AT + HOUR)
    assert row_at(played.stream, resolved.at_s) == UP_AT + HOUR
    down_from, up_from = np.flatnonzero(np.diff(played.versions)) + 1
    print(
        f"passed over from row {down_from:,} ({down_from - DOWN_AT:,} after the window) to {up_from:,} ({up_from - UP_AT:,})"
    )
    assert DOWN_AT + HOUR <= down_from <= DOWN_AT + HOUR + SLACK
    assert UP_AT + HOUR <= up_from <= UP_AT + HOUR + SLACK
    answers = [decision.answer for decision in played.decided]
    assert all(isinstance(answer, Served) for answer in [*answers[:down_from], *answers[up_from:]])
    passed = played.decided[down_from:up_from]
    late = {scored.request_id for scored in played.of(ShadowScored) if scored.score is not None and scored.version == 1}
    for decision in passed:
        assert isinstance(decision.answer, FellBack)
        assert decision.answer.reason == f"champion (version 1): {opened.summary}"
        assert decision.request_id in late or [score.version for score in decision.shadows] == [1]
    alerts = [event for event in (message.event for message in played.messages) if isinstance(event, AlertChanged)]
    worse = [alert.status for alert in alerts if alert.labels["alertname"] == "ModelWorseThanPrior"]
    assert worse == ["firing", "resolved"]


def test_what_was_decided_is_made_again_whoever_answered(shell: Shell) -> None:
    found = shell.json("decision", "remake", "--sample", "80", "--seed", "3")
    counts = found["summary"]
    assert (counts["decisions"], counts["differs"], counts["unknown"]) == (80, 0, 0), counts
    assert {one["answer"] for one in found["decisions"]} == {"Served", "FellBack"}
    assert counts["parts"]["step"] == {"same": 80}
