"""A deployment under a rollout machine, and its phases."""

from typing import Any

from headrace.events import type_name
from headrace.events.definition import RolloutDefinition
from headrace.events.registry import (
    AbortRollout,
    AliasMoved,
    CommandRefused,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryRollout,
    RollBack,
    RollbackWindowBegun,
    RolledBack,
    RolloutQueued,
    RolloutStarted,
    RouteChanged,
    StartRollout,
    TimedOut,
)
from headrace.events.verdicts import FAIL, UNMEASURED
from headrace.log.topics import Topics
from headrace.testing.registry import CANARY, HOUR_S, folded, registered, verdict
from headrace_registry.core.machine import Unloadable, Warmed
from headrace_registry.core.rollout import on_message

TOPICS = Topics.load()
ON_THE_TOPIC = set(TOPICS.rule(TOPICS.name("registry.facts")).types)
BLUE_GREEN = RolloutDefinition("blue_green")
AB_TEST = RolloutDefinition("ab_test", shares=(0.5,), duration_s=HOUR_S, winner="rule")
SHADOW = RolloutDefinition("shadow", duration_s=HOUR_S)


class Machine:
    """A deployment `d` with versions, and all facts about it."""

    def __init__(self, versions: int = 3, plan: RolloutDefinition = CANARY) -> None:
        self.state, self.plan, self.facts = registered(versions), plan, []
        self.serve(1)

    @property
    def entry(self) -> Any:
        return self.state.entry("d")

    @property
    def route(self) -> Any:
        return self.entry.route

    def take(self, message: Any, ident: str = "") -> list[Any]:
        ident = ident or f"m{len(self.facts)}"
        step = on_message(self.state, "d", message, ident, self.plan)
        assert step.state == folded(self.state, step.facts)
        facts = list(step.facts)
        assert set(names(facts)) <= ON_THE_TOPIC
        self._check_names(message, ident, facts)
        self.state, self.facts = step.state, self.facts + facts
        return facts

    def _check_names(self, message: Any, ident: str, facts: list[Any]) -> None:
        """Each fact names what it is about: the deployment, the rollout and its version, what an alias named, the command."""
        state = self.state
        for fact in facts:
            before, running = state.entry("d"), state.entry("d").rollout
            assert fact.deployment == "d"
            match fact:
                case RouteChanged(route=route):
                    assert (route.deployment, route.salt) == ("d", "d")
                    assert route.revision == (before.route.revision if before.route else 0) + 1
                    assert route.rollout in ("", running.id if running else "")
                case AliasMoved():
                    # A rollback takes the champion's name away before another version gets it.
                    of = self.entry if fact.alias == "champion" else before
                    assert fact.was == of.aliases.get(fact.alias)
                case CommandRefused():
                    asked = (type_name(type(message)), ident)
                    assert (fact.command, fact.command_id) in (
                        asked,
                        ("start.rollout", f"queued-{waiting_version(before)}"),
                    )
                case RolloutStarted():
                    assert (running, fact.control) == (None, before.aliases.get("champion"))
                case RolledBack():
                    assert (fact.version, fact.to) == (before.aliases["champion"], before.aliases["previous"])
                case RolloutQueued():
                    assert fact.version == message.version
                case RollbackWindowBegun():
                    last = before.last
                    assert (fact.rollout, fact.version, last.has_clock) == (
                        last.rollout.id,
                        last.rollout.version,
                        False,
                    )
                case _:
                    assert (fact.rollout, fact.version) == (running.id, running.version)
            state = folded(state, [fact])

    def serve(self, version: int) -> None:
        plan, self.plan = self.plan, BLUE_GREEN
        self.start(version)
        self.take(Warmed())
        self.plan = plan

    def start(self, version: int, by: str = "me") -> list[Any]:
        return self.take(StartRollout("d", version, "r", by))

    def judge(self, clock_s: float, **changes: Any) -> list[Any]:
        return self.take(verdict(self.state, clock_s, **changes))

    def canary(self, version: int = 2) -> "Machine":
        """Version under canary with its first share, since hour 1."""
        self.start(version)
        self.take(Warmed())
        self.judge(0.0)
        self.judge(HOUR_S, labels=UNMEASURED, guardrails=UNMEASURED)
        return self

    def promoted(self) -> "Machine":
        """Version 2 promoted by its canary, at hour 3."""
        self.canary().judge(2 * HOUR_S)
        self.judge(3 * HOUR_S)
        return self


def waiting_version(entry: Any) -> int:
    """The version that waits."""
    return entry.queued.version if entry.queued is not None else 0


def timed_out(machine: Machine, what: Any) -> TimedOut:
    running = machine.entry.rollout
    return TimedOut("d", running.id if running else "none", what, 600.0, f"waited for {what}")


def names(facts: list[Any]) -> list[str]:
    return [type_name(type(fact)) for fact in facts]


def paused(machine: Machine) -> Machine:
    machine.canary().take(PauseRollout("d", "r", "me"))
    return machine


def unjudged(machine: Machine) -> Machine:
    machine.canary()
    machine.take(timed_out(machine, "pause"))
    return machine


def warming(machine: Machine) -> Machine:
    machine.start(2)
    return machine


def shadowing(machine: Machine) -> Machine:
    warming(machine).take(Warmed())
    return machine


def in_test(machine: Machine) -> Machine:
    machine.plan = AB_TEST
    return shadowing(machine)


MESSAGES = {
    "start": lambda _: StartRollout("d", 3, "r", "me"),
    "abort": lambda _: AbortRollout("d", "r", "me"),
    "pause": lambda _: PauseRollout("d", "r", "me"),
    "resume": lambda _: ResumeRollout("d", "r", "me"),
    "promote": lambda _: PromoteRollout("d", 2, "r", "me"),
    "retry": lambda _: RetryRollout("d", "r", "me"),
    "roll back": lambda _: RollBack("d", 1, "r", "me"),
    "warmed": lambda _: Warmed(),
    "unloadable": lambda _: Unloadable(2, "r"),
    "silent": lambda m: timed_out(m, "pause"),
    "silent for long": lambda m: timed_out(m, "silence"),
    "not warm": lambda m: timed_out(m, "warming"),
    "not loaded": lambda m: timed_out(m, "load"),
    "harm": lambda m: verdict(m.state, 1.5 * HOUR_S, labels=FAIL) if m.entry.rollout else timed_out(m, "pause"),
}
BEGUN = ["rollout.started", "route.changed"]
BACK = ["rollout.aborted", "route.changed"]
SWITCHED = ["rollout.advanced", "alias.moved", "alias.moved", "route.changed", "rollout.completed"]
