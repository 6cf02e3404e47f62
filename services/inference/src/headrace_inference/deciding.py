"""Acting: the decisions of a batch, the replies to whoever waits, and the fact that another rung answers."""

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from headrace.events.inference import Answer, DecisionMade, RungChanged
from headrace.hosting.logic import Outputs
from headrace.instants import why_not
from headrace.log.codec import Message, caused_by, out
from headrace.log.envelope import derived_id
from headrace.log.port import Headers, Out
from headrace_inference.core.admission import MAX_TEXT_CHARS, short_id, unit_of
from headrace_inference.core.batching import Case, choices, shadow_calls, told_failures
from headrace_inference.core.ladder import Ask, Chosen, answer_of, rung_of
from headrace_inference.core.records import Records, answered_by, causes_of
from headrace_inference.core.repeats import Answered
from headrace_inference.core.routing import PREVIEW
from headrace_inference.gather import Batch, Gathering
from headrace_inference.plane import Plane
from headrace_inference.scoring import Scoring
from headrace_inference.shadowing import Due, Shadows

# Versions come and go: what answered for them last is forgotten when there are too many of them.
_MOST_RUNGS = 10_000


class _Made(NamedTuple):
    """A decision to be written. `found`: its request's headers; `due`: its shadows, None when it has none."""

    request: Message
    decision: DecisionMade
    causes: Headers
    found: dict[str, bytes]
    is_fast: bool = False
    due: Due | None = None


class Deciding:
    """Makes decisions of one shard. `decided_until`: requests below it were decided by a former owner."""

    def __init__(
        self,
        plane: Plane,
        gathering: Gathering,
        scoring: Scoring,
        shadows: Shadows,
        records: Records,
        answered: Answered,
    ) -> None:
        self._plane, self._gathering, self._scoring, self._shadows = plane, gathering, scoring, shadows
        self._records, self._answered = records, answered
        self._rungs: dict[tuple[str, int | None], tuple[str, int]] = {}
        self.decided_until = 0

    def act(self, batch: Batch) -> Outputs:
        """What one batch wants written. NB: nothing is remembered before all of it is made: what raises here leaves no trace."""
        batch.cases.sort(key=attrgetter("index"))
        chosen = choices(batch.cases, batch.failures)
        self._make_bare_rows(batch, chosen)
        calls = shadow_calls(batch.cases, chosen, batch.failures)
        shadowed = {case.index for call in calls for case in call.cases}
        made: list[_Made] = []
        for case, step in zip(batch.cases, chosen, strict=True):
            decision = self._decide(batch, case, step)
            causes = causes_of(batch.messages[case.index], batch.headers[case.index])
            due = _due(decision, causes) if case.index in shadowed else None
            is_fast = case.deployment.answer == "fast"
            made.append(_Made(batch.messages[case.index], decision, causes, batch.headers[case.index], is_fast, due))
        by_index = {case.index: found.due for case, found in zip(batch.cases, made, strict=True) if found.due}
        for index, (unit, answer) in batch.turned_away.items():
            made.append(self._turned_away(batch, index, unit, answer))
        outputs = Outputs([], [], [], [])
        for found in made:
            self._answer(outputs, found)
        self._tell_rungs(outputs, batch, chosen)
        for index in batch.repeats:
            self._repeat(outputs, batch, index)
        for call in calls:
            self._shadows.add(batch, call, by_index)
        outputs.deferred = partial(self._write, made)
        return outputs

    def refuse(self, message: Message, answer: Answer) -> Outputs:
        """The outputs of one request that could not be handled at all."""
        batch = Batch([message], [dict(message.record.headers)])
        batch.turned_away[0] = (unit_of(message.event, message.record.key), answer)
        return self.act(batch)

    def _make_bare_rows(self, batch: Batch, chosen: Sequence[Chosen]) -> None:
        """Rows of requests that no version saw, so that the first version has something to be trained and judged on."""
        by_deployment: dict[str, list[Case]] = {}
        for case, step in zip(batch.cases, chosen, strict=True):
            if (self._signature(batch, case, step), case.index) not in batch.rows:
                by_deployment.setdefault(case.deployment.name, []).append(case)
        for name, cases in by_deployment.items():
            self._scoring.make_rows(batch, cases, batch.about[name].rows.bare)

    def _signature(self, batch: Batch, case: Case, chosen: Chosen) -> str:
        """The digest of the signature under which a case's row is logged: the answering version's, else the bare one."""
        if isinstance(chosen.step, Ask):
            return batch.models[case.deployment.name, chosen.step.version].registered.signature.digest
        return batch.about[case.deployment.name].rows.bare.digest

    def _decide(self, batch: Batch, case: Case, chosen: Chosen) -> DecisionMade:
        name, index = case.deployment.name, case.index
        about = batch.about[name]
        answering = chosen.step.version if isinstance(chosen.step, Ask) else None
        score = batch.scores[name, answering][index] if answering is not None else None
        signature = self._signature(batch, case, chosen)
        missing, stale = self._gathering.gaps(batch, case, about)
        took_ms = batch.took_ms[name, answering].get(index) if answering is not None else None
        return self._decision(
            batch.messages[index],
            case.unit,
            answer_of(chosen, score, name),
            row=batch.rows[signature, index],
            signature=signature,
            entities=batch.entities.get(index, {}),
            applied=about.applied,
            missing=missing,
            stale=stale,
            route_offset=case.route_offset,
            assigned=case.assigned.version,
            override=case.assigned.override,
            failures=told_failures(case, chosen, batch.failures),
            took_ms={str(answering): took_ms} if took_ms is not None else {},
        )

    def _turned_away(self, batch: Batch, index: int, unit: str, answer: Answer) -> _Made:
        request = batch.messages[index]
        # NB: an instant that was refused is written nowhere, or it would move the clocks of those who read decisions.
        appended_ms = request.record.timestamp_ms
        at_s = appended_ms / 1000 if why_not(request.envelope.time_s, appended_ms) is not None else None
        decision = self._decision(request, unit, answer, at_s=at_s)
        return _Made(request, decision, causes_of(request, batch.headers[index], at_s), batch.headers[index])

    def _decision(
        self, request: Message, unit: str, answer: Answer, at_s: float | None = None, **more: Any
    ) -> DecisionMade:
        return DecisionMade(
            request_id=short_id(request.envelope.id),
            deployment=request.event.deployment[:MAX_TEXT_CHARS],
            unit=unit[:MAX_TEXT_CHARS],
            at_s=request.envelope.time_s if at_s is None else at_s,
            answer=answer,
            request_offset=request.record.offset,
            recovered=request.record.offset < self._gathering.recover_until,
            code_version=self._plane.health.code_version,
            **more,
        )

    def _answer(self, outputs: Outputs, made: _Made) -> None:
        """Remember an answer and tell it to whoever waits."""
        request, decision = made.request, made.decision
        answer = answered_by(decision)
        self._answered.remember(request.event.deployment, decision.request_id, answer, request.record.timestamp_ms)
        told = answered_by(decision, provisional=True) if made.is_fast else answer
        reply = self._records.reply(request, made.found, told, made.causes)
        if reply is not None:
            (outputs.before if made.is_fast else outputs.after).append(reply)

    def _write(self, made: Sequence[_Made]) -> list[Out]:
        return [
            self._records.decision(
                found.request,
                found.decision if found.due is None else self._shadows.seal(found.decision, found.due),
                found.causes,
            )
            for found in made
        ]

    def _repeat(self, outputs: Outputs, batch: Batch, index: int) -> None:
        request, found = batch.messages[index], batch.headers[index]
        answer = self._answered.find(request.event.deployment, short_id(request.envelope.id))
        reply = self._records.reply(request, found, answer, causes_of(request, found)) if answer is not None else None
        if reply is not None:
            # NB: what a former owner committed must be told before these requests are behind us once more.
            (outputs.before if request.record.offset < self.decided_until else outputs.after).append(reply)

    def _tell_rungs(self, outputs: Outputs, batch: Batch, chosen: Sequence[Chosen]) -> None:
        """One fact per deployment and assigned version whose answering rung is another one than after the batch before."""
        newest = {(c.deployment.name, c.assigned): (c, step) for c, step in zip(batch.cases, chosen, strict=True)}
        for (name, assigned), (case, step) in newest.items():
            rung = rung_of(step)
            if assigned.override == PREVIEW or self._rungs.get((name, assigned.version)) == rung:
                continue
            if len(self._rungs) >= _MOST_RUNGS:
                self._rungs.clear()
            self._rungs[name, assigned.version] = rung
            message = batch.messages[case.index]
            fact = RungChanged(name, *rung, step.reason, self._plane.health.instance)
            identity = derived_id("rung", name, short_id(message.envelope.id), *rung)
            envelope = caused_by(message, id=identity, source="inference", time_s=case.at_s)
            outputs.outs.append(out(self._plane.topics.name("inference.facts"), name, fact, envelope))


def _due(decision: DecisionMade, causes: Headers) -> Due:
    return Due(decision.request_id, decision.deployment, decision.unit, decision.at_s, causes)
