"""Clients that know nothing of Headrace get their predictions. Each runs as published, in an environment of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace_cli.client import Client

Environments = Callable[[str], Any]
SCRIPTS = Path(__file__).parent / "scripts"
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def expected(stack: Any) -> list[float | None]:
    """The answers that our own client gets for the two flights that all clients send."""
    with Client(stack.url) as client:
        rows = [{"miles": 0.1, "carrier": "AA"}, {"miles": 0.9, "carrier": "UA"}]
        return [found.value for found in client.predict_many("late", rows)]


def test_tritonclient_asks_in_json_and_binary_packed_and_not(stack: Any, environment: Environments) -> None:
    script = str(SCRIPTS / "ask_triton.py")
    answers: dict[str, Any] = json.loads(environment("tritonclient").run("python", script, f"127.0.0.1:{stack.port}"))
    assert (answers["live"], answers["ready"], answers["model_ready"]) == (True, True, True)
    assert answers["version_ready"] == [True, False]
    assert (answers["server"], answers["config"]) == ("headrace", "flower")
    assert answers["index"] == ["fare", "flower", "late"]
    assert [found["name"] for found in answers["metadata"]["inputs"]] == ["miles", "carrier", "flight"]
    assert answers["flower"] == {"classes": [0, 2], "label": ["0", "2"], "version": [1, 1], "id": "mine"}
    assert answers["late"] == [expected(stack)] * 4
    assert answers["many"] == [1] * 200
    assert answers["fare"][0] == pytest.approx(150, abs=30)
    assert "no model is called 'nobody'" in answers["error"]


def test_kserve_asks_in_v2_and_in_v1(stack: Any, environment: Environments) -> None:
    script = str(SCRIPTS / "ask_kserve.py")
    answers: dict[str, Any] = json.loads(environment("kserve").run("python", script, stack.url).splitlines()[-1])
    scores = expected(stack)
    assert answers["v2"] == {
        "live": True,
        "ready": True,
        "model_ready": [True, False],
        "id": "mine",
        "scores": [scores, scores],
        "step": "champion",
    }
    assert (answers["v1"]["live"], answers["v1"]["model_ready"], answers["v1"]["scores"]) == (True, True, scores)
    assert "1..256 rows" in answers["v1"]["error"]


@pytest.mark.parametrize("batch", ["1", "4"])
def test_mlserver_infer_asks_for_a_file_of_requests(
    stack: Any, environment: Environments, tmp_path: Path, batch: str
) -> None:
    asked = [{"id": f"r{n}", "inputs": [_flower(n)]} for n in range(8)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, asked)))
    files = ["-i", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    server = ["-u", f"127.0.0.1:{stack.port}", "-m", "flower", "-s", batch]
    environment("mlserver").run("mlserver", "infer", *server, *files)
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(answer["id"] for answer in answers) == [f"r{n}" for n in range(8)]
    for answer in answers:
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        assert outputs["version"] == [1]
        assert max(outputs["probabilities"]) == outputs["probabilities"][0 if answer["id"] < "r4" else 2]


def _flower(number: int) -> dict[str, Any]:
    figures = [5.1, 3.5, 1.4, 0.2] if number < 4 else [6.3, 2.9, 5.6, 1.8]
    return {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": figures}


@pytest.mark.parametrize(
    "seconds", [pytest.param(10, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.faults)]
)
def test_locust_meets_no_error(stack: Any, environment: Environments, seconds: int) -> None:
    users = ["--headless", "-u", "16", "-r", "16", "-t", f"{seconds}s", "--host", stack.url]
    script = str(SCRIPTS / "locustfile.py")
    out = environment("locust").run("locust", "-f", script, *users, "--json", timeout_s=seconds + 60)
    rows = json.loads(out[out.index("[") :])
    assert sum(row["num_failures"] for row in rows) == 0
    assert sum(row["num_requests"] for row in rows) > 10 * seconds
    print({row["name"]: row["num_requests"] for row in rows})
