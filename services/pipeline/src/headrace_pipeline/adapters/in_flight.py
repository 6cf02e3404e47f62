"""Which record each transform is working on, in files that outlive the process: so a record that ends it is known afterwards.

A transform that calls `os._exit`, crashes in a C extension, or holds the interpreter for good (a regular expression gone wild)
takes the whole process with it; the record would be met again, for ever. So each transform notes its record, in memory that
is a file (a store of 21 bytes), before it runs. `core.suspects` decides what follows from a note that a process has left behind.

NB: no fsync: the kernel keeps what a process has stored. What a machine's crash loses costs one more crash of the process.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import mmap
import os
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from headrace.errors import Misconfigured, Poison
from headrace.hosting.forks import in_each_child
from headrace.hosting.runs import make_folder
from headrace.log.port import Record
from headrace_pipeline.core import suspects
from headrace_pipeline.core.suspects import MOST_CRASHES, Key

_log = logging.getLogger("headrace.pipeline")

_SLOTS, _SLOT_BYTES = 256, 1024
# Whether a record is in flight, partition, offset, append time in ms; behind it the lengths of pipeline and topic, and both.
_AT, _NAMES = struct.Struct("<Biqq"), struct.Struct("<HH")
_NAMES_AT = 32


class Slot:
    """Where one transform notes its record."""

    def __init__(self, in_flight: "InFlight", memory: mmap.mmap, begin: int) -> None:
        self._in_flight, self._memory, self._begin = in_flight, memory, begin

    def take(self, record: Record) -> None:
        """The transform works on this one from now on."""
        if self._in_flight.is_ending:
            return
        _AT.pack_into(self._memory, self._begin, 1, record.partition, record.offset, record.timestamp_ms)

    def done(self) -> None:
        """The transform works on none."""
        self._memory[self._begin] = 0


class InFlight:
    """The notes of one process. `folder`: made when needed; each process has a pair of files of its own in it.

    Where no file can be written (no disk, a full one) the process works without, and warns once in the log.
    """

    def __init__(self, folder: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s, self.is_ending = now_s, False
        self._known: dict[Key, int] = {}
        self._known_at: Path | None = None
        self._lock: int | None = None
        try:
            self._lock, number = _own(make_folder(folder))
            in_each_child(self, InFlight._let_go)
            self._memory = _mapped(folder / f"in-flight-{number}")
            self._known_at = folder / f"suspects-{number}.json"
            self._known = _read_known(self._known_at)
        except (OSError, Misconfigured) as error:  # no disk, a full one, somebody else's: all else goes on
            _log.warning("a message that ends this process will not be known by it: %s", error)
            self._memory = mmap.mmap(-1, _SLOTS * _SLOT_BYTES)
        self._slots = 0
        self._imports: dict[str, Slot] = {}
        self._alone = asyncio.Lock()
        left = _noted(self._memory)
        self._known = suspects.after_crash(self._known, left)
        for key in left:
            _log.error("%s", suspects.describe(key, self._known[key]))
        self._write()
        self._memory[:] = bytes(len(self._memory))
        self._started_s = now_s()

    def slot(self, pipeline: str, topic: str) -> Slot:
        """A transform's own. Raises `Misconfigured` when there are more transforms than anybody has."""
        if self._slots >= _SLOTS:
            raise Misconfigured(f"one process hosts at most {_SLOTS} pipelines")
        begin, self._slots = self._slots * _SLOT_BYTES, self._slots + 1
        names = [name.encode()[: _SLOT_BYTES // 3] for name in (pipeline, topic)]
        raw = _NAMES.pack(*map(len, names)) + b"".join(names)
        self._memory[begin + _NAMES_AT : begin + _NAMES_AT + len(raw)] = raw
        return Slot(self, self._memory, begin)

    def why_not(self, pipeline: str, record: Record) -> Poison | None:
        """Why a record must not be given to its transform; None when it may."""
        if not self._known or not suspects.is_to_blame(self._known, suspects.key_of(pipeline, record)):
            return None
        return Poison(f"pipeline {pipeline} ended its process on it, {MOST_CRASHES} times")

    def survived(self, pipeline: str, record: Record) -> None:
        """The record was handled: if it was a suspect, it is none any more."""
        if self._known and suspects.is_suspect(self._known, key := suspects.key_of(pipeline, record)):
            del self._known[key]
            self._write()

    @contextmanager
    def importing(self, project: str, digest: str) -> Iterator[None]:
        """Note that a project's code is being imported, until the block ends.

        Raises `Misconfigured` when the process ended on that import before, as often as on a record; until a process has ended
        in order (the code may be another one then), or another digest is applied.
        """
        code = suspects.import_of(digest)
        if self.why_not(project, code) is not None:
            raise Misconfigured(
                f"its import ended the process {MOST_CRASHES} times: mend it, and start the service anew"
            )
        slot = self._imports[project] = self._imports.get(project) or self.slot(project, code.topic)
        slot.take(code)
        try:
            yield
        finally:
            slot.done()
        self.survived(project, code)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Let a transform run: at once, or, while there are suspects, when no other one runs."""
        if not suspects.must_take_turns(self._known, self._now_s() - self._started_s):
            yield
            return
        async with self._alone:
            yield

    def end(self) -> None:
        """The process ends because it was asked to: nothing that is in flight is to blame."""
        if self.is_ending:
            return
        self.is_ending = True
        self._memory[:] = bytes(len(self._memory))
        left = suspects.without_imports(self._known)
        if left != self._known:
            self._known = left
            self._write()
        self._let_go()

    def _let_go(self) -> None:
        """Close the lock. In a forked child it is a copy, which would keep the files in use after our end."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self) -> None:
        if self._known_at is None:
            return
        new = self._known_at.with_suffix(".new")
        try:
            new.write_text(json.dumps([[*key, crashes] for key, crashes in self._known.items()]))
            new.replace(self._known_at)
        except OSError as error:  # a full disk: it is found again
            _log.warning("what ended this process cannot be noted in %s: %s", self._known_at, error)


def _own(folder: Path) -> tuple[int, int]:
    """The lock of a pair of files that no living process has, and its number: the lowest, so that of one that died."""
    for number in range(1000):
        lock = os.open(folder / f"in-flight-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock, number
        os.close(lock)
    raise Misconfigured(f"{folder} is in use by a thousand processes")


def _mapped(path: Path) -> mmap.mmap:
    size = _SLOTS * _SLOT_BYTES
    with path.open("a+b") as file:
        # NB: blocks are taken now: a store to a hole on a full disk would be a SIGBUS.
        os.posix_fallocate(file.fileno(), 0, size)
        return mmap.mmap(file.fileno(), size)


def _noted(memory: mmap.mmap) -> list[Key]:
    """What was in flight when the process before this one ended."""
    found: list[Key] = []
    for begin in range(0, len(memory), _SLOT_BYTES):
        is_in_flight, partition, offset, time_ms = _AT.unpack_from(memory, begin)
        if is_in_flight == 1:
            at = begin + _NAMES_AT
            name, topic = _NAMES.unpack_from(memory, at)
            at += _NAMES.size
            texts = memory[at : at + name], memory[at + name : at + name + topic]
            found.append((*(text.decode(errors="replace") for text in texts), partition, offset, time_ms))  # ty: ignore[invalid-argument-type]
    return found


def _read_known(path: Path) -> dict[Key, int]:
    try:
        return {
            (str(n), str(t), int(p), int(o), int(at)): int(crashes)
            for n, t, p, o, at, crashes in json.loads(path.read_text())
        }
    except (OSError, ValueError, TypeError):  # none yet, or half of one: it is found again
        return {}
