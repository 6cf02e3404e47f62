"""What the gateway refuses before anything is asked: too many rows, and any while it is not ready. Which paths need no key."""

from headrace_edge.rules.admission import Doors
from headrace_edge.rules.replies import Reply, error_reply
from headrace_gateway.settings import Limits

RETRY_AFTER_S = 1.0
DOORS = Doors(open=("/", "/v2/health/live", "/v2/health/ready"), pages=("/docs", "/openapi.json"))


def refuse_rows(rows: int, waiting: int, why_not_ready: str | None, limits: Limits) -> Reply | None:
    """The refusal of more rows now; None when they are accepted. `waiting`: rows that wait for an answer already."""
    if why_not_ready is not None:
        return error_reply(503, f"the gateway is not ready: {why_not_ready}", RETRY_AFTER_S)
    if waiting + rows > limits.in_flight:
        return error_reply(503, f"{waiting} rows are waiting already", RETRY_AFTER_S)
    return None
