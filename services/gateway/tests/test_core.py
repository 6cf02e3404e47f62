"""What may be asked, who may ask, and what an outcome is over HTTP: decisions on values."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.asking.prediction import OutputKind, predicted
from headrace.events.inference import Expired, FellBack, Invalid, PredictionAnswered, Refused, Score, Served
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_gateway.core.admission import choose_caller, refuse_body, refuse_rate, refuse_rows
from headrace_gateway.core.answers import Reply, named_reply, v1_reply, v2_reply
from headrace_gateway.core.callers import ANYONE, Bucket, Caller, RateLimits, Unidentified, digest_of, find_caller
from headrace_gateway.core.calls import Asked, Call, Unclear
from headrace_gateway.core.compression import Broken, TooLarge, packed, unpacked
from headrace_gateway.core.metadata import index_entries
from headrace_gateway.core.readiness import why_cannot_ask, why_unready
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
    assert body["outputs"][0] == {"name": "classes", "datatype": "FP64", "shape": [1, 2], "data": [0.2, 0.8]}
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
    assert {name: parameters[name] for name in ("outcome", "rung", "version", "reason", "missing", "stale")} == {
        "outcome": "fell_back",
        "rung": "prior",
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


def test_too_much_is_turned_away_at_the_door() -> None:
    assert refuse_body(65_536, "", LIMITS) is None
    too_large, packed_oddly = refuse_body(65_537, "", LIMITS), refuse_body(1, "br", LIMITS)
    assert too_large is not None
    assert too_large.status == 413
    assert packed_oddly is not None
    assert packed_oddly.status == 415


def test_a_bomb_is_never_unpacked_further_than_the_limit() -> None:
    bomb = packed(bytes(50_000_000), "gzip")
    assert len(bomb) < LIMITS.body_bytes
    assert unpacked(bomb, "gzip", LIMITS.body_bytes) == TooLarge()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_cut_off_or_followed_by_more_is_broken(encoding: str) -> None:
    whole = packed(b"x" * 100, encoding)
    assert unpacked(whole, encoding, 1000) == b"x" * 100
    for broken in (whole[:-1], whole + b"x", b"", zlib.compress(b"x")[1:]):
        assert isinstance(unpacked(broken, encoding, 1000), Broken)


def test_no_more_rows_wait_than_the_limit() -> None:
    assert refuse_rows(1, 1999, None, LIMITS) is None
    full, deaf = refuse_rows(2, 1999, None, LIMITS), refuse_rows(1, 0, "the broker is away", LIMITS)
    assert full is not None
    assert full.status == 503
    assert deaf is not None
    assert (deaf.status, b"the broker is away" in deaf.body) == (503, True)


def test_a_key_is_known_until_it_expires() -> None:
    shop, old = Caller("shop", digest_of("s3cret")), Caller("old", digest_of("past"), expires_s=NOW_S)
    assert find_caller("s3cret", [shop, old], NOW_S) == shop
    assert find_caller("past", [shop, old], NOW_S - 1) == old
    assert [find_caller(key, [shop, old], NOW_S) for key in ("past", "", "S3cret", "x" * 10_000)] == [
        Unidentified.EXPIRED,
        Unidentified.NO_KEY,
        Unidentified.UNKNOWN,
        Unidentified.UNKNOWN,
    ]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_a_rate_lets_no_more_pass_than_burst_and_time_allow(pauses: list[float]) -> None:
    bucket, now_s, passed = Bucket(3.0, 0.0), 0.0, 0
    for pause_s in pauses:
        now_s += pause_s
        passed += bucket.take(2.0, 3.0, now_s) is None
    assert passed <= 3 + 2.0 * now_s + 1e-6


SHOP = Caller("shop", digest_of("s3cret"), per_s=1.0, burst=1.0)


@pytest.mark.parametrize(
    ("path", "authorization", "found"),
    [
        ("/v2", b"Bearer s3cret", SHOP),
        ("/v2", b"", ("Bearer", "an API key is needed")),
        ("/v2", b"Basic OnMzY3JldA==", ("Bearer", "an API key is needed")),
        ("/docs", b"Basic OnMzY3JldA==", SHOP),
        ("/docs", b"Basic eDp4", ("Basic", "unknown key")),
        ("/v2/health/ready", b"Bearer wrong", ANYONE),
        ("/v2/health", b"", ("Bearer", "an API key is needed")),
    ],
)
def test_a_path_needs_a_key_unless_it_is_health_and_only_pages_take_it_as_a_password(
    path: str, authorization: bytes, found: Caller | tuple[str, str]
) -> None:
    chosen = choose_caller(path, authorization, b"", [SHOP], NOW_S)
    if isinstance(chosen, Reply):
        assert isinstance(found, tuple)
        scheme, reason = found
        assert (chosen.status, chosen.headers["WWW-Authenticate"].partition(" ")[0]) == (401, scheme)
        assert reason in msgspec.json.decode(chosen.body)["error"]
    else:
        assert chosen == found
    assert choose_caller(path, b"", b"", [], NOW_S) == ANYONE


def test_each_caller_has_a_rate_of_its_own() -> None:
    rates, other = RateLimits(), Caller("other", digest_of("x"), per_s=1.0)
    assert [refuse_rate(found, rates, 0.0) is None for found in (SHOP, SHOP, other, ANYONE)] == [
        True,
        False,
        True,
        True,
    ]
    refused = refuse_rate(SHOP, rates, 0.5)
    assert refused is not None
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")


def test_an_index_lists_what_is_routed_or_registered_and_whether_it_is_loaded() -> None:
    def entries(routed: list[int], registered: list[int], loaded: list[int], **more: Any) -> list[tuple[str, str, str]]:
        made = index_entries("d", routed, registered, loaded, more.get("why"), only_ready=more.get("only_ready", False))
        return [(entry["version"], entry["state"], entry["reason"]) for entry in made]

    assert entries([2, 3], [1, 2, 3], [3, 9]) == [
        ("1", "UNAVAILABLE", "registered, not routed"),
        ("2", "UNAVAILABLE", "routed, not loaded"),
        ("3", "READY", ""),
    ]
    assert entries([2, 3], [1, 2, 3], [3], only_ready=True) == [("3", "READY", "")]
    assert entries([], [], []) == [("0", "READY", "no version yet: the prior answers")]
    assert entries([], [], [], why="no instance", only_ready=True) == []


def test_the_gateway_says_each_reason_once_why_it_is_not_ready() -> None:
    assert why_unready(why_cannot_ask(True, None), True, ()) is None
    assert why_cannot_ask(False, None) == "answers cannot be received yet"
    assert why_unready("the broker is away", False, ["the broker is away", "no heartbeat"]) == (
        "the broker is away; no heartbeat"
    )
    assert why_unready(None, False, ()) == "it is stopping"
