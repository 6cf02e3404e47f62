"""What a body asks, in each of its forms: requests, or a sentence that says what is wrong with it."""

import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_gateway.core.calls import Asked, Call, Unclear
from headrace_gateway.core.requests import read_named, read_v1, read_v2
from headrace_gateway.settings import Limits

NOW_S = 1_364_860_800.0
LIMITS = Limits()

DELAY = compile_project(
    Project("p", [Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")])])
).deployment("delay")
NUMBERS = compile_project(
    Project("p", [Deployment("numbers", unit="id", inputs=[Number("a"), Number("b", nullable=True)])])
).deployment("numbers")


def tensor(name: str, *data: Any, datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": list(data)}


def text(name: str, *data: Any) -> dict[str, Any]:
    return tensor(name, *data, datatype="BYTES")


def ids() -> Callable[[], str]:
    numbers = iter(range(1000))
    return lambda: f"id-{next(numbers)}"


def call(**more: Any) -> Call:
    return Call(**({"deployment": DELAY, "limits": LIMITS, "now_s": NOW_S, "make_id": ids()} | more))


def read(*inputs: dict[str, Any], key: str | None = None, **body: Any) -> Asked | Unclear:
    return read_v2(msgspec.json.encode({"inputs": list(inputs)} | body), call(key=key))


def asked(*inputs: dict[str, Any], **more: Any) -> Asked:
    found = read(*inputs, **more)
    assert isinstance(found, Asked), found
    return found


def binary(*tensors: tuple[str, str, list[int], bytes], deployment: Any = DELAY, cut: int = 0) -> Asked | Unclear:
    """A V2 body whose tensors all lie in its binary part; `cut`: bytes missing at the end."""
    described = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        for name, datatype, shape, raw in tensors
    ]
    head = msgspec.json.encode({"inputs": described})
    body = b"".join([head, *(raw for _, _, _, raw in tensors)])
    return read_v2(body[: len(body) - cut], call(deployment=deployment, json_bytes=len(head)))


def test_several_rows_are_several_requests() -> None:
    found = asked(tensor("miles", 1, 2), text("carrier", "AA", "UA"), id="mine")
    assert [q.request.inputs for q in found.questions] == [
        {"miles": 1, "carrier": "AA"},
        {"miles": 2, "carrier": "UA"},
    ]
    assert [q.request_id for q in found.questions] == ["id-0", "id-1"]
    assert found.echo == "mine"


def test_a_column_may_be_nested() -> None:
    found = asked(tensor("miles", [1.0], [2.0], shape=[2, 1]))
    assert [q.request.inputs["miles"] for q in found.questions] == [1.0, 2.0]


def test_one_matrix_holds_all_inputs_in_their_order() -> None:
    body = msgspec.json.encode({"inputs": [tensor("x", [1, 2], [3, 4], shape=[2, 2])]})
    found = read_v2(body, call(deployment=NUMBERS))
    assert isinstance(found, Asked)
    assert [q.request.inputs for q in found.questions] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_the_unit_is_a_tensor_of_its_name_else_the_parameter_else_the_requests_id() -> None:
    rows = tensor("miles", 1, 2)
    assert [q.request.unit for q in asked(rows, text("flight", "F1", "F2")).questions] == ["F1", "F2"]
    assert [q.request.unit for q in asked(rows, parameters={"unit": "F"}).questions] == ["F", "F"]
    assert [q.request.unit for q in asked(rows).questions] == ["id-0", "id-1"]


@pytest.mark.parametrize("at", ["2013-04-01T12:00:00Z", "2013-04-01T14:00:00+02:00", 1_364_817_600])
def test_the_instant_is_rfc_3339_or_seconds(at: Any) -> None:
    assert asked(tensor("miles", 1), parameters={"at": at}).questions[0].at_s == 1_364_817_600.0


def test_without_an_instant_it_is_now() -> None:
    assert asked(tensor("miles", 1)).questions[0].at_s == NOW_S


def test_an_idempotency_key_is_the_request_id() -> None:
    assert asked(tensor("miles", 1), key="k").questions[0].request_id == "k"
    assert [q.request_id for q in asked(tensor("miles", 1, 2), key="k").questions] == ["k/0", "k/1"]


def test_a_tenants_key_is_not_another_tenants() -> None:
    body = msgspec.json.encode({"inputs": [tensor("miles", 1)]})
    found = read_v2(body, call(key="k", tenant="shop"))
    assert isinstance(found, Asked)
    assert (found.questions[0].request_id, found.questions[0].tenant) == ("shop/k", "shop")


@pytest.mark.parametrize(
    ("inputs", "more", "reason"),
    [
        ([tensor("height", 1)], {}, "takes no input 'height'"),
        ([tensor("miles", 1, 2), text("carrier", "AA")], {}, "same number of rows"),
        ([tensor("miles", 1), tensor("miles", 1)], {}, "given twice"),
        ([tensor("miles", 1, 2, shape=[1, 2])], {}, "shape must be"),
        ([tensor("miles", 1, shape=[2])], {}, "wants 2 values"),
        ([tensor("miles", 1, shape=[-1])], {}, "shape must be"),
        ([tensor("miles", "x")], {}, "is not a number"),
        ([text("carrier", 1)], {}, "is not text"),
        ([tensor("miles", 1, datatype="FP128")], {}, "datatype"),
        ([tensor("miles", *range(300))], {}, "1..256 rows"),
        ([tensor("miles", shape=[0])], {}, "1..256 rows"),
        ([{"name": "miles", "shape": [1], "datatype": "FP64"}], {}, "neither data nor binary_data_size"),
        ([tensor("miles", 1)], {"parameters": {"at": "yesterday"}}, "RFC 3339"),
        ([tensor("miles", 1)], {"parameters": {"at": 1e300}}, "years"),
        ([tensor("miles", 1)], {"parameters": {"deadline_ms": -1}}, "deadline_ms"),
        ([tensor("miles", 1)], {"parameters": {"unit": []}}, "unit"),
        ([tensor("miles", 1)], {"key": "a\nb"}, "Idempotency-Key"),
    ],
)
def test_a_body_that_cannot_be_answered_says_why(inputs: list[Any], more: dict[str, Any], reason: str) -> None:
    found = read(*inputs, **more)
    assert isinstance(found, Unclear)
    assert reason in found.reason


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"inputs": 1}', b"\xff", b'{"inputs": [{"name": NaN}]}', b"[" * 60_000]
)
@pytest.mark.parametrize("reader", [read_v2, read_v1, read_named])
def test_bytes_that_are_no_request_are_unclear(reader: Callable[[bytes, Call], Any], body: bytes) -> None:
    assert isinstance(reader(body, call()), Unclear)


def test_an_integer_beyond_64_bits_is_the_number_that_it_means_or_refused() -> None:
    raw = b'{"inputs": [{"name": "miles", "shape": [1], "datatype": "FP64", "data": [%s]}]}'
    found = read_v2(raw % (b"1" + b"0" * 30), call())
    assert isinstance(found, Asked)
    assert found.questions[0].request.inputs["miles"] == 1e30
    assert isinstance(read_v2(raw % (b"1" + b"0" * 400), call()), Unclear)


NUMERIC = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BOOL": "?"} | {
    f"{kind}{bits}": f"<{kind[0].lower()}{bits // 8}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)
}


@pytest.mark.parametrize("datatype", NUMERIC)
def test_a_binary_tensor_of_every_datatype_holds_the_same_numbers_as_json(datatype: str) -> None:
    raw = np.array([0, 1], NUMERIC[datatype]).tobytes()
    found = binary(("miles", datatype, [2], raw))
    assert isinstance(found, Asked)
    assert [q.request.inputs["miles"] for q in found.questions] == [0, 1]


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    raw = np.array([1.5, -2.0], "<f4").view("<u4").astype("<u4") >> 16
    found = binary(("miles", "BF16", [2], raw.astype("<u2").tobytes()))
    assert isinstance(found, Asked)
    assert [q.request.inputs["miles"] for q in found.questions] == [1.5, -2.0]


def test_binary_text_is_length_and_bytes() -> None:
    raw = b"".join(struct.pack("<I", len(word)) + word for word in (b"AA", "Ü".encode()))
    found = binary(("carrier", "BYTES", [2], raw), ("miles", "FP32", [2], np.array([1, 2], "<f4").tobytes()))
    assert isinstance(found, Asked)
    assert [q.request.inputs["carrier"] for q in found.questions] == ["AA", "Ü"]


def test_nan_in_binary_is_a_missing_value_where_one_may_be_missing() -> None:
    gap = np.array([[1, np.nan]], "<f8").tobytes()
    found = binary(("x", "FP64", [1, 2], gap), deployment=NUMBERS)
    assert isinstance(found, Asked)
    assert found.questions[0].request.inputs == {"a": 1.0, "b": None}


@pytest.mark.parametrize(
    ("tensors", "cut", "reason"),
    [
        ([("miles", "FP64", [1], bytes(7))], 0, "no whole number"),
        ([("miles", "FP64", [2], bytes(8))], 0, "wants 2 values"),
        ([("miles", "FP64", [1], bytes(8))], 1, "goes past the body"),
        ([("carrier", "BYTES", [1], b"\xff\xff\xff\xff")], 0, "goes past its binary_data_size"),
        ([("carrier", "BYTES", [1], b"\x01\x00\x00\x00\xff")], 0, "UTF-8"),
    ],
)
def test_binary_parts_that_do_not_fit_are_refused(tensors: list[Any], cut: int, reason: str) -> None:
    found = binary(*tensors, cut=cut)
    assert isinstance(found, Unclear)
    assert reason in found.reason


@given(st.binary(max_size=200), st.integers(0, 220))
def test_no_bytes_break_the_reader(body: bytes, head: int) -> None:
    assert isinstance(read_v2(body, call(json_bytes=head)), Unclear)


def test_people_name_their_inputs_one_thing_or_a_list() -> None:
    one = read_named(b'{"inputs": {"miles": 5, "carrier": "AA"}, "unit": "F1", "at": "2013-04-01T12:00:00Z"}', call())
    many = read_named(b'{"rows": [{"inputs": {"miles": 5}, "unit": "F1"}, {"inputs": {"miles": 6}}]}', call())
    assert isinstance(one, Asked)
    assert isinstance(many, Asked)
    assert (one.is_list, one.questions[0].request.unit, one.questions[0].at_s) == (False, "F1", 1_364_817_600.0)
    assert [(q.request.inputs["miles"], q.request.unit) for q in many.questions] == [(5, "F1"), (6, "id-1")]


@pytest.mark.parametrize("body", [b"{}", b'{"inputs": {}, "rows": []}', b'{"rows": []}', b'{"input": {}}'])
def test_people_must_give_one_thing_or_a_list(body: bytes) -> None:
    assert isinstance(read_named(body, call()), Unclear)


def test_v1_instances_are_named_or_in_the_order_of_the_inputs() -> None:
    found = read_v1(b'{"instances": [{"miles": 5, "carrier": "AA", "flight": "F1"}, [6, "UA"]]}', call())
    assert isinstance(found, Asked)
    assert [(q.request.inputs, q.request.unit) for q in found.questions] == [
        ({"miles": 5, "carrier": "AA"}, "F1"),
        ({"miles": 6, "carrier": "UA"}, "id-1"),
    ]
    assert isinstance(read_v1(b'{"instances": [[1]]}', call()), Unclear)
