"""An episode: one story of a deployment from its first cause to its end, with two durations.

MTTD (mean time to detect) of one episode: from the change (`changed_at_s` of its first finding, else the start of the
finding's window) to the opening of the finding, by event time. MTTR (mean time to repair): from that opening to the
moment at which a version takes all traffic or every finding of the episode is resolved, whichever is first, by event
time and by the wall clock. Each is None where it cannot be known, with the reason. Of several episodes the median is
given, since one long episode would hide all others in a mean.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

import msgspec

from headrace.evidence.steps import State, Step, between, since, worst
from headrace.evidence.turns import (
    ABORTED,
    BY_THE_WAY,
    FAILED,
    PROMOTED,
    REFUSED,
    REJECTED,
    RESOLVED,
    ROLLED_BACK,
    WEAK,
    Turn,
    finding_key,
)

# Topics in the order of causes, for records that were appended in the same millisecond.
_TOPICS = (
    "monitor.findings", "training.requests", "training.facts", "registry.commands", "registry.facts", "inference.facts",
    "alerts",
)  # fmt: skip


class Duration(msgspec.Struct, frozen=True):
    """A duration in seconds by both clocks, each None where it is not known. `text`: from what to what, or why not."""

    event_s: float | None = None
    wall_s: float | None = None
    text: str = ""


class Episode(msgspec.Struct, frozen=True):
    """One story. `id`: of its first record. `title`: its stages, as in `drift → retrain → gates → switch`.

    `state`: `running` while anything in it is open, else `ended`. `how`: how it ended, or what was reached so far:
    `promoted`, `rolled back`, `aborted`, `completed`, `rejected`, `failed`, `registered`, `refused`, `waiting`,
    `resolved`, `done` (of a person's command), "" for nothing yet. `standing`: where it stands, in a sentence. `mark`:
    the state of its newest step that says how it stands. `since_*`, `until_*`: of the first and the last step. `mttd`,
    `mttr`: see this module. `findings`, `runs`, `rollouts`, `versions`: the ids that it is about. `left_out`: steps that
    are not held any more.
    """

    id: str
    deployment: str
    title: str
    state: Literal["running", "ended"]
    how: str
    standing: str
    mark: State
    since_event_s: float | None
    since_wall_s: float
    until_event_s: float | None
    until_wall_s: float
    mttd: Duration
    mttr: Duration
    steps: tuple[Step, ...]
    findings: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    rollouts: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    left_out: int = 0


class Medians(msgspec.Struct, frozen=True):
    """Median durations in seconds over the episodes of a deployment that have them; None for none. `detected`,
    `repaired`: the number of episodes behind each.
    """

    mttd_event_s: float | None
    mttr_event_s: float | None
    mttr_wall_s: float | None
    detected: int
    repaired: int


Entry = tuple[Step, Turn]


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Entries by their append time; of the same millisecond by topic in the order of causes, then by offset."""
    return sorted(entries, key=_place_in_time)


def _place_in_time(entry: Entry) -> tuple[float, int, int]:
    step, (topic, _, offset) = entry[0], entry[0].place.rsplit("/", 2)
    rank = next((number for number, base in enumerate(_TOPICS) if base in topic), len(_TOPICS))
    return step.wall_s, rank, int(offset)


def opened(turns: Iterable[Turn], closed: Iterable[str] = ()) -> set[str]:
    """What was opened and is not closed. `closed`: keys that something outside of the episode has closed."""
    every = list(turns)
    return {key for turn in every for key in turn.opens} - {key for turn in every for key in turn.closes} - {*closed}


def episode_of(deployment: str, entries: Sequence[Entry], closed: Iterable[str] = (), left_out: int = 0) -> Episode:
    """The episode of these entries, of which there is at least one. `closed`: as in `opened`."""
    ordered = in_order(entries)
    turns = [turn for _, turn in ordered]
    steps = _timed([step for step, _ in ordered])
    still = opened(turns, closed)
    first, last, how = steps[0], steps[-1], _how(turns)
    events = [step.event_s for step in steps if step.event_s is not None]
    found = [ref for step in steps for ref in step.refs]
    return Episode(
        id=first.id,
        deployment=deployment,
        title=_title(turns, first),
        state="running" if still else "ended",
        how=how,
        standing=_standing(steps, still, how),
        mark=_mark(steps, still, how),
        since_event_s=first.event_s,
        since_wall_s=first.wall_s,
        until_event_s=max(events, default=None),
        until_wall_s=last.wall_s,
        mttd=_detection(ordered),
        mttr=_repair(ordered, still),
        steps=tuple(steps),
        findings=_named(found, "finding"),
        runs=_named(found, "run"),
        rollouts=_named(found, "rollout"),
        versions=tuple(dict.fromkeys(step.version for step in steps if step.version is not None)),
        left_out=left_out,
    )


def medians(episodes: Iterable[Episode]) -> Medians:
    """The median durations of these episodes."""
    every = list(episodes)
    detected = [one.mttd.event_s for one in every if one.mttd.event_s is not None]
    events = [one.mttr.event_s for one in every if one.mttr.event_s is not None]
    walls = [one.mttr.wall_s for one in every if one.mttr.wall_s is not None]
    return Medians(_median(detected), _median(events), _median(walls), len(detected), len(walls))


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _timed(steps: Sequence[Step]) -> list[Step]:
    """The steps with their durations since the step before."""
    timed = list(steps[:1])
    for before, step in pairwise(steps):
        since_event_s, since_wall_s = since(before, step)
        timed.append(msgspec.structs.replace(step, since_event_s=since_event_s, since_wall_s=since_wall_s))
    return timed


def _named(refs: Iterable[str], noun: str) -> tuple[str, ...]:
    found = (ref.partition(":") for ref in refs)
    return tuple(dict.fromkeys(name for kind, _, name in found if kind == noun))


def _title(turns: Sequence[Turn], first: Step) -> str:
    """The stages in the order of their beginning, each once. A blue-green promotion is a switch. Where a version was
    promoted, requests that came to nothing and the end of the finding are no stages.
    """
    found = list(dict.fromkeys(turn.word for turn in turns if turn.word))
    if PROMOTED in found:
        in_steps = {"canary", "A/B test"} & {*found}
        found = [("switch" if word == PROMOTED and not in_steps else word) for word in found if word not in BY_THE_WAY]
    # NB: a person's command that joined a story is one of its steps, and a stage only where it began it.
    head = [turns[0].word] if turns[0].word else []
    found = head + [word for word in found if word not in head and " by " not in word]
    return " → ".join(found) or first.kind.replace(".", " ")


def _how(turns: Sequence[Turn]) -> str:
    reached = [turn.how for turn in turns if turn.how]
    strong = [how for how in reached if how not in WEAK]
    return [*reached, *strong][-1] if reached else ""


def _standing(steps: Sequence[Step], still: set[str], how: str) -> str:
    telling = [step for step in steps if step.part not in ("alerts", "switch", "warm")] or steps
    last = telling[-1].sentence
    findings = {key for key in still if key.startswith(finding_key(""))}
    if still and still == findings and how:
        many = "the finding is" if len(findings) == 1 else f"{len(findings)} findings are"
        return f"{how}; {many} still open"
    return last


def _mark(steps: Sequence[Step], still: set[str], how: str) -> State:
    """Green once it ended well; else the worst of what its steps ask for."""
    if not still and how not in (ROLLED_BACK, REJECTED, FAILED, ABORTED, REFUSED):
        return "ok"
    return worst(step.state for step in steps)


def _detection(ordered: Sequence[Entry]) -> Duration:
    found = next(((step, turn) for step, turn in ordered if step.kind == "finding.opened"), None)
    if found is None:
        return Duration(text="no finding began it")
    step, turn = found
    if turn.since_s is None or step.event_s is None:
        return Duration(text="the finding names no window and no change")
    return Duration(max(step.event_s - turn.since_s, 0.0), None, f"from {turn.since} to the finding")


def _repair(ordered: Sequence[Entry], still: set[str]) -> Duration:
    begun = next((step for step, _ in ordered if step.kind == "finding.opened"), None)
    if begun is None:
        return Duration(text="no finding began it")
    for number, (step, turn) in enumerate(ordered):
        if step.wall_s < begun.wall_s or not (turn.switched or turn.how == RESOLVED):
            continue
        if turn.how == RESOLVED and any(
            key.startswith(finding_key("")) for key in opened(t for _, t in ordered[: number + 1])
        ):
            continue
        event_s = between(begun.event_s, step.event_s)
        what = "a version taking all traffic" if turn.switched else "its resolution"
        return Duration(event_s, step.wall_s - begun.wall_s, f"from the finding to {what}")
    return Duration(
        text="not over yet" if still else "it ended without a new champion, and the finding was not resolved"
    )
