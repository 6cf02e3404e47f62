"""How a version takes traffic, and how it is taken away again: the machine as a table.

One rollout at a time per deployment. It begins by warming the version on every inference instance. From then on only two
things move it: verdicts (what follows from one is decided by policy in `steps`) and operators. A paused rollout stays at
its share whatever the verdicts say, harm excepted; one that gets no verdict for `silence_s` is held, and goes on with
the next verdict; after twice that it is aborted (`patience` says what counts as silence; a monitor that waits for traffic speaks). A
version that cannot be loaded here and now ends its rollout after a while, and may be tried again. Harm, found by evidence at any time, takes all traffic away at once and
rejects the version for ever; after a promotion it does so while the rollback window lasts. A trained version waits while
another is under way (the newest takes the place of the one that waited), and for its approval where that is asked for.
The first version of a deployment has nothing to be compared with: it switches as soon as it is warm.

`TABLE` says what follows from a message in a phase. A pair that is not in it is an illegal transition: a command is
refused with the reason, an observation changes nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.events import type_name
from headrace.events.definition import RolloutDefinition
from headrace.events.registry import RolloutAborted, RolloutCompleted, StartRollout, TimedOut
from headrace.events.verdicts import VerdictGiven
from headrace.registry.state import HELD, PAUSED, WARMING, Registry, apply
from headrace_registry.core.case import (
    UNDECLARED,
    Approved,
    Case,
    Facts,
    Unloadable,
    Warmed,
    phase_of,
    refused,
    why_not,
)
from headrace_registry.core.observed import (
    on_timed_out,
    on_unloadable,
    on_verdict,
    on_verdict_when_idle,
    on_verdict_while_held,
    on_verdict_while_paused,
    on_warmed,
)
from headrace_registry.core.operators import (
    busy,
    incomparable,
    on_abort,
    on_pause,
    on_promote,
    on_resume,
    on_retry,
    on_roll_back,
    on_roll_back_while_rolling,
    on_start,
    unfit,
)
from headrace_registry.core.outcomes import begun

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

Handler = Callable[[Case], Facts]


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
        HELD: {**_STANDING, "verdict.given": on_verdict_while_held},
    }
)


def decide(
    state: Registry,
    deployment: str,
    message: Any,
    ident: str = "",
    plan: RolloutDefinition = UNDECLARED,
) -> Facts:
    """What follows from a message; when a rollout ends by it, the version that waits begins."""
    case = Case(deployment, state.entry(deployment), message, ident, plan)
    facts = _look_up(case)
    return facts + _next_in_line(state, case, facts)


def _look_up(case: Case) -> Facts:
    phase, message = phase_of(case.entry), type_name(type(case.message))
    handler = TABLE.get((phase, message))
    if handler is not None:
        return handler(case)
    if isinstance(case.message, Warmed | Unloadable | TimedOut | Approved | VerdictGiven):
        return []
    return refused(case, why_not(case.entry, phase))


def _next_in_line(state: Registry, case: Case, facts: Facts) -> Facts:
    after = state
    for fact in facts:
        after = apply(after, fact)
    entry = after.entry(case.deployment)
    queued = entry.queued
    if queued is None or entry.rollout is not None or not _has_become_free(case, facts):
        return []
    command = StartRollout(case.deployment, queued.version, queued.reason, queued.by)
    waiting = Case(case.deployment, entry, command, f"queued-{queued.version}", case.plan)
    if unfit(entry, command) is not None or busy(waiting) is not None:
        return []
    reason = incomparable(entry, queued.version, case.plan)
    if reason is not None:
        return refused(waiting, reason)
    reason = entry.versions[queued.version].reason
    return begun(waiting, queued.version, case.plan, reason, queued.by)


def _has_become_free(case: Case, facts: Facts) -> bool:
    ends = (RolloutCompleted, RolloutAborted)
    return any(isinstance(fact, ends) for fact in facts) or isinstance(case.message, Approved)
