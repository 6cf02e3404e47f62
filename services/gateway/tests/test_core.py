"""What may be asked, who waits, and what an outcome is over HTTP: decisions on values."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.inference import Expired, FellBack, Invalid, PredictionAnswered, Refused, Score, Served
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_gateway.core.admission import refuse_body, refuse_rows
from headrace_gateway.core.answers import reply_to
from headrace_gateway.core.pending import Pending
from headrace_gateway.core.questions import Asked, Unclear, read_body
from headrace_gateway.core.reply_place import reply_partition
from headrace_gateway.settings import Limits

NOW_S = 1_364_774_400.0
LIMITS = Limits()
DELAY = compile_project(
    Project("p", [Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")])])
).deployment("delay")


def tensor(name: str, *data: Any, datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": list(data)}


def text(name: str, *data: Any) -> dict[str, Any]:
    return tensor(name, *data, datatype="BYTES")


def ids() -> Callable[[], str]:
    numbers = iter(range(1000))
    return lambda: f"id-{next(numbers)}"


def read(*inputs: dict[str, Any], key: str | None = None, **body: Any) -> Asked | Unclear:
    raw = msgspec.json.encode({"inputs": list(inputs)} | body)
    return read_body(raw, DELAY, LIMITS, NOW_S, key, ids())


def asked(*inputs: dict[str, Any], **more: Any) -> Asked:
    found = read(*inputs, **more)
    assert isinstance(found, Asked), found
    return found


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


@pytest.mark.parametrize(
    ("inputs", "more", "said"),
    [
        ([tensor("height", 1)], {}, "takes no input 'height'"),
        ([tensor("miles", 1, 2), text("carrier", "AA")], {}, "same number of rows"),
        ([tensor("miles", 1, shape=[1, 2])], {}, "shape must be"),
        ([tensor("miles", 1, shape=[2])], {}, "wants 2 values"),
        ([tensor("miles", "x")], {}, "is not a number"),
        ([text("carrier", 1)], {}, "is not text"),
        ([tensor("miles", 1, datatype="FP128")], {}, "datatype"),
        ([tensor("miles", *range(300))], {}, "1..256 rows"),
        ([tensor("miles", shape=[0])], {}, "1..256 rows"),
        ([tensor("miles", 1)], {"parameters": {"at": "yesterday"}}, "RFC 3339"),
        ([tensor("miles", 1)], {"parameters": {"at": 1e300}}, "years"),
        ([tensor("miles", 1)], {"parameters": {"deadline_ms": -1}}, "deadline_ms"),
        ([tensor("miles", 1)], {"parameters": {"unit": []}}, "unit"),
        ([tensor("miles", 1)], {"key": "a\nb"}, "Idempotency-Key"),
    ],
)
def test_a_body_that_cannot_be_answered_says_why(inputs: list[Any], more: dict[str, Any], said: str) -> None:
    found = read(*inputs, **more)
    assert isinstance(found, Unclear)
    assert said in found.reason


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"inputs": 1}', b"\xff", b'{"inputs": [{"name": NaN}]}', b"[" * 60_000]
)
def test_bytes_that_are_no_v2_request_are_unclear(body: bytes) -> None:
    assert isinstance(read_body(body, DELAY, LIMITS, NOW_S, None, ids()), Unclear)


def served(value: float = 0.5, **changes: Any) -> PredictionAnswered:
    answered = PredictionAnswered("r1", "delay", Served(Score(3, "d", value)))
    return msgspec.structs.replace(answered, **changes)


def test_a_prediction_is_200_with_score_and_version() -> None:
    reply = reply_to("delay", "mine", ["r1", "r2"], [served(0.25), served(0.75)])
    assert reply.status == 200
    assert reply.body["id"] == "mine"
    assert reply.body["outputs"] == [
        {"name": "score", "datatype": "FP64", "shape": [2], "data": [0.25, 0.75]},
        {"name": "version", "datatype": "INT64", "shape": [2], "data": [3, 3]},
    ]


def test_classes_come_as_rows_of_shares() -> None:
    reply = reply_to("delay", None, ["r1"], [served(answer=Served(Score(3, "d", None, (0.2, 0.8))))])
    assert reply.body["outputs"][0] == {"name": "classes", "datatype": "FP64", "shape": [1, 2], "data": [0.2, 0.8]}


def test_a_fall_back_is_200_and_says_so() -> None:
    fell = FellBack("prior", "no version yet", Score(0, "", 0.26))
    reply = reply_to("delay", None, ["r1"], [served(answer=fell, missing=("carrier.mean",))])
    assert reply.status == 200
    told = reply.body["parameters"]
    assert (told["outcome"], told["rung"], told["reason"]) == ("fell_back", "prior", "no version yet")
    assert told["missing"] == "carrier.mean"


@pytest.mark.parametrize(
    ("answered", "status"),
    [
        (served(answer=Invalid("miles is missing", "miles")), 400),
        (served(answer=Refused("overload", 2.5)), 503),
        (served(answer=Expired(12)), 504),
        (None, 504),
    ],
)
def test_each_refusal_has_its_status_and_names_the_request(answered: PredictionAnswered | None, status: int) -> None:
    reply = reply_to("delay", None, ["r0", "r1"], [served(), answered])
    assert (reply.status, reply.body["request_id"]) == (status, "r1")
    assert reply.headers.get("Retry-After") == ("3" if status == 503 else None)


def test_too_much_is_turned_away_at_the_door() -> None:
    assert refuse_body(65_536, "", LIMITS) is None
    too_large, packed = refuse_body(65_537, "", LIMITS), refuse_body(1, "gzip", LIMITS)
    assert too_large is not None
    assert too_large.status == 413
    assert packed is not None
    assert packed.status == 415


def test_no_more_rows_wait_than_the_limit() -> None:
    assert refuse_rows(1, 1999, True, LIMITS) is None
    full, deaf = refuse_rows(2, 1999, True, LIMITS), refuse_rows(1, 0, False, LIMITS)
    assert full is not None
    assert full.status == 503
    assert deaf is not None
    assert deaf.status == 503


def test_a_question_expires_once_and_a_late_answer_is_none() -> None:
    pending = Pending()
    pending.open("a", 1.0)
    pending.open("b", 2.0)
    assert pending.expire(1.5) == ["a"]
    assert pending.expire(1.5) == []
    assert not pending.close("a")
    assert pending.close("b")
    assert len(pending) == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 10)), max_size=30), st.floats(0, 10))
def test_exactly_the_overdue_questions_expire(asks: list[tuple[int, float]], now_s: float) -> None:
    pending, deadlines = Pending(), {}
    for name, deadline_s in asks:
        if str(name) not in deadlines:
            pending.open(str(name), deadline_s)
            deadlines[str(name)] = deadline_s
    assert set(pending.expire(now_s)) == {name for name, deadline_s in deadlines.items() if deadline_s <= now_s}


def test_an_instance_listens_where_it_always_did() -> None:
    assert [reply_partition(f"gateway-{n}", 8) for n in range(6)] == [3, 1, 7, 2, 2, 1]
