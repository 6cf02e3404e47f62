"""A regression and five classes from `apply` to a trained, served and switched version, and one without labels that is served and
watched: one broker, real processes, and data sets that scikit-learn brings.
"""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from tests.e2e.commands import Shell

from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.hosting.settings import Settings
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.topics import Topics
from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1500)]

DAYS, DAY_S = 40, 86_400.0
NAMES = ("zero", "one", "two", "three", "four")
PROJECT = """
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headrace.project import Deployment, Multiclass, Number, PageHinkley, Project, Regression, Training, prior


def ridge(signature):
    return Ridge(alpha=0.1)


def softmax(signature):
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1))


LEARNS = dict(history="60d", holdout="10d", embargo="2h", first_after="365d", min_rows=100)
progress = Deployment("progress", unit="patient", inputs=[Number(f"x{n}", -1, 1) for n in range(10)],
    label=Regression("progress", 0, 400, "2h"), fallback=[prior(150.0)], training=Training(ridge, **LEARNS), monitoring=[PageHinkley()])
digit = Deployment("digit", unit="picture", inputs=[Number(f"x{n}", 0, 16) for n in range(16)],
    label=Multiclass("digit", NAMES, "2h"), fallback=[prior(dict.fromkeys(NAMES, 0.2))], training=Training(softmax, **LEARNS),
    monitoring=[PageHinkley()])
watched = Deployment("watched", unit="patient", inputs=[Number(f"x{n}", -1, 1) for n in range(10)])
project = Project("kinds", deployments=[progress, digit, watched])
""".replace("NAMES", repr(NAMES))
MODEL = """
import skops.io
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

data = load_diabetes()
skops.io.dump(Ridge(alpha=0.1).fit(data.data.astype("float32"), data.target), "watched.skops")
"""


def diabetes() -> tuple[np.ndarray, list[Any]]:
    """442 patients with ten figures each, and the progress of their illness."""
    found = load_diabetes()
    return found.data, found.target.tolist()


def digits() -> tuple[np.ndarray, list[Any]]:
    """901 pictures of the digits 0 to 4 in 16 fields, and the digits."""
    found = load_digits(n_class=5)
    fields = found.images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    return fields, [NAMES[number] for number in found.target]


def inputs_of(row: Sequence[float]) -> dict[str, float]:
    return {f"x{n}": float(value) for n, value in enumerate(row)}


async def play(bootstrap_servers: str, deployment: str, rows: np.ndarray, labels: Sequence[Any] | None) -> None:
    """Forty days of requests. Each label becomes known an hour later."""
    topics, outs = Topics.load(""), []
    begin_s = time.time() - (DAYS + 1) * DAY_S
    for place, n in enumerate(np.random.default_rng(0).permutation(len(rows)).tolist()):
        at_s, unit = begin_s + place / len(rows) * DAYS * DAY_S, f"u{n}"
        request = PredictionRequested(deployment, inputs_of(rows[n]))
        outs.append(
            out(topics.name("inference.requests"), unit, request, Envelope(f"{deployment}-{n}", "", "test", at_s))
        )
        if labels is not None:
            observed = OutcomeObserved(deployment, unit, labels[n])
            envelope = Envelope(f"o-{deployment}-{n}", "", "test", at_s + 3600)
            outs.append(out(topics.name("inference.outcomes"), unit, observed, envelope))
    log = KafkaLog(Settings(bootstrap_servers=bootstrap_servers))
    await log.start()
    try:
        producer = await log.producer()
        await producer.send(outs)
        await producer.close()
    finally:
        await log.stop()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    found = Shell(tmp_path_factory.mktemp("kinds"))
    try:
        up = found.run("up", "--port", str(free_port()), within_s=400.0)
        assert up.returncode == 0, up.stderr
        (found.folder / "kinds_project.py").write_text(PROJECT)
        assert found.json("apply", "kinds_project.py")["project"] == "kinds"
        yield found
    finally:
        assert found.run("down").returncode == 0


def words(row: Sequence[float]) -> list[str]:
    return [f"{name}={value!r}" for name, value in inputs_of(row).items()]


def windows(shell: Shell, deployment: str) -> list[dict[str, Any]]:
    ran = shell.run("topic", "tail", "monitor.windows", "-n", "200", "--json")
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    events = [line.get("event", line) for line in lines]
    return [event for event in events if event.get("deployment") == deployment]


def trained(shell: Shell, deployment: str, version: int) -> dict[str, Any]:
    """Ask for a version and wait until it takes the traffic."""
    asked = shell.run("training", "request", deployment, "--reason", "the test")
    assert asked.returncode == 0, asked.stderr

    def champion() -> dict[str, Any] | None:
        for run in [r for r in shell.json("training", "list") if r["deployment"] == deployment]:
            assert run["stage"] not in ("failed", "rejected"), run
        found = [v for v in shell.json("model", "list", deployment) if "champion" in v["aliases"]]
        return next((v for v in found if v["version"] == version), None)

    return shell.until(champion, 400.0)


def over_http(shell: Shell, deployment: str, row: Sequence[float]) -> dict[str, Any]:
    url = f"http://127.0.0.1:{shell.gateway_port}/v1/deployments/{deployment}/predict"
    body = json.dumps({"inputs": inputs_of(row)}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_a_number_is_trained_served_switched_and_watched(shell: Shell) -> None:
    rows, labels = diabetes()
    first = shell.json("predict", "progress", *words(rows[0]))
    assert (first["answer"]["score"]["value"], first["label"], first["probabilities"]) == (150.0, None, {})
    asyncio.run(play(shell.state["bootstrap_servers"], "progress", rows, labels))
    shell.until(lambda: len(windows(shell, "progress")) >= 35, 400.0)
    by_prior = windows(shell, "progress")[0]
    assert (by_prior["positive_share"], by_prior["unmeasured"]) == (None, "")
    assert by_prior["qualities"][0]["rmse"] == pytest.approx(77, abs=40)
    figures = trained(shell, "progress", 1)["metrics"]
    assert 40 < figures["holdout_rmse"] < 70
    assert figures["holdout_r2"] > 0.2
    answer = over_http(shell, "progress", rows[0])
    assert (answer["outcome"], answer["label"], answer["version"]) == ("served", None, 1)
    assert answer["value"] == pytest.approx(labels[0], abs=150)
    trained(shell, "progress", 2)
    assert over_http(shell, "progress", rows[0])["version"] == 2
    card = shell.run("model", "card", "progress", "2").stdout
    assert "tabular-regression" in card
    assert "probability" not in card


def test_five_classes_are_trained_served_switched_and_watched_by_name(shell: Shell) -> None:
    rows, labels = digits()
    first = shell.json("predict", "digit", *words(rows[0]))
    assert first["probabilities"] == dict.fromkeys(NAMES, 0.2)
    asyncio.run(play(shell.state["bootstrap_servers"], "digit", rows, labels))
    shell.until(lambda: len(windows(shell, "digit")) >= 35, 400.0)
    by_prior = windows(shell, "digit")[0]
    assert by_prior["qualities"][0]["log_loss"] == pytest.approx(np.log(5), abs=1e-6)
    assert set(by_prior["class_shares"]) <= set(NAMES)
    figures = trained(shell, "digit", 1)["metrics"]
    assert figures["holdout_accuracy"] > 0.85
    answer = over_http(shell, "digit", rows[4])
    assert (answer["outcome"], answer["label"], answer["version"], answer["value"]) == ("served", labels[4], 1, None)
    assert list(answer["probabilities"]) == list(NAMES)
    trained(shell, "digit", 2)
    assert over_http(shell, "digit", rows[4])["version"] == 2
    output = shell.run("predict", "digit", *words(rows[4])).stdout
    assert output.startswith(f"{labels[4]} ({labels[4]} ")


def test_without_labels_it_is_served_and_watched_and_what_is_not_measured_is_reported(shell: Shell) -> None:
    (shell.folder / "train.py").write_text(MODEL)
    subprocess.run([sys.executable, "train.py"], cwd=shell.folder, check=True, timeout=120)
    assert shell.json("model", "register", "watched.skops", "--deployment", "watched")["version"] == 1
    rows, _ = diabetes()
    asyncio.run(play(shell.state["bootstrap_servers"], "watched", rows, None))
    found: Mapping[str, Any] = shell.until(lambda: windows(shell, "watched")[5:6], 400.0)[0]
    assert (found["qualities"], found["unmeasured"], found["verdict"]) == ([], "no label is declared", "UNMEASURED")
    assert found["answers"] == {"served": found["requests"]}
    answer = over_http(shell, "watched", rows[0])
    assert (answer["outcome"], answer["label"]) == ("served", None)


def test_what_was_decided_of_any_kind_is_made_again(shell: Shell) -> None:
    counts = shell.json("decision", "remake", "--sample", "120", "--seed", "3")["summary"]
    assert (counts["decisions"], counts["differs"], counts["unknown"]) == (120, 0, 0), counts
    assert counts["parts"]["row"] == {"same": 120}
