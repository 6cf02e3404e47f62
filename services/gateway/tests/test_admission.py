"""Who is let in, how much, and when the gateway is ready."""

from typing import Any

import pytest

from headrace_edge.rules.admission import choose_caller
from headrace_edge.rules.callers import ANYONE, Caller, digest_of
from headrace_edge.rules.replies import Reply
from headrace_gateway.core.admission import DOORS, refuse_rows
from headrace_gateway.core.metadata import index_entries
from headrace_gateway.core.readiness import why_cannot_ask, why_unready
from headrace_gateway.settings import Limits

NOW_S = 1_364_860_800.0
LIMITS = Limits()


def test_no_more_rows_wait_than_the_limit() -> None:
    assert refuse_rows(1, 1999, None, LIMITS) is None
    full, deaf = refuse_rows(2, 1999, None, LIMITS), refuse_rows(1, 0, "the broker is away", LIMITS)
    assert full is not None
    assert full.status == 503
    assert deaf is not None
    assert (deaf.status, b"the broker is away" in deaf.body) == (503, True)


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


@pytest.mark.parametrize(
    ("path", "is_open"),
    [("/", True), ("/v2/health/live", True), ("/v2/health/ready", True), ("/v2/health", False), ("/v2", False)],
)
def test_health_needs_no_key_and_everything_else_does(path: str, is_open: bool) -> None:
    found = choose_caller(path, b"", b"", [Caller("shop", digest_of("s3cret"))], NOW_S, DOORS)
    assert found == ANYONE if is_open else isinstance(found, Reply) and found.status == 401


def test_only_the_pages_take_the_key_as_a_password() -> None:
    shop = Caller("shop", digest_of("s3cret"))

    def let_in(path: str) -> bool:
        return choose_caller(path, b"Basic OnMzY3JldA==", b"", [shop], NOW_S, DOORS) == shop

    assert [let_in(path) for path in ("/docs", "/docs/assets/x.css", "/openapi.json", "/v2")] == [True] * 3 + [False]
