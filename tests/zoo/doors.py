"""The ways in: HTTP by name, V2 with binary tensors, the client, and the client straight over Kafka. Each returns scores, (n, values)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np
from tests.zoo.keeping import Kept

from headrace.asking.prediction import Prediction
from headrace_cli.client import AsyncClient

Inputs = Sequence[Mapping[str, Any]]


async def by_http(web: httpx.AsyncClient, kept: Kept, inputs: Inputs) -> np.ndarray:
    """`POST /v1/deployments/NAME/predict`."""
    rows = [{"inputs": dict(found)} for found in inputs]
    answer = await web.post(f"/v1/deployments/{kept.exhibit.name}/predict", json={"rows": rows, "deadline_ms": 30_000})
    assert answer.status_code == 200, answer.text[:500]
    predictions = answer.json()["rows"]
    return _scores(kept, [(found["outcome"], found.get("value"), found.get("probabilities")) for found in predictions])


async def by_client(client: AsyncClient, kept: Kept, inputs: Inputs) -> np.ndarray:
    """`predict_many`, over HTTP or over Kafka."""
    found: list[Prediction] = await client.predict_many(kept.exhibit.name, list(inputs), deadline_s=30)
    return _scores(kept, [(one.outcome, one.value, one.probabilities) for one in found])


async def by_v2(web: httpx.AsyncClient, kept: Kept, inputs: Inputs) -> np.ndarray:
    """`POST /v2/models/NAME/infer`, all tensors binary. A null word has no bytes: such rows go without that tensor."""
    found: dict[int, np.ndarray] = {}
    gaps = [tuple(name for name in kept.exhibit.words if one[name] is None) for one in inputs]
    for left_out in sorted(set(gaps)):
        places = [place for place, gap in enumerate(gaps) if gap == left_out]
        scores = await _by_v2(web, kept, [inputs[place] for place in places], left_out)
        found.update(zip(places, scores, strict=True))
    return np.array([found[place] for place in range(len(inputs))])


async def _by_v2(web: httpx.AsyncClient, kept: Kept, inputs: Inputs, left_out: tuple[str, ...]) -> np.ndarray:
    tensors, parts = [], []
    for field in kept.exhibit.inputs:
        if field.name in left_out:
            continue
        is_text = field.name in kept.exhibit.words
        raw = _texts([one[field.name] for one in inputs]) if is_text else _numbers([one[field.name] for one in inputs])
        parts.append(raw)
        size = {"binary_data_size": len(raw)}
        kind = "BYTES" if is_text else "FP64"
        tensors.append({"name": field.name, "shape": [len(inputs)], "datatype": kind, "parameters": size})
    wanted = "probabilities" if kept.agreed.answers.output == "classes" else "score"
    head = json.dumps({"inputs": tensors, "parameters": {"deadline_ms": 30_000}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = await web.post(f"/v2/models/{kept.exhibit.name}/infer", content=b"".join([head, *parts]), headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    outputs = {found["name"]: found for found in answer.json()["outputs"]}
    assert wanted in outputs, list(outputs)
    return np.array(outputs[wanted]["data"], np.float64).reshape(len(inputs), -1)


def _numbers(values: Sequence[float | None]) -> bytes:
    return np.array([np.nan if value is None else value for value in values], "<f8").tobytes()


def _texts(values: Sequence[str]) -> bytes:
    return b"".join(len(raw).to_bytes(4, "little") + raw for raw in (value.encode() for value in values))


def _scores(kept: Kept, answers: Sequence[tuple[str, float | None, Mapping[str, float] | None]]) -> np.ndarray:
    classes = kept.agreed.answers.classes
    is_many = kept.agreed.answers.output == "classes"
    assert {outcome for outcome, _, _ in answers} == {"served"}
    if is_many:
        return np.array([[(probabilities or {})[name] for name in classes] for _, _, probabilities in answers])
    return np.array([[value] for _, value, _ in answers], np.float64)
