"""Whole answers, byte for byte where a client reads bytes: status, headers, type, every field."""

from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.asking.prediction import Prediction
from headrace_edge.rules.replies import Reply, error_reply
from headrace_gateway.core.answers import (
    HEADER_LENGTH,
    named_reply,
    outputs_of,
    parameters_of,
    v1_reply,
    v2_reply,
)
from headrace_gateway.core.calls import Asked
from headrace_gateway.core.tensors import to_binary


def answered(**changes: Any) -> Prediction:
    fields: dict[str, Any] = {
        "deployment": "delay",
        "request_id": "r1",
        "outcome": "served",
        "value": 0.25,
        "label": 0,
        "version": 3,
        "step": "champion",
        "decision_id": "d1",
    }
    return Prediction(**(fields | changes))


def by_the_prior(**changes: Any) -> Prediction:
    return answered(
        request_id="r2",
        outcome="fell_back",
        value=0.5,
        label=1,
        version=None,
        step="prior",
        decision_id="d2",
        reason="no version yet",
        **changes,
    )


def refused(**changes: Any) -> Prediction:
    fields: dict[str, Any] = {
        "request_id": "r9",
        "outcome": "refused",
        "reason": "overload",
        "retry_after_s": 2.5,
        "value": None,
    }
    return answered(**(fields | changes))


PARAMETERS = {
    "request_id": "r1",
    "decision_id": "d1",
    "outcome": "served",
    "step": "champion",
    "version": "3",
    "provisional": False,
}
SCORE = {"name": "score", "datatype": "FP64", "shape": [1], "data": [0.25]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}
VERSION = {"name": "version", "datatype": "INT64", "shape": [1], "data": [3]}
V2 = {"model_name": "delay", "model_version": "3", "parameters": PARAMETERS}


def as_values(reply: Reply) -> Any:
    return msgspec.json.decode(reply.body)


def test_an_answer_in_v2() -> None:
    reply = v2_reply(Asked((), 2000), [answered()])
    assert (reply.status, reply.headers, reply.content_type) == (200, {}, "application/json")
    assert as_values(reply) == V2 | {"outputs": [SCORE, LABEL, VERSION]}
    assert as_values(v2_reply(Asked((), 2000, "mine"), [answered()])) == V2 | {
        "id": "mine",
        "outputs": [SCORE, LABEL, VERSION],
    }


def test_the_version_of_the_prior_is_0() -> None:
    found = as_values(v2_reply(Asked((), 2000), [by_the_prior()]))
    assert (found["model_version"], found["outputs"][-1]["data"], found["parameters"]["version"]) == ("0", [0], "0")


@pytest.mark.parametrize(
    "asked",
    [Asked((), 2000, is_binary=True), Asked((), 2000, outputs=(("score", True), ("label", True), ("version", True)))],
)
def test_a_binary_answer_is_json_and_then_the_tensors_in_their_order(asked: Asked) -> None:
    reply = v2_reply(asked, [answered()])
    head = int(reply.headers[HEADER_LENGTH])
    assert (reply.status, list(reply.headers), reply.content_type) == (200, [HEADER_LENGTH], "application/octet-stream")
    sizes = {"parameters": {"binary_data_size": 8}}
    described = [{k: v for k, v in tensor.items() if k != "data"} | sizes for tensor in (SCORE, LABEL, VERSION)]
    assert msgspec.json.decode(reply.body[:head]) == V2 | {"outputs": described}
    assert reply.body[head:] == np.float64(0.25).tobytes() + np.int64(0).tobytes() + np.int64(3).tobytes()


def test_wanted_outputs_that_are_all_json_make_a_json_answer() -> None:
    reply = v2_reply(Asked((), 2000, outputs=(("label", False),)), [answered()])
    assert (as_values(reply), reply.content_type) == (V2 | {"outputs": [LABEL]}, "application/json")


def test_a_binary_tensor_holds_texts_with_their_lengths_and_a_missing_number_as_nan() -> None:
    assert to_binary("BYTES", ["Ü", 7]) == b"\x02\x00\x00\x00\xc3\x9c\x01\x00\x00\x007"
    missing, there = np.frombuffer(to_binary("FP64", [None, 1.5]), "<f8")
    assert np.isnan(missing)
    assert there == 1.5


def test_what_rows_share_stands_once_and_what_differs_in_the_order_of_the_rows() -> None:
    rows = [answered(missing=("a", "b"), stale=("s",)), by_the_prior(missing=("b", "c"), provisional=True)]
    assert parameters_of(rows) == {
        "request_id": "r1,r2",
        "decision_id": "d1,d2",
        "outcome": "served,fell_back",
        "step": "champion,prior",
        "version": "3,0",
        "provisional": True,
        "reason": "no version yet",
        "missing": "a,b,c",
        "stale": "s",
    }
    alike = parameters_of([answered(reason="x"), answered(reason="y")])
    assert (alike["outcome"], alike["step"], alike["version"], alike["reason"]) == ("served", "champion", "3", "x; y")
    nothing = parameters_of([answered(decision_id=None, step=None)])
    assert (nothing["decision_id"], nothing["step"]) == ("", "")


def tensors(*rows: Prediction) -> list[tuple[str, str, list[int], list[Any]]]:
    return [(found.name, found.datatype, found.shape, found.data) for found in outputs_of(rows)]


def test_classes_come_as_one_row_of_probabilities_per_question() -> None:
    of = {"value": None, "probabilities": {"cat": 0.2, "dog": 0.8}, "label": "dog"}
    assert tensors(answered(**of), answered(**of)) == [
        ("probabilities", "FP64", [2, 2], [0.2, 0.8, 0.2, 0.8]),
        ("label", "BYTES", [2], ["dog", "dog"]),
        ("version", "INT64", [2], [3, 3]),
    ]


def test_labels_of_one_tensor_have_one_type() -> None:
    assert tensors(answered(label="yes"), answered(label=None), answered(label=1))[1] == (
        "label",
        "BYTES",
        [3],
        ["yes", "", "1"],
    )
    assert tensors(answered(label=1), answered(label=None))[1] == ("label", "INT64", [2], [1, 0])
    assert [name for name, *_ in tensors(answered(label=None))] == ["score", "version"]


def test_an_answer_in_v1() -> None:
    reply = v1_reply([answered()])
    assert (reply.status, reply.headers, as_values(reply)) == (
        200,
        {},
        {"predictions": [0.25], "parameters": PARAMETERS},
    )
    of_classes = v1_reply([answered(value=None, probabilities={"a": 0.25, "b": 0.75})])
    assert as_values(of_classes)["predictions"] == [[0.25, 0.75]]


@pytest.mark.parametrize(("decision_id", "more"), [("d9", {"decision_id": "d9"}), (None, {})])
def test_one_row_that_is_refused_refuses_the_whole_and_is_named(decision_id: str | None, more: dict[str, str]) -> None:
    rows = [answered(), refused(decision_id=decision_id), refused(request_id="r10", outcome="invalid")]
    for reply in (v2_reply(Asked((), 2000), rows), v1_reply(rows)):
        assert (reply.status, reply.headers) == (503, {"Retry-After": "3"})
        assert as_values(reply) == {"error": "overload", "request_id": "r9", "outcome": "refused"} | more


def test_an_output_that_there_is_not() -> None:
    reply = v2_reply(Asked((), 2000, outputs=(("odds", False),)), [answered()])
    assert (reply.status, as_values(reply)) == (
        400,
        {"error": "there is no output 'odds'; there are score, label, version"},
    )


@pytest.mark.parametrize(("wait_s", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2")])
def test_a_client_is_told_to_wait_whole_seconds_and_one_at_least(wait_s: float, header: str) -> None:
    assert error_reply(429, "busy", wait_s).headers == {"Retry-After": header}


def test_people_read_each_row_with_its_own_outcome() -> None:
    reply = named_reply(Asked((), 2000), [answered(), refused()])
    assert (reply.status, reply.headers) == (200, {})
    row = {
        "deployment": "delay", "request_id": "r1", "outcome": "served", "value": 0.25, "label": 0, "version": 3, "step": "champion",
        "reason": "", "missing": [], "stale": [], "provisional": False, "decision_id": "d1",
    }  # fmt: skip
    wrong = {
        "request_id": "r9",
        "outcome": "refused",
        "value": None,
        "reason": "overload",
        "retry_after_s": 2.5,
        "error": "overload",
    }
    assert as_values(reply) == {"rows": [row, row | wrong]}
    one = named_reply(Asked((), 2000, is_list=False), [answered(value=None, probabilities={"a": 0.25, "b": 0.75})])
    assert as_values(one) == row | {"value": None, "probabilities": {"a": 0.25, "b": 0.75}}


def test_people_get_the_status_of_the_first_row_where_none_has_an_answer() -> None:
    reply = named_reply(Asked((), 2000), [refused(), refused(outcome="expired", retry_after_s=None)])
    assert (reply.status, reply.headers) == (503, {"Retry-After": "3"})
    late = named_reply(Asked((), 2000), [refused(outcome="expired", retry_after_s=None), refused()])
    assert (late.status, late.headers) == (504, {})


def test_a_header_is_added_and_nothing_else_changes() -> None:
    reply = Reply(401, b"x", {"a": "1"}, "text/plain").with_header("b", "2")
    assert reply == Reply(401, b"x", {"a": "1", "b": "2"}, "text/plain")


def test_half_of_a_surrogate_pair_in_a_reason_does_not_break_the_answer() -> None:
    reply = error_reply(400, f"got 'ä{chr(0xD800)}'", more="ü")
    assert reply.body.decode() == '{"error":"got \'ä\\\\ud800\'","more":"ü"}'
