"""Which requests are worth a model call: known deployment, a unit, inputs within the contract, still in time, not answered before.

Every request that is turned away here still gets its decision. Deadlines count from the append time, by the broker's clock.
What a sender chose is bounded here: texts, ids, deadlines, and how far ahead of the log the instant lies.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from headrace.asking.fallback import steps_for
from headrace.asking.routing import Assigned, assign
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Expired, Invalid, PredictionRequested
from headrace.features.rows import check_inputs
from headrace.instants import why_not
from headrace_inference.core.batch import Admitted, Case, Chain, DeploymentState, Repeat, TurnedAway
from headrace_inference.core.contract import Inputs
from headrace_inference.core.deadlines import MAX_DEADLINE_MS, deadline_ms_of, due_ms, lateness_ms
from headrace_inference.core.overload import REQUESTS, why_refused
from headrace_inference.core.repeats import AnswerWindow
from headrace_inference.core.request import MAX_TEXT_CHARS, Request, short_id, unit_of

INSTANT = "ce_time"
States = Mapping[str, DeploymentState]


class LetIn(msgspec.Struct, frozen=True, gc=False):
    """A request that its fallback chain is to answer, and the unit it is about."""

    unit: str


def admit_all(
    requests: Sequence[Request], states: States, answers: AnswerWindow, now_ms: int, recover_until: int
) -> Admitted:
    """Let each request in, turn it away, or find that it is a repeat. `states`: of the deployments that exist.

    `answers`: what was answered before; `recover_until`: requests below this offset were found at a takeover.
    """
    seen: set[tuple[str, str]] = set()
    cases: list[Case] = []
    turned_away: list[TurnedAway] = []
    repeats: list[Repeat] = []
    by_deployment: dict[str, list[Case]] = {name: [] for name in states}
    chains: dict[tuple[str, Assigned], Chain] = {}
    tightest_ms = math.inf
    asked: dict[str, list[Inputs]] = {request.event.deployment: [] for request in requests}
    for request in requests:
        asked[request.event.deployment].append(request.event.inputs)
    vouched = {name: iter(state.rows.contract.vouches(asked[name])) for name, state in states.items()}
    for index, request in enumerate(requests):
        event, record, ident = request.event, request.record, request.envelope.id
        name, headers, appended_ms = event.deployment, dict(record.headers), record.timestamp_ms
        state, identity = states.get(name), (name, short_id(ident))
        kept = state is not None and next(vouched[name])
        if identity in seen or answers.find(*identity) is not None:
            repeats.append(Repeat(request, headers))
            continue
        seen.add(identity)
        definition, at_s = state.definition if state is not None else None, request.envelope.time_s
        verdict = admit(event, record.key, definition, appended_ms, now_ms, kept, at_s=at_s, request_id=ident)
        if state is not None and state.level >= REQUESTS and isinstance(verdict, LetIn):
            verdict = why_refused(event, record, state.level, now_ms, recover_until) or verdict
        if not isinstance(verdict, LetIn):
            turned_away.append(TurnedAway(request, headers, unit_of(event, record.key), verdict))
            continue
        assert state is not None  # nothing is let in to a deployment that does not exist
        assigned, others = assign(state.route, verdict.unit, headers), by_deployment[name]
        chain = chains.get((name, assigned))
        if chain is None:
            steps = steps_for(state.definition.fallback, state.route, assigned)
            chain = chains[name, assigned] = Chain(name, state, assigned, steps)
        others.append(Case(index, len(others), request, headers, verdict.unit, chain))
        cases.append(others[-1])
        tightest_ms = min(tightest_ms, math.inf if event.deadline_ms is None else due_ms(event, appended_ms))
    return Admitted(cases, turned_away, repeats, by_deployment, tuple(chains.values()), tightest_ms)


def admit(
    request: PredictionRequested,
    key: bytes | None,
    found: DeploymentDefinition | None,
    appended_ms: int,
    now_ms: int,
    vouched: bool = False,
    *,
    at_s: float | None = None,
    request_id: str = "",
) -> LetIn | Expired | Invalid:
    """Let a request in or say why not. `found`: its deployment, None when there is no such; times in ms since the epoch.

    `vouched`: its inputs are known to keep the contract. `at_s`: the instant that it is about, which is not looked at when None.
    """
    unit = unit_of(request, key)
    if len(request_id) > MAX_TEXT_CHARS:
        return Invalid(f"ce_id is longer than {MAX_TEXT_CHARS} characters", "ce_id")
    if at_s is not None and (reason := why_not(at_s, appended_ms, INSTANT)) is not None:
        return Invalid(reason, INSTANT)
    if request.deadline_ms is not None and deadline_ms_of(request) is None:
        return Invalid(f"deadline_ms must lie in 0..{MAX_DEADLINE_MS}", "deadline_ms")
    if (field := overlong(request, unit, vouched)) is not None:
        return Invalid(f"{field} is longer than {MAX_TEXT_CHARS} characters", field)
    if found is None:
        return Invalid(
            f"no deployment is called {request.deployment!r}; publish it with `headrace apply`", "deployment"
        )
    if not unit:
        return Invalid("a request needs a unit: in the field `unit`, or as the record's key (UTF-8)", "unit")
    late_ms = lateness_ms(request, appended_ms, now_ms) if request.deadline_ms is not None else 0
    if late_ms > 0:
        return Expired(late_ms)
    return (None if vouched else check_inputs(found, request.inputs)) or LetIn(unit)


def overlong(request: PredictionRequested, unit: str, vouched: bool = False) -> str | None:
    """Which text of a request is too long to be echoed; None when none is. `vouched`: its inputs are known to be short."""
    if len(request.deployment) > MAX_TEXT_CHARS:
        return "deployment"
    if len(unit) > MAX_TEXT_CHARS:
        return "unit"
    if vouched:
        return None
    texts = (text for pair in request.inputs.items() for text in pair if isinstance(text, str))
    return "an input" if any(len(text) > MAX_TEXT_CHARS for text in texts) else None
