"""Runs as processes of their own: begun when nobody keeps them, looked after, read, and cleared away."""

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
from headrace_trainer.core.attempts import FIRST_PAUSE_S, LONGEST_PAUSE_S

_log = logging.getLogger("headrace.trainer")

TEND_S = 0.5
# Folders of finished runs that stay, the newest ones; beyond `KEPT_BYTES` fewer.
KEPT = 20
KEPT_BYTES = 64 * 2**20
# A run that nobody asked for (any more) is ended only after a while: another trainer may just have taken it up.
STRANGER_S = 30.0
# How often it is seen to it that keepers were not stopped by somebody.
WAKE_S = 30.0


@dataclass
class Workers:
    """The runs of this machine. What it was told of a run is in the run's folder, nothing is kept here that must last."""

    settings: Settings
    health: Health
    folder: Path = field(init=False)
    _begun: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _strangers_s: dict[str, float] = field(default_factory=dict)
    _due_s: dict[str, float] = field(default_factory=dict)
    _pauses_s: dict[str, float] = field(default_factory=dict)
    _tended_s: float = -TEND_S
    _looked_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.folder = make_folder(runs_folder(self.settings))

    def of(self, run: str) -> RunFolder:
        """A run's folder."""
        return RunFolder(self.folder / run)

    def read(self, run: str, position: int) -> tuple[list[Entry], int]:
        """What a run has said from a position of its journal on, and the next position."""
        return self.of(run).read(position)

    async def tend(self, wanted: Sequence[RetrainAccepted]) -> None:
        """Look after the wanted runs, in order: begin those that nobody keeps, as far as there is room."""
        if time.monotonic() - self._tended_s < TEND_S:
            return
        self._tended_s = time.monotonic()
        busy = 0
        for accepted in wanted:
            folder = self.of(accepted.run)
            if _is_finished(folder):
                continue
            folder.touch()
            if self._is_kept(folder):
                busy += 1
            elif busy < self.settings.trainings_at_once:
                busy += 1
                await self._begin_again(folder, accepted)
        self._clear_away({accepted.run for accepted in wanted})

    def _is_kept(self, folder: RunFolder) -> bool:
        begun = self._begun.get(folder.run)
        if begun is not None and begun.poll() is not None:
            del self._begun[folder.run]
        keeper = folder.holder()
        if keeper is not None and time.monotonic() - self._looked_s > WAKE_S:
            self._looked_s = time.monotonic()
            if wake_if_stopped(keeper):
                _log.warning("the keeper of run %s (process %d) was stopped, it goes on now", folder.run, keeper)
        return folder.run in self._begun or keeper is not None

    async def _begin_again(self, folder: RunFolder, accepted: RetrainAccepted) -> None:
        """Begin it, later each time: whatever is wrong with the machine is not mended by haste."""
        if time.monotonic() < self._due_s.get(folder.run, 0.0):
            return
        pause_s = self._pauses_s.get(folder.run, FIRST_PAUSE_S)
        self._due_s[folder.run] = time.monotonic() + pause_s
        self._pauses_s[folder.run] = min(2 * pause_s, LONGEST_PAUSE_S)
        try:
            await asyncio.to_thread(self._begin, folder, accepted)
        except OSError as error:
            _log.warning("run %s cannot be begun, again in %.0f s: %s", folder.run, pause_s, error)
            self.health.degraded["runs"] = f"training runs cannot be begun in {self.folder}: {error}"
        else:
            self.health.degraded.pop("runs", None)

    def _begin(self, folder: RunFolder, accepted: RetrainAccepted) -> None:
        folder.write_order(accepted)
        if folder.stop_asked() == "":
            folder.clear_stop()
        environ = {**os.environ, **environ_of(self.settings), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", "-m", "headrace_trainer.keeper", str(folder.path)]
        with (folder.path / "keeper.log").open("ab") as errors:
            # NB: a session of its own, and not asyncio's way, which kills what it began when its loop ends: the run goes on.
            self._begun[folder.run] = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        _log.info("run %s of %s is kept by process %d", folder.run, accepted.deployment, self._begun[folder.run].pid)

    def _clear_away(self, wanted: set[str]) -> None:
        """End what nobody asked for, and forget the oldest runs that are over."""
        over, held = 0, 0
        for folder in all_runs(self.folder):
            held += folder.size_bytes()
            if folder.run in wanted:
                continue
            if folder.holder() is not None:
                since_s = self._strangers_s.setdefault(folder.run, time.monotonic())
                if time.monotonic() - since_s > STRANGER_S:
                    folder.ask_to_stop()
                continue
            self._strangers_s.pop(folder.run, None)
            for kept in (self._due_s, self._pauses_s, self._begun):
                kept.pop(folder.run, None)
            over += 1
            if over > KEPT or held > KEPT_BYTES:
                held -= folder.size_bytes()
                folder.remove()
        self.health.holds("runs_folder", held, KEPT_BYTES)


def _is_finished(folder: RunFolder) -> bool:
    return any(isinstance(entry, TrainingFinished) for entry in folder.read()[0])
