"""Which questions are waiting, and which have waited long enough: ids and deadlines, on a clock that never jumps."""

import heapq
from dataclasses import dataclass

from headrace.events.inference import PredictionRequested


@dataclass(frozen=True, slots=True)
class Question:
    """One row: its request under its id, for the instant `at_s`.

    `version`: a preview, answered by this loaded version whatever the route says. `tenant`: who asks, where the route
    knows exceptions for tenants. `traceparent`: the trace that it belongs to.
    """

    request_id: str
    request: PredictionRequested
    at_s: float
    version: int | None = None
    tenant: str | None = None
    traceparent: str | None = None


class Pending:
    """Open questions by id. An answer to a question that is not open (late, repeated, somebody else's) is no answer."""

    def __init__(self) -> None:
        self._deadlines: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, reply_id: str) -> bool:
        return reply_id in self._deadlines

    def open(self, reply_id: str, deadline_s: float) -> None:
        """A question was asked; nobody waits for it after `deadline_s` (monotonic)."""
        self._deadlines[reply_id] = deadline_s
        heapq.heappush(self._queue, (deadline_s, reply_id))

    def close(self, reply_id: str) -> bool:
        """An answer has come, or the asker has gone; False when the question was not open."""
        return self._deadlines.pop(reply_id, None) is not None

    def expire(self, now_s: float) -> list[str]:
        """Close and return the questions whose deadline has passed."""
        expired: list[str] = []
        while self._queue and self._queue[0][0] <= now_s:
            _, reply_id = heapq.heappop(self._queue)
            if self.close(reply_id):
                expired.append(reply_id)
        return expired
