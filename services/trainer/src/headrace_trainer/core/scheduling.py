"""Which runs are begun on this machine, which are ended because nobody wants them, and which finished ones are forgotten."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace_trainer.core.attempts import FIRST_PAUSE_S, LONGEST_PAUSE_S


def choose_begun(wanted: Iterable[tuple[str, bool]], at_once: int) -> list[str]:
    """The runs to begin: the first of those that nobody supervises, as far as there is room.

    `wanted`: the runs that have not finished, in order, and whether each is supervised already. `at_once`: how many there may be.

    >>> choose_begun([("a", False), ("b", True), ("c", False), ("d", False)], 3)
    ['a', 'c']
    """
    busy, begun = 0, []
    for run, is_supervised in wanted:
        if is_supervised:
            busy += 1
        elif busy < at_once:
            busy += 1
            begun.append(run)
    return begun


@dataclass
class BeginPauses:
    """How long a run waits before it is begun again: longer each time, since what is wrong with the machine may last. Instants are monotonic."""

    due_s: dict[str, float] = field(default_factory=dict)
    pauses_s: dict[str, float] = field(default_factory=dict)

    def is_due(self, run: str, now_s: float) -> bool:
        """Whether a run may be begun now."""
        return now_s >= self.due_s.get(run, 0.0)

    def note_begun(self, run: str, now_s: float) -> float:
        """Note that a run is begun now; returns the seconds until it may be begun again."""
        pause_s = self.pauses_s.get(run, FIRST_PAUSE_S)
        self.due_s[run] = now_s + pause_s
        self.pauses_s[run] = min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s

    def forget(self, run: str) -> None:
        """Forget a run that nobody wants any more."""
        self.due_s.pop(run, None)
        self.pauses_s.pop(run, None)


@dataclass(frozen=True, slots=True)
class RunOnDisk:
    """The folder of a run on this machine."""

    run: str
    size_bytes: int
    is_wanted: bool
    is_supervised: bool


def choose_removed(folders: Sequence[RunOnDisk], most: int, most_bytes: int) -> tuple[list[str], int]:
    """The runs whose folders are removed, and the bytes that all folders hold after it.

    Of the runs that nobody wants or supervises, the newest `most` stay, and fewer where they and all newer folders take more
    than `most_bytes`. `folders`: the newest first.
    """
    removed, over, held_bytes = [], 0, 0
    for folder in folders:
        held_bytes += folder.size_bytes
        if folder.is_wanted or folder.is_supervised:
            continue
        over += 1
        if over > most or held_bytes > most_bytes:
            held_bytes -= folder.size_bytes
            removed.append(folder.run)
    return removed, held_bytes
