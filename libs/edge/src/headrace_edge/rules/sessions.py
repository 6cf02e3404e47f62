"""A browser's session: a signed cookie that names a key without revealing it; and which calls only our own page can make.

The cookie is `id.fingerprint.expiry.signature`: HMAC-SHA256 (RFC 2104) with a secret of which neither key nor digest can be recovered. It
is made of a random one that the installation keeps and of all keys (`signing_secret`): a restart keeps sessions, any change of the keys
ends them all. `id` is random; a session that was ended by its person is known by it until it would have expired.
"""

import hashlib
import hmac
from collections.abc import Container, Iterable, Mapping
from urllib.parse import urlsplit

from headrace_edge.rules.callers import Caller
from headrace_edge.rules.replies import Reply, error_reply

COOKIE = "headrace_session"
SESSION_S = 12 * 3600
ACT_HEADER, ACT_VALUE = b"x-headrace-act", b"1"
_MAX_COOKIE_CHARS = 512
_READING = ("GET", "HEAD", "OPTIONS")
_PORTS = {"http": ":80", "https": ":443"}


def signing_secret(kept: bytes, callers: Iterable[Caller]) -> bytes:
    """The secret under which sessions are signed. `kept`: the random one of the installation; `callers`: all keys."""
    lines = sorted(
        repr((caller.digest, caller.name, caller.role and caller.role.value, caller.deployments, caller.expires_s))
        for caller in callers
    )
    return hmac.new(kept, "\n".join(lines).encode(), hashlib.sha256).digest()


def session_value(caller: Caller, secret: bytes, now_s: float, ident: str) -> str:
    """The cookie's value for a caller whose key was just checked. It holds for 12 hours. `ident`: random, without dots."""
    named = f"{ident}.{_fingerprint(caller, secret)}.{int(now_s) + SESSION_S}"
    return f"{named}.{_signed(named, secret)}"


def read_session(value: str, secret: bytes) -> tuple[str, str, int] | None:
    """The id, the fingerprint of the key and the end of a session that was signed here; None for any other text."""
    named, _, signature = value[:_MAX_COOKIE_CHARS].rpartition(".")
    if not (signature.isascii() and hmac.compare_digest(_signed(named, secret), signature)):
        return None
    ident, fingerprint, ends = named.split(".")
    return ident, fingerprint, int(ends)


def find_session(
    value: str, callers: Iterable[Caller], secret: bytes, now_s: float, ended: Container[str] = ()
) -> Caller | None:
    """The caller whose session it is; None for one that is over, forged, or whose key is gone or has expired.

    `ended`: the ids of sessions that their persons ended.
    """
    read = read_session(value, secret)
    if read is None or read[0] in ended or not now_s < read[2]:
        return None
    fingerprint = read[1]
    found = next((caller for caller in callers if _fingerprint(caller, secret) == fingerprint), None)
    if found is None or (found.expires_s is not None and now_s >= found.expires_s):
        return None
    return found


def set_cookie(value: str, *, is_secure: bool) -> str:
    """The header `Set-Cookie` that begins a session. `is_secure`: the page was loaded over TLS.

    >>> set_cookie("v", is_secure=True)
    'headrace_session=v; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure'
    """
    return f"{COOKIE}={value}; Path=/; Max-Age={SESSION_S}; HttpOnly; SameSite=Strict" + (
        "; Secure" if is_secure else ""
    )


def clear_cookie() -> str:
    """The header `Set-Cookie` that ends a session."""
    return f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"


def value_of_cookie(header: bytes, name: str) -> str:
    """The value of a cookie in a header `Cookie`; "" for none.

    >>> value_of_cookie(b"a=1; headrace_session=x.y.z", "headrace_session")
    'x.y.z'
    """
    for pair in header.decode("latin-1").split(";"):
        found, _, value = pair.strip().partition("=")
        if found == name:
            return value
    return ""


def refuse_forged(method: str, headers: Mapping[bytes, bytes]) -> Reply | None:
    """The 403 for a call that changes something and that another site's page could have made; None when only ours can.

    A form of another site sets neither a content type of JSON nor a header of ours, and a script of one may not without asking the server
    first (CORS), which answers no such question.
    """
    if method in _READING:
        return None
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        return error_reply(403, "a call that changes something must have Content-Type: application/json")
    if headers.get(ACT_HEADER, b"") != ACT_VALUE:
        return error_reply(403, "a call that changes something must have X-Headrace-Act: 1")
    origin = headers.get(b"origin")
    if origin is not None and not is_same_host(origin.decode("latin-1"), headers.get(b"host", b"").decode("latin-1")):
        return error_reply(403, "this call comes from a page of another site (a proxy must pass Host on)")
    return None


def is_same_host(origin: str, host: str) -> bool:
    """Whether a page of this origin was served by this host.

    >>> is_same_host("https://h", "h:443"), is_same_host("http://h:8081", "H:8081"), is_same_host("null", "h")
    (True, True, False)
    """
    try:
        found = urlsplit(origin)
    except ValueError:
        return False
    port = _PORTS.get(found.scheme)
    if port is None or not host:
        return False
    return found.netloc.lower().removesuffix(port) == host.lower().removesuffix(port)


def _fingerprint(caller: Caller, secret: bytes) -> str:
    return hmac.new(secret, b"key " + caller.digest.encode(), hashlib.sha256).hexdigest()[:32]


def _signed(named: str, secret: bytes) -> str:
    return hmac.new(secret, b"session " + named.encode(), hashlib.sha256).hexdigest()
