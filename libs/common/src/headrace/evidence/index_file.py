"""The index's file: which records have a hash, in SQLite, within a limit of bytes. It can be deleted at any time.

New entries go into the table `fresh`. Every `RUN` of them become a run: sorted by hash, cut into `BUCKETS` blobs by
their highest bits, 16 bytes per entry. So a batch changes few pages, and a look-up reads one blob per run. At the limit
the oldest run is dropped whole; runs of decisions and outcomes go before those of causes, which are few.

Entries and the offsets up to which they were read are committed in one transaction. Processes share the file: the one
that holds the lock writes (WAL), others read. A file that is damaged, of another format or of topics that were created
again is deleted, and the log is read anew.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from headrace.errors import Retryable
from headrace.evidence.places import Entries
from headrace.log.port import TopicPartition

FORMAT = 1
RUN, BUCKETS = 65_536, 64
LEAST_BYTES = 8 * 1024 * 1024
_SHIFT = np.uint64(64 - BUCKETS.bit_length() + 1)
_RUN_BITS = 32
_TABLES = """
CREATE TABLE IF NOT EXISTS about (format INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, id TEXT NOT NULL, family INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS positions (topic TEXT, partition INTEGER, first INTEGER NOT NULL, next INTEGER NOT NULL,
                                      PRIMARY KEY (topic, partition));
CREATE TABLE IF NOT EXISTS fresh (family INTEGER, hash INTEGER, place INTEGER,
                                  PRIMARY KEY (family, hash, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (number INTEGER PRIMARY KEY AUTOINCREMENT, family INTEGER NOT NULL, next TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_of_run ON chunks (run);
INSERT INTO about SELECT {format} WHERE NOT EXISTS (SELECT 1 FROM about);
"""
# Decisions and outcomes, and causes.
MANY, FEW = 0, 1
Positions = Mapping[TopicPartition, int]


class ReadTopic(NamedTuple):
    """A topic that is read: its id, and which runs hold its entries (`MANY` or `FEW`)."""

    id: str
    family: int


def _places_in(data: bytes, wanted: int) -> np.ndarray:
    """The places of a hash in one blob, ascending."""
    count = len(data) // 16
    hashes = np.frombuffer(data, "<u8", count)
    begin, end = (
        int(np.searchsorted(hashes, np.uint64(wanted))),
        int(np.searchsorted(hashes, np.uint64(wanted), "right")),
    )
    return np.sort(np.frombuffer(data, "<i8", count, len(data) // 2)[begin:end])


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether the file must be made anew; a full disk or a lock is no damage."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


class IndexFile:
    """One open connection. Its methods block; they are called from one thread at a time.

    Every method raises `sqlite3.DatabaseError` where the file is damaged, and `Retryable` where a folder is in its place.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self._most_bytes = path, max(most_bytes, LEAST_BYTES)
        self._lock: int | None = None
        self._inode = 0
        self._connections = 0
        self._open: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file, and unlock it."""
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def lock(self) -> bool:
        """Become the process that writes; False where another one is."""
        if self._lock is not None:
            return True
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def generation(self) -> int:
        """Another number once the file is another one: what was read for the one before is not in it."""
        self._connect()
        return self._connections

    def throw_away(self) -> None:
        """Delete everything. Who reads does this only where the file is damaged: the process that writes makes it anew."""
        if self._open is not None and self._inode_now() != self._inode:
            return self._disconnect()
        self._disconnect()
        for suffix in ("-wal", "-shm", ""):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        return None

    def topic_ids(self) -> dict[str, str]:
        """The id of every topic that was read."""
        return dict(self._db.execute("SELECT name, id FROM topics"))

    def positions(self) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Per partition the offset from which everything is found here, and the next offset to read."""
        rows = self._db.execute("SELECT topic, partition, first, next FROM positions").fetchall()
        first = {TopicPartition(topic, partition): offset for topic, partition, offset, _ in rows}
        return first, {TopicPartition(topic, partition): offset for topic, partition, _, offset in rows}

    def bytes_used(self) -> int:
        """The size of everything in the file, without free pages."""
        pages, free, size = (self._number(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def write(
        self, entries: Mapping[int, Entries], starts: Positions, nexts: Positions, topics: Mapping[str, ReadTopic]
    ) -> None:
        """Add entries by family, and the offsets between which they were read, in one transaction."""
        with self._transaction():
            rows = [(name, topic.id, topic.family) for name, topic in topics.items()]
            self._db.executemany("INSERT OR REPLACE INTO topics VALUES (?, ?, ?)", rows)
            self._db.executemany(
                "INSERT INTO positions VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET next = max(next, excluded.next)",
                [(tp.topic, tp.partition, starts.get(tp, 0), offset) for tp, offset in nexts.items()],
            )
            for family, found in entries.items():
                self._add(family, found)
            self._bound()

    def find(
        self, wanted: int, most: int, within: tuple[int, int] = (0, 2**63 - 1), *, newest: bool = True
    ) -> list[int]:
        """The places that a hash leads to, ascending: at most `most` of those within two places (inclusive), the newest
        or the oldest ones by when they were read.
        """
        signed = wanted - 2**64 if wanted >= 2**63 else wanted
        order = "DESC" if newest else "ASC"
        low = (wanted >> int(_SHIFT)) << _RUN_BITS
        query = f"SELECT data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id {order}"
        runs = (_places_in(data, wanted) for (data,) in self._db.execute(query, (low, low + 2**_RUN_BITS - 1)))
        found: list[int] = []
        for places in chain((self._fresh(signed),), runs) if newest else chain(runs, (self._fresh(signed),)):
            inside = places[(places >= within[0]) & (places <= within[1])]
            found += (inside[-most:] if newest else inside[:most]).tolist()
            if len(found) >= most:
                break
        unique = sorted(set(found))
        return unique[-most:] if newest else unique[:most]

    def _fresh(self, signed: int) -> np.ndarray:
        """The places of a hash that are in no run yet, ascending."""
        rows = self._db.execute("SELECT place FROM fresh WHERE family IN (0, 1) AND hash = ? ORDER BY place", (signed,))
        return np.array([place for (place,) in rows], np.int64)

    def _add(self, family: int, entries: Entries) -> None:
        if len(entries.hashes) < RUN:
            hashes = entries.hashes.view("<i8").tolist()
            rows = [(family, *pair) for pair in zip(hashes, entries.places.tolist(), strict=True)]
            self._db.executemany("INSERT OR IGNORE INTO fresh VALUES (?, ?, ?)", rows)
            if self._number(f"SELECT count(*) FROM fresh WHERE family = {family}") < RUN:
                return
        rows = self._db.execute("SELECT hash, place FROM fresh WHERE family = ?", (family,)).fetchall()
        self._db.execute("DELETE FROM fresh WHERE family = ?", (family,))
        table = np.array(rows, "<i8").reshape(-1, 2)
        before = entries if len(entries.hashes) >= RUN else Entries(np.empty(0, "<u8"), np.empty(0, "<i8"))
        self._seal(
            family,
            np.concatenate((table[:, 0].view("<u8"), before.hashes)),
            np.concatenate((table[:, 1], before.places)),
        )

    def _seal(self, family: int, hashes: np.ndarray, places: np.ndarray) -> None:
        """Write a run."""
        order = np.argsort(hashes, kind="stable")
        hashes, places = hashes[order], places[order]
        mine = "SELECT topic, partition, next FROM positions JOIN topics ON name = topic WHERE family = ?"
        ends = msgspec.json.encode(self._db.execute(mine, (family,)).fetchall()).decode()
        self._db.execute("INSERT INTO runs (family, next) VALUES (?, ?)", (family, ends))
        number = self._number("SELECT max(number) FROM runs")
        cuts = np.searchsorted(hashes >> _SHIFT, np.arange(BUCKETS + 1, dtype=np.uint64))
        self._db.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?)",
            [
                (bucket << _RUN_BITS | number, number, hashes[a:b].tobytes() + places[a:b].tobytes())
                for bucket, (a, b) in enumerate(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
                if b > a
            ],
        )

    def _bound(self) -> None:
        """Drop the oldest runs until the limit holds."""
        while self.bytes_used() > self._most_bytes:
            row = self._db.execute("SELECT number, next FROM runs ORDER BY family, number LIMIT 1").fetchone()
            if row is None:
                return
            number, ends = row
            self._db.execute("DELETE FROM chunks WHERE run = ?", (number,))
            self._db.execute("DELETE FROM runs WHERE number = ?", (number,))
            later = [(offset, topic, partition) for topic, partition, offset in msgspec.json.decode(ends)]
            raised = "UPDATE positions SET first = max(first, ?) WHERE topic = ? AND partition = ?"
            self._db.executemany(raised, later)

    @property
    def _db(self) -> sqlite3.Connection:
        """The file as it lies there now."""
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        """Open the file where it is not open, or where another process has replaced it since."""
        if self._open is not None and self._inode_now() != self._inode:
            self._disconnect()
        if self._open is None:
            self._open = self._connected()
        return self._open

    def _connected(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.is_dir():
            raise Retryable(
                f"{self.path} is a folder, and the index of decisions must be a file: remove the folder, the file is made"
                " from the log"
            )
        db = sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "journal_size_limit = 8388608"):
                db.execute(f"PRAGMA {pragma}")
            db.executescript(f"BEGIN IMMEDIATE; {_TABLES.format(format=FORMAT)} COMMIT;")
            (found,) = db.execute("SELECT format FROM about").fetchone()
            if found != FORMAT:
                raise sqlite3.DatabaseError(f"{self.path} has format {found}, expected {FORMAT}")
        except BaseException:
            db.close()
            raise
        self._inode = self._inode_now()
        self._connections += 1
        return db

    def _disconnect(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _inode_now(self) -> int:
        return self.path.stat().st_ino if self.path.exists() else 0

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def _number(self, query: str) -> int:
        return self._db.execute(query).fetchone()[0]
