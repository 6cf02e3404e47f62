"""Whether two versions give the same answers: what passes a version at once where no label can judge it.

The score of a probability that differs by d differs by less than 2 d, whatever the label is. So two versions whose
probabilities never differ by more than half of the margin cannot differ by more than the margin; numbers must be equal.
"""

from collections.abc import Mapping, Sequence

from headrace.events.inference import Score
from headrace.stats.scores import LEAST_PAIRS, MOST_MARGIN


class Agreement:
    """The largest difference of two versions' scores of the same requests. `state`: what `state()` returned, None for a new one."""

    def __init__(self, state: Mapping[str, Sequence[float]] | None = None) -> None:
        pairs, most, outside = (0.0, 0.0, 0.0) if state is None else state["sums"]
        self.pairs, self.most, self._outside = int(pairs), most, bool(outside)

    def add(self, new: Score | None, control: Score | None) -> None:
        """Take the scores of one request; a version without one agrees with nobody."""
        ours, theirs = _numbers(new), _numbers(control)
        self.pairs += 1
        if len(ours) != len(theirs) or not ours:
            self.most = float("inf")
            return
        self.most = max(self.most, *(abs(a - b) for a, b in zip(ours, theirs, strict=True)))
        self._outside = self._outside or any(not 0 <= number <= 1 for number in (*ours, *theirs))

    def is_within(self, margin: float | None) -> bool:
        """Whether no label could tell the versions apart by more than the margin (None: the default one)."""
        most = 0.0 if self._outside else (MOST_MARGIN if margin is None else margin) / 2
        return self.pairs >= LEAST_PAIRS and self.most <= most

    def state(self) -> dict[str, list[float]]:
        """Plain numbers from which it continues after a restart."""
        return {"sums": [float(self.pairs), self.most, float(self._outside)]}


def _numbers(score: Score | None) -> tuple[float, ...]:
    if score is None:
        return ()
    if score.probabilities is not None:
        return tuple(score.probabilities)
    return () if score.value is None else (score.value,)
