"""How a version takes traffic, and how it is taken away again: the machine as a table.

One rollout at a time per deployment. It begins by warming the version on every inference instance. From then on only two
things move it: verdicts (what follows from one is decided by policy in `policies`) and operators. A paused rollout stays at
its share whatever the verdicts say, harm excepted; one that gets no verdict for `silence_s` is paused, and goes on with
the next verdict; after twice that it is aborted (`timeouts` says what counts as silence; a monitor that waits for traffic is not
silent). A version that cannot be loaded here and now ends its rollout after a while, and may be tried again. Harm, found by evidence
at any time, takes all traffic away at once and rejects the version for ever; after a promotion it does so while the rollback
window lasts. A trained version waits while another is under way (the newest takes the place of the one that waited), and for
its approval where that is asked for. A rollout whose evidence stays open gives way to the version that waits (`superseding`), and ends by
itself after a while (`undecided`). The first version of a deployment has nothing to be compared with: it switches as soon as it is warm.

`TABLE` says what follows from a message in a phase. A pair that is not in it is an illegal transition: a command is
refused with the reason, an observation changes nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.events import type_name
from headrace.events.definition import RolloutDefinition
from headrace.events.registry import RolloutAborted, RolloutCompleted, StartRollout, TimedOut
from headrace.events.verdicts import VerdictGiven
from headrace.registry.state import PAUSED, UNJUDGED, WARMING, Registry
from headrace.step import Step
from headrace_registry.core.commands import (
    on_abort,
    on_pause,
    on_promote,
    on_resume,
    on_retry,
    on_roll_back,
    on_roll_back_while_rolling,
    on_start,
    why_incomparable,
    why_unfit,
    why_wait,
)
from headrace_registry.core.machine import (
    UNDECLARED,
    About,
    Approved,
    Fact,
    Unloadable,
    Warmed,
    phase_of,
    refused,
    step_of,
    why_not,
)
from headrace_registry.core.timeouts import on_timed_out
from headrace_registry.core.transitions import begun
from headrace_registry.core.verdicts import (
    on_verdict,
    on_verdict_when_idle,
    on_verdict_while_paused,
    on_verdict_while_unjudged,
)
from headrace_registry.core.warming import on_unloadable, on_warmed

_MOVING = {
    "pause.rollout": on_pause,
    "promote.rollout": on_promote,
    "abort.rollout": on_abort,
    "start.rollout": on_start,
    "roll.back": on_roll_back_while_rolling,
    "unloadable": on_unloadable,
    "verdict.given": on_verdict,
    "timed.out": on_timed_out,
}
_STANDING = {**_MOVING, "resume.rollout": on_resume}

Handler = Callable[[Registry, Any, About], Step[Registry, Fact]]


def _table(phases: Mapping[str, Mapping[str, Handler | None]]) -> dict[tuple[str, str], Handler]:
    return {
        (phase, message): handler
        for phase, handlers in phases.items()
        for message, handler in handlers.items()
        if handler is not None
    }


TABLE: dict[tuple[str, str], Handler] = _table(
    {
        "idle": {
            "start.rollout": on_start,
            "retry.rollout": on_retry,
            "roll.back": on_roll_back,
            "verdict.given": on_verdict_when_idle,
        },
        WARMING: {**_MOVING, "promote.rollout": None, "verdict.given": None, "warmed": on_warmed},
        "shadowing": _MOVING,
        "canary": _MOVING,
        "testing": _MOVING,
        PAUSED: {**_STANDING, "pause.rollout": None, "verdict.given": on_verdict_while_paused},
        UNJUDGED: {**_STANDING, "verdict.given": on_verdict_while_unjudged},
    }
)


def on_message(
    state: Registry,
    deployment: str,
    message: Any,
    ident: str = "",
    plan: RolloutDefinition = UNDECLARED,
) -> Step[Registry, Fact]:
    """What follows from a message; when a rollout ends by it, the version that waits begins. `ident`, `plan`: see `About`."""
    about = About(deployment, ident, plan)
    step = _by_table(state, message, about)
    following = _next_in_line(step, message, about)
    return Step(following.state, step.facts + following.facts)


def _by_table(state: Registry, message: Any, about: About) -> Step[Registry, Fact]:
    entry = state.entry(about.deployment)
    phase = phase_of(entry)
    handler = TABLE.get((phase, type_name(type(message))))
    if handler is not None:
        return handler(state, message, about)
    if isinstance(message, Warmed | Unloadable | TimedOut | Approved | VerdictGiven):
        return step_of(state)
    return refused(state, message, about.ident, why_not(entry, phase))


def _next_in_line(step: Step[Registry, Fact], message: Any, about: About) -> Step[Registry, Fact]:
    """The version that waits begins, as soon as nothing is in its way any more."""
    state = step.state
    entry = state.entry(about.deployment)
    queued = entry.queued
    if queued is None or entry.rollout is not None or not _has_become_free(step, message):
        return step_of(state)
    command = StartRollout(about.deployment, queued.version, queued.reason, queued.by)
    waiting = About(about.deployment, f"queued-{queued.version}", about.plan)
    if why_unfit(entry, command) is not None or why_wait(entry, command, about.plan) is not None:
        return step_of(state)
    reason = why_incomparable(entry, queued.version, about.plan)
    if reason is not None:
        return refused(state, command, waiting.ident, reason)
    reason = entry.versions[queued.version].reason
    return step_of(state, begun(entry, waiting, queued.version, about.plan, reason, queued.by))


def _has_become_free(step: Step[Registry, Fact], message: Any) -> bool:
    ends = (RolloutCompleted, RolloutAborted)
    return any(isinstance(fact, ends) for fact in step.facts) or isinstance(message, Approved)
