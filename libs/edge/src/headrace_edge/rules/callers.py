"""Who calls: API keys, known by their SHA-256, and how often each key may call.

Every key is compared in constant time with all known keys, so that the response time reveals nothing. A rate is a token
bucket (Turner 1986): `per_s` calls a second on average, `burst` at once.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from headrace_edge.rules.roles import Role

MAX_KEY_CHARS = 512


@dataclass(frozen=True, slots=True)
class Caller:
    """Who may call.

    `digest`: SHA-256 of the key, hex. `expires_s`: since the epoch, None for never. `per_s`, `burst`: calls; None for any number.
    `deployments`: those that the key is for; () for all. `role`: of a person; None for a key that asks for predictions only.
    """

    name: str
    digest: str
    tenant: str = ""
    per_s: float | None = None
    burst: float = 1.0
    expires_s: float | None = None
    deployments: tuple[str, ...] = ()
    role: Role | None = None

    def may_ask(self, deployment: str) -> bool:
        """Whether the key is for this deployment."""
        return not self.deployments or deployment in self.deployments


ANYONE = Caller("anyone", "")


class Unidentified(Enum):
    """Why the caller is not known; the client receives the value."""

    NO_KEY = "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
    UNKNOWN = "unknown key"
    EXPIRED = "the key has expired"


def digest_of(key: str) -> str:
    """SHA-256 of a key, hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def presented(authorization: bytes, api_key: bytes) -> str:
    """The key in `Authorization: Bearer KEY`, else in `X-API-Key: KEY`; "" for none.

    >>> presented(b"Bearer abc", b""), presented(b"", b"abc"), presented(b"Basic abc", b"")
    ('abc', 'abc', '')
    """
    scheme, _, key = authorization.partition(b" ")
    return _text(key if scheme.lower() == b"bearer" else api_key)


def password(authorization: bytes) -> str:
    """The password of `Authorization: Basic ...`, which a browser asks its user for; "" for none.

    >>> password(b"Basic " + base64.b64encode(b"me:s3cret")), password(b"Basic %%%")
    ('s3cret', '')
    """
    scheme, _, encoded = authorization.partition(b" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == b"basic" else b""
    except (binascii.Error, ValueError):
        return ""
    return _text(pair.partition(b":")[2])


def _text(raw: bytes) -> str:
    return raw.strip().decode("utf-8", "replace")


def find_caller(key: str, callers: Iterable[Caller], now_s: float) -> Caller | Unidentified:
    """The caller whose key it is, or why nobody has that key."""
    if not key:
        return Unidentified.NO_KEY
    if len(key) > MAX_KEY_CHARS:
        return Unidentified.UNKNOWN
    digest, found = digest_of(key), None
    for caller in callers:
        if hmac.compare_digest(caller.digest, digest):
            found = caller
    if found is None:
        return Unidentified.UNKNOWN
    return found if found.expires_s is None or now_s < found.expires_s else Unidentified.EXPIRED


@dataclass(slots=True)
class Bucket:
    """Calls that may be made at once now, as of `at_s` (monotonic)."""

    tokens: float
    at_s: float

    def take(self, per_s: float, burst: float, now_s: float) -> float | None:
        """Take one call; None when it may be made, else the seconds until it may.

        >>> bucket = Bucket(1.0, 0.0)
        >>> bucket.take(2.0, 1.0, 0.0), bucket.take(2.0, 1.0, 0.0), bucket.take(2.0, 1.0, 0.5)
        (None, 0.5, None)
        """
        self.tokens = min(burst, self.tokens + (now_s - self.at_s) * per_s)
        self.at_s = now_s
        if self.tokens < 1:
            return (1 - self.tokens) / per_s
        self.tokens -= 1
        return None


class RateLimits:
    """The token bucket of every caller who has a rate. There are as many as there are keys: calls without a valid key get none."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def take(self, caller: Caller, now_s: float) -> float | None:
        """Take one call of a caller at `now_s` (monotonic); None when it may be made, else the seconds until it may."""
        if caller.per_s is None:
            return None
        bucket = self._buckets.setdefault(caller.digest, Bucket(caller.burst, now_s))
        return bucket.take(caller.per_s, caller.burst, now_s)
