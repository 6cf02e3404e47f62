"""The usage of the disk with an installation, which is reported before the disk is full.

Almost full: less than a tenth is free, or less than 1 GiB of a disk with more than four. Full: too little is free for a broker to
start.
"""

import os
from dataclasses import dataclass
from pathlib import Path

FREE_SHARE = 0.1
FREE_BYTES = 1024**3
FULL_BYTES = 24 * 1024**2


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes used, and bytes free for this user.

    >>> Disk(used_bytes=95 * 2**30, free_bytes=5 * 2**30).is_almost_full, Disk(10 * 2**30, 90 * 2**30).is_almost_full
    (True, False)
    >>> Disk(200 * 2**20, 56 * 2**20).is_almost_full
    False
    """

    used_bytes: int
    free_bytes: int

    @staticmethod
    def under(folder: Path) -> "Disk":
        """The disk of a folder."""
        found = os.statvfs(folder)
        return Disk((found.f_blocks - found.f_bfree) * found.f_frsize, found.f_bavail * found.f_frsize)

    @property
    def used_share(self) -> float:
        """The used share of the bytes that this user may have."""
        return self.used_bytes / max(self.used_bytes + self.free_bytes, 1)

    @property
    def is_almost_full(self) -> bool:
        """Whether somebody should free space."""
        is_large = self.used_bytes + self.free_bytes > 4 * FREE_BYTES
        return self.used_share > 1 - FREE_SHARE or (is_large and self.free_bytes < FREE_BYTES)

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be written."""
        return self.free_bytes < FULL_BYTES

    @property
    def text(self) -> str:
        """The usage as a sentence."""
        what = "full" if self.is_full else "almost full" if self.is_almost_full else "used"
        return f"the disk is {what}: {self.used_share:.0%} used, {self.free_bytes / 2**20:,.0f} MiB free"
