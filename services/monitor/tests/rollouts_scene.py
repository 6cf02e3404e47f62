"""A running rollout of version 2 against version 1, and decisions on its requests."""

from typing import Any

from services.monitor.tests.test_rollout_analysis import NEW, OLD, deployment

from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import (
    RolloutStarted,
)
from headrace.project import Guardrail

D = deployment(Guardrail("errors", 0.02))


def decided(n: int, answered: int = OLD, shadow: int | None = None, **more: Any) -> DecisionMade:
    """Request `n` at minute `n`, of a unit of its own, in the arm of the version that answered unless another is named."""
    shadows = () if shadow is None else (Score(shadow, "", 0.4),)
    fields: dict[str, Any] = {"assigned": answered, "route_offset": 0, "shadows": shadows} | more
    answer = fields.pop("answer", Served(Score(answered, "", 0.6)))
    return DecisionMade(f"r{n}", "d", fields.pop("unit", f"u{n}"), 60.0 * n, answer, n, **fields)


STATE = RolloutJudged(
    "d", RolloutStarted("d", "r1", NEW, "canary", "", D.rollout, OLD), routes={0: 0.5}, share=0.5, step_clock_s=0.0
)
