"""Traffic of the past: minutes of the last day and hours of the last week, in a disposable SQLite file.

The file is made anew where it is missing, damaged or of another form; what `ops.health` no longer holds is then lost. It
is pruned with every minute that is added, and never grows beyond `MOST_BYTES`. All methods but `close` block for a few
milliseconds: call them on a thread.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from headrace_console.core.documents import TrafficPoint
from headrace_console.core.traffic import HOUR_S, MINUTE_S, Amount, point_of, together

_log = logging.getLogger("headrace.console")

FORM = 2
MINUTES_KEPT_S, HOURS_KEPT_S = 86_400, 604_800
# So many of the newest minutes are shown one by one, what is older by the hour.
MINUTES_SHOWN = 180
MOST_BYTES = 256 * 1024 * 1024
_PAGE_BYTES = 4096
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Amount).decode
_TABLES = """
CREATE TABLE minutes (name TEXT, minute INTEGER, amount BLOB, PRIMARY KEY (name, minute)) WITHOUT ROWID;
CREATE INDEX minutes_by_time ON minutes (minute);
CREATE TABLE hours (name TEXT, hour INTEGER, amount BLOB, PRIMARY KEY (name, hour)) WITHOUT ROWID;
CREATE INDEX hours_by_time ON hours (hour);
CREATE TABLE heard (minute INTEGER PRIMARY KEY);
CREATE TABLE source (id TEXT);
"""


class History:
    """The kept amounts. `path`: None keeps them in memory. `source`: the id of the topic that they are from; amounts of
    another one (a log that was begun anew) are dropped.
    """

    def __init__(self, path: Path | None, source: str = "") -> None:
        self._path, self._source, self._lock = path, source, threading.Lock()
        self._db = self._opened()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def add(self, minute: int, amounts: Mapping[str, Amount]) -> None:
        """Keep a whole minute (since the epoch), and drop what is too old. A minute is added once."""
        with self._lock, self._db:
            known = self._db.execute("INSERT OR IGNORE INTO heard VALUES (?)", (minute,)).rowcount == 0
            if known:
                return
            hour = minute * MINUTE_S // HOUR_S
            for name, amount in amounts.items():
                self._db.execute("INSERT OR REPLACE INTO minutes VALUES (?, ?, ?)", (name, minute, _pack(amount)))
                row = self._db.execute("SELECT amount FROM hours WHERE name = ? AND hour = ?", (name, hour)).fetchone()
                whole = amount if row is None else together([_unpack(row[0]), amount])
                self._db.execute("INSERT OR REPLACE INTO hours VALUES (?, ?, ?)", (name, hour, _pack(whole)))
            self._prune(minute)

    def points(self, name: str, now_s: float) -> dict[int, TrafficPoint]:
        """The traffic of a deployment by the second at which each point begins: hours, then the newest minutes."""
        first = int(now_s) // MINUTE_S - MINUTES_SHOWN
        first_hour = first * MINUTE_S // HOUR_S + 1
        first = first_hour * HOUR_S // MINUTE_S
        with self._lock:
            hours = self._db.execute(
                "SELECT hour, amount FROM hours WHERE name = ? AND hour < ? AND hour >= ?",
                (name, first_hour, first_hour - HOURS_KEPT_S // HOUR_S),
            ).fetchall()
            minutes = self._db.execute(
                "SELECT minute, amount FROM minutes WHERE name = ? AND minute >= ?", (name, first)
            ).fetchall()
        found = {hour * HOUR_S: point_of(_unpack(amount), HOUR_S) for hour, amount in hours}
        return found | {minute * MINUTE_S: point_of(_unpack(amount), MINUTE_S) for minute, amount in minutes}

    def answers(self, since_minute: int) -> list[tuple[int, dict[str, int]]]:
        """The answers of each minute that was heard since then, by deployment, oldest first."""
        with self._lock:
            heard = [
                row[0]
                for row in self._db.execute(
                    "SELECT minute FROM heard WHERE minute >= ? ORDER BY minute", (since_minute,)
                )
            ]
            rows = self._db.execute(
                "SELECT minute, name, amount FROM minutes WHERE minute >= ?", (since_minute,)
            ).fetchall()
        found: dict[int, dict[str, int]] = {minute: {} for minute in heard}
        for minute, name, amount in rows:
            found.setdefault(minute, {})[name] = _unpack(amount).answers
        return sorted(found.items())

    @property
    def held_bytes(self) -> int:
        """The size of the file."""
        with self._lock:
            return self._db.execute("PRAGMA page_count").fetchone()[0] * _PAGE_BYTES

    def _prune(self, minute: int) -> None:
        first = minute - MINUTES_KEPT_S // MINUTE_S
        self._db.execute("DELETE FROM minutes WHERE minute < ?", (first,))
        self._db.execute("DELETE FROM heard WHERE minute < ?", (first,))
        self._db.execute("DELETE FROM hours WHERE hour < ?", ((minute * MINUTE_S - HOURS_KEPT_S) // HOUR_S,))
        free, pages = (self._db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("freelist_count", "page_count"))
        if (pages - free) * _PAGE_BYTES > MOST_BYTES:
            self._db.execute("DELETE FROM minutes WHERE minute < ?", (minute - MINUTES_SHOWN,))

    def _opened(self) -> sqlite3.Connection:
        if self._path is None:
            return self._made(":memory:")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            db = self._connected(str(self._path))
            if self._is_sound(db):
                return db
            db.close()
        except sqlite3.DatabaseError as error:
            _log.warning("%s cannot be read and is made anew: %s", self._path, error)
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").unlink()
        return self._made(str(self._path))

    def _is_sound(self, db: sqlite3.Connection) -> bool:
        """Whether a file is whole, of this form, and of this log."""
        checks = (("PRAGMA user_version", FORM), ("PRAGMA quick_check", "ok"), ("SELECT id FROM source", self._source))
        return all(db.execute(question).fetchone()[0] == wanted for question, wanted in checks)

    def _made(self, path: str) -> sqlite3.Connection:
        db = self._connected(path)
        db.executescript(_TABLES)
        with db:
            db.execute("INSERT INTO source VALUES (?)", (self._source,))
        db.execute(f"PRAGMA user_version = {FORM}")
        return db

    def _connected(self, path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, check_same_thread=False)
        # NB: what is lost in a crash of the machine is a disposable minute.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        return db
