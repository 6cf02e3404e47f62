"""An episode as few lines for a person: what belongs together is one line, and every line still names its records.

Gates that passed are one line, instances that warmed a version are one, and the facts beside a new champion are part of
its line. The progress of a run is a line only while the run is not finished.
"""

from collections.abc import Iterable

import msgspec

from headrace.evidence.episodes import Episode
from headrace.evidence.steps import State, Step, since, worst

# A shorter text may be the same by chance.
_REPEATED_CHARS = 20


class Line(msgspec.Struct, frozen=True):
    """One line: `text`, and the `steps` behind it. `event_s`, `wall_s`: of its first step. `since_*`: seconds since the
    line before, from its last step to the first of this one.
    """

    text: str
    state: State
    event_s: float | None
    wall_s: float
    steps: tuple[Step, ...]
    since_event_s: float | None = None
    since_wall_s: float | None = None

    @property
    def place(self) -> str:
        """The record that stands for the line: the newest."""
        return self.steps[-1].place


def lines_of(episode: Episode) -> list[Line]:
    """The lines of an episode, oldest first."""
    groups: list[list[Step]] = []
    for step in _shown(episode.steps):
        if groups and _belong_together(groups[-1][-1], step):
            groups[-1].append(step)
        else:
            groups.append([step])
    lines: list[Line] = []
    read = ""
    for steps in groups:
        text = without_repeats(_text(steps), read)
        read = f"{read}\n{text}"
        lines.append(_line(text, steps, lines[-1].steps[-1] if lines else None))
    return lines


def without_repeats(text: str, read: str) -> str:
    """A sentence without the reason at its end, where that was read before: a chain repeats its first cause.

    >>> without_repeats("retrain requested: loss has risen to .748", "finding (drift): loss has risen to .748")
    'retrain requested'
    """
    parts = text.split(": ")
    tails = {number: ": ".join(parts[number:]) for number in range(1, len(parts))}
    repeated = (number for number, tail in tails.items() if len(tail) >= _REPEATED_CHARS and tail in read)
    return ": ".join(parts[: next(repeated, len(parts))])


def _shown(steps: Iterable[Step]) -> list[Step]:
    every = list(steps)
    finished = {ref for step in every if step.kind == "training.finished" for ref in step.refs}
    switched = {step.cause for step in every if step.kind == "alias.moved"}
    return [
        step
        for step in every
        if not (step.kind == "training.progressed" and finished & {*step.refs})
        and not (step.part == "switch" and step.cause in switched)
    ]


def _belong_together(before: Step, step: Step) -> bool:
    same_part = before.part == step.part and step.part in ("gates", "warm")
    return same_part and before.state == step.state == "ok" and before.version == step.version


def _line(text: str, steps: list[Step], before: Step | None) -> Line:
    first = steps[0]
    state = worst(step.state for step in steps)
    return Line(text, state, first.event_s, first.wall_s, tuple(steps), *since(before, first))


def _text(steps: list[Step]) -> str:
    first = steps[0]
    if len(steps) == 1:
        return first.sentence
    if first.part == "gates":
        names = [step.sentence.split(" ", 2)[1] for step in steps]
        return f"{len(steps)} gates PASS: {', '.join(names)}"
    return f"version {first.version} warm on {len(steps)} instances"
