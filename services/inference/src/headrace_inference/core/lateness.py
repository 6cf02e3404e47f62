"""Whether a call that did not return in time is hung, or merely late.

A call is hung when it used all the CPU that it may use, or sat still although it could have run: its thread did not wait for a core, and
the control, a thread of the same process that only beats, kept its beat all the while. Every other call is late: on a machine
that is short of cores every model looks hung.
"""

from dataclasses import dataclass

from headrace.events.failures import Busy, Failure, Hung

# Of the limit: for how long a thread may have waited for a core and count as hung all the same.
_WAITED_SHARE = 0.1
_BEATS_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call has had so far, in seconds: of the clock, of CPU, and of waiting for a core. `beats_share`: of the control's
    beats in that time, those that came.
    """

    took_s: float
    cpu_s: float
    waited_s: float
    beats_share: float = 1.0


def is_hung(spent: Spent, limit_s: float) -> bool:
    """Whether a call is to blame for not having returned within `limit_s`.

    >>> is_hung(Spent(5.0, 0.1, 0.0), 5.0), is_hung(Spent(5.0, 0.6, 4.3), 5.0), is_hung(Spent(9.0, 4.9, 4.0), 5.0)
    (True, False, True)
    """
    if spent.cpu_s >= limit_s * (1 - _WAITED_SHARE):
        return True
    could_run_s = spent.took_s - spent.waited_s
    return could_run_s >= limit_s * (1 - _WAITED_SHARE) and spent.beats_share >= _BEATS_SHARE


def why_late(spent: Spent, limit_s: float) -> Failure:
    """Why a call has not returned within `limit_s`: it hangs, or it was not allowed to run.

    >>> why_late(Spent(5.0, 0.1, 0.0), 5.0)
    Hung(reason='predict took over 5 s')
    """
    reason = f"predict took over {limit_s:.3g} s"
    if is_hung(spent, limit_s):
        return Hung(reason)
    return Busy(f"{reason}, {spent.waited_s:.2g} s of them waiting for a core")
