"""Which requests were answered before: a window of the last answers of a partition, rebuilt from its decisions.

A repeated request id gets the stored answer as a reply, and no second decision. Ids belong to a deployment: the same id
asked of two deployments is two requests. The window ends at 100,000 answers, at an hour by append time, or at 64 MiB, whichever is first.
"""

from collections import deque

WINDOW = 100_000
WINDOW_MS = 3_600_000
WINDOW_BYTES = 64 * 1024**2
# What an answer takes beside its bytes and its name: entries of a dictionary and a queue.
_ENTRY_BYTES = 200


class AnswerWindow:
    """The newest answers of one partition, the oldest forgotten first: at most `limit`, none older than `limit_ms`, `limit_bytes` in all.

    `bytes`: an estimate of what they take.
    """

    def __init__(self, limit: int = WINDOW, limit_ms: int = WINDOW_MS, limit_bytes: int = WINDOW_BYTES) -> None:
        self._limit, self._limit_ms, self._limit_bytes = limit, limit_ms, limit_bytes
        self.bytes = 0
        self._answers: dict[str, bytes] = {}
        # NB: the order is kept beside the dictionary: finding the first key of a dictionary walks over all keys that were deleted.
        self._order: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        return len(self._answers)

    def remember(self, deployment: str, request_id: str, answer: bytes, at_ms: int) -> None:
        """Keep an answer; of several to the same id the first stands. `at_ms`: when its request was appended."""
        name = _name(deployment, request_id)
        if name in self._answers:
            return
        self._answers[name] = answer
        order = self._order
        order.append((at_ms, name))
        self.bytes += _size(answer, name)
        # NB: the newest answer stays, whatever its size: its request may come again at once.
        while len(order) > 1 and (
            len(order) > self._limit or order[0][0] < at_ms - self._limit_ms or self.bytes > self._limit_bytes
        ):
            _, oldest = order.popleft()
            self.bytes -= _size(self._answers.pop(oldest), oldest)

    def find(self, deployment: str, request_id: str) -> bytes | None:
        """The stored answer as it was sent, None when the id is new (or older than the window)."""
        return self._answers.get(_name(deployment, request_id))


def _size(answer: bytes, name: str) -> int:
    return answer.__sizeof__() + name.__sizeof__() + _ENTRY_BYTES


def _name(deployment: str, request_id: str) -> str:
    return f"{deployment}\x1f{request_id}"
