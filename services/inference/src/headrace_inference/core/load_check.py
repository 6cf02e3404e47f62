"""The verdict of a load check: a child process loads a version and asks it. The version may be served, is rejected for good, or nothing
can be said of it now.

| how the child ended                                          | verdict                                          |
|--------------------------------------------------------------|--------------------------------------------------|
| it reports that all went well                                | `Passed`                                         |
| our checks refuse the file or its scores                     | `Rejected`                                       |
| SIGSEGV, SIGABRT, SIGBUS or SIGILL                           | `Crashed`; the second time `Rejected`            |
| more CPU seconds than its limit (SIGXCPU)                    | `Rejected`                                       |
| more memory than its limit, and the machine has as much free | `Rejected`                                       |
| more memory than its limit, and the machine has not          | `Failed` (`memory`)                              |
| SIGKILL that we did not send: the kernel's memory killer     | `Failed` (`memory`)                              |
| we killed it: it neither ran nor waited for a core or a disk | `Failed` (`time`)                                |
| anything else                                                | `Failed` (`child`)                               |

Only what does not depend on the machine's pace rejects a version: wall time is no evidence.
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
    """What the child is to check. `path`: of the artifact's bytes; `rows`: float32 bytes of whole rows that the contract allows; `cpu_s`:
    CPU seconds that it may use; `memory_bytes`: what it may take, by the file's own declaration when None.
    """

    path: str
    registered: VersionRegistered
    place: ArtifactPlace
    rows: bytes = b""
    cpu_s: int = CPU_LIMIT_S
    memory_bytes: int | None = None


class ChildReport(msgspec.Struct, frozen=True):
    """What the child reports. `status`: `passed`, `rejected`, `memory` or `broken` (it could not do its work)."""

    status: str
    reason: str = ""
    footprint_bytes: int = 0
    limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Passed:
    """The version may be loaded here. `footprint_bytes`: an estimate of what it takes."""

    footprint_bytes: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The version must never be served, on any machine."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing can be said of the version now; it is tried again. `cause`: as in `VersionLoadFailed`."""

    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """The child crashed, most likely because of the version. Once is not enough to reject it."""

    reason: str


Verdict = Passed | Rejected | Failed | Crashed


def memory_limit_bytes(footprint_bytes: int) -> int:
    """How much a version may take while it is loaded and first asked: four times what its file declares, and room for libraries.

    >>> memory_limit_bytes(1024**2) // 1024**2
    1028
    """
    return _ROOM_BYTES + 4 * footprint_bytes


def judge(
    report: ChildReport | None, exit_code: int | None, free_bytes: int | None, cpu_s: int, hung_s: float = 0.0
) -> Verdict:
    """The verdict of one check. `report`: the child's, None when it ended before; `exit_code`: minus the signal that ended it;
    `free_bytes`: of the machine, None when that is not known; `hung_s`: for how long it had done nothing when we killed it, 0 when we did not.

    >>> judge(None, -signal.SIGKILL, None, 60)
    Failed(cause='memory', reason="its process was killed (SIGKILL), by the kernel's memory killer most likely")
    """
    if report is not None:
        return _of_report(report, free_bytes)
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


def _of_report(report: ChildReport, free_bytes: int | None) -> Verdict:
    match report.status:
        case "passed":
            return Passed(report.footprint_bytes)
        case "rejected":
            return Rejected(report.reason)
        case "memory":
            return _of_memory(report, free_bytes)
        case _:
            return Failed(CHILD, report.reason)


def _of_memory(report: ChildReport, free_bytes: int | None) -> Verdict:
    if free_bytes is None or free_bytes < report.limit_bytes:
        return Failed(MEMORY, f"no memory was left to load it: {report.reason}")
    return Rejected(
        f"loading and first asking it takes more than {report.limit_bytes:,} bytes (its file declares about"
        f" {report.footprint_bytes:,}): {report.reason}"
    )


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """What a process has had so far: seconds of CPU, and seconds of waiting for a core; `is_on_disk`: it waits for a disk now."""

    cpu_s: float
    waited_s: float
    is_on_disk: bool = False


def is_alive(before: ProcessTimes, now: ProcessTimes) -> bool:
    """Whether a process made progress, or would have if it had been allowed to run.

    >>> before = ProcessTimes(1.0, 0.0)
    >>> is_alive(before, ProcessTimes(1.0, 0.5)), is_alive(before, before)
    (True, False)
    """
    return now.is_on_disk or now.cpu_s > before.cpu_s or now.waited_s > before.waited_s + 0.005


def after_crash(crashed: Crashed, crashes: int) -> Rejected | Failed:
    """The verdict on a version on which a child crashed, after as many `crashes` before: two are enough to reject it.

    >>> after_crash(Crashed("its process died of SIGSEGV"), 1)
    Rejected(reason='its process died of SIGSEGV, twice')
    """
    return Rejected(f"{crashed.reason}, twice") if crashes else Failed(CHILD, crashed.reason)


def why_no_room(footprint_bytes: int, taken_bytes: int, limit_bytes: int) -> Failed | None:
    """Why a version that passed its check cannot be loaded beside the others; None when there is room for it."""
    if taken_bytes + footprint_bytes <= limit_bytes:
        return None
    return Failed(
        MEMORY,
        f"it takes about {footprint_bytes:,} bytes, and {taken_bytes:,} of {limit_bytes:,} are taken:"
        " raise HEADRACE_MODEL_MEMORY_BYTES",
    )
