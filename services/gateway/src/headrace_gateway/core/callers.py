"""Who asks: API keys, known by their SHA-256, and how often each may ask.

Every key is compared in constant time with all that are known, so that the time taken tells nothing. A rate is a token
bucket (Turner 1986): `per_s` calls a second on average, `burst` at once.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

MAX_KEY_CHARS = 512


@dataclass(frozen=True, slots=True)
class Caller:
    """Who may ask. `digest`: SHA-256 of the key, hex. `expires_s`: since the epoch. `per_s`, `burst`: calls; None for any."""

    name: str
    digest: str
    tenant: str = ""
    per_s: float | None = None
    burst: float = 1.0
    expires_s: float | None = None


ANYONE = Caller("anyone", "")


def digest_of(key: str) -> str:
    """SHA-256 of a key, hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def presented(authorization: str, api_key: str) -> str:
    """The key in `Authorization: Bearer KEY`, else in `X-API-Key: KEY`; "" for none.

    >>> presented("Bearer abc", ""), presented("", "abc"), presented("Basic abc", "")
    ('abc', 'abc', '')
    """
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else api_key.strip()


def find_caller(key: str, callers: Iterable[Caller], now_s: float) -> Caller | None:
    """Whose key it is; None for an unknown or expired one."""
    if not 0 < len(key) <= MAX_KEY_CHARS:
        return None
    digest, found = digest_of(key), None
    for caller in callers:
        if hmac.compare_digest(caller.digest, digest):
            found = caller
    return found if found is None or found.expires_s is None or now_s < found.expires_s else None


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
