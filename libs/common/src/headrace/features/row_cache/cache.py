"""What was read from the log for one deployment, kept on disk, so that the next reading reads only new records.

Its folder holds `lock` (flock: one reading at a time; another reading does without the cache), `state`, and `parts-N`,
to which each reading appends its requests and outcomes (`Own`) and its sources' events (columns), in frames. Only a
finished reading replaces `state`, which holds how much of `parts-N` counts. A cache that is missing, torn, of other
sources or of topics that were created again is thrown away, and the log is read. The cache holds nothing that the log
does not have.

A part whose newest instant is older than all that is needed is not read. When such parts are half of the file, the
others are written to a new file. So the size is at most twice that of what is needed.
"""

import contextlib
import fcntl
import logging
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from headrace.events.definition import digest_of
from headrace.features.dataset import Gathered
from headrace.features.own import Own
from headrace.features.row_cache.parts import (
    FRAME,
    OWN,
    Column,
    Marks,
    Part,
    checked,
    framed,
    joined,
    marks_of,
    of_events,
    of_own,
    restored,
)
from headrace.log.port import TopicPartition

_log = logging.getLogger("headrace.dataset")

_VERSION = 1


class State(msgspec.Struct):
    """`file`, `size`: the parts that count. `first`, `next`: the offsets per `topic/partition` between which all was
    read.

    `own_from_s`, `events_from_s`: the instants from which all requests and outcomes, and all events, are contained.
    """

    made_for: str
    file: int = 0
    size: int = 0
    first: dict[str, int] = {}
    next: dict[str, int] = {}
    own_from_s: float = -math.inf
    events_from_s: float = -math.inf
    marks: dict[str, Marks] = {}


@dataclass
class Kept:
    """The cache in `folder` for `gathered`. `topic_ids`: of the topics that are read; without all of them nothing is
    kept.

    `forgets`: records older than `gathered` needs are not kept; a later reading that needs them reads the log.
    """

    folder: Path
    gathered: Gathered
    topic_ids: Mapping[str, str]
    forgets: bool = False
    state: State = field(init=False)
    _lock: int | None = None
    _old_bytes: int = 0
    _held: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = self._nothing()

    def open(self) -> bool:
        """Lock the folder. False where another reading has it, or the disk fails; then nothing is kept."""
        if not all(self.topic_ids.values()):
            return False
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _log.info("%s is not used, everything is read from the log: %s", self.folder, error)
            self.close()
            return False
        return True

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self, begins: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Give to `gathered` what was read before and is still on the log. Returns the offsets to continue from, {} for
        none.

        `begins`: the present begin of each partition. Raises any error of reading the cache; `gathered` is then
        unusable.
        """
        state = self._stands(begins)
        if state is None:
            return {}
        self.state = state
        columns: dict[str, list[dict[str, Column]]] = {topic: [] for topic in self.gathered.tables}
        for _, body in self._frames():
            part = msgspec.msgpack.decode(body, type=Part)
            if part.topic:
                columns[part.topic].append(part.columns)
            self._give(part.own, begins)
        for topic, table in self.gathered.tables.items():
            if columns[topic]:
                table.extend(joined(columns[topic]))
            table.restore(*restored(table.source, state.marks[topic]))
            self._held[topic] = len(table)
        return {_place(place): offset for place, offset in state.next.items()}

    def save(self, fresh: list[Own], starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        """Append the new records, and then replace the state. `starts`, `ends`: the offsets between which they were
        read.
        """
        if self._lock is None:
            return
        try:
            self._save(fresh, starts, ends)
        except Exception as error:
            # NB: the disk may be full, or a value may not be encodable. The reading itself is done, and must not fail
            # for it.
            _log.warning("what was read cannot be kept in %s: %s", self.folder, error)
            self.throw_away()

    def throw_away(self) -> None:
        """Delete all that is kept."""
        self.state, self._old_bytes = self._nothing(), 0
        self._held.clear()
        for path in self.folder.iterdir():
            if path.name == "lock":
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _stands(self, begins: Mapping[TopicPartition, int]) -> State | None:
        """The stored state where it may be used; otherwise it is thrown away."""
        try:
            state = msgspec.msgpack.decode(checked((self.folder / "state").read_bytes()), type=State)
        except FileNotFoundError:
            self.throw_away()
            return None
        own_s, events_s = self._needed_s
        is_whole = state.made_for == self._made_for() and state.own_from_s <= own_s and state.events_from_s <= events_s
        # NB: when the log has lost events since, their repeats are known here and not there. Reading again makes both
        # equal.
        has_lost = any(
            begin > state.first.get(_name(tp), 0) for tp, begin in begins.items() if tp.topic in self.gathered.tables
        )
        if is_whole and not has_lost and state.next.keys() == {_name(tp) for tp in begins}:
            return state
        self.throw_away()
        return None

    @property
    def _needed_s(self) -> tuple[float, float]:
        """The instants before which requests and outcomes, and events, are not needed."""
        return (self.gathered.known_from_s, self.gathered.events_from_s) if self.forgets else (-math.inf, -math.inf)

    def _nothing(self) -> State:
        own_s, events_s = self._needed_s
        return State(self._made_for(), own_from_s=own_s, events_from_s=events_s)

    def _frames(self) -> Iterator[tuple[bytes, bytes]]:
        """The needed parts as (head, body). Raises `ValueError` for a torn one."""
        if not self.state.size:
            return
        self._old_bytes = 0
        with (self.folder / f"parts-{self.state.file}").open("rb") as parts:
            while parts.tell() < self.state.size:
                head = parts.read(FRAME.size)
                if len(head) < FRAME.size:
                    raise ValueError("the parts end too early")
                length, crc, newest_s, is_own = FRAME.unpack(head)
                body = parts.read(min(length, self.state.size))
                if len(body) != length or zlib.crc32(body) != crc:
                    raise ValueError("a part is torn")
                if newest_s >= self._needed_s[0 if is_own else 1]:
                    yield head, body
                else:
                    self._old_bytes += len(head) + len(body)

    def _give(self, own: list[Own], begins: Mapping[TopicPartition, int]) -> None:
        name = self.gathered.topics.name
        requests, outcomes = name("inference.requests"), name("inference.outcomes")
        for found in own:
            topic = outcomes if found.request is None else requests
            if found.offset >= begins[TopicPartition(topic, found.partition)]:
                self.gathered.give(found)

    def _save(self, fresh: list[Own], starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        state, parts = self.state, [of_own(fresh[n : n + OWN]) for n in range(0, len(fresh), OWN)]
        for topic, table in self.gathered.tables.items():
            begin = self._held.get(topic, 0)
            if len(table) > begin:
                parts.append(of_events(topic, {name: values[begin:] for name, values in table.columns().items()}))
        if 2 * self._old_bytes > state.size:
            parts = [*map(b"".join, self._frames()), *parts]
            state.file, state.size = state.file + 1, 0
        state.size = self._append(parts, state.size)
        own_s, events_s = self._needed_s
        state.own_from_s, state.events_from_s = max(state.own_from_s, own_s), max(state.events_from_s, events_s)
        state.first = {_name(tp): start for tp, start in starts.items()} | state.first
        state.next = {_name(tp): end for tp, end in ends.items()}
        state.marks = {topic: marks_of(table, events_s) for topic, table in self.gathered.tables.items()}
        _replace(self.folder / "state", framed(0.0, msgspec.msgpack.encode(state)))
        for path in self.folder.glob("parts-*"):
            if path.name != f"parts-{state.file}":
                path.unlink(missing_ok=True)

    def _append(self, parts: Sequence[bytes], size: int) -> int:
        """Append after the first `size` bytes, over the remains of an unfinished reading. Returns the new size."""
        path = self.folder / f"parts-{self.state.file}"
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(size)
            file.seek(size)
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def _made_for(self) -> str:
        sources = [table.source for table in self.gathered.tables.values()]
        ids = sorted(self.topic_ids.items())
        return digest_of(_VERSION, self.gathered.deployment.name, sources, self.gathered.topics.namespace, ids)


def bound(folder: Path, most_bytes: int) -> None:
    """Delete the least recently used folders in `folder`, one per deployment, until all take at most `most_bytes`."""
    with contextlib.suppress(OSError):
        sizes = {
            path: sum(found.stat().st_size for found in path.iterdir()) for path in folder.iterdir() if path.is_dir()
        }
        total = sum(sizes.values())
        for path in sorted(sizes, key=lambda found: found.stat().st_mtime_ns):
            if total <= most_bytes:
                return
            if _is_free(path):
                shutil.rmtree(path, ignore_errors=True)
                total -= sizes[path]


def _is_free(path: Path) -> bool:
    with contextlib.suppress(OSError), (path / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _replace(path: Path, data: bytes) -> None:
    scratch = path.with_name(f"{path.name}.new")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}/{tp.partition}"


def _place(name: str) -> TopicPartition:
    topic, _, partition = name.rpartition("/")
    return TopicPartition(topic, int(partition))
