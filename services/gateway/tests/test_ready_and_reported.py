"""When a deployment is ready, what a caller may reach, and which outcomes a body reports: on values, each reason whole."""

from typing import Any

import msgspec
import pytest

from headrace.asking.outcomes import MAX_OUTCOMES, Observed
from headrace.events.ops import HealthReported
from headrace.events.registry import Route
from headrace.project import Binary, Deployment, Number, Project, prior
from headrace.project.compile import compile_project
from headrace_edge.rules.callers import (
    Caller,
)
from headrace_edge.rules.replies import Reply
from headrace_gateway.core.admission import refuse_rows
from headrace_gateway.core.calls import Unclear
from headrace_gateway.core.outcomes import Reported, accepted_body, read_outcomes
from headrace_gateway.core.readiness import (
    LIVE_S,
    living,
    loaded_on,
    readiness,
    why_cannot_ask,
    why_not_ready,
    why_unready,
)
from headrace_gateway.core.readiness import Reported as Report
from headrace_gateway.core.targets import choose_version, refuse_caller, unknown_deployment
from headrace_gateway.settings import Limits

PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment("d", "u", [Number("x")], label=Binary("late", "1d"), fallback=[prior(0.5)]),
            Deployment("bare", "u", [Number("x")]),
        ],
    )
)
D, BARE = PROJECT.deployment("d"), PROJECT.deployment("bare")
NOW_S = 1_364_774_400.0
NOW = "2013-04-01T00:00:00Z"


def error(reply: Reply | None) -> tuple[int, str, dict[str, str]]:
    assert reply is not None
    return reply.status, msgspec.json.decode(reply.body)["error"], reply.headers


# ready or not


def instance(name: str, *loaded: str, **changes: Any) -> HealthReported:
    return HealthReported("inference", name, True, warmed=loaded, **changes)


def route(champion: int | None, shares: dict[int, float] | None = None) -> Route:
    return Route("d", shares or {}, "d", 1, champion=champion)


NOBODY = "no inference instance has reported within the last 5 s"
SICK = {"degraded": {"d": "its breaker is open"}}


@pytest.mark.parametrize(
    ("found", "of", "instances", "version", "why"),
    [
        (D, None, [], None, NOBODY),
        (D, None, [], 3, NOBODY),
        (D, None, [instance("a")], None, None),
        (BARE, None, [instance("a")], None, "no version takes traffic yet, and there is no prior"),
        (BARE, route(None), [instance("a")], None, "no version takes traffic yet, and there is no prior"),
        (D, route(3), [instance("a", "d/3")], None, None),
        (D, route(3, {2: 0.9, 3: 0.1}), [instance("a", "d/3")], None, None),
        (D, route(None, {2: 0.4, 3: 0.6}), [instance("a", "d/3")], None, None),
        (D, route(None, {2: 0.6, 3: 0.4}), [instance("a", "d/3")], None, "degraded: version 2 is not loaded (loaded: 3)"),
        (D, route(3), [instance("a")], None, "degraded: version 3 is not loaded (loaded: none)"),
        (D, route(3), [instance("a", "d/2"), instance("b", "e/3", "d/1")], None, "degraded: version 3 is not loaded (loaded: 1, 2)"),
        (D, route(3), [instance("a", "d/2", **SICK)], None, "degraded: its breaker is open"),
        (D, route(3), [instance("a", "d/3", **SICK)], None, "degraded: its breaker is open"),
        (D, route(3), [instance("a", "d/3", degraded={"e": "sick"})], None, None),
        (D, route(3), [instance("a", "d/3", **SICK), instance("b", "d/3")], None, None),
        (D, route(3), [instance("a", "d/3", **SICK)], 3, None),
        (D, route(3), [instance("a", "d/3")], 2, "degraded: version 2 is not loaded (loaded: 3)"),
    ],
)  # fmt: skip
def test_a_deployment_is_ready_while_its_champion_is_loaded_or_the_reason_is_told(
    found: Any, of: Route | None, instances: list[HealthReported], version: int | None, why: str | None
) -> None:
    assert why_not_ready(found, of, iter(instances), version) == why


def test_an_instance_lives_so_long_after_its_report() -> None:
    reports = [
        Report(instance("fresh"), 10.0),
        Report(instance("stopping", stopping=True), 10.0),
        Report(instance("old"), 10.0 - LIVE_S),
        Report(instance("older"), 9.9 - LIVE_S),
        Report(HealthReported("monitor", "m", True), 10.0),
    ]
    assert [found.instance for found in living(reports, 10.0)] == ["fresh", "old"]


def test_loaded_versions_are_those_of_the_deployment_alone() -> None:
    assert loaded_on([instance("a", "d/10", "d/9", "a/d/7"), instance("b", "d/9", "d/x", "e/1")], "d") == [9, 10]
    assert loaded_on([instance("a", "a/d/7")], "a/d") == [7]


def test_the_gateway_says_why_it_does_not_do_its_work() -> None:
    assert [why_cannot_ask(*given) for given in ((True, "t"), (False, "t"), (False, ""))] == [
        None,
        "t",
        "answers cannot be received yet",
    ]
    assert why_unready(None, True, ["a part"]) is None
    assert why_unready("away", True, ["a part", "away", ""]) == "away; a part"
    assert why_unready(None, False, []) == "it is stopping"
    ready, unready = readiness({"name": "d"}, None), readiness({"name": "d"}, "why")
    assert (ready.status, msgspec.json.decode(ready.body)) == (200, {"name": "d", "ready": True})
    assert (unready.status, msgspec.json.decode(unready.body)) == (503, {"name": "d", "ready": False, "reason": "why"})


# who may call, and how much


def test_each_refusal_says_why_and_when_to_come_back() -> None:
    limits = Limits(in_flight=5)
    wait = {"Retry-After": "1"}
    assert error(refuse_rows(1, 0, "it starts", limits)) == (503, "the gateway is not ready: it starts", wait)
    assert refuse_rows(2, 3, None, limits) is None
    assert error(refuse_rows(3, 3, None, limits)) == (503, "3 rows are waiting already", wait)
    shop = Caller("shop", "x", deployments=("d",))
    assert (refuse_caller(shop, "d"), refuse_caller(Caller("all", "y"), "e")) == (None, None)
    assert error(refuse_caller(shop, "e")) == (403, "the key of shop is not allowed for 'e'", {})
    assert error(unknown_deployment("e")) == (404, "no model is called 'e'", {})


@pytest.mark.parametrize(
    ("given", "loaded", "known"), [("2", [3, 4], "3, 4"), ("x", [], "none"), ("³", [3], "3"), ("0000000003", [3], "3")]
)
def test_a_version_that_is_not_loaded_is_not_previewed(given: str, loaded: list[int], known: str) -> None:
    found = choose_version("d", given, loaded)
    assert isinstance(found, Reply)
    assert error(found) == (404, f"version {given!r} of d is not loaded (loaded: {known})", {})
    assert choose_version("d", "000000003", [3]) == 3


# outcomes


def reported(given: Any, key: str | None = None, deployment: Any = D) -> Reported | Unclear:
    body = given if isinstance(given, bytes) else msgspec.json.encode(given)
    return read_outcomes(body, deployment, NOW_S, key, lambda: "made")


ONE = {"unit": "u1", "label": 1}


def test_an_outcome_says_all_that_it_was_given() -> None:
    given = ONE | {"at": "2013-04-01T00:00:01Z", "request_id": "r1", "corrects": "o1", "id": "o2"}
    assert reported(given) == Reported((Observed("o2", "u1", 1.0, NOW_S + 1.0, "r1", "o1"),), is_list=False)
    assert reported(ONE) == Reported((Observed("made", "u1", 1.0, NOW_S),), is_list=False)
    assert reported(ONE, "key") == Reported((Observed("key", "u1", 1.0, NOW_S),), is_list=False)


@pytest.mark.parametrize("wrapped", [lambda rows: rows, lambda rows: {"outcomes": rows}])
def test_a_list_of_outcomes_is_numbered(wrapped: Any) -> None:
    rows = [ONE, {"unit": 7, "label": 0, "id": "own"}]
    both = (Observed("key/0", "u1", 1.0, NOW_S), Observed("own", "7", 0.0, NOW_S))
    assert reported(wrapped(rows), "key") == Reported(both, is_list=True)
    (first, *_) = reported(wrapped(rows)).outcomes
    assert first.id == "made/0"


def test_what_was_taken_is_told_with_its_ids() -> None:
    taken = {"id": "made", "unit": "u1", "at": NOW}
    assert msgspec.to_builtins(accepted_body(reported(ONE))) == taken
    assert msgspec.to_builtins(accepted_body(reported([ONE]))) == {"outcomes": [taken | {"id": "made/0"}]}


def test_as_many_outcomes_as_the_limit_are_taken() -> None:
    assert len(reported([ONE] * MAX_OUTCOMES).outcomes) == MAX_OUTCOMES
    assert reported([ONE] * (MAX_OUTCOMES + 1)) == Unclear("outcomes: 1..1000 in a call, got 1001")
    assert reported([]) == Unclear("outcomes: 1..1000 in a call, got 0")


SHAPE = 'an outcome is {"unit": ..., "label": ...}, or {"outcomes": [...]} with such in it'


@pytest.mark.parametrize(
    ("given", "key", "reason"),
    [
        (3, None, SHAPE),
        ({"outcomes": 3}, None, SHAPE),
        ({"outcomes": [ONE], "more": 1}, None, SHAPE),
        ([ONE, 3], None, 'outcomes[1] must be {"unit": ..., got int'),
        ([{"unit": "u1"}], None, "outcomes[0]: label is missing"),
        ({"unit": "u1"}, None, "label is missing"),
        ([ONE | {"label": 7}], None, "outcomes[0]: "),
        (ONE, "ä", "Idempotency-Key must be printable ASCII characters, got 'ä'"),
        (b"{", None, "not JSON: "),
        (b"[" * 60_000, None, "not JSON: "),
    ],
)
def test_of_outcomes_all_are_taken_or_none_and_the_first_wrong_one_is_named(
    given: Any, key: str | None, reason: str
) -> None:
    found = reported(given, key)
    assert isinstance(found, Unclear)
    assert found.reason.startswith(reason)
    assert found.reason == reason or reason.endswith(": ")


def test_a_deployment_without_a_label_takes_no_outcomes() -> None:
    found = reported(ONE, deployment=BARE)
    assert isinstance(found, Unclear)
    assert "bare" in found.reason
