"""How a batch is decided: which versions to call with which rows, round by round, and then what to record.

A round asks, for every case that has no score yet, the highest step of its fallback chain that has not failed: one call per version,
however many cases it is for. A call that fails closes that step for its cases, and the next round asks the steps below it. Shadows score
after the answers have left.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from headrace.asking.fallback import Ask, Chosen, answer_of
from headrace.events.failures import Failure, NoTime, is_own
from headrace.events.inference import DecisionMade, Invalid, Score, Served
from headrace.events.registry import Signature
from headrace.instants import why_not
from headrace_inference.core.batch import (
    CallResult,
    Case,
    Decided,
    Decision,
    Features,
    Gathered,
    ModelCall,
    Name,
    RowScores,
    Scored,
    ShadowCall,
    TurnedAway,
)
from headrace_inference.core.choosing import choices, failures_of
from headrace_inference.core.deadlines import call_limit_s
from headrace_inference.core.eligibility import gaps_of
from headrace_inference.core.request import MAX_TEXT_CHARS, Request, short_id, unit_of

# By the index of a case, the bytes of a row that was made of it.
RowBytes = Mapping[int, bytes]
_NONE: Mapping[int, Any] = {}
# A limit that only a client's tight deadline made so short says nothing against the version. NB: of the gateway's deadline of
# 2 s, half is left for a call, less what the request has waited until then: that must be a fair limit beside `slow` = 1 s.
FAIR_SHARE = 0.8
_NO_TIMES: dict[str, float] = {}


def start(gathered: Gathered) -> Scored:
    """Before the first call."""
    return Scored({}, {}, {}, gathered.failures, choices(gathered.admitted.cases, gathered.failures), is_settled=False)


def next_calls(gathered: Gathered, scored: Scored, now_s: float) -> list[ModelCall]:
    """The calls of the next round; empty when every case has its answer. `now_s`: seconds since the epoch."""
    if scored.is_settled:
        return []
    open_cases: dict[Name, list[Case]] = {}
    for case, chosen in zip(gathered.admitted.cases, scored.chosen, strict=True):
        if isinstance(chosen.step, Ask):
            name = (case.chain.deployment, chosen.step.version)
            if case.index not in scored.scores.get(name, _NONE):
                open_cases.setdefault(name, []).append(case)
    calls: list[ModelCall] = []
    for name, cases in open_cases.items():
        definition, rows = (
            cases[0].chain.state.definition,
            make_rows(gathered, cases, gathered.versions[name].signature),
        )
        limit_s = call_limit_s(definition.time_limit_s, gathered.admitted.due_ms / 1000 - now_s)
        is_short = limit_s < FAIR_SHARE * min(definition.time_limit_s, definition.breaker.slow_s)
        calls.append(ModelCall(name, rows, [case.unit for case in cases], limit_s, definition.breaker, cases, is_short))
    return calls


def make_rows(gathered: Gathered, cases: Sequence[Case], signature: Signature) -> np.ndarray:
    """Rows for cases of one deployment, float32 (n, columns)."""
    chain = cases[0].chain
    features = gathered.features.get(chain.deployment)
    if features is None:
        values = np.empty((len(cases), 0))
    elif len(features.values) == len(cases):
        values = features.values
    else:
        values = features.values[[case.place for case in cases]]
    maker, inputs = chain.state.rows.maker(signature), [case.request.event.inputs for case in cases]
    return maker.rows(inputs, values)[:, : len(signature.columns)]


def with_results(gathered: Gathered, scored: Scored, results: Sequence[CallResult]) -> Scored:
    """What is known after a round of calls."""
    scores, took_ms, rows = dict(scored.scores), dict(scored.took_ms), dict(scored.rows)
    versions: dict[Name, Failure] = {}
    faults: dict[int, dict[Name, Failure]] = {}
    is_settled = True
    for result in results:
        call, given, name = result.call, result.given, result.call.name
        digest = gathered.versions[name].signature.digest
        rows[digest] = _joined(rows.get(digest), bytes_of(call.rows, call.cases))
        if not isinstance(given, RowScores):
            versions[name] = given
            continue
        indexes, took = [case.index for case in call.cases], {str(name[1]): result.cpu_s * 1000}
        new_scores: dict[int, Score] = dict(zip(indexes, given.scores, strict=bool(given.scores)))
        new_took = {} if given.is_split else dict.fromkeys(indexes, took)
        for place in (*given.faults, *given.unasked):
            new_scores.pop(indexes[place], None)
            new_took.pop(indexes[place], None)
        scores[name], took_ms[name] = _joined(scores.get(name), new_scores), _joined(took_ms.get(name), new_took)
        if len(given.faults) == len(call.cases) and all(map(is_own, given.faults.values())):
            # NB: when all that it was asked failed by its own fault, the version is to blame, and not the rows.
            versions[name] = given.faults[0]
        else:
            _blame_rows(faults, result, given, gathered.admitted.due_ms)
        is_settled = is_settled and not given.unasked
    if not versions and not faults:
        return Scored(scores, took_ms, rows, scored.failures, scored.chosen, is_settled)
    failures = scored.failures.joined(versions, faults)
    return Scored(scores, took_ms, rows, failures, choices(gathered.admitted.cases, failures), is_settled=False)


def _joined(before: Mapping[int, Any] | None, new: dict[int, Any]) -> Mapping[int, Any]:
    return new if not before else {**before, **new}


def bytes_of(rows: np.ndarray, cases: Sequence[Case]) -> dict[int, bytes]:
    """By the index of each case the bytes of its row."""
    data, width = rows.tobytes(), rows.itemsize * rows.shape[1]
    return {case.index: data[place * width : (place + 1) * width] for place, case in enumerate(cases)}


def _blame_rows(faults: dict[int, dict[Name, Failure]], result: CallResult, given: RowScores, due_ms: float) -> None:
    """Add the rows that a version cannot answer. What a slow one did not reach in time it is asked again, unless there is a deadline."""
    cases, name = result.call.cases, result.call.name
    for place, failure in given.faults.items():
        faults.setdefault(cases[place].index, {})[name] = failure
    if due_ms < math.inf:
        for place in given.unasked:
            faults.setdefault(cases[place].index, {})[name] = NoTime("no time was left to ask it")


class _Source(NamedTuple):
    """What the decisions on all cases with the same chosen step have in common. `scores`, `took_ms` and `rows` are by the index of the case.

    `is_plain`: the version that was to answer does.
    """

    digest: str
    rows: RowBytes
    scores: Mapping[int, Score]
    took_ms: Mapping[int, dict[str, float]]
    features: Features | None
    failures: dict[str, Failure]
    is_plain: bool


def decide(gathered: Gathered, scored: Scored, recover_until: int, code_version: str) -> Decided:
    """The decisions on a batch whose rounds are over. `recover_until`: requests below this offset were found at a takeover."""
    admitted, rows = gathered.admitted, _with_bare_rows(gathered, scored)
    shadow_calls = _shadow_calls(gathered, scored, rows)
    shadowed = {place for call in shadow_calls for place, _ in call.cases}
    decisions: list[Decision] = []
    sources: dict[int, _Source] = {}
    for place, (case, chosen) in enumerate(zip(admitted.cases, scored.chosen, strict=True)):
        source = sources.get(id(chosen))
        if source is None:
            source = sources[id(chosen)] = _source(gathered, scored, rows, case, chosen)
        index, chain, request, features = case.index, case.chain, case.request, source.features
        score, (missing, stale) = source.scores.get(index), gaps_of(gathered, case)
        is_plain = source.is_plain and score is not None
        made = DecisionMade(
            request_id=short_id(request.envelope.id),
            deployment=request.event.deployment[:MAX_TEXT_CHARS],
            unit=case.unit[:MAX_TEXT_CHARS],
            at_s=request.envelope.time_s,
            answer=Served(score) if is_plain else answer_of(chosen, score, chain.deployment),
            request_offset=request.record.offset,
            row=source.rows[index],
            signature=source.digest,
            entities=features.entities[case.place] if features is not None else {},
            applied=chain.state.applied,
            missing=missing,
            stale=stale,
            route_offset=chain.state.route_offset,
            assigned=chain.assigned.version,
            override=chain.assigned.override,
            failures=source.failures,
            took_ms=source.took_ms.get(index, _NO_TIMES),
            recovered=request.record.offset < recover_until,
            code_version=code_version,
        )
        is_fast = chain.state.definition.answer == "fast"
        decisions.append(Decision(request, case.headers, made, None, is_fast, place in shadowed))
    decisions += [_on_turned_away(away, recover_until, code_version) for away in admitted.turned_away]
    return Decided(decisions, admitted.repeats, shadow_calls, admitted.cases, scored.chosen)


def _source(gathered: Gathered, scored: Scored, rows: Mapping[str, RowBytes], case: Case, chosen: Chosen) -> _Source:
    deployment = case.chain.deployment
    features, failures = gathered.features.get(deployment), failures_of(case, chosen, scored.failures)
    if not isinstance(chosen.step, Ask):
        digest = case.chain.state.rows.bare.digest
        return _Source(digest, rows[digest], {}, {}, features, failures, is_plain=False)
    name = (deployment, chosen.step.version)
    digest = gathered.versions[name].signature.digest
    known = (scored.scores[name], scored.took_ms[name])
    return _Source(digest, rows[digest], *known, features, failures, is_plain=not chosen.reason)


def _with_bare_rows(gathered: Gathered, scored: Scored) -> Mapping[str, RowBytes]:
    """The rows that were made, and those of cases that no version saw, so that the first version has something to be trained and
    judged on. The signature of these is the deployment's own.
    """
    rows = dict(scored.rows)
    unseen: dict[str, list[Case]] = {}
    for case, chosen in zip(gathered.admitted.cases, scored.chosen, strict=True):
        if not isinstance(chosen.step, Ask) and case.index not in rows.get(case.chain.state.rows.bare.digest, _NONE):
            unseen.setdefault(case.chain.deployment, []).append(case)
    for cases in unseen.values():
        signature = cases[0].chain.state.rows.bare
        made = bytes_of(make_rows(gathered, cases, signature), cases)
        rows[signature.digest] = _joined(rows.get(signature.digest), made)
    return rows


def _shadow_calls(gathered: Gathered, scored: Scored, rows: Mapping[str, RowBytes]) -> list[ShadowCall]:
    """What is left to ask once every case is answered: per version the cases that it shadows, where it is fit to be asked."""
    failures = scored.failures
    asked: dict[Name, list[tuple[int, Case]]] = {}
    for place, (case, chosen) in enumerate(zip(gathered.admitted.cases, scored.chosen, strict=True)):
        deployment, shadows = case.chain.deployment, case.chain.state.shadows
        if not shadows or deployment in failures.shadows:
            continue
        answering = chosen.step.version if isinstance(chosen.step, Ask) else None
        for version in shadows:
            name = (deployment, version)
            if version != answering and failures.of(name, case.index) is None:
                asked.setdefault(name, []).append((place, case))
    return [_shadow_call(gathered, scored, rows, name, found) for name, found in asked.items()]


def _shadow_call(
    gathered: Gathered,
    scored: Scored,
    rows: Mapping[str, RowBytes],
    name: Name,
    asked: Sequence[tuple[int, Case]],
) -> ShadowCall:
    """NB: a shadow gets the bytes of the row, which are those of the decision where the signatures are the same: they are kept once."""
    signature, scores = gathered.versions[name].signature, scored.scores.get(name, _NONE)
    made = rows.get(signature.digest, _NONE)
    unmade = [case for _, case in asked if case.index not in made]
    if unmade:
        made = _joined(made, bytes_of(make_rows(gathered, unmade, signature), unmade))
    return ShadowCall(name, [(place, scores.get(case.index, made[case.index])) for place, case in asked])


def _on_turned_away(away: TurnedAway, recover_until: int, code_version: str) -> Decision:
    request, record = away.request, away.request.record
    # NB: an instant that was refused is written nowhere, or it would move the clocks of those who read decisions.
    instant = record.timestamp_ms / 1000 if why_not(request.envelope.time_s, record.timestamp_ms) is not None else None
    made = DecisionMade(
        request_id=short_id(request.envelope.id),
        deployment=request.event.deployment[:MAX_TEXT_CHARS],
        unit=away.unit[:MAX_TEXT_CHARS],
        at_s=request.envelope.time_s if instant is None else instant,
        answer=away.answer,
        request_offset=record.offset,
        recovered=record.offset < recover_until,
        code_version=code_version,
    )
    return Decision(request, away.headers, made, instant)


def refused(request: Request, reason: str, recover_until: int, code_version: str) -> Decided:
    """The decision on one request that could not be handled at all."""
    unit = unit_of(request.event, request.record.key)
    away = TurnedAway(request, dict(request.record.headers), unit, Invalid(reason))
    return Decided([_on_turned_away(away, recover_until, code_version)], (), (), (), ())
