"""On which versions this service has crashed, by what a crashing process leaves behind.

A model is foreign machine code that runs in this process. One row of a million may make it crash, long after its load check. The
interpreter writes down the thread that was running when a fatal signal came, and which version each thread asks is noted above that in
the same file. The next process reads it when it starts. NB: a process that is killed from outside leaves no such note.
"""

import faulthandler
import json
import logging
import os
import re
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from headrace.errors import Misconfigured
from headrace.hosting.runs import make_folder

_log = logging.getLogger("headrace.inference")

# As for children that crash on a version: once may have been the machine.
MOST_CRASHES = 2
_MOST_KNOWN = 1000
_MOST_BYTES = 1_048_576
_THREAD = re.compile(r"^asks (0x[0-9a-f]+) (\S{1,128}) (.{1,1200})$", re.MULTILINE)
_FATAL = re.compile(r"^Fatal Python error: (.{1,100})$", re.MULTILINE)
_CURRENT = re.compile(r"^Current thread (0x[0-9a-f]+)", re.MULTILINE)


class CrashLog:
    """Counts crashes in `folder`, for all instances that share it: per artifact, by the digest of its bytes.

    NB: not by version, for in a log that is begun anew version 1 is another model, and an artifact crashes under any number.
    """

    def __init__(self, folder: Path) -> None:
        self._counts_at, self._path = folder / "deaths.json", folder / f"crash-{os.getpid()}.txt"
        self._crashes = _read_counts(self._counts_at)
        self._file: FileIO | None = None
        try:
            make_folder(folder)
            self._take_in(folder)
            self._file = FileIO(self._path, "a")
            faulthandler.enable(self._file, all_threads=True)
        except (Misconfigured, OSError) as error:  # without a disk, or with a full one, the service runs all the same
            _log.warning("a crash of this process could not be noted in %s: %s", self._path, error)

    def why_not(self, artifact: str) -> str | None:
        """Why an artifact (its digest) is not to be loaded here any more; None when it may be."""
        found = self._crashes.get(artifact)
        if found is None or found[0] < MOST_CRASHES:
            return None
        return f"the service crashed on it {found[0]} times while it served ({found[1]})"

    def note_thread(self, deployment: str, version: int, artifact: str) -> Callable[[int], None]:
        """A function that notes which thread asks this version: to be called once with the identity of the thread, from any thread."""

        def note(ident: int) -> None:
            line = f"asks {ident:#018x} {artifact} {deployment}/{version}\n".encode()
            try:
                if self._file is not None and self._file.tell() < _MOST_BYTES:
                    self._file.write(line)
            except (OSError, ValueError) as error:
                _log.warning("which thread asks version %s of %s cannot be noted: %s", version, deployment, error)

        return note

    def end(self) -> None:
        """The process ends in order: remove its file."""
        if self._file is not None:
            faulthandler.disable()
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)

    def _take_in(self, folder: Path) -> None:
        """Count what processes that have ended left behind."""
        for path in sorted(folder.glob("crash-*.txt")):
            taken = path.with_suffix(".read")
            if _is_alive(path.stem.removeprefix("crash-")):
                continue
            try:
                path.rename(taken)  # only one of several processes that start at this moment can
                text = taken.read_text(errors="replace")
                taken.unlink()
            except OSError:
                continue
            if (found := blamed(text)) is not None:
                artifact, name, signal = found
                self._crashes[artifact] = (self._crashes.pop(artifact, (0, ""))[0] + 1, signal)
                _log.error("the process before crashed on %s: %s", name, signal)
                self._write()

    def _write(self) -> None:
        for key in list(self._crashes)[:-_MOST_KNOWN]:
            del self._crashes[key]
        new = self._counts_at.with_suffix(f".{os.getpid()}.new")
        try:
            new.write_text(json.dumps(self._crashes))
            new.replace(self._counts_at)
        except OSError as error:
            _log.warning("the crash of the process before cannot be kept: %s", error)


def blamed(text: str) -> tuple[str, str, str] | None:
    """The artifact and the version on which a process crashed and the name of the signal, by the text that it left; None when it did
    not crash, or not on a version.

    >>> blamed("asks 0x0000000000000007 f00d d/3\\nFatal Python error: Aborted\\n\\nCurrent thread 0x0000000000000007 (most")
    ('f00d', 'd/3', 'Aborted')
    """
    fatal, current = _FATAL.search(text), _CURRENT.search(text)
    if fatal is None or current is None:
        return None
    # NB: identities of threads are used again: of several threads with the same one the newest counts.
    asked = {int(ident, 16): (artifact, name) for ident, artifact, name in _THREAD.findall(text)}
    found = asked.get(int(current[1], 16))
    return None if found is None else (*found, fatal[1])


def _is_alive(pid: str) -> bool:
    return pid.isdigit() and int(pid) != os.getpid() and Path(f"/proc/{pid}/stat").exists()


def _read_counts(path: Path) -> dict[str, tuple[int, str]]:
    try:
        return {str(key): (int(count), str(signal)) for key, (count, signal) in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or half of one
        return {}
