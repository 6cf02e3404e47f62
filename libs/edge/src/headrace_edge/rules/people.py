"""Which person acts: known by a proxy's header, by a key, or by a session, in this order; and what that person may do.

A role includes those before it: viewer < operator < approver. A key without a role asks for predictions and is no person.
"""

import ipaddress
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from headrace_edge.rules.callers import Caller, Unidentified, find_caller, presented
from headrace_edge.rules.roles import Role
from headrace_edge.rules.sessions import COOKIE, find_session, value_of_cookie

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ANYBODY = "*"
MAX_NAME_CHARS = 100
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class Stranger(Enum):
    """Why nobody is known, beside what is wrong with a key (`Unidentified`); the client receives the value."""

    NO_ROLE = "this key asks for predictions only: it has no role"
    NO_NAME = "the proxy's header must name one person, once, in 1 to 100 printable characters"
    UNLISTED = "the proxy names a person who has no role here (HEADRACE_TRUSTED_ROLES)"
    SESSION_OVER = "the session is over: sign in again"


Unknown = Unidentified | Stranger


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts. `deployments`: those that the person's key is for; () for all."""

    name: str
    role: Role
    deployments: tuple[str, ...] = ()

    def may(self, role: Role, deployment: str | None = None) -> bool:
        """Whether the person may do what needs this role; `deployment`: to this one, None where it is about none.

        >>> anna = Person("anna", Role.OPERATOR, ("churn",))
        >>> anna.may(Role.VIEWER), anna.may(Role.APPROVER), anna.may(Role.OPERATOR, "delay")
        (True, False, False)
        """
        is_theirs = deployment is None or not self.deployments or deployment in self.deployments
        return is_theirs and self.role.includes(role)


@dataclass(frozen=True, slots=True)
class Trust:
    """The header in which a proxy names the person, and from whom it is believed.

    `header`: in lower case, b"" for none. `roles`: by name; `*` for everybody else. `proxies`: addresses of those who are believed.
    """

    header: bytes = b""
    roles: Mapping[str, Role] = field(default_factory=dict)
    proxies: tuple[Network, ...] = LOOPBACK


@dataclass(frozen=True, slots=True)
class KnownPeople:
    """All by which a person is known. `secret`: with which sessions are signed. `ended`: ids of sessions that were ended."""

    callers: tuple[Caller, ...]
    trust: Trust
    secret: bytes
    ended: Container[str] = frozenset()

    @property
    def can_sign_in(self) -> bool:
        """Whether there is a person's key with which a session can begin."""
        return any(caller.role is not None for caller in self.callers)


def person_of(headers: Sequence[tuple[bytes, bytes]], peer: str, known: KnownPeople, now_s: float) -> Person | Unknown:
    """Who acts, or why nobody is known. `headers`: all, names in lower case. `peer`: who is connected.

    A proxy's header counts only from a trusted address; from any other it is as if it were not there. Where several ways are
    used at once the first counts, also if it fails: proxy, key, session.
    """
    trust = known.trust
    named = [value for name, value in headers if trust.header and name == trust.header]
    if named and is_trusted(peer, trust.proxies):
        return _named_by_proxy(named, trust)
    single = dict(headers)
    key = presented(single.get(b"authorization", b""), single.get(b"x-api-key", b""))
    if key:
        return person_of_key(key, known.callers, now_s)
    cookie = value_of_cookie(single.get(b"cookie", b""), COOKIE)
    if not cookie:
        return Unidentified.NO_KEY
    caller = find_session(cookie, known.callers, known.secret, now_s, known.ended)
    return Stranger.SESSION_OVER if caller is None else _person(caller)


def person_of_key(key: str, callers: Iterable[Caller], now_s: float) -> Person | Unknown:
    """The person whose key it is, or why nobody has it."""
    found = find_caller(key, callers, now_s)
    return found if isinstance(found, Unidentified) else _person(found)


def _person(caller: Caller) -> Person | Stranger:
    return Stranger.NO_ROLE if caller.role is None else Person(caller.name, caller.role, caller.deployments)


def _named_by_proxy(values: Sequence[bytes], trust: Trust) -> Person | Stranger:
    # NB: twice, one of them may be the client's own.
    name = values[0].decode("utf-8", "replace").strip() if len(values) == 1 else ""
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable() or "\ufffd" in name:
        return Stranger.NO_NAME
    role = trust.roles.get(name) or trust.roles.get(ANYBODY)
    return Stranger.UNLISTED if role is None or name == ANYBODY else Person(name, role)


def is_trusted(peer: str, proxies: Iterable[Network]) -> bool:
    """Whether an address is one of those who are believed.

    >>> is_trusted("127.0.0.9", LOOPBACK), is_trusted("::ffff:127.0.0.1", LOOPBACK), is_trusted("10.0.0.1", LOOPBACK)
    (True, True, False)
    """
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in proxies)


def read_roles(text: str) -> dict[str, Role] | str:
    """`anna=operator,bob=approver,*=viewer` as roles by name, or what is wrong with it.

    >>> read_roles("anna=operator, *=viewer")
    {'anna': <Role.OPERATOR: 'operator'>, '*': <Role.VIEWER: 'viewer'>}
    >>> read_roles("anna=boss")
    "a role is viewer, operator or approver, got 'boss' for anna"
    """
    found: dict[str, Role] = {}
    for pair in text.split(","):
        name, is_given, word = (part.strip() for part in pair.rpartition("="))
        role = Role.of(word)
        if not (is_given and 0 < len(name) <= MAX_NAME_CHARS):
            return f"it must be name=role,name=role, got {pair.strip()[:100]!r}"
        if role is None:
            return f"a role is viewer, operator or approver, got {word[:40]!r} for {name}"
        if name in found:
            return f"{name} is named twice"
        found[name] = role
    return found


def read_proxies(text: str) -> tuple[Network, ...] | str:
    """`10.0.0.7,10.1.0.0/16` as networks, or what is wrong with it; "" means this machine.

    >>> read_proxies("10.0.0.7")
    (IPv4Network('10.0.0.7/32'),)
    """
    if not text.strip():
        return LOOPBACK
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))
    except ValueError as error:
        return f"it must be addresses or networks, joined by commas: {error}"
