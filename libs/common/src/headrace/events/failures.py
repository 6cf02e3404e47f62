"""Why a version gave no score: a closed union. Decisions use its type, never the text of its reason.

`Raised`, `InvalidScore` and `Hung` are the version's own fault and count against it (breaker, guardrail and streak
alike). `BreakerOpen` follows from earlier calls: it counts against a version under rollout once its own failures have
opened the breaker twice in a row. The others describe the instance, the load or the row, and count against no version.
"""

import msgspec


class Raised(msgspec.Struct, frozen=True, gc=False, tag="raised"):
    """The model raised on a row that the contract allows."""

    reason: str


class InvalidScore(msgspec.Struct, frozen=True, gc=False, tag="invalid_score"):
    """The model returned what must not be served: NaN, infinity, a wrong shape, probabilities outside 0..1."""

    reason: str


class Hung(msgspec.Struct, frozen=True, gc=False, tag="hung"):
    """The call did not end. It reached its CPU limit, or the control answered meanwhile while the process did not wait
    for a core.
    """

    reason: str


class NotLoaded(msgspec.Struct, frozen=True, gc=False, tag="not_loaded"):
    """The version is not loaded on this instance: not yet, or its load failed."""

    reason: str


class BreakerOpen(msgspec.Struct, frozen=True, gc=False, tag="breaker_open"):
    """The version's breaker is open: it is not called until its rest is over.

    `openings`: how many times in a row the version's own failures opened it: 1 the first time, one more with each probe
    that fails; 0 when slow calls opened it.
    """

    reason: str
    openings: int = 0


class Busy(msgspec.Struct, frozen=True, gc=False, tag="busy"):
    """The version's thread was busy with other calls, or the process waited for a core."""

    reason: str


class NoTime(msgspec.Struct, frozen=True, gc=False, tag="no_time"):
    """The row was not reached before its deadline, or before its instance ended."""

    reason: str


class Shed(msgspec.Struct, frozen=True, gc=False, tag="shed"):
    """The version was not called, to shed load."""

    reason: str


class RowUnfit(msgspec.Struct, frozen=True, gc=False, tag="row_unfit"):
    """The row cannot be given to this version: features are missing, or it has a value that the version does not take.

    `field`: the field at fault, where one can be named.
    """

    reason: str
    field: str | None = None


Failure = Raised | InvalidScore | Hung | NotLoaded | BreakerOpen | Busy | NoTime | Shed | RowUnfit
Own = Raised | InvalidScore | Hung


def is_own(failure: Failure) -> bool:
    """Whether a failure of a call counts against the version.

    >>> is_own(Raised("ValueError: x")), is_own(NotLoaded("not loaded yet"))
    (True, False)
    """
    return isinstance(failure, Own)
