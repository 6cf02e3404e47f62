"""When a version must not be asked for a while: a circuit breaker (Nygard, Release It!, 2007) as a table of values.

| state     | goes on to | when                                                                                         |
|-----------|------------|----------------------------------------------------------------------------------------------|
| closed    | open       | of the calls in the window, the share that failed or the share that was slow reaches its limit; a call hangs |
| open      | half_open  | `open_s` have passed                                                                         |
| half_open | open       | a probe failed or was slow                                                                   |
| half_open | closed     | `probes` calls in a row were well                                                            |

The window holds the calls of the last `window_s`, `window_calls` at most; fewer than `min_calls` decide nothing.

Only a version's own failures come here, and a row's failure counts once: of a row, or a unit, that has failed in the window
before, another failure says nothing new. So one client's twenty retries of one bad row open nothing, and such a row as
a probe is no verdict: the next one probes. A call whose time says nothing of the version (it was split to find
such a row) counts among neither the slow calls nor the quick ones, and as a probe is no verdict.
"""

from dataclasses import dataclass, replace

from headrace.events.definition import BreakerDefinition

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
Culprit = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that ended at `at_s`. `failed`: the share of its rows without a usable score, 0..1; `reason`: why.

    `took_s`: None when how long it took says nothing. `culprits`: of rows that failed, a hash of the row and one of its unit; none when nobody knows them.
    """

    at_s: float
    failed: float = 0.0
    took_s: float | None = 0.0
    reason: str = ""
    culprits: tuple[Culprit, ...] = ()


@dataclass(frozen=True, slots=True)
class Breaker:
    """One version's breaker. `since_s`: when it came to `state`; `window`: calls that count, oldest first; `reason`: why it opened.

    `suspects`: the culprits known when it opened.
    """

    state: str = CLOSED
    since_s: float = 0.0
    window: tuple[Call, ...] = ()
    reason: str = ""
    suspects: tuple[Culprit, ...] = ()


def failure_share(breaker: Breaker) -> float:
    """Mean share of failed rows over the window's calls; 0 for an empty one."""
    calls = breaker.window
    return sum(call.failed for call in calls) / len(calls) if calls else 0.0


def slow_share(breaker: Breaker, plan: BreakerDefinition) -> float:
    """Share of the window's calls that took `slow_s` or longer, of those that were timed; 0 when none was."""
    timed = [call.took_s for call in breaker.window if call.took_s is not None]
    return sum(took_s >= plan.slow_s for took_s in timed) / len(timed) if timed else 0.0


def allows(breaker: Breaker) -> bool:
    """Whether the version may be asked; first bring the breaker to the present by `at`.

    >>> allows(at(Breaker(OPEN, since_s=100.0), BreakerDefinition(open_s=10.0), 105.0))
    False
    """
    return breaker.state != OPEN


def at(breaker: Breaker, plan: BreakerDefinition, now_s: float) -> Breaker:
    """The breaker as it stands at `now_s`: one that has rested long enough lets probes through."""
    if breaker.state == OPEN and now_s >= breaker.since_s + plan.open_s:
        return Breaker(HALF_OPEN, now_s, (), breaker.reason, breaker.suspects or _culprits(breaker))
    return breaker


def trip(breaker: Breaker, now_s: float, reason: str) -> Breaker:
    """Open at once, whatever the window says: a call hangs, and every further one would wait for it."""
    return Breaker(OPEN, now_s, breaker.window, reason)


def on_call(breaker: Breaker, plan: BreakerDefinition, call: Call) -> Breaker:
    """The breaker after a call. A call that was begun before it opened says nothing new while it is open."""
    breaker = at(breaker, plan, call.at_s)
    if breaker.state == OPEN:
        return breaker
    news = _news(breaker, call) if call.culprits else call
    if news is None:
        return breaker
    call = news
    if breaker.state == HALF_OPEN:
        return _on_probe(breaker, plan, call)
    recent = (old for old in breaker.window if call.at_s - old.at_s < plan.window_s)
    grown = replace(breaker, window=(*recent, call)[-plan.window_calls :])
    reason = _fault_of(grown, plan)
    return grown if reason is None else Breaker(OPEN, call.at_s, grown.window, reason)


def _news(breaker: Breaker, call: Call) -> Call | None:
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


def _on_probe(breaker: Breaker, plan: BreakerDefinition, call: Call) -> Breaker:
    window = (*breaker.window, call)
    if call.failed >= plan.failure_share or call.failed == 1.0:
        return Breaker(OPEN, call.at_s, window, f"a probe failed: {call.reason}", _suspects(breaker, call))
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


def _fault_of(breaker: Breaker, plan: BreakerDefinition) -> str | None:
    calls = len(breaker.window)
    if calls < plan.min_calls:
        return None
    failed, slow = failure_share(breaker), slow_share(breaker, plan)
    if failed >= plan.failure_share:
        newest = next(call.reason for call in reversed(breaker.window) if call.failed)
        return f"{failed:.0%} of the rows of {calls} calls failed, the limit is {plan.failure_share:.0%}: {newest}"
    timed = sum(call.took_s is not None for call in breaker.window)
    if slow >= plan.slow_share and timed >= plan.min_calls:
        return f"{slow:.0%} of {timed} calls took {plan.slow_s:g} s or longer, the limit is {plan.slow_share:.0%}"
    return None
