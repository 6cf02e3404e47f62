"""What an HTTP client receives for an outcome, in three dialects, and one status per kind of refusal.

| outcome | status |
|---|---|
| served, fell_back | 200 (`parameters` name a fallback) |
| invalid | 400 |
| refused | 503 with Retry-After |
| expired, or unknown: no answer in time | 504 with the request's id |

V2 allows only scalars in `parameters`: what all rows share stands once, what differs is joined by commas in the order of the rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.asking.prediction import CLASSES, NUMBER, OutputKind, Prediction
from headrace_edge.rules.replies import Reply, as_json, error_reply
from headrace_gateway.core.calls import Asked
from headrace_gateway.core.tensors import to_binary

BINARY_TYPE = "application/octet-stream"
HEADER_LENGTH = "Inference-Header-Content-Length"
STATUS = {"served": 200, "fell_back": 200, "invalid": 400, "refused": 503, "expired": 504, "unknown": 504}


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer, in V2's words."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


_ENCODE = msgspec.json.Encoder().encode


def refusal_of(predictions: Sequence[Prediction]) -> Reply | None:
    """One row without a prediction refuses the whole, the first one; None when all have one."""
    failed = next((found for found in predictions if not found.is_answered), None)
    if failed is None:
        return None
    ids = {"request_id": failed.request_id, "outcome": failed.outcome}
    ids |= {"decision_id": failed.decision_id} if failed.decision_id else {}
    return error_reply(STATUS[failed.outcome], failed.reason, failed.retry_after_s, **ids)


def v2_reply(asked: Asked, predictions: Sequence[Prediction]) -> Reply:
    """The answer in V2, as JSON or with a binary part."""
    refusal = refusal_of(predictions)
    if refusal is not None:
        return refusal
    outputs = {output.name: output for output in outputs_of(predictions)}
    wanted = asked.outputs or tuple((name, asked.is_binary) for name in outputs)
    unknown = [name for name, _ in wanted if name not in outputs]
    if unknown:
        return error_reply(400, f"there is no output {unknown[0]!r}; there are {', '.join(outputs)}")
    body = {
        "model_name": predictions[0].deployment,
        "model_version": str(predictions[0].version or 0),
        "parameters": parameters_of(predictions),
    }
    return _assembled(
        body | ({"id": asked.echo} if asked.echo is not None else {}),
        [(outputs[name], binary) for name, binary in wanted],
    )


def _assembled(body: dict[str, Any], chosen: Sequence[tuple[Output, bool]]) -> Reply:
    described, tail = [], []
    for output, binary in chosen:
        head: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if binary:
            tail.append(to_binary(output.datatype, output.data))
            described.append(head | {"parameters": {"binary_data_size": len(tail[-1])}})
        else:
            described.append(head | {"data": output.data})
    text = _ENCODE(body | {"outputs": described})
    if not tail:
        return Reply(200, text)
    return Reply(200, b"".join([text, *tail]), {HEADER_LENGTH: str(len(text))}, BINARY_TYPE)


def outputs_of(predictions: Sequence[Prediction]) -> list[Output]:
    """The tensors of an answer: `score` or `probabilities`, `label` where there are classes, and `version` (0: the prior)."""
    rows = [len(predictions)]
    versions = Output("version", "INT64", rows, [found.version or 0 for found in predictions])
    labels = [found.label for found in predictions]
    if all(found.probabilities for found in predictions):
        flat = [one for found in predictions for one in found.probabilities.values()]
        main = Output("probabilities", "FP64", [*rows, len(predictions[0].probabilities)], flat)
    else:
        main = Output("score", "FP64", rows, [found.value for found in predictions])
    if all(label is None for label in labels):
        return [main, versions]
    is_text = any(isinstance(label, str) for label in labels)
    return [main, Output("label", "BYTES" if is_text else "INT64", rows, _labels(labels, is_text)), versions]


def _labels(labels: Sequence[str | int | None], is_text: bool) -> list[Any]:
    return ["" if label is None else str(label) for label in labels] if is_text else [label or 0 for label in labels]


def described_outputs(kind: OutputKind) -> list[dict[str, Any]]:
    """The outputs in V2's metadata."""
    version = {"name": "version", "datatype": "INT64", "shape": [-1]}
    label = {"name": "label", "datatype": "BYTES" if kind.classes else "INT64", "shape": [-1]}
    if kind.kind == CLASSES:
        main = {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(kind.classes) or -1]}
        return [main | _named_classes(kind), label | _named_classes(kind), version]
    score = {"name": "score", "datatype": "FP64", "shape": [-1]}
    return [score, version] if kind.kind == NUMBER else [score, label | _named_classes(kind), version]


def _named_classes(kind: OutputKind) -> dict[str, Any]:
    """What the classes are called, in the order of their probabilities. V2 allows only scalars: joined by commas."""
    return {"parameters": {"classes": ",".join(kind.classes)}} if kind.classes else {}


def parameters_of(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """How an answer came about, in V2's `parameters`."""
    shared: dict[str, Any] = {
        "request_id": ",".join(found.request_id for found in predictions),
        "decision_id": ",".join(found.decision_id or "" for found in predictions),
        "outcome": _joined(found.outcome for found in predictions),
        "step": _joined(found.step or "" for found in predictions),
        "version": _joined(str(found.version or 0) for found in predictions),
        "provisional": any(found.provisional for found in predictions),
    }
    gaps = {
        "reason": "; ".join(dict.fromkeys(found.reason for found in predictions if found.reason)),
        "missing": ",".join(dict.fromkeys(name for found in predictions for name in found.missing)),
        "stale": ",".join(dict.fromkeys(name for found in predictions for name in found.stale)),
    }
    return shared | {kind: names for kind, names in gaps.items() if names}


def _joined(words: Iterable[str]) -> str:
    """One word where all rows share it, else those of the rows, joined by commas.

    >>> _joined(["a", "a"]), _joined(["a", "b"])
    ('a', 'a,b')
    """
    found = list(words)
    return found[0] if len(found) == 1 or len(set(found)) == 1 else ",".join(found)


def v1_reply(predictions: Sequence[Prediction]) -> Reply:
    """The answer in KServe's V1: per instance the figure, or the probabilities of the classes in their order."""
    refusal = refusal_of(predictions)
    if refusal is not None:
        return refusal
    figures = [list(found.probabilities.values()) if found.probabilities else found.value for found in predictions]
    return as_json(200, {"predictions": figures, "parameters": parameters_of(predictions)})


def named_reply(asked: Asked, predictions: Sequence[Prediction]) -> Reply:
    """The answer for people: each row with its own outcome. The status is the first row's where no row got a prediction."""
    status = 200 if any(found.is_answered for found in predictions) else STATUS[predictions[0].outcome]
    headers: dict[str, str] = {}
    if status != 200:
        headers = error_reply(status, "", predictions[0].retry_after_s).headers
    rows = [_named(found) for found in predictions]
    return as_json(status, {"rows": rows} if asked.is_list else rows[0], headers)


def _named(found: Prediction) -> dict[str, Any]:
    row = {name: getattr(found, name) for name in found.__struct_fields__}
    if not found.probabilities:
        del row["probabilities"]
    if found.retry_after_s is None:
        del row["retry_after_s"]
    return row | ({} if found.is_answered else {"error": found.reason})
