"""A request as the two arms of a rollout see it.

An arm holds the units that the route gave to its version, whichever version answered in the end. Where the version has no
traffic of its own (in shadow, or as the control after the switch), the requests that it scored in shadow count instead. A
version that gave no score by no fault of its own was not asked: what counts is the type of the failure
(`headrace.events.failures`).

What a shadow returned after its decision was committed (`ShadowScored`) counts as if it had stood in the decision:
`PendingRequest` keeps what is needed of the request until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import assert_never

from headrace.events.failures import (
    BreakerOpen,
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
from headrace_monitor.core.counted_once import PASSED_OVER

# The times in a row that a version's own failures must have opened its breaker until an open breaker counts against it: one
# opening may be one row, and has already counted as that row's failure. At the second one a probe has failed after a rest.
OPENINGS = 2


class Kind(IntEnum):
    """What a version did with a request; from `BAD` on it counts against the version."""

    UNASKED = 0
    GOOD = 1
    BAD = 2
    INVALID = 3


# NB: for every request, looking a member up on its enumeration would cost more than what is done with it.
UNASKED, GOOD, BAD = Kind.UNASKED, Kind.GOOD, Kind.BAD


def kind_of(score: Score | None, failure: Failure | None) -> Kind:
    """What a version did. A score is one, whatever failure is reported beside it.

    An open breaker counts when the version's own failures have opened it at least `OPENINGS` times in a row.

    >>> kind_of(None, Raised("ValueError")).name, kind_of(None, NotLoaded("not yet")).name, kind_of(None, None).name
    ('BAD', 'UNASKED', 'UNASKED')
    """
    if score is not None:
        return Kind.GOOD
    match failure:
        case Raised() | Hung():
            return Kind.BAD
        case BreakerOpen(openings=openings):
            return Kind.BAD if openings >= OPENINGS else Kind.UNASKED
        case InvalidScore():
            return Kind.INVALID
        case None | NotLoaded() | Busy() | NoTime() | Shed() | RowUnfit():
            return Kind.UNASKED
        case _:
            assert_never(failure)


@dataclass(slots=True)
class Result:
    """What one version returned for a request. `took_ms`: of the call that scored it; None when it is not known."""

    score: Score | None
    kind: Kind
    took_ms: float | None


def result_of(decision: DecisionMade, version: int) -> Result | None:
    """What a version returned, by the decision; None when the decision holds nothing of it.

    Then the version was not to score the request, or has yet to.
    """
    score = score_of(decision, version)
    if score is not None:
        return Result(score, GOOD, decision.took_ms_of(version))
    failure = decision.failure_of(version)
    return None if failure is None else Result(None, kind_of(None, failure), decision.took_ms_of(version))


def late_result_of(event: ShadowScored) -> Result:
    """What a version returned after the decision."""
    return Result(event.score, kind_of(event.score, event.failure), event.took_ms or None)


def assigned(decision: DecisionMade) -> int | None:
    """The version in whose arm the unit is. In records that do not tell, the version that answered; None where none did."""
    if decision.assigned is None and isinstance(decision.answer, Served):
        return decision.answer.score.version
    return decision.assigned


def score_of(decision: DecisionMade, version: int) -> Score | None:
    """The score of a version, as the answer or in shadow; None when it gave none."""
    answer = decision.answer
    if isinstance(answer, Served | FellBack) and answer.score.version == version:
        return answer.score
    for score in decision.shadows:
        if score.version == version:
            return score
    return None


@dataclass(slots=True)
class PendingRequest:
    """A request for which a version has yet to return something. `block`: the number of its block of event time.

    `new`, `control`: what they returned so far; None when nothing. `new_due`, `control_due`: which of them has yet to.
    `share`: of the new version when the request was routed. `is_drawn`: it is no preview and no override of a tenant.
    `key`: of its unit, where the pair is a bet (`counted_once`). `in_streak`: a failure of the new arm that waits for the result
    of the control.
    """

    unit: str
    at_s: float
    block: int
    row: bytes
    share: float
    is_drawn: bool
    new: Result | None
    control: Result | None
    new_due: bool
    control_due: bool
    key: int = PASSED_OVER
    in_streak: Kind = Kind.UNASKED


# About what one `PendingRequest` takes in memory: itself, its key and texts, its row, and its results.
PENDING_BYTES = 640


class PendingRequests:
    """The requests whose shadows are due, by request id. At most `limit` are kept, then the oldest one is given up."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: dict[str, PendingRequest] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, request_id: str, pending: PendingRequest) -> list[PendingRequest]:
        """Keep one more; returns those that are given up for it."""
        given_up = [found for found in [self._pending.pop(request_id, None)] if found is not None]
        self._pending[request_id] = pending
        while len(self._pending) > self._limit:
            given_up.append(self._pending.pop(next(iter(self._pending))))
        return given_up

    def get(self, request_id: str) -> PendingRequest | None:
        """The request, as long as a version is due for it."""
        return self._pending.get(request_id)

    def remove(self, request_id: str) -> None:
        """No version is due for the request any more."""
        self._pending.pop(request_id, None)

    def pop_before(self, block: int) -> list[PendingRequest]:
        """Take out the requests of the blocks before this one: their shadows never came."""
        if not any(pending.block < block for pending in self._pending.values()):
            return []
        ended = [pending for pending in self._pending.values() if pending.block < block]
        self._pending = {ident: pending for ident, pending in self._pending.items() if pending.block >= block}
        return ended

    @property
    def oldest_block(self) -> int | None:
        """The lowest block in which a version is due; None when none is."""
        return min((pending.block for pending in self._pending.values()), default=None)


def scores_to_rank(score: Score | None) -> tuple[float, ...] | None:
    """What is ranked of a score: the probability or the number, or the probability of each class; None without any.

    >>> scores_to_rank(Score(1, "m", 150.0)), scores_to_rank(Score(1, "m", None, (0.2, 0.8)))
    ((150.0,), (0.2, 0.8))
    """
    if score is None:
        return None
    if score.probabilities is not None:
        return tuple(score.probabilities) or None
    return None if score.value is None else (score.value,)


def calls(
    pairs: Sequence[tuple[Result, Result]], before: tuple[float, float] | None
) -> tuple[list[float], list[float], tuple[float, float] | None]:
    """How long the calls of both versions took on the same rows, in milliseconds, and the last call.

    Rows in a row with the same times were one call, which counts once. `before`: the last call before these.
    """
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


def ranked_scores(pairs: Sequence[tuple[Result, Result]]) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """The scores of both versions of the same requests, where both gave one of the same shape; see `scores_to_rank`."""
    found = [(scores_to_rank(new.score), scores_to_rank(control.score)) for new, control in pairs]
    return [(ours, theirs) for ours, theirs in found if ours and theirs and len(ours) == len(theirs)]
