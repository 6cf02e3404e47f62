"""Who asks: API keys, known by their SHA-256, and how often each may ask.

Every key is compared in constant time with all that are known, so that the time taken tells nothing. A rate is a token
bucket (Turner 1986): `per_s` calls a second on average, `burst` at once.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

MAX_KEY_CHARS = 512


@dataclass(frozen=True, slots=True)
class Caller:
    """Who may ask. `digest`: SHA-256 of the key, hex. `expires_s`: since the epoch. `per_s`, `burst`: calls; None for any.
    `deployments`: those that the key is for; () for all."""

    name: str
    digest: str
    tenant: str = ""
    per_s: float | None = None
    burst: float = 1.0
    expires_s: float | None = None
    deployments: tuple[str, ...] = ()

    def may_ask(self, deployment: str) -> bool:
        """Whether the key is for this deployment."""
        return not self.deployments or deployment in self.deployments


ANYONE = Caller("anyone", "")


class Nobody(Enum):
    """Why a call comes from nobody who is known; the value is told to the client."""

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
    scheme, _, told = authorization.partition(b" ")
    try:
        pair = base64.b64decode(told.strip(), validate=True) if scheme.lower() == b"basic" else b""
    except (binascii.Error, ValueError):
        return ""
    return _text(pair.partition(b":")[2])


def _text(raw: bytes) -> str:
    return raw.strip().decode("utf-8", "replace")


def find_caller(key: str, callers: Iterable[Caller], now_s: float) -> Caller | Nobody:
    """Whose key it is, or why it is nobody's."""
    if not key:
        return Nobody.NO_KEY
    if len(key) > MAX_KEY_CHARS:
        return Nobody.UNKNOWN
    digest, found = digest_of(key), None
    for caller in callers:
        if hmac.compare_digest(caller.digest, digest):
            found = caller
    if found is None:
        return Nobody.UNKNOWN
    return found if found.expires_s is None or now_s < found.expires_s else Nobody.EXPIRED


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
