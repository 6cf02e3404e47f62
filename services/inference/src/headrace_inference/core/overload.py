"""What is left undone when requests wait for too long: first shadows, then the baseline, then whole requests.

Pressure is the share of its deadline that the oldest waiting request has spent in the queue. A level begins as soon as the
pressure reaches its line. Levels end one at a time, each when the pressure has stayed below half of its line for `CALM_S`.
Requests without a deadline can wait: they exert no pressure and are never refused.

| level | begins at | what is left undone                                                        |
|-------|-----------|----------------------------------------------------------------------------|
| 1     | 0.25      | shadows do not score along                                                 |
| 2     | 0.40      | nor is the baseline asked: the fallback chain goes on below it             |
| 3     | 0.55      | requests that have waited for 0.40 of their deadline are refused, to be asked again |
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.events.inference import PredictionRequested, Refused
from headrace.log.port import Record
from headrace.step import Step
from headrace_inference.core.deadlines import deadline_ms_of
from headrace_inference.core.request import Request

LINES = (0.25, 0.40, 0.55)
CALM_S = 1.0
RETRY_AFTER_S = 1.0
# A shorter deadline counts as this one, so that one careless client does not look like a queue to all others.
_SHORTEST_DEADLINE_MS = 250

SHADOWS, BASELINE, REQUESTS = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one deployment. `pressed_s`: when the pressure was last too high to leave `level`."""

    level: int = 0
    pressed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LevelChanged:
    """The load of a deployment went from the level `was` to `level`."""

    level: int
    was: int


@dataclass(frozen=True, slots=True)
class Waited:
    """How long the request of a deployment has waited that has used up most of its deadline: as a share of it, and in seconds."""

    share: float
    waited_s: float


def waited_share(deadline_ms: int, waited_ms: float) -> float:
    """The share of its deadline that a request has spent waiting.

    >>> waited_share(1000, 300), waited_share(10, 50)
    (0.3, 0.2)
    """
    return max(0.0, waited_ms) / max(deadline_ms, _SHORTEST_DEADLINE_MS)


def longest_waits(requests: Sequence[Request], now_ms: int, recover_until: int) -> dict[str, Waited]:
    """Per deployment the longest wait among its requests that have a deadline.

    Requests below the offset `recover_until` were found at a takeover: how long they have waited is no evidence of load.
    """
    found: dict[str, Waited] = {}
    for request in requests:
        event, record = request.event, request.record
        if event.deadline_ms is None or record.offset < recover_until:
            continue
        deadline_ms = deadline_ms_of(event)
        if deadline_ms is None:
            continue
        waited_ms = now_ms - record.timestamp_ms
        share, known = waited_share(deadline_ms, waited_ms), found.get(event.deployment)
        if known is None or (share, waited_ms / 1000) > (known.share, known.waited_s):
            found[event.deployment] = Waited(share, waited_ms / 1000)
    return found


def on_pressure(load: Load, pressure: float, now_s: float) -> Step[Load, LevelChanged]:
    """A look at the queue of a deployment. `now_s`: on a clock that does not go back.

    >>> on_pressure(Load(), 0.41, 5.0).state
    Load(level=2, pressed_s=5.0)
    """
    after = _after_pressure(load, pressure, now_s)
    return Step(after, (LevelChanged(after.level, load.level),) if after.level != load.level else ())


def _after_pressure(load: Load, pressure: float, now_s: float) -> Load:
    reached = sum(pressure >= line for line in LINES)
    if reached > load.level:
        return Load(reached, now_s)
    if load.level == 0:
        return load
    if pressure >= LINES[load.level - 1] / 2:
        return Load(load.level, now_s)
    return Load(load.level - 1, now_s) if now_s - load.pressed_s >= CALM_S else load


def is_refused(level: int, share: float) -> bool:
    """Whether a request that has waited for `share` of its deadline is refused."""
    return level >= REQUESTS and share >= LINES[BASELINE - 1]


def why_refused(
    event: PredictionRequested, record: Record, level: int, now_ms: int, recover_until: int
) -> Refused | None:
    """Why a request that keeps the contract is refused all the same; None when it is let in."""
    if level < REQUESTS or event.deadline_ms is None or record.offset < recover_until:
        return None
    share = waited_share(event.deadline_ms, now_ms - record.timestamp_ms)
    if not is_refused(level, share):
        return None
    return Refused(f"overload: it had waited {share:.0%} of its deadline; ask again later", RETRY_AFTER_S)
