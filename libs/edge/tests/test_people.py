"""Who acts: by a proxy's header, a key, or a session; from whom each is believed."""

from pathlib import Path

import pytest

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings
from headrace_edge.keys import load_people
from headrace_edge.rules.callers import Caller, Unidentified, digest_of
from headrace_edge.rules.people import (
    LOOPBACK,
    KnownPeople,
    Person,
    Stranger,
    Trust,
    person_of,
    read_proxies,
    read_roles,
)
from headrace_edge.rules.roles import Role
from headrace_edge.rules.sessions import COOKIE, SESSION_S, session_value
from headrace_edge.session_file import Sessions

NOW_S = 1_800_000_000.0
ANNA = Caller("anna", digest_of("a-key"), role=Role.OPERATOR, deployments=("delay",))
SHOP = Caller("shop", digest_of("s-key"))
OLD = Caller("old", digest_of("o-key"), role=Role.APPROVER, expires_s=NOW_S)
TRUST = Trust(b"x-forwarded-user", {"bob": Role.APPROVER, "*": Role.VIEWER})
KNOWN = KnownPeople((ANNA, SHOP, OLD), TRUST, b"secret")
BOB = (b"x-forwarded-user", b"bob")
KEY = (b"authorization", b"Bearer a-key")
AWAY = "10.0.0.1"


def found(*headers: tuple[bytes, bytes], peer: str = "127.0.0.1", known: KnownPeople = KNOWN) -> object:
    return person_of(headers, peer, known, NOW_S)


def test_a_proxy_on_this_machine_names_who_acts() -> None:
    assert found(BOB) == Person("bob", Role.APPROVER)
    assert found((b"x-forwarded-user", b"carl")) == Person("carl", Role.VIEWER)
    assert found((b"x-forwarded-user", "Jörg".encode())) == Person("Jörg", Role.VIEWER)


def test_the_same_header_from_elsewhere_is_as_if_it_were_not_there() -> None:
    for peer in (AWAY, "", "::2", "127.0.0.1.example.org"):
        assert found(BOB, peer=peer) is Unidentified.NO_KEY
        assert found(BOB, KEY, peer=peer) == Person("anna", Role.OPERATOR, ("delay",))
    proxied = KnownPeople((), Trust(b"x-forwarded-user", {"bob": Role.APPROVER}, read_proxies("10.0.0.0/8")), b"")  # type: ignore[arg-type]
    assert found(BOB, peer=AWAY, known=proxied) == Person("bob", Role.APPROVER)
    assert found(BOB, peer="127.0.0.1", known=proxied) is Unidentified.NO_KEY


def test_another_header_or_none_configured_names_nobody() -> None:
    assert found((b"x-forwarded-username", b"bob")) is Unidentified.NO_KEY
    assert found((b"", b"bob"), BOB, known=KnownPeople((), Trust(), b"")) is Unidentified.NO_KEY


@pytest.mark.parametrize("value", [b"", b" ", b"x" * 101, b"bo\x00b", b"\xff", b"a\tb"])
def test_a_name_that_is_none_is_nobody_and_no_other_way_is_tried(value: bytes) -> None:
    assert found((b"x-forwarded-user", value), KEY) is Stranger.NO_NAME


def test_a_header_twice_is_nobody_since_one_may_be_the_clients_own() -> None:
    assert found(BOB, (b"x-forwarded-user", b"carl")) is Stranger.NO_NAME


def test_who_is_not_listed_has_no_role_and_the_star_is_no_name() -> None:
    listed = KnownPeople((), Trust(b"x-forwarded-user", {"bob": Role.VIEWER}), b"")
    assert found((b"x-forwarded-user", b"carl"), known=listed) is Stranger.UNLISTED
    assert found((b"x-forwarded-user", b"*")) is Stranger.UNLISTED


@pytest.mark.parametrize(
    ("headers", "who"),
    [
        ((KEY,), Person("anna", Role.OPERATOR, ("delay",))),
        (((b"x-api-key", b"a-key"),), Person("anna", Role.OPERATOR, ("delay",))),
        (((b"x-api-key", b"s-key"),), Stranger.NO_ROLE),
        (((b"x-api-key", b"o-key"),), Unidentified.EXPIRED),
        (((b"x-api-key", b"wrong"),), Unidentified.UNKNOWN),
        ((), Unidentified.NO_KEY),
    ],
)
def test_a_key_with_a_role_is_a_person(headers: tuple[tuple[bytes, bytes], ...], who: object) -> None:
    assert found(*headers, peer=AWAY) == who


def cookie(value: str) -> tuple[bytes, bytes]:
    return (b"cookie", f"a=1; {COOKIE}={value}; b=2".encode("latin-1"))


def test_a_session_is_the_person_whose_key_began_it_for_twelve_hours() -> None:
    value = session_value(ANNA, b"secret", NOW_S - SESSION_S + 1, "i1")
    assert found(cookie(value), peer=AWAY) == Person("anna", Role.OPERATOR, ("delay",))
    assert found(cookie(session_value(ANNA, b"secret", NOW_S - SESSION_S, "i1"))) is Stranger.SESSION_OVER
    assert digest_of("a-key")[:8] not in value


def test_a_session_ends_with_its_key_its_role_its_process_and_with_any_changed_sign() -> None:
    value = session_value(ANNA, b"secret", NOW_S, "i1")
    assert found(cookie(value), known=KnownPeople((SHOP, OLD), TRUST, b"secret")) is Stranger.SESSION_OVER
    assert found(cookie(value), known=KnownPeople((ANNA,), TRUST, b"other")) is Stranger.SESSION_OVER
    assert found(cookie(session_value(OLD, b"secret", NOW_S - 10, "i1"))) is Stranger.SESSION_OVER
    assert found(cookie(session_value(SHOP, b"secret", NOW_S, "i1"))) is Stranger.NO_ROLE
    named, _, signature = value.rpartition(".")
    ident, fingerprint, ends = named.split(".")
    for forged in (
        f"{ident}.{fingerprint}.{int(ends) + 1}.{signature}",
        f"i2.{fingerprint}.{ends}.{signature}",
        f"{named}.",
        "x",
        "..",
        value + "0",
        "ä.1.ä",
        value[1:],
    ):
        assert found(cookie(forged)) is Stranger.SESSION_OVER


def test_a_session_that_was_ended_is_over_and_another_of_the_same_key_is_not() -> None:
    known = KnownPeople((ANNA,), TRUST, b"secret", frozenset({"i1"}))
    assert found(cookie(session_value(ANNA, b"secret", NOW_S, "i1")), known=known) is Stranger.SESSION_OVER
    assert isinstance(found(cookie(session_value(ANNA, b"secret", NOW_S, "i2")), known=known), Person)


def test_an_approver_may_what_an_operator_may_and_a_key_is_for_its_deployments() -> None:
    assert [[role.includes(other) for other in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    anna = Person("anna", Role.OPERATOR, ("delay",))
    assert (anna.may(Role.OPERATOR, "delay"), anna.may(Role.OPERATOR, "churn")) == (True, False)
    assert Person("bob", Role.APPROVER).may(Role.OPERATOR, "churn")


def test_roles_and_proxies_that_cannot_be_meant_are_refused_with_the_way_out() -> None:
    assert read_roles("anna=operator,anna=viewer") == "anna is named twice"
    for text in ("", "anna", "=viewer", "a=viewer,,b=viewer"):
        assert str(read_roles(text)).startswith("it must be name=role")
    assert read_roles("a=b=viewer") == {"a=b": Role.VIEWER}
    assert read_proxies(" ") == LOOPBACK
    for text in ("proxy.example.org", "10.0.0.1/8", "10.0.0.1,"):
        assert str(read_proxies(text)).startswith("it must be addresses or networks")


def test_settings_become_what_people_are_known_by(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("[[key]]\nname = 'anna'\nkey = 'a'\nrole = 'approver'\n[[key]]\nname = 'shop'\nkey = 's'\n")
    known = load_people(
        Settings(api_keys_file=str(keys), trusted_header="X-User", trusted_roles="*=viewer", http_host="0.0.0.0",
                 trusted_proxies="10.0.0.7"),
        Sessions(),
    )  # fmt: skip
    assert [caller.role for caller in known.callers] == [Role.APPROVER, None]
    assert known.can_sign_in
    assert person_of([(b"x-user", b"eve")], "10.0.0.7", known, NOW_S) == Person("eve", Role.VIEWER)
    assert len(known.secret) == 32
    assert not load_people(Settings(), Sessions()).can_sign_in
    # A proxy that names people needs no keys beside it.
    proxied = Settings(
        trusted_header="X-User", trusted_roles="*=viewer", http_host="0.0.0.0", trusted_proxies="10.0.0.7"
    )
    assert load_people(proxied, Sessions()).callers == ()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"trusted_header": "X-User", "trusted_roles": "*=viewer", "http_host": "0.0.0.0"}, "HEADRACE_TRUSTED_PROXIES"),
        ({"trusted_header": "X-User"}, "HEADRACE_TRUSTED_ROLES: it must be"),
        ({"trusted_header": "X-User", "trusted_roles": "a=boss"}, "got 'boss' for a"),
        ({"trusted_header": "Authorization", "trusted_roles": "*=viewer"}, "a header that a proxy sets"),
        ({"trusted_header": "X User", "trusted_roles": "*=viewer"}, "a header that a proxy sets"),
        ({"trusted_roles": "*=viewer"}, "without HEADRACE_TRUSTED_HEADER"),
        ({"trusted_proxies": "10.0.0.7"}, "without HEADRACE_TRUSTED_HEADER"),
        ({"trusted_header": "X-User", "trusted_roles": "*=viewer", "trusted_proxies": "x"}, "HEADRACE_TRUSTED_PROXIES"),
        ({"http_host": "0.0.0.0"}, "without API keys"),
    ],
)
def test_settings_that_would_let_anyone_be_anybody_are_refused(given: dict[str, str], reason: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        load_people(Settings(**given), Sessions())
    assert reason in str(raised.value)
