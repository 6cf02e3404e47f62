"""What is turned away at the door, before anything is asked: bodies too large, too many waiting, not ready yet."""

from headrace.asking.requests import shown
from headrace_gateway.core.answers import Reply, turned_away
from headrace_gateway.core.bodies import ENCODINGS
from headrace_gateway.settings import Limits

RETRY_AFTER_S = 1.0


def refuse_body(size_bytes: int, encoding: str, limits: Limits) -> Reply | None:
    """Why a body of this size (so far, or as announced) and encoding is not taken; None when it is."""
    if size_bytes > limits.body_bytes:
        return turned_away(413, f"a body may have {limits.body_bytes} bytes at most, uncompressed")
    if encoding not in ENCODINGS:
        return turned_away(415, f"Content-Encoding {shown(encoding)} is not taken: gzip, deflate, or as it is")
    return None


def refuse_rows(rows: int, waiting: int, why_not_ready: str | None, limits: Limits) -> Reply | None:
    """Why no more rows are taken now; None when they are. `waiting`: rows that wait for an answer already."""
    if why_not_ready is not None:
        return turned_away(503, f"the gateway is not ready: {why_not_ready}", RETRY_AFTER_S)
    if waiting + rows > limits.in_flight:
        return turned_away(503, f"{waiting} rows are waiting already", RETRY_AFTER_S)
    return None
