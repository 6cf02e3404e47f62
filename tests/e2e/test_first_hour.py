"""A newcomer's first hour, following the README: real processes, a real broker, garbage, and a kill -9."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cases.receivers_scene import Hook, serving
from tests.e2e.commands import Shell

from headrace_broker import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

IRIS = ["sepal_length=5.1", "sepal_width=3.5", "petal_length=1.4", "petal_width=0.2"]
# Every topic that users may write, and the service that reads it.
INPUTS = {
    "raw.movements.v1": "pipeline",
    "events.landings.v1": "feature",
    "inference.requests.v1": "inference",
    "inference.outcomes.v1": "monitor",
    "registry.commands.v1": "registry",
    "training.requests.v1": "trainer",
}


@pytest.fixture(scope="module")
def hook() -> Hook:
    """The receiver of alerts that is set."""
    return Hook()


@pytest.fixture(scope="module")
def receiver(hook: Hook) -> Iterator[str]:
    """Its address."""
    with serving(hook) as address:
        yield address


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, receiver: str) -> Iterator[Shell]:
    found = Shell(tmp_path_factory.mktemp("hour"))
    found.environ["HEADRACE_ALERT_WEBHOOK_URL"] = receiver
    # NB: the command gives up by itself where nothing progresses; a busy machine may take minutes.
    up = found.run("up", "--port", str(free_port()), within_s=300.0)
    assert up.returncode == 0, up.stderr
    yield found
    down = found.run("down")
    assert down.returncode == 0, down.stderr
    assert not (found.folder / "home" / "supervisor.json").exists()


def send(shell: Shell, topic: str, *values: bytes) -> None:
    """Write with plain aiokafka, in a process that knows nothing of Headrace."""
    program = (
        "import asyncio, sys\nfrom aiokafka import AIOKafkaProducer\n"
        "async def main():\n"
        "    p = AIOKafkaProducer(bootstrap_servers=sys.argv[1])\n"
        "    await p.start()\n"
        "    for value in sys.argv[3:]: await p.send_and_wait(sys.argv[2], bytes.fromhex(value), key=b'k')\n"
        "    await p.stop()\n"
        "asyncio.run(main())\n"
    )
    command = [
        sys.executable,
        "-c",
        program,
        shell.state["bootstrap_servers"],
        topic,
        *[value.hex() for value in values],
    ]
    subprocess.run(command, check=True, timeout=60)


def test_a_model_of_ones_own_is_served_by_the_readme_alone(shell: Shell) -> None:
    assert shell.run("new", "my-model").returncode == 0
    assert shell.json("apply", "my_model")["changes"] == ["+ deployment my-model"]
    subprocess.run([sys.executable, "my_model/train.py"], cwd=shell.folder, check=True, timeout=60, capture_output=True)
    assert shell.json("model", "register", "model.skops", "--deployment", "my-model")["version"] == 1
    answer = shell.json("predict", "my-model", *IRIS)["answer"]
    assert answer["type"] == "served"
    assert answer["score"]["probabilities"][0] > 0.9


def test_a_decision_is_explained_from_the_log_alone(shell: Shell) -> None:
    asked = shell.json("predict", "my-model", *IRIS)
    found = shell.json("explain", "my-model", asked["request_id"])
    assert found["answer"]["version"] == found["assigned_version"] == 1
    assert found["row"]["sepal_length"] == pytest.approx(5.1)
    whats = [step["what"] for step in found["why_this_version"]]
    assert (whats[0], whats[-1]) == ("alias.moved", "register.version")
    assert {"route.changed", "rollout.started", "version.registered"} <= {*whats}
    nobody = shell.run("explain", "my-model", "nobody")
    assert "has no decision on 'nobody'" in nobody.stderr


def test_decisions_are_made_again_from_the_log_alone(shell: Shell) -> None:
    asked = shell.json("predict", "my-model", *IRIS)["request_id"]
    shell.run("predict", "my-model", *IRIS[1:])  # invalid: an input is missing
    found = shell.json("decision", "remake", asked)["decisions"]
    assert [{name: found[0][name]["result"] for name in ("route", "step", "row", "score")}] == [
        {"route": "same", "step": "same", "row": "same", "score": found[0]["score"]["result"]}
    ]
    assert found[0]["score"]["result"] in ("same", "near")
    summary = shell.json("decision", "remake", "--last", "100")["summary"]
    assert summary["decisions"] >= 2
    assert (summary["differs"], summary["unknown"]) == (0, 0)


def test_the_decisions_of_a_version_are_recalled(shell: Shell) -> None:
    none = shell.run("model", "recall", "my-model", "1", "--out", "recalled.csv")
    assert "has no other version that it routes to: name one, --with VERSION" in none.stderr
    itself = shell.run("model", "recall", "my-model", "1", "--with", "1", "--out", "recalled.csv")
    assert "version 1 cannot be compared with itself" in itself.stderr
    assert not (shell.folder / "recalled.csv").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("decision", "remake", "--sample", "5", "--deployment", "nope"),
        ("finding", "list", "--deployment", "nope"),
        ("model", "list", "nope"),
        ("model", "recall", "nope", "3", "--out", "recalled.csv"),
        ("training", "list", "--deployment", "nope"),
    ],
)
def test_a_deployment_that_is_not_there_is_refused_with_those_that_are(shell: Shell, words: tuple[str, ...]) -> None:
    ran = shell.run(*words)
    assert ran.returncode == 2
    assert "no applied project declares 'nope' (declared: my-model)" in ran.stderr


def test_http_answers_the_same_as_kafka(shell: Shell) -> None:
    tensors = [
        {"name": n, "shape": [1], "datatype": "FP64", "data": [float(v)]} for n, v in (pair.split("=") for pair in IRIS)
    ]
    url = f"http://127.0.0.1:{shell.gateway_port}/v2/models/my-model/infer"
    request = urllib.request.Request(
        url, json.dumps({"inputs": tensors}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        outputs = {found["name"]: found["data"] for found in json.load(response)["outputs"]}
    assert outputs["probabilities"] == shell.json("predict", "my-model", *IRIS)["answer"]["score"]["probabilities"]


def test_the_console_shows_what_happened_and_explains_it(shell: Shell) -> None:
    address = f"http://127.0.0.1:{shell.state['services']['console']['page_port']}/api/v1"

    def read(path: str) -> Any:
        with urllib.request.urlopen(f"{address}/{path}", timeout=20) as response:
            return json.load(response)

    asked = shell.json("predict", "my-model", *IRIS)
    shell.until(lambda: read("documents/now")["value"]["deployments"]["my-model"]["answers_per_s"])
    row = read("documents/now")["value"]["deployments"]["my-model"]
    assert (row["champion"], row["mark"]) == (1, "ok")
    assert row["outcomes"]["served"] >= 1
    shell.until(
        lambda: (
            read("documents/services")["value"]["instances"].keys() >= {"console/console-1", "inference/inference-1"}
        )
    )
    (hit,) = [found for found in read(f"find?q={asked['request_id']}") if found["kind"] == "decision"]
    assert hit["link"] == f"/deployments/my-model/decisions/{asked['request_id']}"
    explained = read(f"decisions/my-model/{asked['request_id']}")
    assert explained["row"]["sepal_length"] == pytest.approx(5.1)
    assert read(f"records/{explained['why'][-1]['place']}")["type"] == "register.version"
    (episode,) = read("documents/timeline/my-model")["value"]["episodes"].values()
    for step in episode["steps"].values():
        assert read(f"records/{step['place']}")["type"] == step["kind"]


def test_a_missing_input_gets_a_decision_that_names_it_and_a_script_sees_that_it_failed(shell: Shell) -> None:
    ran = shell.run("predict", "my-model", *IRIS[1:], "--json")
    answer = json.loads(ran.stdout)["answer"]
    assert (answer["type"], answer["field"]) == ("invalid", "sepal_length")
    assert ran.returncode == 2
    assert ran.stderr.startswith("headrace: the request is invalid: ")
    assert "sepal_length" in ran.stderr
    refused = shell.run("predict", "my-model", *IRIS[1:])
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", ran.stderr)


def test_wrong_words_get_one_sentence_with_the_way_out(shell: Shell) -> None:
    for words, sentence in (
        (("predict", "nobody"), "no applied project declares 'nobody'"),
        (("model", "register", "away.skops", "--deployment", "my-model"), "no file away.skops"),
        (("apply", "no-such-project"), "no project 'no-such-project'"),
        (("topic", "tail", "no.such"), "is not declared in schemas/topics.yaml"),
        (("up",), "it is up already"),
    ):
        ran = shell.run(*words)
        assert ran.returncode != 0
        assert sentence in ran.stderr
        assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr


def test_garbage_on_every_input_is_dead_lettered_with_its_reason_and_the_next_record_is_handled(shell: Shell) -> None:
    shell.json("apply", "flights")
    shell.until(lambda: [row["ready"] for row in shell.json("status")["services"]] == [True] * 9)
    mark = secrets.token_bytes(4)
    for topic in INPUTS:
        send(shell, topic, b"\xc1" + mark)
    for topic, service in INPUTS.items():
        letters = shell.until(
            lambda s=service, t=topic: [x for x in shell.json("dlq", "list", "--service", s) if x["from"].startswith(t)]
        )
        assert letters[0]["reason"]
        whole = shell.json("dlq", "show", service, str(letters[0]["offset"]))
        assert mark.hex() in whole["value"].encode().decode("unicode_escape").encode("latin-1").hex()
    landed = {
        "kind": "landed", "flight": "f1", "carrier": "AA", "origin": "JFK", "dest": "LAX", "tail": "N1",
        "scheduled": "2013-04-01T12:00:00+00:00", "at": "2013-04-01T12:30:00+00:00",
    }  # fmt: skip
    send(shell, "raw.movements.v1", json.dumps(landed).encode())
    shell.until(
        lambda: any(t["topic"] == "inference.outcomes.v1" and t["records"] >= 2 for t in shell.json("topic", "list"))
    )
    assert shell.json("predict", "my-model", *IRIS)["answer"]["type"] == "served"


def sent(hook: Hook) -> list[tuple[str, str, str]]:
    """What a receiver was sent: name, fingerprint with its beginning, and status."""
    alerts = [one for body in hook.bodies for one in body["alerts"]]
    return [(one["labels"]["alertname"], one["fingerprint"] + one["startsAt"], one["status"]) for one in alerts]


def test_alerts_reach_the_receiver_that_is_set_and_none_twice_when_what_forwards_them_is_killed(
    shell: Shell, hook: Hook
) -> None:
    def waiting() -> float:
        service = shell.state["services"]["forwarder"]
        with urllib.request.urlopen(f"http://127.0.0.1:{service['http_port']}/metrics", timeout=20) as response:
            found = re.search(r'forwarder_lag_records{receiver="webhook"} (\S+)', response.read().decode())
        return float(found[1]) if found else 1.0

    shell.until(lambda: "DeadLettered" in {name for name, _, _ in sent(hook)})
    shell.until(lambda: waiting() == 0)
    before = shell.state["services"]["forwarder"]["pid"]
    os.kill(before, signal.SIGKILL)
    shell.until(lambda: shell.state["services"]["forwarder"]["pid"] not in (before, None))
    shell.until(lambda: all(row["ready"] for row in shell.json("status")["services"]))
    shell.until(lambda: waiting() == 0)
    assert len(sent(hook)) == len(set(sent(hook)))


def test_a_killed_service_comes_back_and_answers_with_the_same_version(shell: Shell) -> None:
    before = shell.state["services"]["inference"]["pid"]
    os.kill(before, signal.SIGKILL)
    shell.until(lambda: shell.state["services"]["inference"]["pid"] not in (before, None))
    answer = shell.until(lambda: _answer(shell))
    assert answer["score"]["version"] == 1


def _answer(shell: Shell) -> dict | None:
    ran = shell.run("predict", "my-model", *IRIS, "--json")
    return json.loads(ran.stdout)["answer"] if ran.returncode == 0 else None
