"""Open questions and their deadlines, on a clock that never jumps."""

import heapq
from dataclasses import dataclass

from headrace.events.inference import PredictionRequested

# How many entries the queue may have beyond twice the open questions, before it is rebuilt.
_SPARE = 4096


@dataclass(frozen=True, slots=True)
class Question:
    """One row: its request under its id, for the instant `at_s`.

    `version`: for a preview, the loaded version that must answer. `tenant`: the asking tenant, for routes with
    overrides. `traceparent`: the trace that it belongs to.
    """

    request_id: str
    request: PredictionRequested
    at_s: float
    version: int | None = None
    tenant: str | None = None
    traceparent: str | None = None


class Pending:
    """Open questions by id. Answers to questions that are not open (late, repeated, of another asker) do not count.

    `held_bytes`: the sum of the open questions' sizes, as given to `open`.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[float, int]] = {}
        self._queue: list[tuple[float, str]] = []
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, reply_id: str) -> bool:
        return reply_id in self._open

    def open(self, reply_id: str, deadline_s: float, size_bytes: int = 0) -> None:
        """Add a question that is waited for until `deadline_s` (monotonic)."""
        self._open[reply_id] = (deadline_s, size_bytes)
        self.held_bytes += size_bytes
        heapq.heappush(self._queue, (deadline_s, reply_id))
        # NB: answered questions stay in the queue until their deadline, which at full speed are many more than wait.
        if len(self._queue) > _SPARE and len(self._queue) > 2 * len(self._open) + _SPARE:
            self._queue = [(due_s, ident) for ident, (due_s, _) in self._open.items()]
            heapq.heapify(self._queue)

    def deadline_s(self, reply_id: str) -> float | None:
        """Until when a question is waited for; None when it is not open."""
        found = self._open.get(reply_id)
        return None if found is None else found[0]

    def close(self, reply_id: str) -> bool:
        """Remove a question that was answered or given up. False when it was not open."""
        found = self._open.pop(reply_id, None)
        if found is None:
            return False
        self.held_bytes -= found[1]
        return True

    def expire(self, now_s: float) -> list[str]:
        """Close and return the questions whose deadline has passed."""
        expired: list[str] = []
        while self._queue and self._queue[0][0] <= now_s:
            _, reply_id = heapq.heappop(self._queue)
            if self.close(reply_id):
                expired.append(reply_id)
        return expired
