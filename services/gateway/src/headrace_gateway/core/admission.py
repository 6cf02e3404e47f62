"""What is refused before anything is asked: unknown callers, too many calls, large bodies, too many rows, a gateway that is not ready."""

from collections.abc import Sequence

from headrace.asking.requests import shown
from headrace_gateway.core.answers import Reply, error_reply
from headrace_gateway.core.callers import (
    ANYONE,
    Caller,
    RateLimits,
    Unidentified,
    find_caller,
    password,
    presented,
)
from headrace_gateway.core.compression import ENCODINGS
from headrace_gateway.settings import Limits

RETRY_AFTER_S = 1.0
# Paths that need no key: whoever supervises the process has none.
OPEN = ("/", "/v2/health/live", "/v2/health/ready")
# Pages for browsers: a browser asks its user for a name and a password, which is the key. No other path takes a password: a browser
# sends it along with the requests of every page, also with those of another site.
PAGES = ("/docs", "/openapi.json")
BEARER, BASIC = "Bearer", 'Basic realm="Headrace: any name, and an API key as the password", charset="UTF-8"'


def choose_caller(
    path: str, authorization: bytes, api_key: bytes, callers: Sequence[Caller], now_s: float
) -> Caller | Reply:
    """Who makes a call, or the 401 with the reason why the caller is not known. `callers`: () lets anyone in."""
    if not callers:
        return ANYONE
    is_page = path.startswith(PAGES)
    found = find_caller(
        presented(authorization, api_key) or (password(authorization) if is_page else ""), callers, now_s
    )
    if not isinstance(found, Unidentified):
        return found
    if path in OPEN:
        return ANYONE
    return error_reply(401, found.value).with_header("WWW-Authenticate", BASIC if is_page else BEARER)


def refuse_rate(caller: Caller, rates: RateLimits, now_s: float) -> Reply | None:
    """The 429 for a caller who calls too often; None when the call counts and may be made. `now_s`: monotonic."""
    wait_s = rates.take(caller, now_s)
    if wait_s is None:
        return None
    return error_reply(429, f"{caller.name} may call {caller.per_s:g} times a second", wait_s)


def refuse_body(size_bytes: int, encoding: str, limits: Limits) -> Reply | None:
    """The refusal of a body of this size (so far, or as announced) and encoding; None when it is accepted."""
    if size_bytes > limits.body_bytes:
        return error_reply(413, f"a body may have {limits.body_bytes} bytes at most, uncompressed")
    if encoding not in ENCODINGS:
        return error_reply(415, f"Content-Encoding {shown(encoding)} is not taken: gzip, deflate, or as it is")
    return None


def refuse_rows(rows: int, waiting: int, why_not_ready: str | None, limits: Limits) -> Reply | None:
    """The refusal of more rows now; None when they are accepted. `waiting`: rows that wait for an answer already."""
    if why_not_ready is not None:
        return error_reply(503, f"the gateway is not ready: {why_not_ready}", RETRY_AFTER_S)
    if waiting + rows > limits.in_flight:
        return error_reply(503, f"{waiting} rows are waiting already", RETRY_AFTER_S)
    return None
