"""Who is let in, how much, and what is said to the others."""

import base64
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_edge.rules.admission import Doors, choose_caller, refuse_body, refuse_rate
from headrace_edge.rules.callers import (
    ANYONE,
    MAX_KEY_CHARS,
    Bucket,
    Caller,
    RateLimits,
    Unidentified,
    digest_of,
    find_caller,
    password,
    presented,
)
from headrace_edge.rules.compression import Broken, TooLarge, choose_encoding, packed, unpacked
from headrace_edge.rules.limits import EdgeLimits
from headrace_edge.rules.replies import Reply
from headrace_edge.rules.requests import AdmittedRequest

NOW_S = 1_364_860_800.0
LIMITS = EdgeLimits()
DOORS = Doors(open=("/health",), pages=("/docs",))


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
        ("/health", b"Bearer wrong", ANYONE),
        ("/healthy", b"", ("Bearer", "an API key is needed")),
    ],
)
def test_a_path_needs_a_key_unless_it_is_health_and_only_pages_take_it_as_a_password(
    path: str, authorization: bytes, found: Caller | tuple[str, str]
) -> None:
    chosen = choose_caller(path, authorization, b"", [SHOP], NOW_S, DOORS)
    if isinstance(chosen, Reply):
        assert isinstance(found, tuple)
        scheme, reason = found
        assert (chosen.status, chosen.headers["WWW-Authenticate"].partition(" ")[0]) == (401, scheme)
        assert reason in msgspec.json.decode(chosen.body)["error"]
    else:
        assert chosen == found
    assert choose_caller(path, b"", b"", [], NOW_S, DOORS) == ANYONE


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


def error(reply: Reply | None) -> tuple[int, str, dict[str, str]]:
    assert reply is not None
    return reply.status, msgspec.json.decode(reply.body)["error"], reply.headers


def test_each_refusal_says_why_and_when_to_come_back() -> None:
    limits = EdgeLimits(body_bytes=10)
    assert refuse_body(10, "gzip", limits) is None
    assert error(refuse_body(11, "gzip", limits)) == (413, "a body may have 10 bytes at most, uncompressed", {})
    assert error(refuse_body(1, "br", limits)) == (
        415,
        "Content-Encoding 'br' is not taken: gzip, deflate, or as it is",
        {},
    )
    shop, rates = Caller("shop", "x", per_s=0.25), RateLimits()
    assert refuse_rate(shop, rates, 0.0) is None
    assert error(refuse_rate(shop, rates, 1.0)) == (429, "shop may call 0.25 times a second", {"Retry-After": "3"})


def test_a_bucket_fills_with_time_up_to_its_burst() -> None:
    bucket = Bucket(2.0, 10.0)
    assert [bucket.take(0.5, 2.0, at_s) for at_s in (10.0, 10.0, 10.0, 11.0, 12.0)] == [None, None, 2.0, 1.0, None]
    assert [bucket.take(0.5, 2.0, 100.0) for _ in range(3)] == [None, None, 2.0]


def test_a_key_comes_in_either_header_and_a_password_in_one() -> None:
    assert [presented(*given) for given in ((b"BEARER  k ", b"x"), (b"", b" k "), (b"Bearer", b"x"))] == ["k", "k", ""]
    encoded = base64.b64encode(b"me:a:b")
    assert [
        password(given)
        for given in (b"basic  " + encoded + b" ", b"Bearer " + encoded, b"Basic " + base64.b64encode(b"me"))
    ] == ["a:b", "", ""]


def test_a_key_has_a_longest_length() -> None:
    longest = "k" * MAX_KEY_CHARS
    caller, other = Caller("a", digest_of(longest)), Caller("b", digest_of("other"))
    assert find_caller(longest, [caller, other], 0.0) == caller
    assert find_caller(f"{longest}k", [Caller("a", digest_of(f"{longest}k"))], 0.0) is Unidentified.UNKNOWN


def test_compression_has_names_limits_and_a_size_from_which_it_is_worth_it() -> None:
    assert [choose_encoding("gzip", size) for size in (1023, 1024)] == [None, "gzip"]
    assert [choose_encoding(given, 5000) for given in ("", "br", "Deflate", "deflate, GZIP;q=0.5", "gzip; q=0.0", "gzip ;q=0, deflate")] == [
        None, None, "deflate", "gzip", None, "deflate",
    ]  # fmt: skip
    for encoding in ("gzip", "x-gzip", "deflate"):
        whole = packed(bytes(100), encoding)
        assert len(whole) < 50
        assert [unpacked(whole, encoding, limit) for limit in (99, 100)] == [TooLarge(), bytes(100)]
        assert unpacked(whole[:-1], encoding, 100) == Broken(f"the {encoding} body is cut off, or something follows it")
        assert unpacked(b"no", encoding, 100) != unpacked(b"", encoding, 100)
    assert unpacked(b"abc", "identity", 0) == b"abc"
    broken = unpacked(b"no", "gzip", 100)
    assert isinstance(broken, Broken)
    assert broken.reason.startswith("the body is not gzip: Error -3")


def test_a_header_is_latin_1_and_none_where_it_is_empty() -> None:
    request = AdmittedRequest(ANYONE, {b"a": b"\xe4", b"b": b""}, b"")
    assert [request.header(name) for name in (b"a", b"b", b"c")] == ["ä", None, None]
