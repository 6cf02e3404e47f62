"""Rows that wait for late labels, in an unlinked file: only this process sees it, and it is gone with it.

It holds nothing that the log does not have: after a restart open windows are read again. Where it cannot be written, is at its bound,
or would leave less than 1 GiB of the disk to others (the broker, say), rows stay in memory, under the bound that they have there; that is
logged once, and once more when there is room again. The folder is the setting `spill_folder`, else `spill` in the installation's home,
else the one for temporary files. In a folder that lies in memory itself (tmpfs) a file saves nothing: that is logged at the start.
"""

import contextlib
import logging
import os
import tempfile
import weakref
from pathlib import Path

from headrace.errors import Misconfigured
from headrace.hosting.settings import Settings
from headrace_monitor.core.held_rows import PART_BYTES, InMemory, Kept

LIMIT_BYTES = 8 * 1024**3
LEFT_BYTES = 1024**3
MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = ("tmpfs", "ramfs")
_log = logging.getLogger("headrace.monitor")


def folder_of(settings: Settings) -> Path:
    """Where the file lies, made where it is not there. Raises `Misconfigured` when it cannot be made."""
    home = os.environ.get("HEADRACE_HOME")
    if not settings.spill_folder and not home:
        return Path(tempfile.gettempdir())
    folder = Path(settings.spill_folder or Path(home or "") / "spill").absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"cannot make the folder of rows that wait, {folder}: {error}; set HEADRACE_SPILL_FOLDER"
        ) from None
    return folder


def is_in_memory(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Whether a folder lies in memory, as far as this machine says so."""
    if not mounts.exists():
        return False
    found = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    above = [(Path(place.replace("\\040", " ")), kind) for place, kind in found]
    place = folder.resolve()
    over = [(len(root.parts), kind) for root, kind in above if place.is_relative_to(root)]
    # NB: of several mounts on one place the last one counts.
    return bool(over) and max(reversed(over), key=lambda one: one[0])[1] in _IN_MEMORY


class Spill:
    """One file in slots of `PART_BYTES`; slots of rows that nobody has any more are written again.

    Raises `Misconfigured` where the folder takes no file.
    """

    def __init__(
        self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES, left_bytes: int = LEFT_BYTES
    ) -> None:
        self.limit_bytes, self._left_bytes = limit_bytes, left_bytes
        self.folder = folder or Path(tempfile.gettempdir())
        try:
            self._file, path = tempfile.mkstemp(prefix="headrace-monitor-", dir=self.folder)
        except OSError as error:
            raise Misconfigured(f"{self.folder} takes no file: {error.strerror}; set HEADRACE_SPILL_FOLDER") from None
        os.unlink(path)
        weakref.finalize(self, os.close, self._file)
        self._free: list[int] = []
        self._slots = 0
        self._is_full = False
        if is_in_memory(self.folder):
            _log.warning(
                "Rows that wait for labels lie in memory: %s is a tmpfs; set HEADRACE_SPILL_FOLDER to a folder on a disk.",
                self.folder,
            )

    @property
    def held_bytes(self) -> int:
        """How many bytes are kept now."""
        return (self._slots - len(self._free)) * PART_BYTES

    def keep(self, found: bytes) -> Kept:
        """Keep bytes here, or in memory where that cannot be."""
        slots = [self._free.pop() if self._free else self._new() for _ in range(-(-len(found) // PART_BYTES))]
        if why := self._why_not() or self._written(slots, found):
            self._free += slots
            if not self._is_full:
                _log.warning("Rows that wait for labels stay in memory: %s (HEADRACE_SPILL_FOLDER).", why)
            self._is_full = True
            return InMemory(found)
        if self._is_full:
            _log.info("Rows that wait for labels are written to %s again.", self.folder)
        self._is_full = False
        return _Slots(self, slots, len(found))

    def _why_not(self) -> str | None:
        """Why no more may be written, by the slots that are taken; None when it may."""
        if self.held_bytes > self.limit_bytes:
            return f"their file holds its bound of {self.limit_bytes / 1024**3:.3g} GiB"
        disk = os.fstatvfs(self._file)
        if disk.f_bavail * disk.f_frsize < self._left_bytes:
            return f"the disk of {self.folder} has less than {self._left_bytes / 1024**3:.3g} GiB free"
        return None

    def _written(self, slots: list[int], found: bytes) -> str | None:
        """Write bytes to slots. Returns why they are not there; None when they are."""
        try:
            for number, slot in enumerate(slots):
                part = found[number * PART_BYTES : (number + 1) * PART_BYTES]
                if os.pwrite(self._file, part, slot * PART_BYTES) != len(part):
                    return f"{self.folder} took a part of them only"
        except OSError as error:
            return f"{self.folder} cannot be written ({error.strerror})"
        return None

    def read(self, slots: list[int], length: int) -> bytes:
        """The bytes in these slots. Raises `OSError` when they cannot be read."""
        parts = [os.pread(self._file, PART_BYTES, slot * PART_BYTES) for slot in slots]
        found = b"".join(parts)[:length]
        if len(found) != length:
            raise OSError(f"the file of rows that wait has {len(found):,} of {length:,} bytes")
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
