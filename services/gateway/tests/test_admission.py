"""Who is let in, how much, and when the gateway is ready."""

import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_gateway.core.admission import choose_caller, refuse_body, refuse_rate, refuse_rows
from headrace_gateway.core.answers import Reply
from headrace_gateway.core.callers import ANYONE, Bucket, Caller, RateLimits, Unidentified, digest_of, find_caller
from headrace_gateway.core.compression import Broken, TooLarge, packed, unpacked
from headrace_gateway.core.metadata import index_entries
from headrace_gateway.core.readiness import why_cannot_ask, why_unready
from headrace_gateway.settings import Limits

NOW_S = 1_364_860_800.0
LIMITS = Limits()


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
