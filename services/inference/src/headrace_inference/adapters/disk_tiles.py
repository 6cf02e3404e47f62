"""Tiles on disk, for more entities than memory holds: SQLite in a file of its own that is made anew at every start.

The log is the truth: nothing here needs to survive, so nothing is flushed or journalled.
"""

import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from headrace.events.features import Tile

_MOST_CACHED = 10_000
_MOST_WAITING = 5_000
Key = tuple[str, str]


class DiskTiles:
    """Like a dictionary from (view, entity) to the tiles by source partition; the newest looked at stay in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="headrace-tiles-", suffix=".db", dir=folder)  # noqa: SIM115 - kept
        self._db = sqlite3.connect(self._file.name, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA cache_size=-65536")
        self._db.execute(
            "CREATE TABLE tiles (view TEXT, entity TEXT, partition INTEGER, tile BLOB,"
            " PRIMARY KEY (view, entity, partition)) WITHOUT ROWID"
        )
        self._waiting: dict[tuple[str, str, int], Tile | None] = {}
        self._cached: OrderedDict[Key, dict[int, Tile]] = OrderedDict()
        self._decode = msgspec.msgpack.Decoder(Tile).decode
        self._encode = msgspec.msgpack.Encoder().encode

    def put(self, key: Key, partition: int, tile: Tile | None) -> None:
        """Keep a tile; None deletes it."""
        self._cached.pop(key, None)
        self._waiting[*key, partition] = tile
        if len(self._waiting) >= _MOST_WAITING:
            self._write()

    def get(self, key: Key) -> Mapping[int, Tile]:
        """The tiles of an entity by source partition; empty when there is none."""
        found = self._cached.get(key)
        if found is None:
            found = self._cached[key] = self._read(key)
            if len(self._cached) > _MOST_CACHED:
                self._cached.popitem(last=False)
        else:
            self._cached.move_to_end(key)
        return found

    def __contains__(self, key: Key) -> bool:
        return bool(self.get(key))

    def count(self, view: str) -> int:
        """How many entities of a view there are."""
        self._write()
        return self._db.execute("SELECT count(DISTINCT entity) FROM tiles WHERE view = ?", (view,)).fetchone()[0]

    def close(self) -> None:
        """Give file and connection back."""
        self._db.close()
        self._file.close()

    def _read(self, key: Key) -> dict[int, Tile]:
        self._write()
        rows = self._db.execute("SELECT partition, tile FROM tiles WHERE view = ? AND entity = ?", key)
        return {partition: self._decode(tile) for partition, tile in rows}

    def _write(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?)",
            [(*place, self._encode(tile)) for place, tile in waiting.items() if tile is not None],
        )
        self._db.executemany(
            "DELETE FROM tiles WHERE view = ? AND entity = ? AND partition = ?",
            [place for place, tile in waiting.items() if tile is None],
        )
        self._db.execute("COMMIT")
