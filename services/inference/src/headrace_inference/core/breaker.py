"""When a version must not be asked for a while: a circuit breaker (Nygard, Release It!, 2007) as a table of values.

| state     | goes on to | when                                                                                         |
|-----------|------------|----------------------------------------------------------------------------------------------|
| closed    | open       | of the calls in the window, the share that failed or the share that was slow reaches its limit; a call hangs |
| open      | half_open  | `open_s` have passed                                                                         |
| half_open | open       | a probe failed or was slow                                                                   |
| half_open | closed     | `probes` calls in a row succeeded                                                            |
| any       | closed     | no route names the version any more                                                          |

The window holds the calls of the last `window_s`, `window_calls` at most. Fewer than `min_calls` decide nothing.

Only a version's own failures are counted here, and the failure of a row is counted once: when a row, or a unit, has failed in the
window before, another failure of it is no new evidence. So twenty retries of one bad row by one client open nothing, and such a row
gives no verdict as a probe: the next call probes. A call whose duration says nothing about the version (it was split to find such a
row) counts among neither the slow calls nor the quick ones, and as a probe it gives no verdict.
"""

from dataclasses import dataclass, replace

from headrace.events.definition import BreakerDefinition
from headrace.step import Step

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
Culprit = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that ended at `at_s`. `failed`: the share of its rows without a usable score, 0..1; `reason`: why.

    `took_s`: None when the duration says nothing. `culprits`: of rows that failed, a hash of the row and one of its unit; empty when
    they are not known.
    """

    at_s: float
    failed: float = 0.0
    took_s: float | None = 0.0
    reason: str = ""
    culprits: tuple[Culprit, ...] = ()


@dataclass(frozen=True, slots=True)
class Breaker:
    """One version's breaker. `since_s`: when it came to `state`; `window`: calls that count, oldest first; `reason`: why it opened.

    `suspects`: the culprits that were known when it opened. `openings`: how many times in a row the version's own failures opened it:
    1 the first time, one more with each probe that fails; 0 when slow calls opened it, or when it is closed.
    """

    state: str = CLOSED
    since_s: float = 0.0
    window: tuple[Call, ...] = ()
    reason: str = ""
    suspects: tuple[Culprit, ...] = ()
    openings: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A breaker went from the state `was` to `state`. `calls`, `failure_share`, `slow_share`: what its window held then."""

    state: str
    was: str
    reason: str
    calls: int
    failure_share: float
    slow_share: float


BreakerStep = Step[Breaker, Transition]


def on_call(breaker: Breaker, plan: BreakerDefinition, call: Call) -> BreakerStep:
    """A call of the version has ended. A call that began before the breaker opened is no new evidence while it is open."""
    after = _after_call(breaker, plan, call)
    return _step(breaker, after, plan, after.reason if after.state == OPEN else "its probes succeeded")


def on_hang(breaker: Breaker, plan: BreakerDefinition, now_s: float, reason: str) -> BreakerStep:
    """A call of the version hangs: open at once, without regard to the window, for every further call would wait for that one."""
    if breaker.state == OPEN:
        return Step(breaker)
    opened = Breaker(OPEN, now_s, breaker.window, reason, openings=breaker.openings + 1)
    return _step(breaker, opened, plan, reason)


def on_time(breaker: Breaker, plan: BreakerDefinition, now_s: float) -> BreakerStep:
    """Time has passed: a breaker that has been open for long enough lets probes through."""
    return _step(breaker, at(breaker, plan, now_s), plan, "it has been open for long enough")


def on_removal(breaker: Breaker, now_s: float) -> BreakerStep:
    """The version is no longer served: its breaker ends closed."""
    return _step(breaker, Breaker(CLOSED, now_s), BreakerDefinition(), "no route names it any more")


def _step(before: Breaker, after: Breaker, plan: BreakerDefinition, reason: str) -> BreakerStep:
    if after.state == before.state:
        return Step(after)
    window = (len(after.window), failure_share(after), slow_share(after, plan))
    return Step(after, (Transition(after.state, before.state, reason, *window),))


def failure_share(breaker: Breaker) -> float:
    """The mean share of failed rows over the calls in the window; 0 when it is empty."""
    calls = breaker.window
    return sum(call.failed for call in calls) / len(calls) if calls else 0.0


def slow_share(breaker: Breaker, plan: BreakerDefinition) -> float:
    """Of the calls in the window that were timed, the share that took `slow_s` or longer; 0 when none was timed."""
    timed = [call.took_s for call in breaker.window if call.took_s is not None]
    return sum(took_s >= plan.slow_s for took_s in timed) / len(timed) if timed else 0.0


def allows(breaker: Breaker) -> bool:
    """Whether the version may be asked. The breaker must have been brought to the present by `on_time` (or `at`).

    >>> allows(at(Breaker(OPEN, since_s=100.0), BreakerDefinition(open_s=10.0), 105.0))
    False
    """
    return breaker.state != OPEN


def at(breaker: Breaker, plan: BreakerDefinition, now_s: float) -> Breaker:
    """The breaker as it is at `now_s`."""
    if breaker.state == OPEN and now_s >= breaker.since_s + plan.open_s:
        suspects = breaker.suspects or _culprits(breaker)
        return Breaker(HALF_OPEN, now_s, (), breaker.reason, suspects, breaker.openings)
    return breaker


def _after_call(breaker: Breaker, plan: BreakerDefinition, call: Call) -> Breaker:
    breaker = at(breaker, plan, call.at_s)
    if breaker.state == OPEN:
        return breaker
    counted = _new_evidence(breaker, call) if call.culprits else call
    if counted is None:
        return breaker
    if breaker.state == HALF_OPEN:
        return _after_probe(breaker, plan, counted)
    recent = (old for old in breaker.window if counted.at_s - old.at_s < plan.window_s)
    grown = replace(breaker, window=(*recent, counted)[-plan.window_calls :])
    fault = _fault_of(grown, plan)
    return grown if fault is None else Breaker(OPEN, counted.at_s, grown.window, fault[0], openings=fault[1])


def _new_evidence(breaker: Breaker, call: Call) -> Call | None:
    """A call without the failures of rows and units that have failed before; None when nothing remains of it."""
    known = (*breaker.suspects, *_culprits(breaker))
    rows, units = {row for row, _ in known}, {unit for _, unit in known}
    fresh = 0
    for row, unit in call.culprits:
        fresh += row not in rows and unit not in units
        rows.add(row)
        units.add(unit)
    counted = call.failed * fresh / len(call.culprits)
    whole = 1.0 - call.failed + counted
    return replace(call, failed=counted / whole) if whole > 0.0 else None


def _culprits(breaker: Breaker) -> tuple[Culprit, ...]:
    return tuple(culprit for call in breaker.window for culprit in call.culprits)


def _after_probe(breaker: Breaker, plan: BreakerDefinition, call: Call) -> Breaker:
    window = (*breaker.window, call)
    if call.failed >= plan.failure_share or call.failed == 1.0:
        reason = f"a probe failed: {call.reason}"
        return Breaker(OPEN, call.at_s, window, reason, _suspects(breaker, call), breaker.openings + 1)
    if call.took_s is None:
        return breaker
    if call.took_s >= plan.slow_s:
        reason = f"a probe took {call.took_s:.3g} s, slow is {plan.slow_s:g} s"
        return Breaker(OPEN, call.at_s, window, reason, _suspects(breaker, call))
    if len(window) >= plan.probes:
        return Breaker(CLOSED, call.at_s)
    return replace(breaker, window=window)


_MOST_SUSPECTS = 1000


def _suspects(breaker: Breaker, call: Call) -> tuple[Culprit, ...]:
    return (*breaker.suspects, *call.culprits)[-_MOST_SUSPECTS:]


def _fault_of(breaker: Breaker, plan: BreakerDefinition) -> tuple[str, int] | None:
    """Why the window opens the breaker, and `openings` then; None while it does not."""
    calls = len(breaker.window)
    if calls < plan.min_calls:
        return None
    failed, slow = failure_share(breaker), slow_share(breaker, plan)
    if failed >= plan.failure_share:
        newest = next(call.reason for call in reversed(breaker.window) if call.failed)
        return f"{failed:.0%} of the rows of {calls} calls failed, the limit is {plan.failure_share:.0%}: {newest}", 1
    timed = sum(call.took_s is not None for call in breaker.window)
    if slow >= plan.slow_share and timed >= plan.min_calls:
        return f"{slow:.0%} of {timed} calls took {plan.slow_s:g} s or longer, the limit is {plan.slow_share:.0%}", 0
    return None
