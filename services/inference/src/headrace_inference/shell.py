"""One shard of inference: gather (features, scores), decide (core), act (decisions and replies). No Kafka in here."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from headrace.bus.port import Headers, Out, TopicPartition
from headrace.bus.shards import Outputs, Rebuild
from headrace.clock import Clock
from headrace.codec import Message, caused_by, out
from headrace.envelope import derived_id
from headrace.events.inference import (
    Answer,
    DecisionMade,
    Refused,
    RungChanged,
    Score,
)
from headrace.events.registry import Route, Signature
from headrace.features.rows import entities_of, look_up_many
from headrace.features.store import OnlineStore
from headrace.obs.health import Health
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace.topics import Topics
from headrace_inference.adapters.control import Control
from headrace_inference.adapters.definitions import Definitions
from headrace_inference.adapters.loads import Loads
from headrace_inference.adapters.models import LoadedModel, PredictFailed, PredictHangs, PredictWaits, Scored
from headrace_inference.adapters.shelf import Shelf
from headrace_inference.core.admission import MAX_TEXT_CHARS, Admitted, admit, call_limit_s, due_ms, unit_of
from headrace_inference.core.batching import Call, Case, Failures, choices, first_calls, next_calls, told_failures
from headrace_inference.core.ladder import Ask, Chosen, Step, answer_of, rung_of, steps_for
from headrace_inference.core.overload import BASELINE, RETRY_AFTER_S, SHADOWS, is_refused, waited_share
from headrace_inference.core.records import Records, answered_by, causes_of
from headrace_inference.core.repeats import WINDOW, Answered, Untold
from headrace_inference.core.routing import PREVIEW, Assigned, assign
from headrace_inference.core.rows import Rows, misfit, needs_views
from headrace_inference.core.warming import Name

Ends = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


@dataclass(slots=True)
class Plane:
    """What all shards of an instance share: the views, the shelf, and rows per definition."""

    definitions: Definitions
    control: Control
    shelf: Shelf
    loads: Loads
    store: OnlineStore
    topics: Topics
    clock: Clock
    health: Health
    ends: Ends
    _rows: dict[str, Rows] = field(default_factory=dict)

    def rows(self, project: ProjectDefinition, deployment: DeploymentDefinition) -> Rows:
        """The row maker of a deployment as it is defined now."""
        known = self._rows.get(deployment.name)
        if known is None or known.deployment is not deployment:
            known = self._rows[deployment.name] = Rows(project, deployment)
        return known


class _About(msgspec.Struct):
    """What all requests of a batch to one deployment share. `steps`: the ladder per assigned version, one object each.

    `level`: how much load must be shed.
    """

    project: ProjectDefinition
    deployment: DeploymentDefinition
    route: Route | None
    route_offset: int
    rows: Rows
    applied: dict[str, int]
    level: int
    steps: dict[Assigned, tuple[Step, ...]] = {}

    def steps_of(self, assigned: Assigned) -> tuple[Step, ...]:
        """The ladder of a request that was given to `assigned`."""
        found = self.steps.get(assigned)
        if found is None:
            found = self.steps[assigned] = steps_for(self.deployment.ladder, self.route, assigned)
        return found


@dataclass(slots=True)
class _Batch:
    """One batch in the making. `headers`: of each message, by name."""

    messages: Sequence[Message]
    headers: list[dict[str, bytes]]
    about: dict[str, _About] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)
    turned_away: dict[int, tuple[str, Answer]] = field(default_factory=dict)
    repeats: list[int] = field(default_factory=list)
    features: dict[int, np.ndarray] = field(default_factory=dict)
    entities: dict[int, dict[str, str]] = field(default_factory=dict)
    scores: dict[Name, dict[int, Score]] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)
    models: dict[Name, LoadedModel] = field(default_factory=dict)
    rows: dict[tuple[str, int], bytes] = field(default_factory=dict)
    took_ms: dict[Name, dict[int, float]] = field(default_factory=dict)
    gaps: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    newest_s: dict[str, float] = field(default_factory=dict)
    due_ms: float = math.inf


class InferenceShard:
    """Partition p of requests and decisions."""

    def __init__(self, plane: Plane, number: int) -> None:
        self._plane, self._number = plane, number
        self._answered, self._untold = Answered(), Untold()
        self._rungs: dict[tuple[str, int | None], tuple[str, int]] = {}
        self._recover_until, self._decided_until = 0, 0
        self._requests = plane.topics.name("inference.requests")
        self._decisions = plane.topics.name("inference.decisions")
        replies, reply_partitions = plane.topics.name("inference.replies"), plane.topics.count("replies")
        self._records = Records(self._decisions, replies, reply_partitions)

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._decisions, tail_records=WINDOW)]

    async def on_history(self, message: Message) -> None:
        event = message.event
        if isinstance(event, DecisionMade):
            decided_ms = message.record.timestamp_ms
            self._answered.remember(event.deployment, event.request_id, answered_by(event), decided_ms)
            self._untold.on_decision(decided_ms, event.request_offset)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        tp = TopicPartition(self._requests, self._number)
        self._recover_until = (await self._plane.ends([tp]))[tp]
        self._decided_until = committed.get(tp, 0)
        return {place: self._untold.first(offset) for place, offset in committed.items()}

    async def on_tick(self) -> Outputs:
        return Outputs()

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        named = {message.event.deployment for message in batch}
        if any(self._plane.definitions.deployment(name) is None for name in named):
            # A deployment that was published a moment ago must not look unknown.
            await self._plane.definitions.catch_up()
        made = self._gather(batch)
        await self._score(made)
        return self._act(made)

    # gather

    def _gather(self, messages: Sequence[Message]) -> _Batch:
        batch = _Batch(messages, [dict(message.record.headers) for message in messages])
        now_ms = int(self._plane.clock.now_s() * 1000)
        self._note_loads(batch, now_ms)
        seen: set[tuple[str, str]] = set()
        by_deployment: dict[str, list[int]] = {}
        for index, message in enumerate(messages):
            identity = (message.event.deployment, message.envelope.id)
            if identity in seen or self._answered.find(*identity) is not None:
                batch.repeats.append(index)
                continue
            seen.add(identity)
            by_deployment.setdefault(identity[0], []).append(index)
        for name, indexes in by_deployment.items():
            self._admit_all(batch, name, indexes, now_ms)
        return batch

    def _note_loads(self, batch: _Batch, now_ms: int) -> None:
        """How long requests have waited, against their deadlines; those found at a takeover say nothing of the load."""
        waits: dict[str, tuple[float, float]] = {}
        for message in batch.messages:
            event, record = message.event, message.record
            if event.deadline_ms is not None and record.offset >= self._recover_until:
                waited_ms = now_ms - record.timestamp_ms
                found = (waited_share(event.deadline_ms, waited_ms), waited_ms / 1000)
                waits[event.deployment] = max(found, waits.get(event.deployment, found))
        known = (name for name in waits if self._plane.definitions.deployment(name) is not None)
        for deployment, wait in [(name, waits[name]) for name in known]:
            if self._plane.loads.note(deployment, *wait) >= SHADOWS:
                batch.failures.shadows[deployment] = "overload: shadows do not score along"

    def _overloaded(self, message: Message, now_ms: int) -> Refused | None:
        """Why a request that would be let in is refused after all."""
        event, record = message.event, message.record
        if event.deadline_ms is None or record.offset < self._recover_until:
            return None
        share = waited_share(event.deadline_ms, now_ms - record.timestamp_ms)
        if not is_refused(self._plane.loads.level(event.deployment), share):
            return None
        return Refused(f"overload: it had waited {share:.0%} of its deadline; ask again later", RETRY_AFTER_S)

    def _admit_all(self, batch: _Batch, name: str, indexes: Sequence[int], now_ms: int) -> None:
        """Let in or turn away the requests of one deployment."""
        found = self._plane.definitions.deployment(name)
        about = self._about(name, *found) if found is not None else None
        if about is not None:
            batch.about[name] = about
        inputs = [batch.messages[index].event.inputs for index in indexes]
        vouched = about.rows.contract.vouches(inputs) if about is not None else [False] * len(indexes)
        admitted: list[tuple[int, str]] = []
        for index, kept in zip(indexes, vouched, strict=True):
            message = batch.messages[index]
            event, record = message.event, message.record
            verdict = admit(event, record.key, found and found[1], record.timestamp_ms, now_ms, kept)
            if isinstance(verdict, Admitted):
                verdict = self._overloaded(message, now_ms) or verdict
            if isinstance(verdict, Admitted):
                admitted.append((index, verdict.unit))
            else:
                batch.turned_away[index] = (unit_of(event, record.key), verdict)
        if about is not None:
            self._look_up(batch, about.deployment, [index for index, _ in admitted])
            for index, unit in admitted:
                self._let_in(batch, about, index, unit)

    def _about(self, name: str, project: ProjectDefinition, deployment: DeploymentDefinition) -> _About:
        route, offset = self._plane.control.route(name)
        rows = self._plane.rows(project, deployment)
        topics = {self._plane.topics.of_source(source) for source in rows.sources}
        applied = {p: n for p, n in self._plane.store.applied.items() if topics and p.rpartition("/")[0] in topics}
        return _About(project, deployment, route, offset, rows, applied, self._plane.loads.level(name))

    def _let_in(self, batch: _Batch, about: _About, index: int, unit: str) -> None:
        message = batch.messages[index]
        assigned = assign(about.route, unit, batch.headers[index])
        is_new = assigned not in about.steps
        steps, at_s = about.steps_of(assigned), message.envelope.time_s
        case = Case(
            index, unit, at_s, about.project, about.deployment, about.route, about.route_offset, steps, assigned
        )
        batch.cases.append(case)
        if message.event.deadline_ms is not None:
            batch.due_ms = min(batch.due_ms, due_ms(message.event, message.record.timestamp_ms))
        if is_new:
            self._check_versions(batch, case, about)
        if about.level >= BASELINE or about.deployment.degrade_when is not None:
            self._check_row(batch, case, about)

    def _look_up(self, batch: _Batch, deployment: DeploymentDefinition, indexes: Sequence[int]) -> None:
        """The view features of these requests, all at once."""
        if not deployment.features:
            return
        asked = [batch.messages[index] for index in indexes]
        entities = [entities_of(deployment, message.event.inputs) for message in asked]
        at_s = [message.envelope.time_s for message in asked]
        found = look_up_many(self._plane.store, deployment, entities, at_s)
        for index, named, row in zip(indexes, entities, found, strict=True):
            batch.features[index] = row
            batch.entities[index] = {view: entity for view, entity in named.items() if entity is not None}

    def _check_versions(self, batch: _Batch, case: Case, about: _About) -> None:
        """Note which of a case's versions cannot be asked at all, and why."""
        for name in [(case.deployment.name, version) for version in case.versions]:
            if name in batch.scores:
                continue
            batch.scores[name], batch.took_ms[name] = {}, {}
            model = self._plane.shelf.find(name)
            reason = self._plane.shelf.why_not(name, case.deployment.breaker)
            if reason is None and model is not None:
                reason = misfit(model.registered.signature, about.rows.bare)
            if reason is not None:
                batch.failures[name] = reason
            elif model is not None:
                batch.models[name] = model

    def _check_row(self, batch: _Batch, case: Case, about: _About) -> None:
        """Note which versions cannot answer this case: too many features are lacking, or load must be shed."""
        name, lack = case.deployment.name, self._lack(batch, case, about)
        if lack is not None:
            for version in case.versions:
                model = batch.models.get((name, version))
                if model is not None and needs_views(model.registered.signature):
                    batch.failures.note_row((name, version), case.index, lack)
        if about.level >= BASELINE:
            for step in case.steps:
                if isinstance(step, Ask) and step.rung == "baseline":
                    batch.failures.note_row((name, step.version), case.index, "overload: the baseline is not asked")

    def _lack(self, batch: _Batch, case: Case, about: _About) -> str | None:
        if case.deployment.degrade_when is None:
            return None
        return about.rows.lack(*self._gaps(batch, case, about))

    def _gaps(self, batch: _Batch, case: Case, about: _About) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The features of a case that have no value, and those whose source has been silent for too long."""
        found = batch.gaps.get(case.index)
        if found is None:
            features = batch.features.get(case.index)
            missing = about.rows.missing(features) if features is not None else ()
            found = (missing, about.rows.stale(case.at_s, partial(self._newest_s, batch)))
            batch.gaps[case.index] = found
        return found

    def _newest_s(self, batch: _Batch, source: str) -> float:
        if source not in batch.newest_s:
            batch.newest_s[source] = self._plane.store.newest_s(source)
        return batch.newest_s[source]

    # score

    async def _score(self, batch: _Batch) -> None:
        calls = first_calls(batch.cases, batch.failures)
        while calls:
            if len(calls) == 1:
                await self._call(batch, calls[0])
            else:
                await asyncio.gather(*(self._call(batch, call) for call in calls))
            calls = next_calls(batch.cases, batch.scores, batch.failures)

    async def _call(self, batch: _Batch, call: Call) -> None:
        model = batch.models[call.name]
        rows = self._make_rows(batch, call.cases, model.registered.signature)
        began_s = self._plane.clock.monotonic_s()
        scored = await self._ask(batch, call, model, rows)
        if scored is None:
            return
        took_ms = (self._plane.clock.monotonic_s() - began_s) * 1000
        indexes = [case.index for case in call.cases]
        scores, took = batch.scores[call.name], batch.took_ms[call.name]
        scores.update(zip(indexes, scored.scores, strict=True))
        took.update(dict.fromkeys(indexes, took_ms))
        for row, reason in scored.faults.items():
            batch.failures.note_row(call.name, indexes[row], reason)
            del scores[indexes[row]], took[indexes[row]]
        for row in scored.unasked:
            del scores[indexes[row]], took[indexes[row]]
        if scored.unasked:
            await self._go_on(batch, Call(call.name, tuple(call.cases[row] for row in scored.unasked)))

    async def _go_on(self, batch: _Batch, rest: Call) -> None:
        """What a slow model did not reach in time: without a deadline it is asked on, else the ladder goes on without it."""
        if batch.due_ms == math.inf:
            return await self._call(batch, rest)
        for case in rest.cases:
            batch.failures.note_row(rest.name, case.index, "no time was left to ask it")
        return None

    async def _ask(self, batch: _Batch, call: Call, model: LoadedModel, rows: np.ndarray) -> Scored | None:
        """One model call within its limit, told to its breaker; None when it gave nothing."""
        deployment, shelf = call.cases[0].deployment, self._plane.shelf
        limit_s = call_limit_s(deployment.time_limit_s, batch.due_ms / 1000 - self._plane.clock.now_s())
        note = partial(shelf.note, call.name, deployment.breaker)
        began_s = self._plane.clock.monotonic_s()
        try:
            scored = await model.score(rows, limit_s)
        except PredictHangs as error:
            batch.failures[call.name] = str(error)
            # NB: a limit that only a client's tight deadline made so short says nothing against the version.
            if limit_s >= min(deployment.time_limit_s, deployment.breaker.slow_s):
                shelf.note_hang(call.name, deployment.breaker, str(error))
            return None
        except PredictWaits as error:
            batch.failures[call.name] = str(error)
            return None
        except PredictFailed as error:
            batch.failures[call.name] = str(error)
            note(took_s=self._plane.clock.monotonic_s() - began_s, failed=1.0, reason=str(error))
            return None
        reason = next(iter(scored.faults.values()), "")
        failed = len(scored.faults) / (len(rows) - len(scored.unasked))
        note(took_s=self._plane.clock.monotonic_s() - began_s, failed=failed, reason=reason)
        return scored

    def _make_rows(self, batch: _Batch, cases: Sequence[Case], signature: Signature) -> np.ndarray:
        maker = batch.about[cases[0].deployment.name].rows
        inputs = [batch.messages[case.index].event.inputs for case in cases]
        features = [batch.features[case.index] for case in cases] if cases[0].deployment.features else []
        rows = maker.make(signature, inputs, np.array(features) if features else np.empty((len(cases), 0)))
        for case, row in zip(cases, rows, strict=True):
            batch.rows[signature.digest, case.index] = row.tobytes()
        return rows

    # act

    def _act(self, batch: _Batch) -> Outputs:
        outputs = Outputs([], [], [], [])
        batch.cases.sort(key=attrgetter("index"))
        chosen = choices(batch.cases, batch.failures)
        self._make_bare_rows(batch, chosen)
        made: list[tuple[Message, DecisionMade, Headers]] = []
        for case, step in zip(batch.cases, chosen, strict=True):
            decision = self._decide(batch, case, step)
            made.append(self._answer(outputs, batch, case.index, decision, case.deployment.answer == "fast"))
        for index, (unit, answer) in batch.turned_away.items():
            decision = self._decision(batch.messages[index], unit, answer)
            made.append(self._answer(outputs, batch, index, decision, False))
        self._tell_rungs(outputs, batch, chosen)
        for index in batch.repeats:
            self._repeat(outputs, batch, index)
        outputs.deferred = partial(self._write, made)
        return outputs

    def _make_bare_rows(self, batch: _Batch, chosen: Sequence[Chosen]) -> None:
        """Rows of requests that no version saw, so that the first version has something to be trained and judged on."""
        by_deployment: dict[str, list[Case]] = {}
        for case, step in zip(batch.cases, chosen, strict=True):
            if (self._signature(batch, case, step), case.index) not in batch.rows:
                by_deployment.setdefault(case.deployment.name, []).append(case)
        for name, cases in by_deployment.items():
            self._make_rows(batch, cases, batch.about[name].rows.bare)

    def _signature(self, batch: _Batch, case: Case, chosen: Chosen) -> str:
        """The digest of the signature under which a case's row is logged: the answering version's, else the bare one."""
        if isinstance(chosen.step, Ask):
            return batch.models[case.deployment.name, chosen.step.version].registered.signature.digest
        return batch.about[case.deployment.name].rows.bare.digest

    def _decide(self, batch: _Batch, case: Case, chosen: Chosen) -> DecisionMade:
        name, index = case.deployment.name, case.index
        about = batch.about[name]
        answering = chosen.step.version if isinstance(chosen.step, Ask) else None
        score = batch.scores[name, answering][index] if answering is not None else None
        signature = self._signature(batch, case, chosen)
        missing, stale = self._gaps(batch, case, about)
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
            shadows=self._shadows(batch, case, answering),
            route_offset=case.route_offset,
            assigned=case.assigned.version,
            override=case.assigned.override,
            failed=told_failures(case, chosen, batch.failures),
            took_ms=self._took_ms(batch, case, answering),
        )

    def _shadows(self, batch: _Batch, case: Case, answering: int | None) -> tuple[Score, ...]:
        if not case.shadows:
            return ()
        name = case.deployment.name
        found = [batch.scores.get((name, v), {}).get(case.index) for v in case.shadows if v != answering]
        return tuple(score for score in found if score is not None)

    def _took_ms(self, batch: _Batch, case: Case, answering: int | None) -> dict[int, float]:
        asked = case.shadows if answering is None else (answering, *case.shadows)
        named = {version: batch.took_ms[case.deployment.name, version].get(case.index) for version in asked}
        return {version: took_ms for version, took_ms in named.items() if took_ms is not None}

    def _decision(self, request: Message, unit: str, answer: Answer, **more: Any) -> DecisionMade:
        return DecisionMade(
            request_id=request.envelope.id,
            deployment=request.event.deployment[:MAX_TEXT_CHARS],
            unit=unit[:MAX_TEXT_CHARS],
            at_s=request.envelope.time_s,
            answer=answer,
            request_offset=request.record.offset,
            recovered=request.record.offset < self._recover_until,
            code_version=self._plane.health.code_version,
            **more,
        )

    def _answer(
        self, outputs: Outputs, batch: _Batch, index: int, decision: DecisionMade, is_fast: bool
    ) -> tuple[Message, DecisionMade, Headers]:
        """Remember an answer and tell it to whoever waits; returns what the decision's record is made of."""
        request, found = batch.messages[index], batch.headers[index]
        answer, causes = answered_by(decision), causes_of(request, found)
        self._answered.remember(request.event.deployment, decision.request_id, answer, request.record.timestamp_ms)
        told = answered_by(decision, provisional=True) if is_fast else answer
        reply = self._records.reply(request, found, told, causes)
        if reply is not None:
            (outputs.before if is_fast else outputs.after).append(reply)
        return request, decision, causes

    def _write(self, made: Sequence[tuple[Message, DecisionMade, Headers]]) -> list[Out]:
        return [self._records.decision(request, decision, causes) for request, decision, causes in made]

    def _repeat(self, outputs: Outputs, batch: _Batch, index: int) -> None:
        request, found = batch.messages[index], batch.headers[index]
        answer = self._answered.find(request.event.deployment, request.envelope.id)
        reply = self._records.reply(request, found, answer, causes_of(request, found)) if answer is not None else None
        if reply is not None:
            # NB: what a former owner committed must be told before these requests are behind us once more.
            (outputs.before if request.record.offset < self._decided_until else outputs.after).append(reply)

    def _tell_rungs(self, outputs: Outputs, batch: _Batch, chosen: Sequence[Chosen]) -> None:
        """One fact per deployment and assigned version whose answering rung is another one than after the batch before."""
        newest = {(c.deployment.name, c.assigned): (c, step) for c, step in zip(batch.cases, chosen, strict=True)}
        for (name, assigned), (case, step) in newest.items():
            rung = rung_of(step)
            if assigned.override == PREVIEW or self._rungs.get((name, assigned.version)) == rung:
                continue
            self._rungs[name, assigned.version] = rung
            message = batch.messages[case.index]
            fact = RungChanged(name, *rung, step.reason, self._plane.health.instance)
            identity = derived_id("rung", name, message.envelope.id, *rung)
            envelope = caused_by(message, id=identity, source="inference", time_s=case.at_s)
            outputs.outs.append(out(self._plane.topics.name("inference.facts"), name, fact, envelope))
