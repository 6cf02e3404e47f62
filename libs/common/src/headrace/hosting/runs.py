"""Folders of training runs, where the trainer, the training process and the command line exchange data.

A run is a process of its own, which continues when the trainer ends. It appends its facts to a journal. The trainer
that owns the run's request reads and publishes them. In `<runs folder>/<run>/`:

- `order`: what is to be trained (`RetrainAccepted`)
- `lock`: held (flock) by the run's supervisor while it lives, with its process id inside. So a run is never done twice
  on one machine, and a process id is only trusted while its lock is held
- `journal`: facts in order, the command to register, and the attempts, as frames of length, CRC-32, MessagePack
- `progress`: the present progress (JSON), replaced a few times a second
- `out.log`: what the user's code printed, bounded
- `adopted`: touched by the trainer that watches the run; an unwatched run ends by itself
- `stop`: ends the run, for now when it is empty, for good when it names a person
"""

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import Misconfigured
from headrace.events import event_types, type_name
from headrace.events.training import RetrainAccepted
from headrace.hosting.settings import Settings

_FRAME = struct.Struct(">II")
_POLL_S = 0.02
_MOST_PID = 2**31


class AttemptBegan(msgspec.Struct, frozen=True):
    """A process begins the run from its start."""

    number: int
    pid: int


class AttemptEnded(msgspec.Struct, frozen=True):
    """An attempt ended without a result. `how`: `killed`, `crashed` (a fault in native code), `idle`, or `stopped` on
    request.
    """

    number: int
    how: str
    reason: str


class Progress(msgspec.Struct, frozen=True):
    """The progress of a run. `pid`: of its present process."""

    stage: str = "start"
    share: float = 0.0
    detail: str = ""
    pid: int = 0


Entry = Any
_OURS: dict[str, type[msgspec.Struct]] = {type_name(kind): kind for kind in (AttemptBegan, AttemptEnded)}


def runs_folder(settings: Settings) -> Path:
    """The folder of these settings' runs: `runs_folder`, else in the installation's home, else in the temporary
    folder.
    """
    name = settings.namespace or "default"
    if settings.runs_folder:
        return Path(settings.runs_folder).absolute() / name
    if home := os.environ.get("HEADRACE_HOME"):
        return Path(home).absolute() / "runs" / name
    # NB: two installations on one machine must not mix up their runs.
    cluster = blake2b(settings.bootstrap_servers.encode(), digest_size=4).hexdigest()
    return Path(tempfile.gettempdir()) / f"headrace-{os.getuid()}-{cluster}" / name


def read_folder(settings: Settings) -> Path:
    """Where runs cache what they have read from the log, a folder per deployment. When it is deleted, the log is read
    again.
    """
    return runs_folder(settings) / "read"


def make_folder(folder: Path) -> Path:
    """Create the runs folder, for this user only. Raises `Misconfigured` when it belongs to another user."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"cannot make the folder of training runs {folder}: {error}; set HEADRACE_RUNS_FOLDER"
        ) from None
    if folder.stat().st_uid != os.getuid():
        raise Misconfigured(f"{folder} belongs to another user; set HEADRACE_RUNS_FOLDER to a folder of your own")
    return folder


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @property
    def run(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def log(self) -> Path:
        """The file with the run's output."""
        return self.path / "out.log"

    def write_order(self, accepted: RetrainAccepted) -> None:
        """Create the folder with the order in it, unless it exists."""
        if (self.path / "order").exists():
            return
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(self.path / "order", msgspec.msgpack.encode(accepted))
        self.touch()

    def order(self) -> RetrainAccepted:
        """What is to be trained."""
        return msgspec.msgpack.decode((self.path / "order").read_bytes(), type=RetrainAccepted)

    def append(self, entry: Entry) -> None:
        """Append an entry to the journal in one write."""
        body = msgspec.msgpack.encode((type_name(type(entry)), msgspec.Raw(msgspec.msgpack.encode(entry))))
        with (self.path / "journal").open("ab", buffering=0) as journal:
            journal.write(_FRAME.pack(len(body), zlib.crc32(body)) + body)

    def read(self, position: int = 0) -> tuple[list[Entry], int]:
        """The complete entries of the journal from a byte position on, and the position after them."""
        try:
            with (self.path / "journal").open("rb") as journal:
                journal.seek(position)
                data = journal.read()
        except FileNotFoundError:
            return [], position
        entries: list[Entry] = []
        begin = 0
        for body, end in _frames(data):
            kind, raw = msgspec.msgpack.decode(body, type=tuple[str, msgspec.Raw])
            entries.append(msgspec.msgpack.decode(raw, type=_OURS.get(kind) or event_types()[kind]))
            begin = end
        return entries, position + begin

    def mend(self) -> None:
        """Cut off an incomplete entry of a writer that was killed."""
        _, end = self.read()
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.path / "journal", end)

    def write_progress(self, progress: Progress) -> None:
        """Replace the present progress."""
        _replace(self.path / "progress", msgspec.json.encode(progress))

    def progress(self) -> Progress:
        """The present progress."""
        try:
            return msgspec.json.decode((self.path / "progress").read_bytes(), type=Progress)
        except (OSError, msgspec.DecodeError):
            return Progress()

    def written_at(self) -> int:
        """A stamp that changes whenever the run writes to its journal or its progress."""
        return sum(_stamp(self.path / name) for name in ("journal", "progress"))

    def touch(self) -> None:
        """Note that a trainer watches the run."""
        with contextlib.suppress(OSError):
            (self.path / "adopted").touch()

    def touched_at(self) -> int:
        """A stamp that changes whenever a trainer touches the run."""
        return _stamp(self.path / "adopted")

    def ask_to_stop(self, by: str = "") -> None:
        """Ask the run to end: for now, or for good when `by` names a person."""
        _replace(self.path / "stop", by.encode())

    def stop_asked(self) -> str | None:
        """Who asked the run to stop ("" for now only); None when nobody did."""
        try:
            return (self.path / "stop").read_text()
        except OSError:
            return None

    def clear_stop(self) -> None:
        """Withdraw the request to stop."""
        (self.path / "stop").unlink(missing_ok=True)

    def hold(self) -> int | None:
        """Take the run's lock for as long as this process lives. None when another process holds it. Blocks at most 0.5
        s.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        give_up_s = time.monotonic() + 0.5
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > give_up_s:  # longer than another process checks the lock
                    os.close(descriptor)
                    return None
                time.sleep(_POLL_S)
            else:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor

    def holder(self) -> int | None:
        """The process that supervises this run; None when there is none, or when the lock holds no process id."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            written = os.pread(descriptor, 20, 0).strip()
            pid = int(written) if written.isdigit() else 0
            return pid if 0 < pid < _MOST_PID else None
        else:
            return None
        finally:
            os.close(descriptor)

    def size_bytes(self) -> int:
        """The size of the folder on disk."""
        with contextlib.suppress(OSError):
            return sum(found.stat().st_size for found in self.path.iterdir())
        return 0

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def all_runs(folder: Path) -> list[RunFolder]:
    """The runs of a folder, the newest first."""
    with contextlib.suppress(OSError):
        found = [path for path in folder.iterdir() if (path / "order").exists()]
        return [RunFolder(path) for path in sorted(found, key=lambda path: -_stamp(path / "order"))]
    return []


def end_runs(folder: Path, timeout_s: float = 3.0) -> int:
    """End every run below a folder (of all namespaces), for now. Returns how many were running.

    A supervisor ends at once with all processes that it started. One that does not is killed, and its processes end
    with it.
    """
    found = [RunFolder(path.parent) for path in folder.glob("**/order")]
    for run in found:
        with contextlib.suppress(OSError):
            run.ask_to_stop()  # NB: a supervisor that was just started does not hold its lock yet
    running = [(run, pid) for run in found if (pid := run.holder()) is not None]
    _signal(running, signal.SIGTERM)
    give_up_s = time.monotonic() + timeout_s
    while any(run.holder() for run, _ in running) and time.monotonic() < give_up_s:
        time.sleep(_POLL_S)
    _signal(running, signal.SIGKILL)
    return len(running)


def _signal(running: list[tuple[RunFolder, int]], number: signal.Signals) -> None:
    for run, pid in running:
        if run.holder() == pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _frames(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Complete frames and their ends, up to the first torn one."""
    begin = 0
    while begin + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, begin)
        end = begin + _FRAME.size + length
        body = data[begin + _FRAME.size : end]
        if len(body) < length or zlib.crc32(body) != crc:
            return
        yield body, end
        begin = end


def _replace(path: Path, data: bytes) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_bytes(data)
    scratch.replace(path)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
