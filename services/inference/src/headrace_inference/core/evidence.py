"""What a call shows of its version, as the version's breaker counts it: only what is the version's own fault."""

from headrace.events.failures import Failure, Hung, NoTime, is_own
from headrace_inference.core.batch import CallResult, RowScores
from headrace_inference.core.breaker import Call, Culprit

# Of the rows of one call that failed, so many are remembered one by one.
_MOST_CULPRITS = 64


def recorded(given: RowScores | Failure, *, is_short: bool) -> RowScores | Failure:
    """What is recorded of a call. `is_short`: its limit was no fair one, so that the version does not count as hung.

    >>> recorded(Hung("predict took over 0.05 s"), is_short=True)
    NoTime(reason='predict took over 0.05 s')
    """
    return NoTime(given.reason) if is_short and isinstance(given, Hung) else given


def evidence_of(result: CallResult, at_s: float) -> Call | Hung | None:
    """What a call that ended at `at_s` (on the monotonic clock) shows of its version; None when it shows nothing."""
    given, call = result.given, result.call
    if not isinstance(given, RowScores):
        return given if isinstance(given, Hung) else None
    # NB: the duration of a shadow's call says nothing against it: how many rows it got at once was our choice.
    took_s = 0.0 if call.as_shadow else result.took_s
    if not given.faults:
        return Call(at_s, 0.0, took_s)
    own = [row for row, failure in given.faults.items() if is_own(failure)]
    shown = len(call.rows) - len(given.unasked) - (len(given.faults) - len(own))
    if shown <= 0:
        return None
    culprits: tuple[Culprit, ...] = tuple(
        (hash(call.rows[row].tobytes()), hash(call.units[row])) for row in own[:_MOST_CULPRITS]
    )
    reason = next((given.faults[row].reason for row in own), "")
    # NB: one row that fails makes a call of many: that it took long is not the version's doing.
    return Call(at_s, len(own) / shown, None if given.is_split else took_s, reason, culprits)
