"""How the process of a run reports: facts go into the run's journal, the present progress into a small file beside it."""

import os
import time
from pathlib import Path
from typing import Any

from headrace.events.training import TrainingProgressed
from headrace.hosting.runs import Progress, RunFolder
from headrace_trainer.core.progress import ProgressFacts

# How often the file with the present progress is replaced within a stage.
PROGRESS_EVERY_S = 0.25


class Journal:
    """The journal of one run. In a process that the user's code has forked off nothing is written, and the first fact ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._pid = RunFolder(folder), os.getpid()
        self.accepted = self._folder.order()
        self._facts = ProgressFacts()
        self._stage, self._written_s = "", -PROGRESS_EVERY_S

    def emit(self, fact: Any) -> None:
        """Append a fact, or the command to register. Progress is written at once, and appended where it is worth a fact."""
        if os.getpid() != self._pid:
            os._exit(0)
        if isinstance(fact, TrainingProgressed):
            self._write_progress(fact.stage, fact.share, fact.detail)
            if not self._facts.is_fact(fact, time.monotonic()):
                return
        self._folder.append(fact)

    def waiting(self, reason: str) -> None:
        """Report that the log cannot be reached."""
        self.emit(TrainingProgressed(self.accepted.deployment, self.accepted.run, "waiting", 0.0, reason))

    def _write_progress(self, stage: str, share: float, detail: str) -> None:
        """Write the present progress: cheap, and a sign of life."""
        now_s = time.monotonic()
        if stage != self._stage or now_s - self._written_s >= PROGRESS_EVERY_S:
            self._stage, self._written_s = stage, now_s
            self._folder.write_progress(Progress(stage, share, detail, self._pid))
