"""Case 25 and its class: a tensor whose values are not of its datatype is refused with 400 and its name, as JSON and in the binary part."""

import json
import math
from typing import Any

import numpy as np
import pytest

from headrace.project import Deployment, Key, Number, Project
from headrace.project.compile import compile_project
from headrace_gateway.core.calls import Asked, Call, Unclear
from headrace_gateway.core.requests import read_v2
from headrace_gateway.settings import Limits

PROJECT = compile_project(
    Project("p", [Deployment("d", unit="user", inputs=[Number("a"), Number("b", nullable=True), Key("shop")])])
)


def asked(datatype: str, data: Any = None, raw: bytes | None = None, name: str = "b", **more: Any) -> Asked | Unclear:
    size = {} if raw is None else {"parameters": {"binary_data_size": len(raw)}}
    described = (
        {"name": name, "datatype": datatype, "shape": [len(data or [1])]} | ({"data": data} if data else {}) | size
    )
    head = json.dumps({"inputs": [described | more]}).encode()
    length = {} if raw is None else {"json_bytes": len(head)}
    made = Call(deployment=PROJECT.deployments[0], limits=Limits(), now_s=1.7e9, make_id=lambda: "id", **length)
    return read_v2(head + (raw or b""), made)


def values(found: Asked | Unclear, name: str = "b") -> list[Any]:
    assert isinstance(found, Asked), found
    return [question.request.inputs[name] for question in found.questions]


BEYOND = [
    ("INT8", 128),
    ("INT8", -129),
    ("UINT8", -1),
    ("UINT8", 256),
    ("INT16", 40_000),
    ("UINT16", 2**16),
    ("INT32", 2**31),
    ("UINT32", 2**32),
    ("INT64", 2**63),
    ("INT64", 1e19),
    ("UINT64", 2**64),
    ("UINT64", -1),
    ("INT64", 1.5),
    ("UINT8", 0.5),
    ("BOOL", 2),
    ("BOOL", -1),
    ("BOOL", 0.5),
    ("FP16", 65_520),
    ("FP16", -1e5),
    ("BF16", 3.4e38),
    ("FP32", 1e39),
    ("FP32", -3.4028236e38),
    ("FP32", 10**60),
]


@pytest.mark.parametrize(("datatype", "value"), BEYOND)
def test_a_value_that_does_not_fit_its_datatype_is_400_and_names_the_tensor_and_the_value(
    datatype: str, value: float
) -> None:
    for data in ([value], [0, value, 1], [None, value]):
        found = asked(datatype, data)
        assert isinstance(found, Unclear)
        assert found.reason.startswith(f"input b: {value!r} does not fit {datatype}")


WITHIN = [
    ("INT8", [-128, 127, 5.0]),
    ("UINT8", [0, 255]),
    ("INT64", [-(2**63), 2**63 - 1]),
    ("BOOL", [True, False, 1, 0, 1.0]),
    ("FP16", [65_504, 65_519.9, 0.1]),
    ("BF16", [3.38e38]),
    ("FP32", [3.4028235677e38, 16_777_217, 1e-60]),
    ("FP64", [1e39, -1e300, 7]),
    ("UINT64", [0, 2**53]),
]


@pytest.mark.parametrize(("datatype", "data"), WITHIN)
def test_values_of_a_datatype_are_asked_as_they_are_and_null_is_a_missing_one(datatype: str, data: list[Any]) -> None:
    assert values(asked(datatype, [*data, None])) == [*data, None]


@pytest.mark.parametrize(
    ("datatype", "data", "reason"),
    [
        ("FP64", ["7"], "input b: '7' is not a number (FP64)"),
        ("INT64", [[1], [2]], "input b: its data is nested deeper than its shape [2]"),
        ("BYTES", [7], "input b: 7 is not text (BYTES)"),
        ("FP99", [7], "input 'b': datatype 'FP99' is not one of V2's"),
    ],
)
def test_data_of_another_kind_is_400_and_names_the_tensor(datatype: str, data: Any, reason: str) -> None:
    found = asked(datatype, data)
    assert isinstance(found, Unclear)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("datatype", "raw", "shape", "reason"),
    [
        ("BOOL", b"\x02", [1], "input b: 2 does not fit BOOL, a byte of 0..1"),
        ("FP32", b"\0" * 7, [2], "input b: 7 bytes are no whole number of FP32"),
        ("FP32", b"\0" * 8, [3], "input b: shape [3] wants 3 values, got 2"),
        ("INT64", b"\0" * 8, [2], "input b: shape [2] wants 2 values, got 1"),
        ("BYTES", b"\x05\0\0\0ab", [1], "input b: an element of 5 bytes goes past its binary_data_size"),
        ("BYTES", b"\x01\0\0\0\xff", [1], "input b: BYTES must be UTF-8 text"),
        ("BF16", b"\0" * 3, [1], "input b: 3 bytes are no whole number of BF16"),
    ],
)
def test_bytes_that_are_not_the_tensor_that_they_claim_to_be_are_400_and_name_it(
    datatype: str, raw: bytes, shape: list[int], reason: str
) -> None:
    found = asked(datatype, raw=raw, shape=shape)
    assert isinstance(found, Unclear)
    assert found.reason == reason


def test_a_missing_number_of_a_binary_tensor_is_absent_and_an_infinity_is_left_to_the_contract() -> None:
    raw = np.array([math.nan, 1.5], "<f4").tobytes()
    assert values(asked("FP32", raw=raw, shape=[2])) == [None, 1.5]
    assert values(asked("FP64", raw=np.array([math.inf]).tobytes(), shape=[1])) == [math.inf]


def test_a_key_is_the_same_as_text_and_as_a_number_of_any_datatype() -> None:
    given = [asked("BYTES", ["7"], name="shop"), asked("INT64", [7], name="shop"), asked("FP64", [7.0], name="shop")]
    assert [values(found, "shop") for found in given] == [["7"], [7], [7.0]]
