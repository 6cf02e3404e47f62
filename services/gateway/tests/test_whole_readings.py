"""Whole readings of bodies: each field of a question, the edges of each limit, and each reason word for word."""

import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from services.gateway.tests.test_reading_calls import DELAY, LIMITS, NOW_S, NUMBERS, call, tensor, text

from headrace.asking.pending import Question
from headrace.asking.requests import MAX_ID_BYTES
from headrace.events.inference import PredictionRequested
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_gateway.core.calls import (
    Asked,
    Unclear,
    choose_deadline,
    read_json_length,
    read_only_ready,
)
from headrace_gateway.core.requests import MAX_OUTPUTS, read_named, read_v1, read_v2
from headrace_gateway.core.tensors import MAX_RANK, Tensor, Wrong, count_of, values_of

AT, AT_S = "2013-04-01T12:00:00Z", 1_364_817_600.0
OWN = compile_project(
    Project("p", [Deployment("own", unit="flight", inputs=[Category("flight"), Number("x")])])
).deployment("own")


def question(ident: str, inputs: dict[str, Any], unit: str, **more: Any) -> Question:
    request = PredictionRequested(more.pop("deployment", "delay"), inputs, unit, more.pop("deadline_ms", 700))
    return Question(
        ident, request, more.pop("at_s", AT_S), more.get("version"), more.get("tenant"), more.get("traceparent")
    )


BESIDE = {"version": 4, "tenant": "shop", "traceparent": "00-1-2-01"}
WHOLE = {"at": AT, "unit": "F0", "deadline_ms": 700}


def test_a_v2_body_says_all_of_a_question() -> None:
    body = {
        "inputs": [tensor("miles", 1, 2), text("carrier", "AA", "UA"), text("flight", "F1", None)],
        "parameters": WHOLE | {"binary_data_output": True},
        "id": "mine",
        "outputs": [{"name": "label"}, {"name": "score", "parameters": {"binary_data": False}}],
    }
    assert read_v2(msgspec.json.encode(body), call(**BESIDE)) == Asked(
        (
            question("id-0", {"miles": 1, "carrier": "AA"}, "F1", **BESIDE),
            question("id-1", {"miles": 2, "carrier": "UA"}, "F0", **BESIDE),
        ),
        700,
        "mine",
        (("label", True), ("score", False)),
        True,
    )


def test_a_v1_body_says_all_of_a_question() -> None:
    body = {"instances": [{"miles": 1, "flight": 7}, [2, "UA"]], "parameters": WHOLE}
    assert read_v1(msgspec.json.encode(body), call(**BESIDE)) == Asked(
        (
            question("id-0", {"miles": 1}, "7", **BESIDE),
            question("id-1", {"miles": 2, "carrier": "UA"}, "F0", **BESIDE),
        ),
        700,
    )


def test_a_body_of_people_says_all_of_a_question() -> None:
    later = {"inputs": {"miles": 2}, "unit": "F1", "at": AT_S + 1.0}
    body = {"rows": [{"inputs": {"miles": 1}}, later], **WHOLE}
    first = question("id-0", {"miles": 1}, "F0", **BESIDE)
    second = question("id-1", {"miles": 2}, "F1", at_s=AT_S + 1.0, **BESIDE)
    assert read_named(msgspec.json.encode(body), call(**BESIDE)) == Asked((first, second), 700)
    one = read_named(msgspec.json.encode({"inputs": {"miles": 1}, **WHOLE}), call(**BESIDE))
    assert one == Asked((first,), 700, is_list=False)


@pytest.mark.parametrize("reader", [read_v1, read_v2, read_named])
def test_what_a_body_does_not_say_is_filled_in(reader: Any) -> None:
    bodies = {
        read_v1: {"instances": [{"miles": 1}]},
        read_v2: {"inputs": [tensor("miles", 1)]},
        read_named: {"inputs": {"miles": 1}},
    }
    found = reader(msgspec.json.encode(bodies[reader]), call())
    wanted = question("id-0", {"miles": 1}, "id-0", deadline_ms=LIMITS.deadline_ms, at_s=NOW_S)
    assert (found.questions, found.deadline_ms, found.echo, found.outputs, found.is_binary) == (
        (wanted,),
        2_000,
        None,
        (),
        False,
    )


def test_a_unit_that_is_an_input_is_both() -> None:
    for reader, body in (
        (read_v1, {"instances": [{"flight": "F1", "x": 1}, ["F2", 2]]}),
        (read_v2, {"inputs": [text("flight", "F1", "F2"), tensor("x", 1, 2)]}),
    ):
        found = reader(msgspec.json.encode(body), call(deployment=OWN))
        assert [(q.request.inputs, q.request.unit) for q in found.questions] == [
            ({"flight": "F1", "x": 1}, "F1"),
            ({"flight": "F2", "x": 2}, "F2"),
        ]


def test_a_body_with_a_unit_alone_asks_without_inputs() -> None:
    found = read_v2(msgspec.json.encode({"inputs": [text("flight", "F1", "F2")]}), call())
    assert [(q.request.inputs, q.request.unit) for q in found.questions] == [({}, "F1"), ({}, "F2")]
    (alone,) = read_v2(b'{"inputs": []}', call()).questions
    assert (alone.request.inputs, alone.request.unit) == ({}, "id-0")


def v2(*inputs: Any, deployment: Any = DELAY, key: str | None = None, **body: Any) -> Any:
    return read_v2(msgspec.json.encode({"inputs": list(inputs)} | body), call(deployment=deployment, key=key))


def v1(body: Any) -> Any:
    return read_v1(msgspec.json.encode(body), call())


def named(body: Any) -> Any:
    return read_named(msgspec.json.encode(body), call())


LONG = "x" * 81
CUT = f"'{'x' * 74}[...]"
MATRIX = "it takes carrier, flight, miles, or one matrix [n, 2]"
REASONS = [
    (v2(tensor("height", 1)), f"delay takes no input 'height'; {MATRIX}"),
    (v2(tensor("x", [1, 2, 3], shape=[1, 3])), f"delay takes no input 'x'; {MATRIX}"),
    (v2(tensor("x", [[1], [2]], shape=[1, 2, 1])), f"delay takes no input 'x'; {MATRIX}"),
    (v2(tensor(LONG, "a")), f"input {CUT}: 'a' is not a number (FP64)"),
    (v2(tensor("x" * 80, "a")), f"input {'x' * 80}: 'a' is not a number (FP64)"),
    (v2(tensor("miles", 1, 2), text("carrier", "AA")), "all inputs must have the same number of rows, got [1, 2]"),
    (v2(tensor("miles", 1), tensor("miles", 1)), "input miles is given twice"),
    (v2(tensor("miles", [1, 2], shape=[1, 2])), "input miles: shape must be [n] or [n, 1], got [1, 2]"),
    (v2(tensor("miles", [[1]], shape=[1, 1, 1])), "input miles: shape must be [n] or [n, 1], got [1, 1, 1]"),
    (v2(tensor("miles", 1, shape=[2])), "input miles: shape [2] wants 2 values, got 1"),
    (v2(tensor("miles", [1, 2], [3], shape=[2, 2])), "input miles: shape [2, 2] wants lists of 2, one has 1"),
    (v2(tensor("miles", [1], [2], shape=[3, 1])), "input miles: shape [3, 1] wants lists of 3, one has 2"),
    (v2(tensor("miles", [1], shape=[1])), "input miles: its data is nested deeper than its shape [1]"),
    (v2(tensor("miles", [[1]], 2, shape=[2, 1])), "input miles: its data is not nested as its shape [2, 1] says"),
    (v2(tensor("miles", 1, shape=[-1])), "input miles: shape must be [rows] or [rows, columns], got [-1]"),
    (v2(tensor("miles", "x")), "input miles: 'x' is not a number (FP64)"),
    (v2(text("carrier", "AA", 1)), "input carrier: 1 is not text (BYTES)"),
    (v2(tensor("miles", 1, datatype="FP128")), "input 'miles': datatype 'FP128' is not one of V2's"),
    (v2(tensor("miles", 1.5, datatype="INT8")), "input miles: 1.5 does not fit INT8, a whole number of -128..127"),
    (v2(tensor("miles", -129, datatype="INT8")), "input miles: -129 does not fit INT8, a whole number of -128..127"),
    (v2(tensor("miles", 2, datatype="BOOL")), "input miles: 2 does not fit BOOL, a whole number of 0..1"),
    (v2(tensor("miles", 0, 65_520, datatype="FP16")), "input miles: 65520 does not fit FP16"),
    (v2({"name": "miles", "shape": [1], "datatype": "FP64"}), "input miles has neither data nor binary_data_size"),
    (v2(tensor("miles", *range(257))), "a request must have 1..256 rows, got 257"),
    (v2(tensor("miles", 1), parameters={"deadline_ms": True}), "deadline_ms must be a whole number in 1..30000, got True"),
    (v2(tensor("miles", 1), parameters={"unit": True}), "parameters.unit must be text or a number, got True"),
    (v2(tensor("miles", 1), parameters={"at": "now"}), "parameters.at must be an RFC 3339 instant or seconds since the epoch, got 'now'"),
    (v1({"instances": []}), "a request must have 1..256 rows, got 0"),
    (v1({"instances": [[1]]}), "an instance has 2 values (miles, carrier), got 1"),
    (v1({"instances": [{"flight": True}]}), "flight must be text or a number, got True"),
    (v1({"instances": [{"miles": [1]}]}), "input miles must be a number, text, true, false or null, got list"),
    (v1({"instances": [{LONG: [1]}]}), f"input {CUT} must be a number, text, true, false or null, got list"),
    (v1({"instances": [{}], "parameters": {"deadline_ms": 0}}), "deadline_ms must be a whole number in 1..30000, got 0"),
    (named({}), "`inputs` (one thing) or `rows` (a list of them) is missing"),
    (named({"inputs": {}, "rows": []}), "give `inputs` (one thing) or `rows` (a list), not both"),
    (named({"rows": []}), "a request must have 1..256 rows, got 0"),
    (named({"rows": [{"inputs": {}, "at": "x"}]}), "at must be an RFC 3339 instant or seconds since the epoch, got 'x'"),
    (read_v2(b"", call()), "Inference-Header-Content-Length must lie in 1..0, got 0"),
    (read_v2(b"{}", call(json_bytes=3)), "Inference-Header-Content-Length must lie in 1..2, got 3"),
    (read_v2(b'{"parameters": {"a": ' + b"[" * 60_000, call()), "not a V2 inference request: it is nested too deep"),
    (read_v2(b'{"inputs": 1}', call()), "not a V2 inference request: Expected `array`, got `int` - at `$.inputs`"),
    (read_v1(b'{"instances": 1}', call()), 'not a V1 request ({"instances": [...]}): Expected `array`, got `int` - at `$.instances`'),
    (
        read_named(b'{"rows": 1}', call()),
        'not a prediction request ({"inputs": {...}} or {"rows": [{"inputs": {...}}]}): Expected `array | null`, got `int` - at `$.rows`',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("found", "reason"), REASONS, ids=[str(n) for n in range(len(REASONS))])
def test_each_reason_names_what_was_got_and_what_was_expected(found: Any, reason: str) -> None:
    assert found == Unclear(reason)


def test_a_reason_of_the_decoder_is_cut() -> None:
    found = named({"i" * 400: 1})
    assert found.reason.endswith("i[...]")
    assert len(found.reason.partition("]}): ")[2]) == 305


def test_as_many_rows_as_the_limit_are_taken() -> None:
    assert len(v2(tensor("miles", *range(256))).questions) == 256
    assert len(v1({"instances": [[1, "AA"]] * 256}).questions) == 256


def test_at_most_so_many_outputs_may_be_named() -> None:
    names = [{"name": f"o{n}"} for n in range(MAX_OUTPUTS + 1)]
    assert len(v2(tensor("miles", 1), outputs=names[:-1]).outputs) == MAX_OUTPUTS
    assert isinstance(v2(tensor("miles", 1), outputs=names), Unclear)
    assert v2(tensor("miles", 1), outputs=names[:1]).outputs == (("o0", False),)
    twice = v2(tensor("miles", 1), outputs=names[:1] * 2)
    assert twice == Unclear("outputs must name each output once, 16 at most; got 2")
    wanted = [{"name": "o", "parameters": {"binary_data": True}}]
    assert v2(tensor("miles", 1), outputs=wanted).outputs == (("o", True),)


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        ([-128, 127, 0.0], "INT8"), ([0, 255], "UINT8"), ([-(2**63), 2**63 - 1], "INT64"), ([0, 1], "BOOL"), ([-65_519.0, 65_519], "FP16"),
        ([None, None], "INT8"), ([True, None], "FP32"), (["a", None], "BYTES"),
    ],
)  # fmt: skip
def test_numbers_at_the_edges_of_their_datatype_fit(values: list[Any], datatype: str) -> None:
    assert values_of(Tensor("t", [len(values)], datatype, values), None) == values


@pytest.mark.parametrize(
    ("value", "datatype"),
    [(-65_520, "FP16"), (256, "UINT8"), (-1, "UINT8"), (128, "INT8"), (2, "BOOL"), (0.5, "UINT8"), (1e39, "FP32")],
)
@pytest.mark.parametrize("beside", [[], [0], [1]])
def test_one_number_beyond_its_datatype_is_named(value: float, datatype: str, beside: list[int]) -> None:
    for values in ([*beside, value], [value, *beside]):
        with pytest.raises(Wrong, match=rf"input t: {value!r} does not fit {datatype}".replace("+", r"\+")):
            values_of(Tensor("t", [len(values)], datatype, values), None)


def test_a_whole_number_beyond_64_bits_is_the_number_that_it_means_in_a_float_tensor() -> None:
    assert values_of(Tensor("t", [2], "FP64", [10**20, None]), None) == [1e20, None]


def test_a_shape_has_a_highest_rank() -> None:
    assert count_of(Tensor("t", [1] * (MAX_RANK - 1) + [3], "FP64")) == 3
    assert count_of(Tensor("t", [0], "FP64")) == 0
    for shape in ([], [1] * (MAX_RANK + 1), [2, -1]):
        with pytest.raises(Wrong, match="shape must be"):
            count_of(Tensor("t", shape, "FP64"))


def binary(*tensors: Any, tail: bytes, deployment: Any = DELAY) -> Any:
    head = msgspec.json.encode({"inputs": list(tensors)})
    return read_v2(head + tail, call(deployment=deployment, json_bytes=len(head)))


def lying(name: str, datatype: str, shape: list[int], size: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


def test_tensors_lie_one_after_another_and_json_ones_between_them() -> None:
    tail = np.array([1.5, 2.5], "<f4").tobytes() + struct.pack("<I", 2) + b"AA" + struct.pack("<I", 0)
    found = binary(
        lying("miles", "FP32", [2], 8), text("flight", "F1", "F2"), lying("carrier", "BYTES", [2], 10), tail=tail
    )
    assert [(q.request.inputs, q.request.unit) for q in found.questions] == [
        ({"miles": 1.5, "carrier": "AA"}, "F1"),
        ({"miles": 2.5, "carrier": ""}, "F2"),
    ]


def test_nan_is_missing_in_a_nullable_input_only() -> None:
    nan = np.array([np.nan], "<f8").tobytes()
    column = binary(lying("b", "FP64", [1], 8), tail=nan, deployment=NUMBERS)
    assert column.questions[0].request.inputs == {"b": None}
    (kept,) = binary(lying("a", "FP64", [1], 8), tail=nan, deployment=NUMBERS).questions
    assert kept.request.inputs["a"] != kept.request.inputs["a"]
    matrix = binary(lying("x", "FP64", [1, 2], 16), tail=nan + nan, deployment=NUMBERS).questions[0].request.inputs
    assert matrix["b"] is None
    assert matrix["a"] != matrix["a"]


@pytest.mark.parametrize(
    ("tensors", "tail", "reason"),
    [
        ([lying("miles", "FP64", [1], 9)], bytes(8), "input 'miles': binary_data_size 9 goes past the body"),
        ([lying("miles", "FP64", [1], -1)], bytes(8), "input 'miles': binary_data_size -1 goes past the body"),
        ([lying("miles", "FP64", [1], "8")], bytes(8), "input 'miles': binary_data_size '8' goes past the body"),
        ([lying("miles", "FP64", [1], 8)], bytes(11), "3 bytes follow the tensors that binary_data_size speaks of"),
        ([lying("miles", "FP64", [1], 7)], bytes(7), "input miles: 7 bytes are no whole number of FP64"),
        ([lying("miles", "BF16", [1], 3)], bytes(3), "input miles: 3 bytes are no whole number of BF16"),
        ([lying("miles", "BOOL", [2], 2)], b"\x01\x02", "input miles: 2 does not fit BOOL, a byte of 0..1"),
        ([lying("carrier", "BYTES", [1], 3)], bytes(3), "input carrier: an element of 0 bytes goes past its binary_data_size"),
        ([lying("carrier", "BYTES", [1], 5)], b"\x02\x00\x00\x00a", "input carrier: an element of 2 bytes goes past its binary_data_size"),
        ([lying("carrier", "BYTES", [1], 5)], b"\x01\x00\x00\x00\xff", "input carrier: BYTES must be UTF-8 text"),
    ],
)  # fmt: skip
def test_each_reason_about_a_binary_part(tensors: list[Any], tail: bytes, reason: str) -> None:
    assert binary(*tensors, tail=tail) == Unclear(reason)


def test_an_empty_binary_tensor_of_bools_asks_no_rows() -> None:
    assert binary(lying("miles", "BOOL", [0], 0), tail=b"") == Unclear("a request must have 1..256 rows, got 0")


# keys, deadlines and headers


def test_a_key_makes_ids_of_a_bounded_length() -> None:
    longest = "k" * (MAX_ID_BYTES - len(f"/{LIMITS.rows}"))
    assert v2(tensor("miles", 1), key=longest).questions[0].request_id == longest
    assert isinstance(v2(tensor("miles", 1), key=f"{longest}k"), Unclear)
    wrong = v2(tensor("miles", 1), key="a\n")
    assert wrong == Unclear("Idempotency-Key must be printable and make ids of 512 bytes at most, got 'a\\n'")
    many = read_v2(msgspec.json.encode({"inputs": [tensor("miles", 1, 2)]}), call(key="k", tenant="shop"))
    assert [q.request_id for q in many.questions] == ["shop/k/0", "shop/k/1"]


def test_a_deadline_is_chosen_within_its_limits() -> None:
    assert [choose_deadline(given, LIMITS) for given in (None, 1, 30_000)] == [2_000, 1, 30_000]
    for given in (0, 30_001, 1.0, "1", True):
        with pytest.raises(Wrong, match=r"deadline_ms must be a whole number in 1\.\.30000, got"):
            choose_deadline(given, LIMITS)


def test_the_length_of_the_json_part_is_a_short_number() -> None:
    assert [read_json_length(given) for given in (b"0", b"999999999")] == [0, 999_999_999]
    reason = f"Inference-Header-Content-Length must be a number, got {b'1' * 40!r}"
    assert read_json_length(b"1" * 41) == Unclear(reason)
    assert isinstance(read_json_length(b"1" * 10), Unclear)
    assert isinstance(read_json_length(b""), Unclear)


def test_an_index_asks_for_what_is_ready_only_if_it_says_so() -> None:
    assert [read_only_ready(body) for body in (b"[]", b'{"ready": 1}', b'{"ready": false}', b"{}")] == [False] * 4
    for body in (b"{", b"[" * 60_000, b"\xff"):
        assert read_only_ready(body).reason.startswith("not JSON: ")
