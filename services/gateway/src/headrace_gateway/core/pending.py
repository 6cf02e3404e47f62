"""Which questions are waiting, and which have waited long enough: ids and deadlines, on a clock that never jumps."""

import heapq


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
