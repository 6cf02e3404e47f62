"""What a trial in a child process says of a version: it may be served, it is rejected for good, or it could not be told now.

| how the child ended                                          | verdict                                          |
|--------------------------------------------------------------|--------------------------------------------------|
| it says that all went well                                   | `Passed`                                         |
| our checks refuse the file or what it answers                | `Rejected`                                       |
| SIGSEGV, SIGABRT, SIGBUS or SIGILL                           | `Crashed`; the second time `Rejected`            |
| more CPU seconds than its limit (SIGXCPU)                    | `Rejected`                                       |
| more memory than its limit, and the machine has as much free | `Rejected`                                       |
| more memory than its limit, and the machine has not          | `Failed` (`memory`)                              |
| SIGKILL that we did not send: the kernel's memory killer     | `Failed` (`memory`)                              |
| we killed it: it neither ran nor waited for a core or a disk | `Failed` (`time`)                                |
| anything else                                                | `Failed` (`child`)                               |

Only what the machine's pace cannot change rejects: wall time is no evidence.
"""

import signal
from dataclasses import dataclass

import msgspec

from headrace.events.registry import ArtifactPlace, VersionRegistered

CPU_LIMIT_S = 60
HUNG_AFTER_S = 60.0
_ROOM_BYTES = 1024**3
FATAL_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL})
MEMORY, TIME, CHILD, LOG = "memory", "time", "child", "log"


class Task(msgspec.Struct, frozen=True):
    """What the child is asked. `path`: of the artifact's bytes; `rows`: float32 bytes of rows that the contract allows, as many
    as there are columns in each; `cpu_s`: CPU seconds that it may use.
    """

    path: str
    registered: VersionRegistered
    place: ArtifactPlace
    rows: bytes = b""
    cpu_s: int = CPU_LIMIT_S
    memory_bytes: int | None = None


class Told(msgspec.Struct, frozen=True):
    """What the child says. `status`: `passed`, `rejected`, `memory` or `broken` (it could not do its work)."""

    status: str
    reason: str = ""
    footprint_bytes: int = 0
    limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Passed:
    """It may be loaded here. `footprint_bytes`: about what it takes."""

    footprint_bytes: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """It must never be served, wherever it is tried."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot be told now; it is tried again. `cause`: of `VersionLoadFailed`."""

    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """The child died of the version, or so it seems: once is not enough to reject it."""

    reason: str


Verdict = Passed | Rejected | Failed | Crashed


def memory_limit_bytes(footprint_bytes: int) -> int:
    """How much a version may take while it is loaded and first asked: four times what its file declares, and room for libraries.

    >>> memory_limit_bytes(1024**2) // 1024**2
    1028
    """
    return _ROOM_BYTES + 4 * footprint_bytes


def judge(told: Told | None, exit_code: int | None, free_bytes: int | None, cpu_s: int, hung_s: float = 0.0) -> Verdict:
    """The verdict of one trial. `told`: the child's answer, None when it died before; `exit_code`: minus the signal that ended it;
    `free_bytes`: of the machine, None when nobody knows; `hung_s`: for how long it had done nothing when we killed it, 0 when we did not.

    >>> judge(None, -signal.SIGKILL, None, 60)
    Failed(cause='memory', reason="its process was killed (SIGKILL), by the kernel's memory killer most likely")
    """
    if told is not None:
        return _of_answer(told, free_bytes)
    if hung_s:
        return Failed(
            TIME, f"its process did nothing for {hung_s:.0f} s, neither running nor waiting for a core: killed"
        )
    number = -exit_code if exit_code is not None and exit_code < 0 else 0
    if number in FATAL_SIGNALS:
        return Crashed(f"its process died of {signal.Signals(number).name} while it was loaded and first asked")
    if number == signal.SIGXCPU:
        return Rejected(f"loading and first asking it used more than {cpu_s} s of CPU")
    if number == signal.SIGKILL:
        return Failed(MEMORY, "its process was killed (SIGKILL), by the kernel's memory killer most likely")
    return Failed(CHILD, f"its process ended with exit code {exit_code}")


def _of_answer(told: Told, free_bytes: int | None) -> Verdict:
    match told.status:
        case "passed":
            return Passed(told.footprint_bytes)
        case "rejected":
            return Rejected(told.reason)
        case "memory":
            return _of_memory(told, free_bytes)
        case _:
            return Failed(CHILD, told.reason)


def _of_memory(told: Told, free_bytes: int | None) -> Verdict:
    if free_bytes is None or free_bytes < told.limit_bytes:
        return Failed(MEMORY, f"no memory was left to load it: {told.reason}")
    return Rejected(
        f"loading and first asking it takes more than {told.limit_bytes:,} bytes (its file declares about"
        f" {told.footprint_bytes:,}): {told.reason}"
    )


@dataclass(frozen=True, slots=True)
class Life:
    """What a process has had so far: seconds of CPU, and seconds of waiting for a core; `is_on_disk`: it waits for a disk now."""

    cpu_s: float
    waited_s: float
    is_on_disk: bool = False


def is_alive(before: Life, now: Life) -> bool:
    """Whether a process got on, or would have if it had been let.

    >>> is_alive(Life(1.0, 0.0), Life(1.0, 0.5)), is_alive(Life(1.0, 0.5), Life(1.0, 0.5))
    (True, False)
    """
    return now.is_on_disk or now.cpu_s > before.cpu_s or now.waited_s > before.waited_s + 0.005
