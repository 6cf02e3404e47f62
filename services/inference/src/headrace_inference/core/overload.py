"""How much is left undone when requests wait too long: first shadows, then the baseline, then whole requests.

Pressure is the share of its deadline that the oldest waiting request has spent in the queue. A level begins as soon as the
pressure reaches its line; they end one at a time, each when the pressure has stayed below half its line for `CALM_S`.
Requests without a deadline can wait: they exert no pressure and are never refused.

| level | begins at | what is left undone                                                        |
|-------|-----------|----------------------------------------------------------------------------|
| 1     | 0.25      | shadows do not score along                                                 |
| 2     | 0.40      | nor is the baseline asked: the ladder goes on below it                     |
| 3     | 0.55      | requests that have waited for 0.40 of their deadline are refused, to be asked again |
"""

from dataclasses import dataclass

LINES = (0.25, 0.40, 0.55)
CALM_S = 1.0
RETRY_AFTER_S = 1.0
# Shorter deadlines count as this: one careless client must not look like a queue to all others.
_SHORTEST_DEADLINE_MS = 250

SHADOWS, BASELINE, REQUESTS = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one deployment. `pressed_s`: when the pressure was last too high to leave `level`."""

    level: int = 0
    pressed_s: float = 0.0


def waited_share(deadline_ms: int, waited_ms: float) -> float:
    """The share of its deadline that a request has spent waiting.

    >>> waited_share(1000, 300), waited_share(10, 50)
    (0.3, 0.2)
    """
    return max(0.0, waited_ms) / max(deadline_ms, _SHORTEST_DEADLINE_MS)


def on_pressure(load: Load, pressure: float, now_s: float) -> Load:
    """The load after a look at the queue.

    >>> on_pressure(Load(), 0.41, 5.0)
    Load(level=2, pressed_s=5.0)
    """
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
