"""By which names a service is called: on loopback by its own, so that no other site's name can lead to it."""

import msgspec
import pytest

from headrace_edge.rules.hosts import read_hosts, refuse_host

LOCAL, SETTING = read_hosts("127.0.0.1", ""), "HEADRACE_CONSOLE_HOSTS"


@pytest.mark.parametrize(
    "host", [b"localhost", b"localhost:8090", b"LOCALHOST:1", b"127.0.0.1:8090", b"[::1]:8090", b"[::1]", b"localhost."]
)
def test_its_own_names_are_taken_with_any_port(host: bytes) -> None:
    assert refuse_host(host, LOCAL, SETTING) is None


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example", b"evil.example:8090", b"localhost.evil.example", b"127.0.0.1.evil.example", b"", b"::1", b"localhost:x",
        b"localhost:80:80", b"127.0.0.2", b"\xff", b"localhost@evil.example", b"[::1].evil.example",
    ],
)  # fmt: skip
def test_any_other_name_is_refused_with_the_way_out(host: bytes) -> None:
    refused = refuse_host(host, LOCAL, SETTING)
    assert refused is not None
    assert refused.status == 421
    assert SETTING in msgspec.json.decode(refused.body)["error"]


def test_a_setting_names_more_and_elsewhere_it_alone_begins_the_check() -> None:
    for bound in ("127.0.0.1", "0.0.0.0", "10.0.0.7"):
        hosts = read_hosts(bound, "console.example.org, Other:443")
        assert [
            refuse_host(host, hosts, SETTING) for host in (b"console.example.org", b"other:8443", b"localhost")
        ] == [None] * 3
        assert refuse_host(b"evil.example", hosts, SETTING) is not None
    assert refuse_host(b"anything.example", read_hosts("0.0.0.0", " "), SETTING) is None
    assert refuse_host(b"127.0.0.2:80", read_hosts("127.0.0.2", ""), SETTING) is None
    assert refuse_host(b"evil.example", read_hosts("::1", ""), SETTING) is not None
