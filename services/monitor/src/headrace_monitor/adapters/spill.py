"""Rows that wait for late labels, in an unlinked temporary file: only this process sees it, and it is gone with it.

It holds nothing that the log does not have: after a restart open windows are read again. Where it cannot be written, or is
full, rows stay in memory, under the bound that they have there. It lies in the folder for temporary files (`TMPDIR`).
"""

import contextlib
import logging
import os
import tempfile
import weakref

from headrace_monitor.core.held_rows import PART_BYTES, InMemory, Kept

LIMIT_BYTES = 8 * 1024**3
_log = logging.getLogger("headrace.monitor")


class Spill:
    """One file in slots of `PART_BYTES`; slots of rows that nobody has any more are written again."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._file, path = tempfile.mkstemp(prefix="headrace-monitor-")
        os.unlink(path)
        weakref.finalize(self, os.close, self._file)
        self._free: list[int] = []
        self._slots = 0

    @property
    def held_bytes(self) -> int:
        """How many bytes are kept now."""
        return (self._slots - len(self._free)) * PART_BYTES

    def keep(self, found: bytes) -> Kept:
        """Keep bytes here, or in memory where that cannot be."""
        needed = -(-len(found) // PART_BYTES)
        if self.held_bytes + needed * PART_BYTES > self.limit_bytes:
            return InMemory(found)
        slots = [self._free.pop() if self._free else self._new() for _ in range(needed)]
        try:
            for number, slot in enumerate(slots):
                part = found[number * PART_BYTES : (number + 1) * PART_BYTES]
                if os.pwrite(self._file, part, slot * PART_BYTES) != len(part):
                    raise OSError("a short write")
        except OSError as error:
            self._free += slots
            _log.warning("Rows stay in memory: the temporary file cannot be written (%s).", error)
            return InMemory(found)
        return _Slots(self, slots, len(found))

    def read(self, slots: list[int], length: int) -> bytes:
        """The bytes in these slots. Raises `OSError` when they cannot be read."""
        parts = [os.pread(self._file, PART_BYTES, slot * PART_BYTES) for slot in slots]
        found = b"".join(parts)[:length]
        if len(found) != length:
            raise OSError(f"the temporary file has {len(found):,} of {length:,} bytes")
        return found

    def release(self, slots: list[int]) -> None:
        """Nobody has these rows any more."""
        self._free += slots

    def _new(self) -> int:
        self._slots += 1
        return self._slots - 1


class _Slots:
    """Bytes in slots of the file, for as long as somebody has this."""

    __slots__ = ("_length", "_slots", "_spill")

    def __init__(self, spill: Spill, slots: list[int], length: int) -> None:
        self._spill, self._slots, self._length = spill, slots, length

    @property
    def held_bytes(self) -> int:
        return 0

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return self._spill.read(self._slots, self._length)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self._spill.release(self._slots)
