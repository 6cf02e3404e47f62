"""What an HTTP client gets for an outcome: Open Inference V2 bodies, and one status per kind of refusal.

| outcome | status |
|---|---|
| Served, FellBack | 200 (a fall-back is told in `parameters`) |
| Invalid | 400 |
| Refused | 503 with Retry-After |
| Expired, or no answer in time | 504 with the request's id |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.events.inference import Expired, FellBack, Invalid, PredictionAnswered, Refused, Score, Served


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer: status, JSON body, headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


def turned_away(status: int, error: str, retry_after_s: float | None = None, request_id: str | None = None) -> Reply:
    """A refusal in V2's form.

    >>> turned_away(503, "busy", 1.0).headers
    {'Retry-After': '1'}
    """
    body = {"error": error} | ({"request_id": request_id} if request_id else {})
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
    return Reply(status, body, headers)


def reply_to(
    deployment: str, echo: str | None, request_ids: Sequence[str], answers: Sequence[PredictionAnswered | None]
) -> Reply:
    """The answer to all rows of one HTTP request; one row without a prediction refuses the whole, worst first.

    `echo`: the client's own `id`. `answers`: per row, None for one that did not come in time.
    """
    for request_id, answered in zip(request_ids, answers, strict=True):
        if answered is None:
            return turned_away(504, "no answer within the deadline", request_id=request_id)
        refusal = _refusal(answered)
        if refusal is not None:
            return refusal
    found = [answered for answered in answers if answered is not None]
    return Reply(200, _body(deployment, echo, found))


def _refusal(answered: PredictionAnswered) -> Reply | None:
    match answered.answer:
        case Invalid(reason, _):
            return turned_away(400, reason, request_id=answered.request_id)
        case Refused(reason, retry_after_s):
            return turned_away(503, reason, retry_after_s, answered.request_id)
        case Expired(late_ms):
            return turned_away(504, f"the deadline had passed by {late_ms} ms", request_id=answered.request_id)
        case Served() | FellBack():
            return None


def _body(deployment: str, echo: str | None, answers: Sequence[PredictionAnswered]) -> dict[str, Any]:
    scores = [answered.answer.score for answered in answers if isinstance(answered.answer, Served | FellBack)]
    versions = [score.version for score in scores]
    body = {
        "model_name": deployment,
        "model_version": str(versions[0]),
        "outputs": [_predictions(scores), _tensor("version", "INT64", [len(versions)], versions)],
        "parameters": _parameters(answers),
    }
    return body | ({"id": echo} if echo is not None else {})


def _predictions(scores: Sequence[Score]) -> dict[str, Any]:
    shares = [score.classes for score in scores if score.classes is not None]
    if len(shares) == len(scores):
        flat = [share for row in shares for share in row]
        return _tensor("classes", "FP64", [len(shares), len(shares[0])], flat)
    return _tensor("score", "FP64", [len(scores)], [score.value for score in scores])


def _tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _parameters(answers: Sequence[PredictionAnswered]) -> dict[str, Any]:
    """V2 allows only scalars here: what differs between rows is joined by commas, in the rows' order."""
    told = {
        "request_id": ",".join(answered.request_id for answered in answers),
        "outcome": ",".join("served" if isinstance(answered.answer, Served) else "fell_back" for answered in answers),
        "provisional": any(answered.provisional for answered in answers),
    }
    fell = [answered.answer for answered in answers if isinstance(answered.answer, FellBack)]
    if fell:
        told["rung"] = ",".join(a.answer.rung if isinstance(a.answer, FellBack) else "champion" for a in answers)
        told["reason"] = "; ".join(dict.fromkeys(answer.reason for answer in fell))
    missing = dict.fromkeys(name for answered in answers for name in answered.missing)
    stale = dict.fromkeys(name for answered in answers for name in answered.stale)
    gaps = {"missing": ",".join(missing), "stale": ",".join(stale)}
    return told | {kind: names for kind, names in gaps.items() if names}
