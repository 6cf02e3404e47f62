"""Load, deadlines and admission at their edges, each reason whole."""

import math
from typing import Any

from headrace.events.inference import Expired, Invalid, PredictionRequested, Refused
from headrace.log.codec import Message
from headrace.log.envelope import Envelope
from headrace.log.port import Record
from headrace.project import Category, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_inference.core.admission import LetIn, admit, overlong
from headrace_inference.core.contract import Contract
from headrace_inference.core.deadlines import MAX_DEADLINE_MS, call_limit_s, deadline_ms_of, due_ms, lateness_ms
from headrace_inference.core.overload import (
    LevelChanged,
    Load,
    Waited,
    longest_waits,
    on_pressure,
    waited_share,
    why_refused,
)
from headrace_inference.core.request import short_id, unit_of

DEPLOYMENT = compile_project(Project("p", [Deployment("d", "u", [Number("x", 0, 10), Category("c")])])).deployment("d")


def request(deployment: str = "d", deadline_ms: int | None = None, offset: int = 0, appended_ms: int = 0) -> Message:
    record = Record("inference.requests", 0, offset, b"key", b"", (), appended_ms)
    return Message(record, Envelope("r", "", "test", 0.0), PredictionRequested(deployment, {}, "u", deadline_ms))


def test_the_longest_wait_of_each_deployment_counts_that_has_a_deadline_and_is_new() -> None:
    found = longest_waits(
        [
            request("a", 1_000, 5, 600), request("a", 1_000, 6, 500), request("a", 1_000, 7, 700), request("b", None, 8, 0), request("c", 1_000, 4, 0),
            request("e", -1, 9, 0), request("f", 10, 9, 950), request("g", 2_000, 5, 0), request("g", 1_000, 6, 500),
        ],
        1_000,
        5,
    )  # fmt: skip
    assert found == {"a": Waited(0.5, 0.5), "f": Waited(0.2, 0.05), "g": Waited(0.5, 1.0)}
    assert [waited_share(250, 100), waited_share(249, 100), waited_share(1_000, -5)] == [0.4, 0.4, 0.0]


def test_a_change_of_level_is_told_with_the_one_before() -> None:
    assert on_pressure(Load(), 0.56, 5.0).facts == (LevelChanged(3, 0),)
    assert on_pressure(Load(3, 5.0), 0.0, 6.0).facts == (LevelChanged(2, 3),)
    assert on_pressure(Load(3, 5.0), 0.56, 6.0) == on_pressure(Load(3, 4.0), 0.275, 6.0)
    assert on_pressure(Load(3, 5.0), 0.27, 5.5).state == Load(3, 5.0)
    assert on_pressure(Load(), 0.1, 5.0).state == Load()


def test_only_new_requests_with_a_deadline_are_refused_under_load() -> None:
    def why(level: int, **changes: Any) -> Refused | None:
        asked = request(deadline_ms=changes.get("deadline_ms", 1_000), offset=5)
        return why_refused(
            asked.event, asked.record, level, changes.get("now_ms", 400), changes.get("recover_until", 5)
        )

    refused = Refused("overload: it had waited 40% of its deadline; ask again later", 1.0)
    assert why(3) == refused
    assert [why(2), why(3, deadline_ms=None), why(3, recover_until=6), why(3, now_ms=399)] == [None] * 4


def test_a_deadline_counts_from_the_append_time_within_bounds() -> None:
    def event(deadline_ms: int | None) -> PredictionRequested:
        return PredictionRequested("d", deadline_ms=deadline_ms)

    assert [deadline_ms_of(event(given)) for given in (0, MAX_DEADLINE_MS, -1, MAX_DEADLINE_MS + 1, None)] == [
        0,
        MAX_DEADLINE_MS,
        None,
        None,
        None,
    ]
    assert [due_ms(event(given), 100) for given in (50, None, -1)] == [150, math.inf, math.inf]
    assert [lateness_ms(event(50), 100, now_ms) for now_ms in (149, 150, 151)] == [-1, 0, 1]
    assert lateness_ms(event(None), 0, 10**9) == 0
    assert [call_limit_s(5.0, left_s) for left_s in (10.0, 9.0, 0.1, -5.0)] == [5.0, 4.5, 0.05, 0.05]


# admission


def admitted(request_: PredictionRequested, key: bytes | None = b"k", **more: Any) -> Any:
    return admit(
        request_, key, more.pop("found", DEPLOYMENT), more.pop("appended_ms", 0), more.pop("now_ms", 0), **more
    )


GOOD = {"x": 1.0, "c": "a"}


def test_each_reason_to_turn_a_request_away_names_the_field() -> None:
    def why(
        deployment: str = "d",
        inputs: dict[str, Any] | None = None,
        unit: str | None = None,
        deadline_ms: int | None = None,
        **more: Any,
    ) -> Any:
        return admitted(PredictionRequested(deployment, GOOD if inputs is None else inputs, unit, deadline_ms), **more)

    longer = "is longer than 512 characters"
    assert why() == LetIn("k")
    assert why(unit="own") == LetIn("own")
    assert why(request_id="i" * 512) == LetIn("k")
    assert why(request_id="i" * 513) == Invalid(f"ce_id {longer}", "ce_id")
    assert why(at_s=300.0) == LetIn("k")
    late = why(at_s=301.0)
    assert (type(late), late.field, late.reason[:8]) == (Invalid, "ce_time", "ce_time ")
    assert why(at_s=301.0, appended_ms=1_000, now_ms=1_000) == LetIn("k")
    assert why(deadline_ms=-1) == Invalid("deadline_ms must lie in 0..1000000000000", "deadline_ms")
    assert why("e" * 512, found=None).field == "deployment"
    assert why("e" * 513, found=None) == Invalid(f"deployment {longer}", "deployment")
    assert why("e", found=None) == Invalid(
        "no deployment is called 'e'; publish it with `headrace apply`", "deployment"
    )
    assert why(key=None) == Invalid(
        "a request needs a unit: in the field `unit`, or as the record's key (UTF-8)", "unit"
    )
    assert why(unit="u" * 513) == Invalid(f"unit {longer}", "unit")
    assert why(inputs={"x": 1.0, "c": "c" * 513}) == Invalid(f"an input {longer}", "an input")
    assert why(inputs={"x": 1.0, "c": "c" * 512}) == LetIn("k")
    assert why(deadline_ms=10, now_ms=10) == LetIn("k")
    assert why(deadline_ms=10, now_ms=11) == Expired(1)
    assert why(deadline_ms=10, appended_ms=5, now_ms=16) == Expired(1)
    assert why(inputs={}).field == "x"
    assert why(inputs={}, vouched=True) == LetIn("k")


def test_a_text_is_too_long_in_a_name_or_a_value() -> None:
    assert overlong(PredictionRequested("d", {"n" * 513: 1.0}), "u") == "an input"
    assert overlong(PredictionRequested("d", {"n" * 512: "v" * 512}), "u") is None
    assert overlong(PredictionRequested("d", {"n" * 513: 1.0}), "u", vouched=True) is None
    assert overlong(PredictionRequested("d" * 513), "u", vouched=True) == "deployment"


def test_ids_and_units_as_they_are_written() -> None:
    assert [len(short_id("i" * n)) for n in (512, 513)] == [512, 289]
    assert short_id("i" * 513)[:257] == "i" * 256 + "~"
    assert short_id("i" * 513) != short_id("i" * 514)
    assert [
        unit_of(PredictionRequested("d", unit=unit), key) for unit, key in (("u", b"k"), (None, b"\xff"), ("", None))
    ] == ["u", "�", ""]


def test_a_contract_vouches_for_what_is_whole_and_within_bounds_alone() -> None:
    contract = Contract(DEPLOYMENT)
    asked: list[dict[str, Any]] = [
        {"x": 0.0, "c": "a"}, {"x": 10, "c": "a" * 512}, {"x": -0.1, "c": "a"}, {"x": 10.1, "c": "a"}, {"x": math.nan, "c": "a"}, {"x": True, "c": "a"},
        {"x": 1.0, "c": "a" * 513}, {"x": 1.0, "c": 1}, {"x": 1.0}, {"x": 1.0, "c": "a", "d": 1}, {"x": None, "c": "a"}, {"x": 1e300, "c": "a"},
    ]  # fmt: skip
    assert contract.vouches(asked) == [True, True] + [False] * 10
    assert contract.vouches(asked[2:8]) == [False] * 6
    assert (contract.vouches(asked[:1] * 3), contract.vouches(asked[:1] * 4)) == ([False] * 3, [True] * 4)
    assert contract.vouches([{"x": 10**400, "c": "a"}] + asked[:1] * 4) == [False] * 5
