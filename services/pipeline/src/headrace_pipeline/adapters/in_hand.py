"""Which message each transform is at, in files that outlive the process: so a message that ends it is known afterwards.

A transform that calls `os._exit`, crashes in a C extension, or holds the interpreter for good (a regular expression gone wild)
takes the whole process with it; the record would be met again, for ever. So each transform notes its message, in memory that is
a file (a store of 21 bytes), before it runs. What is noted when the process has ended is a suspect. While there are suspects, one transform
runs at a time: so of a second death exactly one message is to blame, and it is a dead letter from then on.

NB: no fsync: the kernel keeps what a process has stored. What a machine's crash loses costs one more death.
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

_log = logging.getLogger("headrace.pipeline")

MOST_DEATHS = 2
MOST_KNOWN = 1000
# Suspects that are not met again within so long are on another instance, or done: nobody waits for them any more.
ALONE_S = 600.0
_SLOTS, _SLOT_BYTES = 256, 1024
# Whether it is in hand, partition, offset, append time in ms; behind it the lengths of pipeline and topic, and both.
_AT, _NAMES = struct.Struct("<Biqq"), struct.Struct("<HH")
_NAMES_AT = 32

# What stands for a topic while a project is imported: no topic can be called so.
_IMPORT = "import of "
# Pipeline, topic, partition, offset, append time: a topic that is made again has other times.
Key = tuple[str, str, int, int, int]


class Slot:
    """Where one transform notes its message."""

    def __init__(self, in_hand: "InHand", memory: mmap.mmap, begin: int) -> None:
        self._in_hand, self._memory, self._begin = in_hand, memory, begin

    def take(self, record: Record) -> None:
        """It is at this one now."""
        if self._in_hand.is_ending:
            return
        _AT.pack_into(self._memory, self._begin, 1, record.partition, record.offset, record.timestamp_ms)

    def done(self) -> None:
        """It is at none."""
        self._memory[self._begin] = 0


class InHand:
    """The notes of one process. `folder`: made when needed; each process has a pair of files of its own in it."""

    def __init__(self, folder: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s, self.is_ending = now_s, False
        self._known: dict[Key, int] = {}
        self._known_at: Path | None = None
        self._lock: int | None = None
        try:
            self._lock, number = _own(make_folder(folder))
            in_each_child(self, InHand._let_go)
            self._memory = _mapped(folder / f"in-hand-{number}")
            self._known_at = folder / f"suspects-{number}.json"
            self._known = _read_known(self._known_at)
        except (OSError, Misconfigured) as error:  # no disk, a full one, somebody else's: all else goes on
            _log.warning("a message that ends this process will not be known by it: %s", error)
            self._memory = mmap.mmap(-1, _SLOTS * _SLOT_BYTES)
        self._slots = 0
        self._imports: dict[str, Slot] = {}
        self._alone = asyncio.Lock()
        noted = _noted(self._memory)
        # NB: who was in hand the time before, and not this time, is suspected no more: it may never be met here again.
        self._known = {key: deaths for key, deaths in self._known.items() if deaths >= MOST_DEATHS or key in noted}
        for key in noted:
            self._known[key] = self._known.pop(key, 0) + 1
            _tell(key, self._known[key])
        self._write()
        self._memory[:] = bytes(len(self._memory))
        self._until_s = now_s() + ALONE_S

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
        if not self._known or self._known.get(_key(pipeline, record), 0) < MOST_DEATHS:
            return None
        return Poison(f"pipeline {pipeline} ended its process on it, {MOST_DEATHS} times")

    def survived(self, pipeline: str, record: Record) -> None:
        """A suspect was handled."""
        if self._known and self._known.get(key := _key(pipeline, record), MOST_DEATHS) < MOST_DEATHS:
            del self._known[key]
            self._write()

    @contextmanager
    def importing(self, project: str, digest: str) -> Iterator[None]:
        """While a project's code is imported. Raises `Misconfigured` when the process ended on that before, as often as on a message;
        until a process has ended in order (the code may be another one then), or another digest is applied.
        """
        code = Record(f"{_IMPORT}{digest[:64]}", 0, 0, None, None)
        if self.why_not(project, code) is not None:
            raise Misconfigured(
                f"its import ended the process {MOST_DEATHS} times: mend it, and start the service anew"
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
        if not self._has_suspects:
            yield
            return
        async with self._alone:
            yield

    def end(self) -> None:
        """The process ends because it was told to: nothing that is in hand is to blame."""
        if self.is_ending:
            return
        self.is_ending = True
        self._memory[:] = bytes(len(self._memory))
        if any(key[1].startswith(_IMPORT) for key in self._known):
            self._known = {key: deaths for key, deaths in self._known.items() if not key[1].startswith(_IMPORT)}
            self._write()
        self._let_go()

    def _let_go(self) -> None:
        """Close the lock. In a forked child it is a copy, which would keep the files in use after our end."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _has_suspects(self) -> bool:
        return (
            bool(self._known)
            and self._now_s() < self._until_s
            and any(deaths < MOST_DEATHS for deaths in self._known.values())
        )

    def _write(self) -> None:
        while len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        if self._known_at is None:
            return
        new = self._known_at.with_suffix(".new")
        try:
            new.write_text(json.dumps([[*key, deaths] for key, deaths in self._known.items()]))
            new.replace(self._known_at)
        except OSError as error:  # a full disk: it is found again
            _log.warning("what ended this process cannot be noted in %s: %s", self._known_at, error)


def _tell(key: Key, deaths: int) -> None:
    who, topic, partition, offset, _ = key
    if topic.startswith(_IMPORT):
        then = "it is left out from now on" if deaths >= MOST_DEATHS else "it is tried once more"
        _log.error(
            "project %s was being imported when the process ended without being told to (%s); %s", who, deaths, then
        )
        return
    then = (
        "it is a dead letter from now on" if deaths >= MOST_DEATHS else "transforms run one at a time until it is done"
    )
    at = f"{topic}/{partition}/{offset}"
    _log.error("pipeline %s was at %s when the process ended without being told to (%s); %s", who, at, deaths, then)


def _key(pipeline: str, record: Record) -> Key:
    return pipeline, record.topic, record.partition, record.offset, record.timestamp_ms


def _own(folder: Path) -> tuple[int, int]:
    """The lock of a pair of files that no living process has, and its number: the lowest, so that of one that died."""
    for number in range(1000):
        lock = os.open(folder / f"in-hand-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
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
    found: list[Key] = []
    for begin in range(0, len(memory), _SLOT_BYTES):
        is_in_hand, partition, offset, time_ms = _AT.unpack_from(memory, begin)
        if is_in_hand == 1:
            at = begin + _NAMES_AT
            name, topic = _NAMES.unpack_from(memory, at)
            at += _NAMES.size
            texts = memory[at : at + name], memory[at + name : at + name + topic]
            found.append((*(text.decode(errors="replace") for text in texts), partition, offset, time_ms))  # ty: ignore[invalid-argument-type]
    return found


def _read_known(path: Path) -> dict[Key, int]:
    try:
        return {
            (str(n), str(t), int(p), int(o), int(at)): int(deaths)
            for n, t, p, o, at, deaths in json.loads(path.read_text())
        }
    except (OSError, ValueError, TypeError):  # none yet, or half of one: it is found again
        return {}
