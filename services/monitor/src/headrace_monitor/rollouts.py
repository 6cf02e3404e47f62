"""The analyses of running rollouts within the monitor's shard: what they read is gathered here, and what they say written."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from headrace.errors import HeadraceError
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import (
    RolledBack,
    RolloutAborted,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutStarted,
    Route,
)
from headrace.events.verdicts import VerdictGiven
from headrace.features.outcomes import Told
from headrace.log.codec import Message, out
from headrace.log.envelope import Envelope, derived_id
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace_monitor.core.analysis import LIMITS, Trial, begin
from headrace_monitor.core.counting import Seen

# The memory of a rollout is written with every verdict, and after so many decisions without one.
_DECISIONS_UNWRITTEN = 5000
_ROUTES_KEPT = 20

_Fact = RolloutStarted | RolloutAdvanced | RolloutCompleted | RolloutAborted | RolledBack

ReplayFrom = Callable[[float], dict[str, int]]
OnFailed = Callable[[str, Exception], list[Out]]


class Rollouts:
    """One analysis per deployment: of the newest rollout, until it is over.

    `on_failed`: what is written when the analysis of a deployment raises; all others go on.
    """

    def __init__(
        self, topics: Topics, deployments: Mapping[str, DeploymentDefinition], service: str, on_failed: OnFailed
    ) -> None:
        self._topics, self._deployments, self._service, self._on_failed = topics, deployments, service, on_failed
        self._trials: dict[str, Trial] = {}
        self._routes: dict[str, dict[int, Route]] = {}
        self._waiting: dict[str, list[Seen]] = {}
        self._read_to: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}
        self._is_fresh = False
        self._stories: dict[str, str] = {}
        self._spoke_s: dict[str, float] = {}

    def restore(self, event: RolloutJudged) -> None:
        """The memory of a rollout, from history; the newest one counts."""
        self._trials.pop(event.deployment, None)
        deployment = self._deployments.get(event.deployment)
        if deployment is not None and not event.ended:
            self._trials[event.deployment] = Trial(deployment, event)

    def replay_from(self) -> list[dict[str, int]]:
        """From where the inputs must be read again, per analysis."""
        return [trial.state.replay_from for trial in self._trials.values()]

    @property
    def open_from_s(self) -> list[float]:
        """The oldest instants that open blocks may still look at."""
        return [trial.open_from_s for trial in self._trials.values() if trial.open_from_s is not None]

    def take(self, place: str, offset: int, decision: DecisionMade) -> None:
        """A decision; it is folded with the rest of its batch."""
        self._read_to[place] = offset + 1
        if decision.deployment in self._trials:
            self._waiting.setdefault(decision.deployment, []).append(Seen(place, offset, decision))

    def take_shadow(self, place: str, offset: int, event: ShadowScored) -> None:
        """What a shadow said late; folded in its turn with the decisions of its batch."""
        self._read_to[place] = offset + 1
        if event.deployment in self._trials:
            self._waiting.setdefault(event.deployment, []).append(Seen(place, offset, event))

    def holds(self) -> dict[str, tuple[int, int]]:
        """What the analyses hold in bytes, by what it is, and the bound of it (per running rollout)."""
        held = [trial.held_bytes() for trial in self._trials.values()]
        return {name: (sum(found[name] for found in held), limit * max(len(held), 1)) for name, limit in LIMITS.items()}

    def observe(self, deployment: str, told: Told) -> None:
        """An outcome."""
        if deployment in self._trials:
            self._trials[deployment].observe(told)

    def on_route(self, route: Route, offset: int) -> None:
        """A deployment's route from now on."""
        kept = dict(sorted(self._routes.get(route.deployment, {}).items())[-_ROUTES_KEPT:])
        self._routes[route.deployment] = {**kept, offset: route}
        if route.deployment in self._trials:
            self._trials[route.deployment].on_route(route, offset)

    def on_fact(self, message: Message) -> list[Out]:
        """A fact about a rollout, after the decisions that were read before it."""
        fact = message.event
        if not isinstance(fact, _Fact):
            return []
        outs = self._fold(fact.deployment)
        return outs + self._alone(fact.deployment, partial(self._follow, fact, message.envelope))

    def _follow(self, fact: _Fact, envelope: Envelope) -> None:
        if isinstance(fact, RolloutStarted):
            self._begin(fact)
        trial = self._trials.get(fact.deployment)
        if trial is None or (trial.state.started.rollout != getattr(fact, "rollout", trial.state.started.rollout)):
            return
        self._stories[fact.deployment] = envelope.correlation_id or envelope.id
        self._unwritten[fact.deployment] = _DECISIONS_UNWRITTEN
        self._is_fresh = True
        match fact:
            case RolloutAdvanced():
                trial.on_advanced(fact)
            case RolloutCompleted():
                trial.on_completed(fact)
            case RolloutAborted() | RolledBack():
                trial.end()

    def _begin(self, fact: RolloutStarted) -> None:
        deployment = self._deployments.get(fact.deployment)
        if deployment is not None:
            trial = self._trials[fact.deployment] = begin(deployment, fact, self._read_to)
            for offset, route in self._routes.get(fact.deployment, {}).items():
                trial.on_route(route, offset)

    def fold(self) -> list[Out]:
        """Fold what was read in this batch."""
        return [written for deployment in list(self._waiting) for written in self._fold(deployment)]

    def _fold(self, deployment: str) -> list[Out]:
        seen, trial = self._waiting.pop(deployment, []), self._trials.get(deployment)
        if not seen or trial is None:
            return []
        self._unwritten[deployment] = self._unwritten.get(deployment, 0) + len(seen)
        self._is_fresh = True
        return self._alone(deployment, partial(trial.take, seen))

    def _alone(self, deployment: str, step: Callable[[], list[Out] | None]) -> list[Out]:
        """A step of one analysis: what it raises is told, and holds up no other one."""
        try:
            return step() or []
        except HeadraceError:
            raise
        except Exception as error:
            return self._on_failed(deployment, error)

    def is_waiting(self, now_s: float) -> bool:
        """Whether something was read, or was not said for long, since the last look. `now_s`: of the monotonic clock."""
        return self._is_fresh or any(self._is_silent(name, now_s) for name in self._trials)

    def _is_silent(self, deployment: str, now_s: float) -> bool:
        spoke_s = self._spoke_s.setdefault(deployment, now_s)
        return now_s - spoke_s >= self._trials[deployment].plan.silence_s / 4

    def look(self, clocks: Mapping[str, float], now_s: float, replay_from: ReplayFrom, *, is_idle: bool) -> list[Out]:
        """Verdicts by each deployment's clock, and the memory that goes with them. Only when idle the clock is known in full."""
        self._is_fresh = self._is_fresh and not is_idle
        return [
            written
            for name, trial in list(self._trials.items())
            for written in self._alone(name, partial(self._look, name, trial, clocks, now_s, replay_from))
        ]

    def _look(
        self, name: str, trial: Trial, clocks: Mapping[str, float], now_s: float, replay_from: ReplayFrom
    ) -> list[Out]:
        outs: list[Out] = []
        clock_s, is_silent = clocks.get(name, -math.inf), self._is_silent(name, now_s)
        if is_silent:
            # NB: before it is looked at: what raises there is tried again a while later, not with the next tick.
            self._spoke_s[name] = now_s
        verdict = trial.look(clock_s, is_silent=is_silent)
        if verdict is not None:
            self._spoke_s[name] = now_s
            outs.append(self._verdict(name, trial, verdict))
        if verdict is not None or trial.state.ended or self._unwritten.get(name, 0) >= _DECISIONS_UNWRITTEN:
            self._unwritten.pop(name, None)
            outs.append(self._memory(name, trial, clock_s, replay_from(trial.open_from_s or clock_s)))
        if trial.state.ended:
            del self._trials[name]
        return outs

    def _verdict(self, name: str, trial: Trial, verdict: VerdictGiven) -> Out:
        ident = derived_id("verdict", verdict.rollout, trial.state.sequence)
        envelope = Envelope(ident, "", self._service, verdict.clock_s, correlation_id=self._stories.get(name, name))
        return out(self._topics.name("monitor.verdicts"), name, verdict, envelope)

    def _memory(self, name: str, trial: Trial, clock_s: float, replay_from: dict[str, int]) -> Out:
        folded = trial.folded
        places = {place: min(offset, folded.get(place, offset)) for place, offset in replay_from.items()}
        event = trial.judged({**folded, **places})
        ident = derived_id("judged", event.started.rollout, event.sequence, event.decisions, sum(folded.values()))
        time_s = max(clock_s, 0.0) if math.isfinite(clock_s) else 0.0
        envelope = Envelope(ident, "", self._service, time_s, correlation_id=self._stories.get(name, name))
        return out(self._topics.name("monitor.state"), f"{name}/rollout", event, envelope)
