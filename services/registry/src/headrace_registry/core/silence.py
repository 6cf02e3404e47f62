"""How long a rollout has had no verdict, by a clock that never jumps: after `silence_s` it is held, after twice that aborted.

Counted from what happened last: the step's beginning, an operator's word, or a verdict. A restart counts anew.
"""

from headrace.registry.state import HELD, PAUSED, WARMING, Rollout


class Silence:
    """When each deployment's rollout was last heard of, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[Rollout, float]] = {}
        self._spoke_s: dict[str, float] = {}

    def hear(self, deployment: str, now_s: float) -> None:
        """A verdict came."""
        self._spoke_s[deployment] = now_s

    def since_s(self, deployment: str, rollout: Rollout, now_s: float) -> float | None:
        """How long nothing was heard, once that is long enough to act on; None before, and where no verdict is due."""
        known, from_s = self._heard.get(deployment, (None, now_s))
        if known != rollout:
            is_held_now = known is not None and known.id == rollout.id and rollout.standing == HELD
            from_s = from_s if is_held_now else now_s
            self._heard[deployment] = (rollout, from_s)
        if rollout.step == WARMING or rollout.standing == PAUSED:
            return None
        silent_s = now_s - max(from_s, self._spoke_s.get(deployment, from_s))
        limit_s = rollout.plan.silence_s * (2 if rollout.standing == HELD else 1)
        return silent_s if silent_s >= limit_s else None
