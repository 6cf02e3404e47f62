"""The analyses of all running rollouts: which records each of them gets, and when its verdict and its memory are published.

There is one analysis per deployment: of its newest rollout, until that is over. An error in one analysis is reported as
`MonitoringFailed`, and all others go on.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from headrace.errors import HeadraceError
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import (
    RollbackWindowBegun,
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    Route,
    VersionApproved,
)
from headrace.features.outcomes import KnownOutcome
from headrace.step import Step
from headrace_monitor.core.facts import MonitoringFailed, RolloutFact, RolloutRemembered, VerdictReached
from headrace_monitor.core.monitoring_failures import ROLLOUT
from headrace_monitor.core.rollout_analysis import LIMITS, RolloutAnalysis, begin
from headrace_monitor.core.rollout_requests import Seen

# The memory of a rollout is published with every verdict, and after so many decisions without one.
_DECISIONS_UNWRITTEN = 5000
_ROUTES_KEPT = 20

_Fact = RolloutStarted | RolloutAdvanced | RolloutCompleted | RollbackWindowBegun | RolloutAborted | RolledBack

RolloutStep = Step["Rollouts", RolloutFact]
Facts = tuple[RolloutFact, ...]
ClockOf = Callable[[str], float]
ReplayFrom = Callable[[float], dict[str, int]]


def _unknown(_: str) -> None:
    """The usual gain where no windows are kept."""


class Rollouts:
    """The analyses, by deployment. `deployments`: those that are declared, by name. `gain_of`: what a deployment's champion
    usually gains over a constant, see `usual_gain`.

    It changes in place: a copy per decision would be slow.
    """

    def __init__(
        self, deployments: Mapping[str, DeploymentDefinition], gain_of: Callable[[str], float | None] = _unknown
    ) -> None:
        self._deployments, self._gain_of = deployments, gain_of
        self._analyses: dict[str, RolloutAnalysis] = {}
        self._routes: dict[str, dict[int, Route]] = {}
        self._waiting: dict[str, list[Seen]] = {}
        self._read_to: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}
        self._is_fresh = False
        self._correlations: dict[str, str] = {}
        self._verdict_at_s: dict[str, float] = {}

    # what is read

    def on_history(self, memory: RolloutJudged) -> None:
        """The memory of a rollout as it was published before this start; the newest one of a deployment counts."""
        self._analyses.pop(memory.deployment, None)
        deployment = self._deployments.get(memory.deployment)
        if deployment is not None and not memory.ended:
            self._analyses[memory.deployment] = RolloutAnalysis(deployment, memory)

    def on_record(self, place: str, offset: int, event: DecisionMade | ShadowScored) -> None:
        """A decision, or a late score of one, that lies there; it is folded with the rest of its batch."""
        self._read_to[place] = offset + 1
        if event.deployment in self._analyses:
            self._waiting.setdefault(event.deployment, []).append(Seen(place, offset, event))

    def on_outcome(self, deployment: str, outcome: KnownOutcome) -> None:
        """An outcome of a deployment."""
        if deployment in self._analyses:
            self._analyses[deployment].add_outcome(outcome)

    def on_route(self, route: Route, offset: int) -> None:
        """The route of a deployment from now on. `offset`: of its record."""
        kept = dict(sorted(self._routes.get(route.deployment, {}).items())[-_ROUTES_KEPT:])
        self._routes[route.deployment] = {**kept, offset: route}
        if route.deployment in self._analyses:
            self._analyses[route.deployment].on_route(route, offset)

    def on_registry_fact(self, fact: Any, correlation_id: str) -> RolloutStep:
        """A fact about a rollout (others change nothing), after the decisions that were read before it."""
        if isinstance(fact, VersionApproved) and fact.deployment in self._analyses:
            # The rollout may wait for just this: it goes on with the next verdict, which is due at once.
            self._verdict_at_s[fact.deployment] = -math.inf
        if not isinstance(fact, _Fact):
            return Step(self)
        facts = self._fold(fact.deployment)
        return Step(self, facts + self._isolated(fact.deployment, partial(self._follow, fact, correlation_id)))

    def _follow(self, fact: _Fact, correlation_id: str) -> None:
        if isinstance(fact, RolloutStarted):
            self._begin(fact)
        analysis = self._analyses.get(fact.deployment)
        if analysis is None:
            return
        running = analysis.state.started.rollout
        if getattr(fact, "rollout", running) != running:
            return
        self._correlations[fact.deployment] = correlation_id
        self._unwritten[fact.deployment] = _DECISIONS_UNWRITTEN
        self._is_fresh = True
        match fact:
            case RolloutAdvanced():
                analysis.on_advanced(fact)
            case RolloutCompleted(promoted=True, has_clock=False) if analysis.plan.rollback_window_s > 0:
                # It is judged on; until when is known as soon as the registry has read a verdict with a clock.
                self._verdict_at_s[fact.deployment] = -math.inf
            case RolloutCompleted():
                analysis.on_completed(fact)
            case RollbackWindowBegun():
                analysis.on_completed(RolloutCompleted(fact.deployment, fact.rollout, fact.version, fact.clock_s))
            case RolloutAborted() | RolledBack():
                analysis.end()

    def _begin(self, fact: RolloutStarted) -> None:
        deployment = self._deployments.get(fact.deployment)
        if deployment is not None:
            analysis = self._analyses[fact.deployment] = begin(
                deployment, fact, self._read_to, self._gain_of(fact.deployment)
            )
            for offset, route in self._routes.get(fact.deployment, {}).items():
                analysis.on_route(route, offset)

    # what follows

    def fold(self) -> RolloutStep:
        """Take what was read in this batch into the analyses. The facts are failures."""
        return Step(self, tuple(fact for deployment in list(self._waiting) for fact in self._fold(deployment)))

    def _fold(self, deployment: str) -> Facts:
        seen, analysis = self._waiting.pop(deployment, []), self._analyses.get(deployment)
        if not seen or analysis is None:
            return ()
        self._unwritten[deployment] = self._unwritten.get(deployment, 0) + len(seen)
        self._is_fresh = True
        return self._isolated(deployment, partial(analysis.take, seen))

    def is_waiting(self, now_s: float) -> bool:
        """Whether a look is due: something was read since the last one, or a last verdict is long ago.

        `now_s`: of the monotonic clock.
        """
        return self._is_fresh or any(self._is_silent(name, now_s) for name in self._analyses)

    def _is_silent(self, deployment: str, now_s: float) -> bool:
        verdict_at_s = self._verdict_at_s.setdefault(deployment, now_s)
        return now_s - verdict_at_s >= self._analyses[deployment].plan.silence_s / 4

    def look(self, clock_of: ClockOf, now_s: float, replay_from: ReplayFrom, *, is_idle: bool) -> RolloutStep:
        """The verdicts that are due, and the memories that go with them.

        `clock_of`: the clock of a deployment, which is known in full only when the inputs are idle (`is_idle`). `now_s`: of the
        monotonic clock. `replay_from`: from which offset each place must be read again to find everything since an instant.
        """
        self._is_fresh = self._is_fresh and not is_idle
        facts = tuple(
            fact
            for name, analysis in list(self._analyses.items())
            for fact in self._isolated(name, partial(self._look, name, analysis, clock_of, now_s, replay_from))
        )
        return Step(self, facts)

    def _look(
        self, name: str, analysis: RolloutAnalysis, clock_of: ClockOf, now_s: float, replay_from: ReplayFrom
    ) -> Facts:
        facts: list[RolloutFact] = []
        clock_s, until_s = clock_of(name), analysis.state.until_s
        # The verdict after the rollback window is the last one: by it the registry ends what the window was for.
        is_last = until_s is not None and math.isfinite(clock_s) and clock_s > until_s
        is_silent = self._is_silent(name, now_s) or is_last
        if is_silent:
            # NB: noted before the look: what raises there is tried again a while later, and not with the next tick.
            self._verdict_at_s[name] = now_s
        given = analysis.look(clock_s, is_silent=is_silent).facts
        correlation_id = self._correlations.get(name, name)
        for verdict in given:
            self._verdict_at_s[name] = now_s
            facts.append(VerdictReached(verdict, analysis.state.sequence, correlation_id))
        if given or analysis.state.ended or self._unwritten.get(name, 0) >= _DECISIONS_UNWRITTEN:
            self._unwritten.pop(name, None)
            memory = _memory(analysis, replay_from(analysis.open_from_s or clock_s))
            facts.append(RolloutRemembered(memory, clock_s, correlation_id))
        if analysis.state.ended:
            del self._analyses[name]
        return tuple(facts)

    def _isolated(self, deployment: str, step: Callable[[], Facts | None]) -> Facts:
        """A step of one analysis: what it raises becomes a fact, and stops no other analysis."""
        try:
            return step() or ()
        except HeadraceError:
            raise
        except Exception as error:
            return (MonitoringFailed(deployment, ROLLOUT, error),)

    # what it holds

    def replay_from(self) -> list[dict[str, int]]:
        """From which offset the inputs must be read again, per analysis and place."""
        return [analysis.state.replay_from for analysis in self._analyses.values()]

    @property
    def open_from_s(self) -> list[float]:
        """The oldest instants that open blocks may still look at."""
        starts = (analysis.open_from_s for analysis in self._analyses.values())
        return [start for start in starts if start is not None]

    def holds(self) -> dict[str, tuple[int, int]]:
        """How many bytes the analyses hold, by what it is, and the bound of it (per running rollout)."""
        held = [analysis.held_bytes() for analysis in self._analyses.values()]
        return {name: (sum(found[name] for found in held), limit * max(len(held), 1)) for name, limit in LIMITS.items()}


def _memory(analysis: RolloutAnalysis, replay_from: dict[str, int]) -> RolloutJudged:
    folded = analysis.folded
    places = {place: min(offset, folded.get(place, offset)) for place, offset in replay_from.items()}
    return analysis.memory({**folded, **places})
