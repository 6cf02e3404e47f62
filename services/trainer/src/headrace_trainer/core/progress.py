"""Which reports of a run's progress become facts: the first of a stage, then one a second at most, when the share has grown."""

from dataclasses import dataclass

from headrace.events.training import TrainingProgressed

# Within a stage, a report becomes a fact at most this often, and only when the share has changed by a hundredth of the run.
FACT_EVERY_S = 1.0
FACT_SHARE = 0.01


@dataclass
class ProgressFacts:
    """Remembers the last report that became a fact. Instants are monotonic."""

    _stage: str = ""
    _share: float = -1.0
    _at_s: float = -FACT_EVERY_S

    def is_fact(self, progress: TrainingProgressed, now_s: float) -> bool:
        """Whether a report becomes a fact; if so, later ones are compared with it."""
        is_same_stage = progress.stage == self._stage
        if is_same_stage and (now_s - self._at_s < FACT_EVERY_S or abs(progress.share - self._share) < FACT_SHARE):
            return False
        self._stage, self._share, self._at_s = progress.stage, progress.share, now_s
        return True
