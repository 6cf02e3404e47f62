"""Which requests were answered before: a window of the last answers of a partition, rebuilt from its decisions.

A repeated request id gets the stored answer as a reply, and no second decision. Ids belong to a deployment: the same id
asked of two deployments is two requests.
"""

from headrace.events.inference import PredictionAnswered

WINDOW = 100_000


class Answered:
    """The newest `limit` answers of one partition, oldest forgotten first."""

    def __init__(self, limit: int = WINDOW) -> None:
        self._limit = limit
        self._answers: dict[tuple[str, str], PredictionAnswered] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def remember(self, answer: PredictionAnswered) -> None:
        """Keep an answer; the first one given to an id stands."""
        self._answers.setdefault((answer.deployment, answer.request_id), answer)
        while len(self._answers) > self._limit:
            del self._answers[next(iter(self._answers))]

    def find(self, deployment: str, request_id: str) -> PredictionAnswered | None:
        """The stored answer, None when the id is new (or older than the window)."""
        return self._answers.get((deployment, request_id))
