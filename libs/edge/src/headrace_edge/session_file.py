"""What outlives a process of the sessions it began: a random secret, and the ids of sessions that were ended by their persons.

It is a file that only its owner may read. One that others could read, that is another's, or that cannot be read is replaced, and
all sessions are over. Where no file can be written the secret and the ids live as long as the process. Several processes may share
a file: each adds to what the others have written, and knows a session that another has ended as soon as it is asked for it.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

MOST_ENDED = 10_000
_SECRET_BYTES = 32
_MOST_BYTES = 4 * 1024 * 1024
_log = logging.getLogger("headrace.edge")


class _Kept(msgspec.Struct, frozen=True):
    secret: bytes
    ended: dict[str, float] = {}


class Sessions:
    """The secret, and the ended sessions by id with the second at which each would have expired: `ident in sessions`.

    `path`: of the file; None keeps both in memory only. Of ended sessions at most `MOST_ENDED` are kept, those that would last longest.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._now_s = path, 0.0
        self._stamp = _stamp(path)
        found = None if path is None else _read(path)
        self.secret = found.secret if found is not None else secrets.token_bytes(_SECRET_BYTES)
        self.ended: dict[str, float] = dict(found.ended) if found is not None else {}
        if found is None:
            self.save()

    def __contains__(self, ident: object) -> bool:
        """Whether a session was ended, here or by another process that shares the file."""
        stamp = _stamp(self._path)
        if self._path is not None and stamp != self._stamp:
            self._stamp, found = stamp, _read(self._path)
            self.ended = _kept(self.ended | (found.ended if found is not None else {}), self._now_s)
        return ident in self.ended

    def end(self, ident: str, ends_s: float, now_s: float) -> None:
        """End a session in memory; `save` keeps it. `ends_s`: when it would have expired."""
        self._now_s = now_s
        self.ended = _kept(self.ended | {ident: ends_s}, now_s)

    def save(self) -> None:
        """Write the file. It blocks."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self._path.parent):
                self._write(self._path)
        except OSError as error:
            _log.warning("%s cannot be written (%s): a restart ends all sessions", self._path, error.strerror)

    def _write(self, path: Path) -> None:
        known = _read(path) or _Kept(self.secret)
        # NB: the secret of a file stays: others may have signed with it.
        content = _Kept(known.secret, _kept(known.ended | self.ended, self._now_s))
        # NB: such a file is created with mode 0600.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".sessions-")
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(content))
        Path(name).replace(path)


def _kept(ended: dict[str, float], now_s: float) -> dict[str, float]:
    """Those that would not have expired, and of too many those that would last longest."""
    lasting = sorted((until_s, ident) for ident, until_s in ended.items() if until_s > now_s)
    return {ident: until_s for until_s, ident in lasting[-MOST_ENDED:]}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else writes in the folder meanwhile, in this process or another."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What changes with every write of a file; None where there is none."""
    with contextlib.suppress(OSError):
        found = path.stat() if path is not None else None
        return None if found is None else (found.st_ino, found.st_mtime_ns)
    return None


def _read(path: Path) -> _Kept | None:
    """What a file keeps; None where there is none, or none that can be trusted."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(file.fileno())
            is_ours = stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077 and found.st_uid == os.geteuid()
            kept = msgspec.json.decode(file.read(_MOST_BYTES), type=_Kept) if is_ours else None
        return kept if kept is not None and len(kept.secret) == _SECRET_BYTES else None
    return None
