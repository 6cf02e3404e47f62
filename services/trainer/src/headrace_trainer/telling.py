"""How a run's process tells what it does: facts into its journal, how far it is into a small file beside."""

import os
import time
from pathlib import Path
from typing import Any

from headrace.events.training import TrainingProgressed
from headrace.hosting.runs import Progress, RunFolder

TELL_EVERY_S = 0.25
# A stage's progress becomes a fact at most this often, and only when the share has grown by a hundredth of the run.
FACT_EVERY_S = 1.0
FACT_SHARE = 0.01


class Journal:
    """The voice of one run. A process that the user's code has forked off is silent and ends."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._pid = RunFolder(folder), os.getpid()
        self.accepted = self._folder.order()
        self._last = TrainingProgressed(self.accepted.deployment, self.accepted.run, "", -1.0)
        self._last_s = self._told_s = -FACT_EVERY_S
        self._stage = ""

    def say(self, fact: Any) -> None:
        """A fact, or the command to register."""
        if os.getpid() != self._pid:
            os._exit(0)
        if isinstance(fact, TrainingProgressed):
            self._progressed(fact)
        else:
            self._folder.append(fact)

    def tell(self, stage: str, share: float, detail: str) -> None:
        """How far it is; cheap, and a sign of life."""
        now_s = time.monotonic()
        if os.getpid() == self._pid and (stage != self._stage or now_s - self._told_s >= TELL_EVERY_S):
            self._stage, self._told_s = stage, now_s
            self._folder.tell(Progress(stage, share, detail, self._pid))

    def waiting(self, reason: str) -> None:
        """The log is not to be had."""
        self.say(TrainingProgressed(self.accepted.deployment, self.accepted.run, "waiting", 0.0, reason))

    def _progressed(self, fact: TrainingProgressed) -> None:
        now_s, last = time.monotonic(), self._last
        self.tell(fact.stage, fact.share, fact.detail)
        if fact.stage == last.stage and (
            now_s - self._last_s < FACT_EVERY_S or abs(fact.share - last.share) < FACT_SHARE
        ):
            return
        self._last, self._last_s = fact, now_s
        self._folder.append(fact)
