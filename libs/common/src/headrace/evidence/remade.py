"""A decision made again, part by part: route, fallback step, row and score. Each part is recomputed from the log and
compared with what the decision says.

| part  | recomputed from                                                             | must be                         |
|-------|-----------------------------------------------------------------------------|---------------------------------|
| route | the route that was followed, the unit and the request's headers             | the same version, same override |
| step  | the definition's fallback chain, the route, the failures that were recorded | the same step and reason        |
| row   | the request's inputs, the events below the source offsets                   | the same bytes                  |
| score | the version's file and the row                                              | the same bits for trees, else   |
|       |                                                                             | within 1e-6                     |

What cannot be recomputed (events retired, a version deleted, a definition gone) is not a difference, and says why.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from headrace.asking.fallback import Ask, Constant, answer_of, choose_step, steps_for
from headrace.asking.routing import assign
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, Expired, FellBack, Invalid, PredictionRequested, Score, Served
from headrace.events.registry import Route
from headrace.features.rows import check_inputs

SAME_WITHIN = 1e-6
Result = Literal["same", "near", "differs", "unknown", "none"]


class Part(msgspec.Struct, frozen=True):
    """One part of a decision made again. `same`; `near` (a score within 1e-6, not the same bits); `differs`; `unknown`
    (it cannot be made again); `none` (the decision has no such part). `detail`: then and now, or why not.
    """

    result: Result
    detail: str = ""


SAME, NONE = Part("same"), Part("none")


class Remade(msgspec.Struct, frozen=True):
    """A decision made again. `place`: topic/partition/offset of its record; `version`: that answered, None for none."""

    deployment: str
    request_id: str
    place: str
    answer: str
    version: int | None
    route: Part
    step: Part
    row: Part
    score: Part

    @property
    def parts(self) -> dict[str, Part]:
        """The parts by name."""
        return {"route": self.route, "step": self.step, "row": self.row, "score": self.score}

    @property
    def is_by_prior(self) -> bool:
        """Whether the prior answered: its value belongs to the step, and no version gave a score."""
        return self.version is None and self.answer == FellBack.__name__

    @property
    def result(self) -> Literal["same", "differs", "unknown"]:
        """Whether all parts are as they were: a difference counts before what is unknown."""
        results = {part.result for part in self.parts.values()}
        return "differs" if "differs" in results else "unknown" if "unknown" in results else "same"

    @property
    def why(self) -> str:
        """The parts that are not the same, in words."""
        return "; ".join(f"{name}: {part.detail}" for name, part in self.parts.items() if part.detail)


def was_turned_away(decision: DecisionMade) -> bool:
    """Whether a request was decided before it was routed: it has no row, since none was made.

    >>> was_turned_away(DecisionMade("r", "d", "u", 0.0, Expired(3), 0))
    True
    """
    return not decision.signature


def turned_away_again(
    decision: DecisionMade, request: PredictionRequested | None, deployment: DeploymentDefinition | None
) -> Part:
    """The answer to a request that was turned away: the contract is checked again; load and lateness were of the time."""
    answer = decision.answer
    if not isinstance(answer, Invalid):
        kind = "it came too late" if isinstance(answer, Expired) else "it was refused under load"
        return Part("unknown", f"{kind}: that was of the time")
    if request is None:
        return Part("unknown", "its request is not on the log any more")
    if deployment is None:
        return Part("unknown", "its deployment is not declared")
    known = {field.name for field in deployment.inputs} | set(request.inputs)
    if answer.field not in known:
        return Part("unknown", f"it was refused before its inputs were looked at: {answer.reason}")
    found = check_inputs(deployment, request.inputs)
    return (
        SAME if found == answer else Part("differs", f"then {answer.reason}, now {found.reason if found else 'valid'}")
    )


def route_again(decision: DecisionMade, route: Route | None, headers: Mapping[str, bytes]) -> Part:
    """The version that the unit is assigned to."""
    found = assign(route, decision.unit, headers)
    if (found.version, found.override) == (decision.assigned, decision.override):
        return SAME
    return Part("differs", f"then version {decision.assigned}, now {found.version}")


def step_again(
    decision: DecisionMade, route: Route | None, headers: Mapping[str, bytes], deployment: DeploymentDefinition
) -> Part:
    """The step of the fallback chain that answers, given the failures that were recorded; with the prior, its value."""
    steps = steps_for(deployment.fallback, route, assign(route, decision.unit, headers))
    asked = {step.version for step in steps if isinstance(step, Ask)}
    failed = {int(name): why for name, why in decision.failures.items() if int(name) in asked}
    chosen = choose_step(steps, failed)
    then = decision.answer
    score = then.score if isinstance(then, Served | FellBack) else None
    if isinstance(chosen.step, Ask) and (score is None or score.version != chosen.step.version):
        return Part("differs", f"then {_shown(decision)}, now {chosen.step.name} (version {chosen.step.version})")
    now = answer_of(chosen, None if isinstance(chosen.step, Constant) else score, decision.deployment)
    if now == then:
        return SAME
    return Part("differs", f"then {_shown(decision)}, now {msgspec.to_builtins(now)}")


def row_again(then: bytes, now: bytes, names: Sequence[str]) -> Part:
    """The bytes of a row. `names`: of its columns."""
    if then == now:
        return SAME
    if len(then) != len(now):
        return Part("differs", f"then {len(then) // 4} columns, now {len(now) // 4}")
    places = [n for n in range(len(then) // 4) if then[4 * n : 4 * n + 4] != now[4 * n : 4 * n + 4]]
    shown = ", ".join(names[n] if n < len(names) else str(n) for n in places[:5])
    return Part("differs", f"{shown}{f' and {len(places) - 5} more' if len(places) > 5 else ''}")


def score_again(then: Sequence[float], now: Sequence[float], *, is_trees: bool) -> Part:
    """The scores of one row. `is_trees`: only the same bits will do.

    >>> score_again([0.5], [0.5 + 1e-9], is_trees=False).result, score_again([0.5], [0.6], is_trees=False).result
    ('near', 'differs')
    """
    if list(then) == list(now):
        return SAME
    gap = max((abs(a - b) for a, b in zip(then, now, strict=False)), default=float("inf"))
    gap = gap if len(then) == len(now) else float("inf")
    if gap <= SAME_WITHIN and not is_trees:
        return Part("near")
    return Part("differs", f"then {list(then)}, now {list(now)}")


def scores_of(score: Score) -> list[float]:
    """The numbers of a score."""
    return list(score.probabilities) if score.probabilities is not None else [score.value or 0.0]


def _shown(decision: DecisionMade) -> str:
    match decision.answer:
        case Served(score):
            return f"champion (version {score.version})"
        case FellBack(step, _, score):
            return f"{step} (version {score.version})" if score.version else step
        case other:
            return type(other).__name__.lower()
