"""Which requests were answered before: a window of the last answers of a partition, rebuilt from its decisions.

A repeated request id gets the stored answer as a reply, and no second decision. Ids belong to a deployment: the same id
asked of two deployments is two requests. The window ends at 100,000 answers, or at an hour by append time.
"""

from collections import deque

WINDOW = 100_000
WINDOW_MS = 3_600_000


class Answered:
    """The newest answers of one partition, oldest forgotten first: at most `limit`, none older than `limit_ms`."""

    def __init__(self, limit: int = WINDOW, limit_ms: int = WINDOW_MS) -> None:
        self._limit, self._limit_ms = limit, limit_ms
        self._answers: dict[str, bytes] = {}
        # NB: beside the dictionary: finding a dictionary's first key again and again walks over all that was deleted.
        self._order: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        return len(self._answers)

    def remember(self, deployment: str, request_id: str, answer: bytes, at_ms: int) -> None:
        """Keep an answer; the first one given to an id stands. `at_ms`: when its request was appended."""
        name = _name(deployment, request_id)
        if name in self._answers:
            return
        self._answers[name] = answer
        order = self._order
        order.append((at_ms, name))
        while len(order) > self._limit or order[0][0] < at_ms - self._limit_ms:
            del self._answers[order.popleft()[1]]

    def find(self, deployment: str, request_id: str) -> bytes | None:
        """The stored answer as it was sent, None when the id is new (or older than the window)."""
        return self._answers.get(_name(deployment, request_id))


def _name(deployment: str, request_id: str) -> str:
    return f"{deployment}\x1f{request_id}"


# A reply leaves right after the commit, outside of it: whoever dies in between has decided and told nobody.
TOLD_WITHIN_MS = 2_000
_MOST_AGAIN = 10_000


class Untold:
    """The requests whose replies may not have left when a shard changed hands: those decided just before its last decision.

    They are read once more: each is a repeat by then, and gets its stored answer.
    """

    def __init__(self) -> None:
        self._decided: deque[tuple[int, int]] = deque()

    def on_decision(self, at_ms: int, request_offset: int) -> None:
        """A decision of the past, in order. `at_ms`: its append time."""
        decided = self._decided
        decided.append((at_ms, request_offset))
        while decided[0][0] < at_ms - TOLD_WITHIN_MS or len(decided) > _MOST_AGAIN:
            decided.popleft()

    def first(self, next_offset: int) -> int:
        """Where to read on from, `next_offset` being the first request that is not decided."""
        return min([next_offset, *(offset for _, offset in self._decided)])
