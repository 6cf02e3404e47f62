"""Where API keys come from, and when a gateway refuses to start without them."""

from pathlib import Path

import pytest

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings
from headrace_edge.keys import load_callers
from headrace_edge.rules.callers import Unidentified, digest_of, find_caller

NOW_S = 1_800_000_000.0


def from_file(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    return Settings(api_keys_file=str(path))


def test_on_the_loopback_address_no_key_is_needed() -> None:
    assert load_callers(Settings()) == ()
    assert load_callers(Settings(http_host="localhost")) == ()


def test_on_another_address_it_does_not_start_without_keys_unless_that_is_said_aloud() -> None:
    with pytest.raises(Misconfigured, match="HEADRACE_API_KEYS=none"):
        load_callers(Settings(http_host="0.0.0.0"))
    assert load_callers(Settings(http_host="0.0.0.0", api_keys="none")) == ()


def test_keys_of_the_environment_name_their_tenant() -> None:
    callers = load_callers(Settings(http_host="0.0.0.0", api_keys="shop=a=b, office=c"))
    found = find_caller("a=b", callers, NOW_S)
    assert found is not None
    assert (found.name, found.tenant, found.per_s) == ("shop", "shop", None)
    assert find_caller("shop", callers, NOW_S) is Unidentified.UNKNOWN


def test_a_file_holds_digests_tenants_rates_and_ends(tmp_path: Path) -> None:
    text = f"""
        [[key]]
        name = "shop"
        sha256 = "{digest_of("s3cret").upper()}"
        tenant = "eu"
        per_second = 50
        expires = 2027-01-01T00:00:00Z
        [[key]]
        name = "office"
        key = "plain"
    """
    shop, office = load_callers(from_file(tmp_path, text))
    assert (shop.tenant, shop.per_s, shop.burst, shop.expires_s) == ("eu", 50, 100, 1_798_761_600.0)
    assert find_caller("plain", (shop, office), NOW_S) == office
    assert find_caller("s3cret", (shop, office), NOW_S) is Unidentified.EXPIRED
    assert find_caller("s3cret", (shop, office), 1_700_000_000.0) == shop


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no"),
        ("[[key]]\nname = 'x'", "needs `sha256`"),
        ("[[key]]\nname = 'x'\nsha256 = 'abc'", "64 hex digits"),
        ("[[key]]\nname = 'x'\nkey = 'a'\nper_second = 0", "above 0"),
        ("[[key]]\nname = 'x'\nkey = 'a'\nrate = 1", "rate"),
        ("[[key]]\nname = 'x'\nkey = 'a'\nrole = 'boss'", "x: role is viewer, operator or approver, got 'boss'"),
        ("[[key", "keys.toml"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Misconfigured, match="HEADRACE_API_KEYS_FILE") as raised:
        load_callers(from_file(tmp_path, text))
    assert reason in str(raised.value)


def test_pairs_that_are_none_and_files_that_are_not_there_are_refused() -> None:
    with pytest.raises(Misconfigured, match="name=key"):
        load_callers(Settings(api_keys="s3cret"))
    with pytest.raises(Misconfigured, match="cannot be read"):
        load_callers(Settings(api_keys_file="/nowhere/keys.toml"))
