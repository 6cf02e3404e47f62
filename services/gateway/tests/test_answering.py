"""What an outcome becomes over HTTP: status, outputs and words."""

from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.asking.prediction import OutputKind, predicted
from headrace.events.inference import Expired, FellBack, Invalid, PredictionAnswered, Refused, Score, Served
from headrace_edge.rules.replies import Reply
from headrace_gateway.core.answers import named_reply, v1_reply, v2_reply
from headrace_gateway.core.calls import Asked


def served(value: float | None = 0.5, **changes: Any) -> PredictionAnswered:
    answered = PredictionAnswered("r1", "delay", Served(Score(3, "d", value)))
    return msgspec.structs.replace(answered, **changes)


def predictions(*answers: PredictionAnswered | None, kind: OutputKind = OutputKind()) -> list[Any]:  # noqa: B008 - frozen
    return [predicted("delay", f"r{n}", answered, lambda _: kind, 2000) for n, answered in enumerate(answers)]


def v2(*answers: PredictionAnswered | None, kind: OutputKind = OutputKind(), **ask: Any) -> Reply:  # noqa: B008
    return v2_reply(Asked((), 2000, **ask), predictions(*answers, kind=kind))


def test_a_prediction_is_200_with_score_label_and_version() -> None:
    reply = v2(served(0.25), served(0.75), echo="mine")
    body = msgspec.json.decode(reply.body)
    assert reply.status == 200
    assert (body["id"], body["model_version"]) == ("mine", "3")
    assert body["outputs"] == [
        {"name": "score", "datatype": "FP64", "shape": [2], "data": [0.25, 0.75]},
        {"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 1]},
        {"name": "version", "datatype": "INT64", "shape": [2], "data": [3, 3]},
    ]


def test_a_number_has_no_label() -> None:
    body = msgspec.json.decode(v2(served(17.5), kind=OutputKind("number")).body)
    assert [output["name"] for output in body["outputs"]] == ["score", "version"]


def test_classes_come_as_rows_of_shares_with_the_name_of_the_likeliest() -> None:
    kind = OutputKind("classes", ("cat", "dog"))
    body = msgspec.json.decode(v2(served(answer=Served(Score(3, "d", None, (0.2, 0.8)))), kind=kind).body)
    assert body["outputs"][0] == {"name": "probabilities", "datatype": "FP64", "shape": [1, 2], "data": [0.2, 0.8]}
    assert body["outputs"][1] == {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["dog"]}


def test_only_the_wanted_outputs_come_each_as_it_is_wanted() -> None:
    reply = v2(served(0.25), outputs=(("version", True), ("score", False)))
    head = int(reply.headers["Inference-Header-Content-Length"])
    body = msgspec.json.decode(reply.body[:head])
    assert [output["name"] for output in body["outputs"]] == ["version", "score"]
    assert body["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(reply.body[head:], "<i8").tolist() == [3]


def test_an_output_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    reply = v2(served(), outputs=(("confidence", False),))
    assert (reply.status, b"score, label, version" in reply.body) == (400, True)


def test_a_fall_back_is_200_and_says_so() -> None:
    fell = FellBack("prior", "no version yet", Score(0, "", 0.26))
    reply = v2(served(answer=fell, missing=("carrier.mean",), stale=("origin.mean",), provisional=True))
    parameters = msgspec.json.decode(reply.body)["parameters"]
    assert reply.status == 200
    assert {name: parameters[name] for name in ("outcome", "step", "version", "reason", "missing", "stale")} == {
        "outcome": "fell_back",
        "step": "prior",
        "version": "0",
        "reason": "no version yet",
        "missing": "carrier.mean",
        "stale": "origin.mean",
    }
    assert parameters["provisional"] is True


@pytest.mark.parametrize(
    ("answered", "status", "outcome"),
    [
        (served(answer=Invalid("miles is missing", "miles")), 400, "invalid"),
        (served(answer=Refused("overload", 2.5)), 503, "refused"),
        (served(answer=Expired(12)), 504, "expired"),
        (None, 504, "unknown"),
    ],
)
def test_each_refusal_has_its_status_and_names_the_request(
    answered: PredictionAnswered | None, status: int, outcome: str
) -> None:
    for reply in (v2(served(), answered), v1_reply(predictions(served(), answered))):
        body = msgspec.json.decode(reply.body)
        assert (reply.status, body["request_id"], body["outcome"]) == (status, "r1", outcome)
        assert reply.headers.get("Retry-After") == ("3" if status == 503 else None)


def test_for_people_each_row_has_its_own_outcome() -> None:
    invalid = served(answer=Invalid("miles is missing", "miles"))
    reply = named_reply(Asked((), 2000), predictions(served(0.75), invalid))
    rows = msgspec.json.decode(reply.body)["rows"]
    assert reply.status == 200
    assert [(row["outcome"], row["value"], row["reason"]) for row in rows] == [
        ("served", 0.75, ""),
        ("invalid", None, "miles is missing"),
    ]
    assert named_reply(Asked((), 2000, is_list=False), predictions(invalid)).status == 400
