"""What outlives a process of the sessions it began: a random secret, and the ids of sessions that were ended by their persons.

It is a file that only its owner may read. One that others could read, that is another's, or that cannot be read is replaced, and
all sessions are over. Where no file can be written the secret and the ids live as long as the process.
"""

import contextlib
import logging
import os
import secrets
import stat
import tempfile
import threading
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
    """The secret, and the ended sessions by id with the second at which each would have expired.

    `path`: of the file; None keeps both in memory only. Of ended sessions at most `MOST_ENDED` are kept, those that would last longest.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        found = None if path is None else _read(path)
        self.secret = found.secret if found is not None else secrets.token_bytes(_SECRET_BYTES)
        self.ended: dict[str, float] = dict(found.ended) if found is not None else {}
        self._writing = threading.Lock()
        if found is None:
            self.save()

    def end(self, ident: str, ends_s: float, now_s: float) -> None:
        """End a session in memory; `save` keeps it. `ends_s`: when it would have expired."""
        self.ended[ident] = ends_s
        for known, until_s in list(self.ended.items()):
            if until_s <= now_s:
                del self.ended[known]
        while len(self.ended) > MOST_ENDED:
            del self.ended[min(self.ended, key=self.ended.__getitem__)]

    def save(self) -> None:
        """Write the file. It blocks."""
        if self._path is None:
            return
        try:
            with self._writing:
                self._write(self._path)
        except OSError as error:
            _log.warning("%s cannot be written (%s): a restart ends all sessions", self._path, error.strerror)

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # NB: such a file is created with mode 0600.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".sessions-")
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(_Kept(self.secret, dict(self.ended))))
        Path(name).replace(path)


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
