"""Training runs as processes: they are begun, looked after, read, and cleared away."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace.hosting.health import Health
from headrace.hosting.runs import Entry, RunFolder, all_runs, make_folder, runs_folder
from headrace.hosting.settings import Settings, environ_of
from headrace_trainer.adapters.processes import wake_if_stopped
from headrace_trainer.core.scheduling import BeginPauses, RunOnDisk, choose_begun, choose_removed

_log = logging.getLogger("headrace.trainer")

TEND_S = 0.5
# Folders of finished runs that stay, the newest ones; beyond `KEPT_BYTES` fewer.
KEPT = 20
KEPT_BYTES = 64 * 2**20
# A run that nobody wants (any more) is ended only after a while: another trainer may just have taken it over.
STRANGER_S = 30.0
# How often supervisors that somebody has stopped (SIGSTOP) are continued.
WAKE_S = 30.0


@dataclass
class Workers:
    """The runs of this machine. Their state lies in their folders: nothing in here must outlast this process."""

    settings: Settings
    health: Health
    folder: Path = field(init=False)
    pauses: BeginPauses = field(default_factory=BeginPauses)
    _begun: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _strangers_s: dict[str, float] = field(default_factory=dict)
    _tended_s: float = -TEND_S
    _looked_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.folder = make_folder(runs_folder(self.settings))

    def of(self, run: str) -> RunFolder:
        """A run's folder."""
        return RunFolder(self.folder / run)

    def read(self, run: str, position: int) -> tuple[list[Entry], int]:
        """The entries of a run's journal from a position on, and the next position. Reads a file, and blocks for that long."""
        return self.of(run).read(position)

    async def tend(self, wanted: Sequence[RetrainAccepted]) -> None:
        """Look after the wanted runs: begin those that nobody supervises, in order, as far as there is room. At most every `TEND_S`."""
        if time.monotonic() - self._tended_s < TEND_S:
            return
        self._tended_s = time.monotonic()
        unfinished = {found.run: found for found in wanted if not _is_finished(self.of(found.run))}
        for run in unfinished:
            self.of(run).touch()
        supervised = [(run, self._is_supervised(self.of(run))) for run in unfinished]
        for run in choose_begun(supervised, self.settings.trainings_at_once):
            await self._begin(self.of(run), unfinished[run])
        self._clear_away({found.run for found in wanted})

    def _is_supervised(self, folder: RunFolder) -> bool:
        begun = self._begun.get(folder.run)
        if begun is not None and begun.poll() is not None:
            del self._begun[folder.run]
        supervisor = folder.holder()
        if supervisor is not None and time.monotonic() - self._looked_s > WAKE_S:
            self._looked_s = time.monotonic()
            if wake_if_stopped(supervisor):
                _log.warning(
                    "the supervisor of run %s (process %d) was stopped and is continued", folder.run, supervisor
                )
        return folder.run in self._begun or supervisor is not None

    async def _begin(self, folder: RunFolder, accepted: RetrainAccepted) -> None:
        """Begin a supervisor of a run, if that is due. A failure degrades this service, and is tried again."""
        now_s = time.monotonic()
        if not self.pauses.is_due(folder.run, now_s):
            return
        pause_s = self.pauses.note_begun(folder.run, now_s)
        try:
            await asyncio.to_thread(self._start_supervisor, folder, accepted)
        except OSError as error:
            _log.warning("run %s cannot be begun, again in %.0f s: %s", folder.run, pause_s, error)
            self.health.degraded["runs"] = f"training runs cannot be begun in {self.folder}: {error}"
        else:
            self.health.degraded.pop("runs", None)

    def _start_supervisor(self, folder: RunFolder, accepted: RetrainAccepted) -> None:
        folder.write_order(accepted)
        if folder.stop_asked() == "":
            folder.clear_stop()
        environ = {**os.environ, **environ_of(self.settings), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", "-m", "headrace_trainer.adapters.supervisor", str(folder.path)]
        with (folder.path / "supervisor.log").open("ab") as errors:
            # NB: a session of its own, and not a process of asyncio, which kills its processes when the loop ends: the run goes on.
            self._begun[folder.run] = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        _log.info(
            "run %s of %s is supervised by process %d", folder.run, accepted.deployment, self._begun[folder.run].pid
        )

    def _clear_away(self, wanted: set[str]) -> None:
        """Stop the runs that nobody wants, and remove the folders of the oldest runs that are over."""
        folders = all_runs(self.folder)
        found = [self._on_disk(folder, folder.run in wanted) for folder in folders]
        removed, held_bytes = choose_removed(found, KEPT, KEPT_BYTES)
        for folder in folders:
            if folder.run in removed:
                folder.remove()
        self.health.holds("runs_folder", held_bytes, KEPT_BYTES)

    def _on_disk(self, folder: RunFolder, is_wanted: bool) -> RunOnDisk:
        is_supervised = not is_wanted and folder.holder() is not None
        if is_supervised:
            since_s = self._strangers_s.setdefault(folder.run, time.monotonic())
            if time.monotonic() - since_s > STRANGER_S:
                folder.ask_to_stop()
        elif not is_wanted:
            self._strangers_s.pop(folder.run, None)
            self.pauses.forget(folder.run)
            self._begun.pop(folder.run, None)
        return RunOnDisk(folder.run, folder.size_bytes(), is_wanted, is_supervised)


def _is_finished(folder: RunFolder) -> bool:
    return any(isinstance(entry, TrainingFinished) for entry in folder.read()[0])
