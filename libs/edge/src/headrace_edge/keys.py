"""Where API keys come from: a TOML file (`HEADRACE_API_KEYS_FILE`), or `HEADRACE_API_KEYS=name=key,name=key`.

[[key]]
name = "shop"
sha256 = "…"            # printf %s "$KEY" | sha256sum; or `key = "…"`
tenant = "shop"         # optional: routes may know exceptions for tenants
deployments = ["cart"]  # optional: the deployments that the key is for; all when not given
per_second = 50         # optional; `burst` calls at once, twice as many when not given
expires = 2027-01-01T00:00:00Z
role = "operator"       # of a person: viewer, operator or approver; without it the key asks for predictions only
"""

import ipaddress
import math
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings
from headrace_edge.rules.callers import Caller, digest_of
from headrace_edge.rules.people import KnownPeople, Trust, read_proxies, read_roles
from headrace_edge.rules.roles import Role
from headrace_edge.rules.sessions import signing_secret
from headrace_edge.session_file import Sessions

# The value of HEADRACE_API_KEYS that lets anyone ask from outside.
NONE = "none"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_OWN_HEADERS = ("authorization", "cookie", "host", "origin", "x-api-key", "x-headrace-act")


class KeyLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of the file."""

    name: str
    key: str = ""
    sha256: str = ""
    tenant: str = ""
    deployments: list[str] | None = None
    per_second: float | None = None
    burst: float | None = None
    expires: datetime | None = None
    role: str = ""


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    key: list[KeyLine] = []


def load_callers(settings: Settings) -> tuple[Caller, ...]:
    """The callers who have a key; () where anyone may ask.

    Raises `Misconfigured` for keys that cannot be read, and where anyone could ask from outside without `HEADRACE_API_KEYS=none`.
    """
    given = settings.api_keys
    if settings.api_keys_file:
        return _from_file(Path(settings.api_keys_file))
    if given and given != NONE:
        return tuple(_from_pair(pair) for pair in given.split(","))
    if not given and not is_loopback(settings.http_host):
        raise Misconfigured(
            f"HTTP is to be served on {settings.http_host} without API keys, so anyone could ask: set "
            "HEADRACE_API_KEYS_FILE or HEADRACE_API_KEYS (or HEADRACE_API_KEYS=none, if something in front checks them)"
        )
    return ()


def load_people(settings: Settings, sessions: Sessions) -> KnownPeople:
    """By what persons are known: their keys, a proxy's header, and sessions. `sessions`: those that were ended, and the secret.

    Raises `Misconfigured` for settings that cannot be meant. Where a proxy names who acts, no key is needed on any address.
    """
    trust = load_trust(settings)
    has_keys = settings.api_keys_file or settings.api_keys or not trust.header
    callers = load_callers(settings) if has_keys else ()
    return KnownPeople(callers, trust, signing_secret(sessions.secret, callers), sessions)


def load_trust(settings: Settings) -> Trust:
    """The header that names who acts, and from whom it is believed. Raises `Misconfigured`."""
    header = settings.trusted_header.strip().lower()
    if not header:
        if settings.trusted_roles or settings.trusted_proxies:
            raise Misconfigured("HEADRACE_TRUSTED_ROLES and _PROXIES mean nothing without HEADRACE_TRUSTED_HEADER")
        return Trust()
    if not _HEADER.fullmatch(header) or header in _OWN_HEADERS:
        raise Misconfigured(
            f"HEADRACE_TRUSTED_HEADER must be a header that a proxy sets, such as X-Forwarded-User, got {header!r}"
        )
    if not settings.trusted_proxies and not is_loopback(settings.http_host):
        raise Misconfigured(
            f"HTTP is to be served on {settings.http_host}, so anyone could send {header}: set HEADRACE_TRUSTED_PROXIES "
            "to the addresses of the proxy"
        )
    roles, proxies = read_roles(settings.trusted_roles), read_proxies(settings.trusted_proxies)
    if isinstance(roles, str):
        raise Misconfigured(f"HEADRACE_TRUSTED_ROLES: {roles}")
    if isinstance(proxies, str):
        raise Misconfigured(f"HEADRACE_TRUSTED_PROXIES: {proxies}")
    return Trust(header.encode(), roles, proxies)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_pair(pair: str) -> Caller:
    name, is_given, key = pair.strip().partition("=")
    if not (name and is_given and key):
        raise Misconfigured("HEADRACE_API_KEYS must be name=key,name=key (or none)")
    return Caller(name, digest_of(key), name)


def _from_file(path: Path) -> tuple[Caller, ...]:
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), KeyFile)
    except OSError as error:
        raise Misconfigured(f"HEADRACE_API_KEYS_FILE: {path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Misconfigured(f"HEADRACE_API_KEYS_FILE: {path}: {error}") from None
    if not found.key:
        raise Misconfigured(f"HEADRACE_API_KEYS_FILE: {path} holds no [[key]]")
    return tuple(_from_line(line, path) for line in found.key)


def _from_line(line: KeyLine, path: Path) -> Caller:
    digest = line.sha256.lower() or (digest_of(line.key) if line.key else "")
    if not _DIGEST.fullmatch(digest) or bool(line.key) == bool(line.sha256):
        raise Misconfigured(f"HEADRACE_API_KEYS_FILE: {path}: {line.name} needs `sha256` (64 hex digits) or `key`")
    for name, rate in (("per_second", line.per_second), ("burst", line.burst)):
        if rate is not None and not 0 < rate < math.inf:
            raise Misconfigured(f"HEADRACE_API_KEYS_FILE: {path}: {line.name}: {name} must be above 0, got {rate}")
    if line.deployments == []:
        raise Misconfigured(f"HEADRACE_API_KEYS_FILE: {path}: {line.name}: deployments is empty; leave it out for all")
    role = Role.of(line.role)
    if line.role and role is None:
        raise Misconfigured(
            f"HEADRACE_API_KEYS_FILE: {path}: {line.name}: role is viewer, operator or approver, got {line.role!r}"
        )
    burst = line.burst if line.burst is not None else 2 * (line.per_second or 1)
    allowed = tuple(line.deployments or ())
    return Caller(
        line.name, digest, line.tenant, line.per_second, max(burst, 1.0), _seconds(line.expires), allowed, role
    )


def _seconds(expires: Any) -> float | None:
    if expires is None:
        return None
    return (expires if expires.tzinfo else expires.replace(tzinfo=UTC)).timestamp()
