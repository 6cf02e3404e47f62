"""A request as the two arms of a rollout see it.

An arm holds the units that the route gave to its version, whoever answered in the end. Where the version has no traffic of its own (in
shadow, or after the switch the control), the requests that it scored along with count instead. A version that gave no score by no
fault of its own was not asked: what counts is the type of the failure (`headrace.events.failures`).

What a shadow says after its decision was committed (`ShadowScored`) counts as if it had stood in the decision: `Wait` keeps
what is needed of the request until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import assert_never

from headrace.events.definition import LabelDefinition
from headrace.events.failures import (
    Busy,
    Failure,
    Hung,
    InvalidScore,
    NoTime,
    NotLoaded,
    Raised,
    RowUnfit,
    Shed,
)
from headrace.events.inference import DecisionMade, FellBack, Score, Served, ShadowScored
from headrace.project.labels import NUMBER

Range = tuple[float, float]


class Kind(IntEnum):
    """What a version did with a request; from `BAD` on it counts against it."""

    UNASKED = 0
    GOOD = 1
    BAD = 2
    INVALID = 3


# NB: looking a member up on its enumeration costs more than what is done with it, for every request.
UNASKED, GOOD, BAD = Kind.UNASKED, Kind.GOOD, Kind.BAD


def kind_of(score: Score | None, failure: Failure | None) -> Kind:
    """A score is one whatever else is told.

    >>> kind_of(None, Raised("ValueError")).name, kind_of(None, NotLoaded("not yet")).name, kind_of(None, None).name
    ('BAD', 'UNASKED', 'UNASKED')
    """
    if score is not None:
        return Kind.GOOD
    match failure:
        case Raised() | Hung():
            return Kind.BAD
        case InvalidScore():
            return Kind.INVALID
        case None | NotLoaded() | Busy() | NoTime() | Shed() | RowUnfit():
            return Kind.UNASKED
        case _:
            assert_never(failure)


@dataclass(slots=True)
class Said:
    """What one version said of a request. `took_ms`: of the call that scored it; None when it is not known."""

    score: Score | None
    kind: Kind
    took_ms: float | None


def said_of(decision: DecisionMade, version: int) -> Said | None:
    """By the decision; None when nothing stands in it: the version was not to score it, or has yet to."""
    score = score_of(decision, version)
    if score is not None:
        return Said(score, GOOD, decision.took_ms_of(version))
    failure = decision.failure_of(version)
    return None if failure is None else Said(None, kind_of(None, failure), decision.took_ms_of(version))


def said_late(event: ShadowScored) -> Said:
    """By what came later."""
    return Said(event.score, kind_of(event.score, event.failure), event.took_ms or None)


def assigned(decision: DecisionMade) -> int | None:
    """The version of the unit's arm; of records without it, whoever answered."""
    if decision.assigned is None and isinstance(decision.answer, Served):
        return decision.answer.score.version
    return decision.assigned


def score_of(decision: DecisionMade, version: int) -> Score | None:
    """What a version said of the request, as its answer or in shadow."""
    answer = decision.answer
    if isinstance(answer, Served | FellBack) and answer.score.version == version:
        return answer.score
    for score in decision.shadows:
        if score.version == version:
            return score
    return None


@dataclass(slots=True)
class Wait:
    """A request of which a version has yet to speak. `block`: the number of its block of event time.

    `new`, `control`: what they said so far. `new_due`, `control_due`: who has yet to. `share`: of the new version when it was
    drawn; `is_drawn`: not a preview or a tenant's override. `in_streak`: a failure of the new arm that waits for the control's word.
    """

    unit: str
    at_s: float
    block: int
    row: bytes
    share: float
    is_drawn: bool
    new: Said | None
    control: Said | None
    new_due: bool
    control_due: bool
    in_streak: Kind = Kind.UNASKED


# About what one `Wait` holds in memory: itself, its key and texts, its row, and what was said.
WAIT_BYTES = 640


class Waits:
    """Requests whose shadows are due, by request id; at most `limit`, then the oldest one is given up."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waits: dict[str, Wait] = {}

    def __len__(self) -> int:
        return len(self._waits)

    def put(self, request_id: str, wait: Wait) -> list[Wait]:
        """One more; those that are given up for it."""
        given_up = [found for found in [self._waits.pop(request_id, None)] if found is not None]
        self._waits[request_id] = wait
        while len(self._waits) > self._limit:
            given_up.append(self._waits.pop(next(iter(self._waits))))
        return given_up

    def get(self, request_id: str) -> Wait | None:
        """The request, as long as somebody is due."""
        return self._waits.get(request_id)

    def done(self, request_id: str) -> None:
        """Nobody is due any more."""
        self._waits.pop(request_id, None)

    def end_blocks(self, before: int) -> list[Wait]:
        """Take out those of the blocks before one: their shadows never came."""
        if not any(wait.block < before for wait in self._waits.values()):
            return []
        ended = [wait for wait in self._waits.values() if wait.block < before]
        self._waits = {ident: wait for ident, wait in self._waits.items() if wait.block >= before}
        return ended

    @property
    def oldest_block(self) -> int | None:
        """The lowest block that somebody is due in."""
        return min((wait.block for wait in self._waits.values()), default=None)


def share_of(score: Score | None, within: Range | None = None) -> float | None:
    """A score in 0..1; of several classes the largest share; a number by its place in the range that it is declared `within`, None
    for other numbers.

    >>> share_of(Score(1, "m", 150.0), (100.0, 300.0))
    0.25
    """
    if score is None:
        return None
    value = max(score.classes, default=None) if score.classes is not None else score.value
    if value is not None and within is not None:
        low, high = within
        return min(max((value - low) / (high - low), 0.0), 1.0)
    return value if value is not None and 0 <= value <= 1 else None


def range_of(label: LabelDefinition | None) -> Range | None:
    """The range that a number is declared within; None for other labels."""
    if label is None or label.kind != NUMBER or label.low is None or label.high is None:
        return None
    return label.low, label.high


def calls(
    pairs: Sequence[tuple[Said, Said]], before: tuple[float, float] | None
) -> tuple[list[float], list[float], tuple[float, float] | None]:
    """How long either version took on the same rows; rows in a row with the same times were one call. `before`: the call before, and at the end the last."""
    ours: list[float] = []
    theirs: list[float] = []
    for new, control in pairs:
        if new.took_ms is None or control.took_ms is None:
            continue
        call = (new.took_ms, control.took_ms)
        if call != before:
            ours.append(call[0])
            theirs.append(call[1])
        before = call
    return ours, theirs, before


def shares(pairs: Sequence[tuple[Said, Said]], within: Range | None = None) -> tuple[list[float], list[float]]:
    """Both versions' scores of the same requests, where both gave one, see `share_of`."""
    found = [(share_of(new.score, within), share_of(control.score, within)) for new, control in pairs]
    both = [(ours, theirs) for ours, theirs in found if ours is not None and theirs is not None]
    return [ours for ours, _ in both], [theirs for _, theirs in both]
