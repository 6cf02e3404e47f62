"""Deadlines: when an answer is of no more use, and for how long a model may be waited for.

A deadline counts from the append time of its request, by the broker's clock.
"""

import math

from headrace.events.inference import PredictionRequested

# About thirty years: nobody means a longer one.
MAX_DEADLINE_MS = 1_000_000_000_000
# Of the time left until the tightest deadline, a model call may take this share; the rest is for the steps below it and the reply.
_CALL_SHARE = 0.5
# No deadline shortens a call below this: a client that allows a millisecond must not fail everybody's version.
_SHORTEST_CALL_S = 0.05


def deadline_ms_of(event: PredictionRequested) -> int | None:
    """The deadline that a request gives; None for none, and for one out of bounds.

    >>> deadline_ms_of(PredictionRequested("d", deadline_ms=250)), deadline_ms_of(PredictionRequested("d", deadline_ms=-1))
    (250, None)
    """
    found = event.deadline_ms
    return found if found is not None and 0 <= found <= MAX_DEADLINE_MS else None


def due_ms(event: PredictionRequested, appended_ms: int) -> float:
    """When the deadline passes, in ms since the epoch; infinite when there is none."""
    deadline_ms = deadline_ms_of(event)
    return math.inf if deadline_ms is None else appended_ms + deadline_ms


def lateness_ms(event: PredictionRequested, appended_ms: int, now_ms: int) -> int:
    """How long ago the deadline passed; 0 or less while there is time."""
    deadline_ms = deadline_ms_of(event)
    return 0 if deadline_ms is None else now_ms - appended_ms - deadline_ms


def call_limit_s(time_limit_s: float, left_s: float) -> float:
    """How long a batch may wait for a model. `left_s`: time until the tightest deadline in it.

    >>> call_limit_s(5.0, math.inf), call_limit_s(5.0, 1.0), call_limit_s(5.0, 0.001)
    (5.0, 0.5, 0.05)
    """
    return max(_SHORTEST_CALL_S, min(time_limit_s, left_s * _CALL_SHARE))
