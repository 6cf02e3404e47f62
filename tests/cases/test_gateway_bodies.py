"""How a body over HTTP is read, and the error where it cannot be read: values only, no sockets."""

import json
import math
import os
import time
from typing import Any

import numpy as np
import pytest

from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.log.topics import Topics
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_edge.rules.replies import error_reply
from headrace_gateway.core.calls import Asked, Call, Unclear
from headrace_gateway.core.requests import read_named, read_v1, read_v2
from headrace_gateway.settings import Limits

NOW_S = 1_700_000_000.0
TWO = compile_project(Project("p", [Deployment("two", unit="user", inputs=[Number("a"), Number("b", nullable=True)])]))
TEXT = compile_project(Project("p", [Deployment("text", unit="user", inputs=[Number("a"), Category("c")])]))


def call(project: Any = TWO, **more: Any) -> Call:
    return Call(
        **({"deployment": project.deployments[0], "limits": Limits(), "now_s": NOW_S, "make_id": lambda: "id"} | more)
    )


def tensor(name: str, data: Any, datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data} | more


def v2(*inputs: Any, **body: Any) -> Asked | Unclear:
    return read_v2(json.dumps({"inputs": list(inputs)} | body).encode(), call())


def reason(found: Asked | Unclear) -> str:
    assert isinstance(found, Unclear), found
    return found.reason


def rows(found: Asked | Unclear) -> list[dict[str, Any]]:
    assert isinstance(found, Asked), found
    return [question.request.inputs for question in found.questions]


def units(found: Asked | Unclear) -> list[str | None]:
    assert isinstance(found, Asked), found
    return [question.request.unit for question in found.questions]


# Case 25: shape and data that contradict each other


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([2, 2], [[1, 2, 3], [4]]),
        ([2, 2], [[1, 2], [3, 4], [5, 6]]),
        ([2, 2], [[1, 2], 3, 4]),
        ([2, 2], [1, [2, 3, 4]]),
        ([2, 2], [[[1, 2]], [[3, 4]]]),
        ([2, 2], [1, 2, 3]),
        ([2, 2], []),
        ([2, 2], [[], []]),
        ([0, 2], []),
        ([1], [[1]]),
        ([2], [[1, 2]]),
        ([], [1]),
        ([-1, 2], [1, 2]),
        ([10**30, 2], [1, 2]),
        ([9999] * 5000, [1]),
        ([2] * 9, [1]),
    ],
)
def test_a_matrix_whose_shape_and_data_contradict_each_other_is_400(shape: list[int], data: Any) -> None:
    assert "shape" in (message := reason(v2(tensor("x", data, shape=shape)))) or "rows" in message
    assert len(message) < 300


def test_a_matrix_is_read_flat_or_nested_as_its_shape_requires() -> None:
    wanted = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert rows(v2(tensor("x", [1, 2, 3, 4], shape=[2, 2]))) == wanted
    assert rows(v2(tensor("x", [[1, 2], [3, 4]], shape=[2, 2]))) == wanted
    assert rows(v2(tensor("a", [[1], [3]], shape=[2, 1]), tensor("b", [2, 4], shape=[2, 1]))) == wanted


# Case 24: null is absent


@pytest.mark.parametrize("name", ["parameters", "outputs", "id"])
def test_a_null_in_a_v2_body_is_absent(name: str) -> None:
    assert rows(v2(tensor("a", [1]), **{name: None})) == [{"a": 1}]


def test_null_parameters_of_tensors_outputs_and_v1_are_absent() -> None:
    assert rows(v2(tensor("a", [1], parameters=None), outputs=[{"name": "score", "parameters": None}])) == [{"a": 1}]
    assert rows(read_v1(b'{"instances": [{"a": 1}], "parameters": null}', call())) == [{"a": 1}]
    nulls = b'{"inputs": {"a": 1}, "rows": null, "unit": null, "at": null, "deadline_ms": null}'
    assert rows(read_named(nulls, call())) == [{"a": 1}]


# Case 15: one unit, one instant


def test_a_unit_is_the_same_by_every_way_in_and_type() -> None:
    given = [
        v2(tensor("a", [1]), tensor("user", [5.0])),
        v2(tensor("a", [1]), tensor("user", [5], "INT64")),
        v2(tensor("a", [1]), tensor("user", ["5"], "BYTES")),
        v2(tensor("a", [1]), parameters={"unit": 5.0}),
        read_v1(b'{"instances": [{"a": 1, "user": 5.0}]}', call()),
        read_v1(b'{"instances": [{"a": 1}], "parameters": {"unit": 5}}', call()),
        read_named(b'{"inputs": {"a": 1}, "unit": 5}', call()),
        read_named(b'{"inputs": {"a": 1}, "unit": "5"}', call()),
        read_named(b'{"rows": [{"inputs": {"a": 1}, "unit": 5.0}]}', call()),
        binary_unit("FP64", np.float64(5).tobytes()),
        binary_unit("FP32", np.float32(5).tobytes()),
        binary_unit("INT64", np.int64(5).tobytes()),
    ]
    assert [units(found) for found in given] == [["5"]] * len(given)


def binary_unit(datatype: str, raw: bytes) -> Asked | Unclear:
    described = {"name": "user", "shape": [1], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor("a", [1]), described]}).encode()
    return read_v2(head + raw, call(json_bytes=len(head)))


@pytest.mark.parametrize("unit", [True, [], {}, "x" * 600])
def test_what_is_no_unit_is_400_by_every_way_in(unit: Any) -> None:
    assert "unit" in reason(v2(tensor("a", [1]), parameters={"unit": unit}))
    assert "user" in reason(read_v1(json.dumps({"instances": [{"a": 1, "user": unit}]}).encode(), call()))
    assert "unit" in reason(read_named(json.dumps({"inputs": {"a": 1}, "unit": unit}).encode(), call()))


def test_a_unit_is_bounded_in_bytes_as_where_it_is_read_so_that_none_that_is_asked_becomes_a_dead_letter() -> None:
    codec = Codec(topics := Topics.load())

    def asked(unit: str) -> Asked | Unclear:
        return read_named(json.dumps({"inputs": {"a": 1}, "unit": unit}).encode(), call())

    found = asked("é" * 256)
    assert isinstance(found, Asked)
    request = out(topics.name("inference.requests"), "k", found.questions[0].request, Envelope("r", "", "test", 0.0))
    assert (
        codec.decode(Record(request.topic, 0, 0, request.key, request.value, request.headers)).event.unit == "é" * 256
    )
    assert reason(asked("é" * 257)) == "unit may have 512 bytes at most in UTF-8, got 514"


def test_a_unit_that_is_nan_or_a_bool_tensor_is_400() -> None:
    assert "unit" in reason(binary_unit("FP64", np.float64(math.nan).tobytes()))
    assert "unit" in reason(binary_unit("BOOL", b"\x01"))


@pytest.mark.parametrize(
    "at",
    [True, False, [], {}, "yesterday", "", "2013", 10**400, -1, 1e300, "x" * 5000, "2500-01-01T00:00:00Z", NOW_S + 301],
)
def test_an_instant_that_is_none_or_lies_ahead_is_400_and_names_the_field(at: Any) -> None:
    if at == "2013":
        at = "20:13"
    assert reason(v2(tensor("a", [1]), parameters={"at": at})).startswith("parameters.at ")
    message = reason(read_named(json.dumps({"inputs": {"a": 1}, "at": at}).encode(), call()))
    assert "at" in message
    assert len(message) < 400


def test_an_instant_a_little_ahead_is_asked_for() -> None:
    assert isinstance(v2(tensor("a", [1]), parameters={"at": NOW_S + 299}), Asked)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC"])
def test_an_instant_without_a_zone_is_utc_whatever_the_machines_zone_is(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "TZ", zone)
    time.tzset()
    try:
        found = v2(tensor("a", [1]), parameters={"at": "2013-03-10T12:30:00"})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert isinstance(found, Asked)
    assert found.questions[0].at_s == 1_362_918_600.0


# Case 26: the error messages


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "`inputs` (one thing) or `rows` (a list of them) is missing"),
        (b'{"inputs": {"a": 1}, "rows": []}', "not both"),
        (b'{"inputs": {"a": NaN}}', "inputs.a: NaN and infinities are no numbers of JSON"),
        (b'{"rows": [{"inputs": {"a": 1}}, {"inputs": {"a": -Infinity}}]}', "rows[1].inputs.a: NaN"),
        (b'{"inputs": {"a": 1e400}}', "inputs.a: NaN"),
        (b'{"inputs": {"a": "\xff"}}', "not a prediction request"),
        (b'{"inputs": {"a": "\\ud800"}}', "not a prediction request"),
        (b"[" * 3000, "not a prediction request"),
        (b'{"inputs": {"a": [1]}}', "input a must be a number, text, true, false or null, got list"),
        (b'{"inputs": {"a": 1%s}}' % (b"0" * 400), "input a: an integer of 1329 bits"),
    ],
)
def test_a_body_for_people_that_cannot_be_asked_is_refused_with_what_is_wrong_where(body: bytes, message: str) -> None:
    assert message in reason(read_named(body, call()))


def test_nan_in_a_v2_body_names_the_input() -> None:
    body = json.dumps({"inputs": [tensor("a", [1.0, math.nan])]}).encode()
    assert reason(read_v2(body, call())).startswith("input a.data[1]: NaN")


@pytest.mark.parametrize("reader", [read_v2, read_v1, read_named])
@pytest.mark.parametrize(
    "body", [b'"\xff"', b'{"inputs": "\xed\xa0\x80"}', b'{"id": "\\udc00"}', b"\x00", b"[" * 60_000, b'{"a":' * 12_000]
)
def test_bytes_that_are_no_text_or_nested_without_end_are_unclear(reader: Any, body: bytes) -> None:
    assert len(reason(reader(body, call()))) < 500


@pytest.mark.parametrize("reader", [read_v2, read_v1, read_named])
def test_the_answer_to_a_body_is_text_whatever_the_body_holds(reader: Any) -> None:
    answer = error_reply(400, reason(reader(b'{"name": "\\udc00", "id": 1e400}', call())))
    assert "udc00.id: NaN and infinities are no numbers of JSON" in json.loads(answer.body.decode())["error"]


# Bounds


def test_an_output_is_asked_for_once() -> None:
    assert "once" in reason(v2(tensor("a", [1]), outputs=[{"name": "score"}] * 2000))
    assert "once" in reason(v2(tensor("a", [1]), outputs=[{"name": f"o{n}"} for n in range(17)]))


@pytest.mark.parametrize(
    ("key", "tenant"),
    [("x" * 509, None), ("x" * 60_000, None), ("é" * 300, None), ("x" * 400, "t" * 110), ("a\nb", None)],
)
def test_a_key_that_makes_ids_of_more_than_512_bytes_is_400(key: str, tenant: str | None) -> None:
    found = read_named(b'{"inputs": {"a": 1}}', call(key=key, tenant=tenant))
    assert "Idempotency-Key" in (message := reason(found))
    assert len(message) < 300


def test_no_message_repeats_more_than_a_line_of_what_was_sent() -> None:
    long = "x" * 60_000
    bodies = [
        {"inputs": [tensor(long, [1])]},
        {"inputs": [tensor("a", [1], long)]},
        {"inputs": [tensor("a", [long])]},
        {"inputs": [tensor("a", [1])], "parameters": {"deadline_ms": long}},
        {"inputs": [tensor("a", [1], parameters={"binary_data_size": long})]},
        {"inputs": [tensor("user", [long], "BYTES")]},
    ]
    for body in bodies:
        assert len(reason(read_v2(json.dumps(body).encode(), call()))) < 400
    assert len(reason(read_named(json.dumps({"inputs": {long: []}}).encode(), call(TEXT)))) < 400
