"""Cookies, and which calls only our own page can make."""

import msgspec
import pytest

from headrace_edge.rules.sessions import clear_cookie, is_same_host, refuse_forged, set_cookie, value_of_cookie

OURS = {
    b"content-type": b"application/json; charset=utf-8",
    b"x-headrace-act": b"1",
    b"host": b"console.example.org:8081",
    b"origin": b"http://console.example.org:8081",
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
def test_a_call_of_our_own_page_is_taken(method: str) -> None:
    assert refuse_forged(method, OURS) is None
    assert refuse_forged(method, {name: value for name, value in OURS.items() if name != b"origin"}) is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (b"content-type", b"text/plain", "Content-Type"),
        (b"content-type", b"application/x-www-form-urlencoded", "Content-Type"),
        (b"content-type", b"", "Content-Type"),
        (b"x-headrace-act", b"", "X-Headrace-Act"),
        (b"x-headrace-act", b"true", "X-Headrace-Act"),
        (b"origin", b"http://evil.example.org", "another site"),
        (b"origin", b"http://console.example.org", "another site"),
        (b"origin", b"null", "another site"),
        (b"origin", b"", "another site"),
        (b"host", b"", "another site"),
    ],
)
def test_what_another_sites_page_could_send_is_refused(name: bytes, value: bytes, reason: str) -> None:
    refused = refuse_forged("POST", OURS | {name: value})
    assert refused is not None
    assert refused.status == 403
    assert reason in msgspec.json.decode(refused.body)["error"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_call_that_only_reads_needs_nothing(method: str) -> None:
    assert refuse_forged(method, {}) is None


def test_the_default_port_may_be_left_out() -> None:
    assert is_same_host("http://h:80", "h")
    assert is_same_host("https://H", "h:443")
    assert not is_same_host("https://h", "h:80")
    assert not is_same_host("ftp://h", "h")
    assert not is_same_host("http://[", "h")
    assert not is_same_host("http://h@evil", "h")


def test_a_cookie_is_kept_from_scripts_and_other_sites() -> None:
    assert set_cookie("v", is_secure=False) == "headrace_session=v; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    assert set_cookie("v", is_secure=True).endswith("; Secure")
    assert clear_cookie() == "headrace_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    assert value_of_cookie(b"x=1;headrace_session=v;headrace_session=w", "headrace_session") == "v"
    assert value_of_cookie(b"xheadrace_session=v", "headrace_session") == ""
