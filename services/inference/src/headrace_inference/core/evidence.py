"""What a call shows of its version, as the version's breaker counts it: only what is the version's own fault."""

from collections.abc import Sequence

import numpy as np

from headrace.events.failures import Failure, Hung, NoTime, is_own
from headrace_inference.core.batch import RowScores
from headrace_inference.core.breaker import Call, Culprit

# Of the rows of one call that failed, so many are remembered one by one.
_MOST_CULPRITS = 64


def recorded(given: RowScores | Failure, *, is_short: bool) -> RowScores | Failure:
    """What is recorded of a call. `is_short`: its limit was no fair one, so that the version does not count as hung.

    >>> recorded(Hung("predict took over 0.05 s"), is_short=True)
    NoTime(reason='predict took over 0.05 s')
    """
    return NoTime(given.reason) if is_short and isinstance(given, Hung) else given


def evidence_of(
    given: RowScores | Failure, rows: np.ndarray, units: Sequence[str], at_s: float, took_s: float
) -> Call | Hung | None:
    """What a call shows of its version, None when it shows nothing. `rows`: what was asked, float32 (n, columns); `units`: of each row.

    `at_s`: when it ended, on the monotonic clock; `took_s`: its duration, 0 when that says nothing about the version.
    """
    if not isinstance(given, RowScores):
        return given if isinstance(given, Hung) else None
    if not given.faults:
        return Call(at_s, 0.0, took_s)
    own = [row for row, failure in given.faults.items() if is_own(failure)]
    shown = len(rows) - len(given.unasked) - (len(given.faults) - len(own))
    if shown <= 0:
        return None
    culprits: tuple[Culprit, ...] = tuple((hash(rows[row].tobytes()), hash(units[row])) for row in own[:_MOST_CULPRITS])
    reason = next((given.faults[row].reason for row in own), "")
    # NB: one row that fails makes a call of many: that it took long is not the version's doing.
    return Call(at_s, len(own) / shown, None if given.is_split else took_s, reason, culprits)
