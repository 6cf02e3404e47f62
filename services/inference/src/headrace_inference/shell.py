"""One shard of inference: gather (features, scores), decide (core), act (decisions and replies). No Kafka in here."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import numpy as np

from headrace.bus.port import Out, TopicPartition
from headrace.bus.shards import Outputs, Rebuild
from headrace.clock import Clock
from headrace.codec import Message, caused_by, out
from headrace.envelope import derived_id
from headrace.events.inference import (
    Answer,
    DecisionMade,
    Expired,
    Invalid,
    PredictionAnswered,
    Refused,
    RungChanged,
    Score,
)
from headrace.events.registry import Signature
from headrace.features.rows import entities_of, look_up
from headrace.features.store import OnlineStore
from headrace.obs.health import Health
from headrace.project.definition import DeploymentDefinition, ProjectDefinition
from headrace.topics import Topics
from headrace_inference.adapters.control import Control
from headrace_inference.adapters.definitions import Definitions
from headrace_inference.adapters.loads import Loads
from headrace_inference.adapters.models import LoadedModel, PredictFailed, PredictHangs, Scored
from headrace_inference.adapters.shelf import Shelf
from headrace_inference.core.admission import Admitted, admit, call_limit_s, due_ms, unit_of
from headrace_inference.core.batching import (
    Call,
    Case,
    Failures,
    chosen_for,
    merged,
    next_calls,
    shadow_calls,
    told_failures,
)
from headrace_inference.core.ladder import Ask, Chosen, answer_of, rung_of, steps_for
from headrace_inference.core.overload import BASELINE, RETRY_AFTER_S, SHADOWS, is_refused, waited_share
from headrace_inference.core.records import NOTHING, Evidence, answered_by, decided, decision_out, reply_out
from headrace_inference.core.repeats import WINDOW, Answered
from headrace_inference.core.routing import PREVIEW, assign
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


@dataclass(slots=True)
class _Batch:
    """One batch in the making."""

    messages: Sequence[Message]
    cases: list[Case] = field(default_factory=list)
    turned_away: dict[int, tuple[str, Answer]] = field(default_factory=dict)
    repeats: list[int] = field(default_factory=list)
    features: dict[int, np.ndarray] = field(default_factory=dict)
    entities: dict[int, dict[str, str]] = field(default_factory=dict)
    applied: dict[str, dict[str, int]] = field(default_factory=dict)
    scores: dict[Name, dict[int, Score]] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)
    models: dict[Name, LoadedModel] = field(default_factory=dict)
    rows: dict[tuple[str, int], bytes] = field(default_factory=dict)
    took_ms: dict[tuple[Name, int], float] = field(default_factory=dict)
    due_ms: float = math.inf


class InferenceShard:
    """Partition p of requests and decisions."""

    def __init__(self, plane: Plane, number: int) -> None:
        self._plane, self._number = plane, number
        self._answered = Answered()
        self._rungs: dict[tuple[str, int | None], tuple[str, int]] = {}
        self._recover_until = 0
        self._requests = plane.topics.name("inference.requests")
        self._decisions = plane.topics.name("inference.decisions")
        self._replies = plane.topics.name("inference.replies")
        self._reply_partitions = plane.topics.count("replies")

    def rebuild(self) -> Sequence[Rebuild]:
        return [Rebuild(self._decisions, tail_records=WINDOW)]

    async def on_history(self, message: Message) -> None:
        if isinstance(message.event, DecisionMade):
            self._answered.remember(answered_by(message.event))

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        tp = TopicPartition(self._requests, self._number)
        self._recover_until = (await self._plane.ends([tp]))[tp]
        return committed

    async def on_tick(self) -> Outputs:
        return Outputs([], [], [], [])

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        if any(self._plane.definitions.deployment(message.event.deployment) is None for message in batch):
            # A deployment that was published a moment ago must not look unknown.
            await self._plane.definitions.catch_up()
        made = self._gather(batch)
        await self._score(made)
        return self._act(made)

    # gather

    def _gather(self, messages: Sequence[Message]) -> _Batch:
        batch = _Batch(messages)
        now_ms = int(self._plane.clock.now_s() * 1000)
        seen: set[tuple[str, str]] = set()
        self._note_loads(batch, now_ms)
        for index, message in enumerate(messages):
            identity = (message.event.deployment, message.envelope.id)
            if identity in seen or self._answered.find(*identity) is not None:
                batch.repeats.append(index)
                continue
            seen.add(identity)
            self._admit(batch, index, message, now_ms)
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

    def _admit(self, batch: _Batch, index: int, message: Message, now_ms: int) -> None:
        found = self._plane.definitions.deployment(message.event.deployment)
        record = message.record
        verdict = admit(message.event, record.key, found and found[1], record.timestamp_ms, now_ms)
        if isinstance(verdict, Admitted):
            verdict = self._overloaded(message, now_ms) or verdict
        match verdict:
            case Admitted(unit) if found is not None:
                case = self._case(index, message, unit, *found)
                batch.cases.append(case)
                batch.due_ms = min(batch.due_ms, due_ms(message.event, record.timestamp_ms))
                self._look_up(batch, case, message)
                self._check_versions(batch, case)
                self._check_row(batch, case)
            case Invalid() | Expired() | Refused():
                batch.turned_away[index] = (unit_of(message.event, record.key), verdict)

    def _case(
        self, index: int, message: Message, unit: str, project: ProjectDefinition, deployment: DeploymentDefinition
    ) -> Case:
        route, offset = self._plane.control.route(deployment.name)
        assigned = assign(route, unit, message.record.headers)
        steps = steps_for(deployment.ladder, route, assigned)
        envelope = message.envelope
        return Case(index, envelope.id, unit, envelope.time_s, project, deployment, route, offset, steps, assigned)

    def _look_up(self, batch: _Batch, case: Case, message: Message) -> None:
        deployment, store = case.deployment, self._plane.store
        entities = entities_of(deployment, message.event.inputs)
        batch.features[case.index] = look_up(store, deployment, entities, case.at_s)
        batch.entities[case.index] = {view: entity for view, entity in entities.items() if entity is not None}
        if deployment.name not in batch.applied:
            sources = {case.project.view(binding.view).source for binding in deployment.features}
            topics = {self._plane.topics.of_source(source) for source in sources}
            applied = {place: n for place, n in store.applied.items() if place.rpartition("/")[0] in topics}
            batch.applied[deployment.name] = applied

    def _check_versions(self, batch: _Batch, case: Case) -> None:
        """Note which of a case's versions cannot be asked at all, and why."""
        for name in [(case.deployment.name, version) for version in case.versions]:
            if name in batch.scores:
                continue
            batch.scores[name] = {}
            model = self._plane.shelf.find(name)
            reason = self._plane.shelf.why_not(name, case.deployment.breaker) or self._misfit(case, model)
            if reason is not None:
                batch.failures[name] = reason
            elif model is not None:
                batch.models[name] = model

    def _check_row(self, batch: _Batch, case: Case) -> None:
        """Note which versions cannot answer this case: too many features are lacking, or load must be shed."""
        name, lack = case.deployment.name, self._lack(batch, case)
        if lack is not None:
            for version in case.versions:
                model = batch.models.get((name, version))
                if model is not None and needs_views(model.registered.signature):
                    batch.failures.rows[(name, version), case.index] = lack
        if self._plane.loads.level(name) >= BASELINE:
            for step in case.steps:
                if isinstance(step, Ask) and step.rung == "baseline":
                    batch.failures.rows[(name, step.version), case.index] = "overload: the baseline is not asked"

    def _lack(self, batch: _Batch, case: Case) -> str | None:
        if case.deployment.degrade_when is None:
            return None
        rows = self._plane.rows(case.project, case.deployment)
        stale = rows.stale(case.at_s, self._plane.store.newest_s)
        return rows.lack(rows.missing(batch.features[case.index]), stale)

    def _misfit(self, case: Case, model: LoadedModel | None) -> str | None:
        bare = self._plane.rows(case.project, case.deployment).bare
        return misfit(model.registered.signature, bare) if model is not None else None

    # score

    async def _score(self, batch: _Batch) -> None:
        calls = next_calls(batch.cases, batch.scores, batch.failures)
        calls = merged([*calls, *shadow_calls(batch.cases, batch.failures)])
        while calls:
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
        for row, (case, score) in enumerate(zip(call.cases, scored.scores, strict=True)):
            if row in scored.faults:
                batch.failures.rows[call.name, case.index] = scored.faults[row]
            else:
                batch.scores[call.name][case.index] = score
                batch.took_ms[call.name, case.index] = took_ms

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
        except PredictFailed as error:
            batch.failures[call.name] = str(error)
            note(took_s=self._plane.clock.monotonic_s() - began_s, failed=1.0, reason=str(error))
            return None
        reason = next(iter(scored.faults.values()), "")
        failed = len(scored.faults) / len(rows)
        note(took_s=self._plane.clock.monotonic_s() - began_s, failed=failed, reason=reason)
        return scored

    def _make_rows(self, batch: _Batch, cases: Sequence[Case], signature: Signature) -> np.ndarray:
        maker = self._plane.rows(cases[0].project, cases[0].deployment)
        inputs = [batch.messages[case.index].event.inputs for case in cases]
        rows = maker.make(signature, inputs, np.array([batch.features[case.index] for case in cases]))
        for case, row in zip(cases, rows, strict=True):
            batch.rows[signature.digest, case.index] = row.tobytes()
        return rows

    # act

    def _act(self, batch: _Batch) -> Outputs:
        outputs = Outputs([], [], [], [])
        chosen = {case.index: chosen_for(case, batch.failures) for case in batch.cases}
        self._make_bare_rows(batch, chosen)
        for case in batch.cases:
            self._write(outputs, batch.messages[case.index], self._decide(batch, case, chosen[case.index]), case)
        for index, (unit, answer) in batch.turned_away.items():
            message = batch.messages[index]
            self._write(outputs, message, self._decision(message, unit, answer, NOTHING), None)
        self._tell_rungs(outputs, batch, chosen)
        for index in batch.repeats:
            self._repeat(outputs, batch.messages[index])
        return outputs

    def _make_bare_rows(self, batch: _Batch, chosen: Mapping[int, Chosen]) -> None:
        """Rows of requests that no version saw, so that the first version has something to be trained and judged on."""
        by_deployment: dict[str, list[Case]] = {}
        for case in batch.cases:
            if (self._signature(batch, case, chosen[case.index]), case.index) not in batch.rows:
                by_deployment.setdefault(case.deployment.name, []).append(case)
        for cases in by_deployment.values():
            self._make_rows(batch, cases, self._plane.rows(cases[0].project, cases[0].deployment).bare)

    def _signature(self, batch: _Batch, case: Case, chosen: Chosen) -> str:
        """The digest of the signature under which a case's row is logged: the answering version's, else the bare one."""
        if isinstance(chosen.step, Ask):
            return batch.models[case.deployment.name, chosen.step.version].registered.signature.digest
        return self._plane.rows(case.project, case.deployment).bare.digest

    def _decide(self, batch: _Batch, case: Case, chosen: Chosen) -> DecisionMade:
        name = case.deployment.name
        answering = chosen.step.version if isinstance(chosen.step, Ask) else None
        score = batch.scores[name, answering][case.index] if answering is not None else None
        shadows = [batch.scores.get((name, v), {}).get(case.index) for v in case.shadows if v != answering]
        return self._decision(
            batch.messages[case.index],
            case.unit,
            answer_of(chosen, score, name),
            self._evidence(batch, case, chosen),
            shadows=tuple(shadow for shadow in shadows if shadow is not None),
            route_offset=case.route_offset,
            assigned=case.assigned.version,
            override=case.assigned.override,
            failed=told_failures(case, chosen, batch.failures),
            took_ms=self._took_ms(batch, case, answering),
        )

    def _took_ms(self, batch: _Batch, case: Case, answering: int | None) -> dict[int, float]:
        asked = case.shadows if answering is None else (answering, *case.shadows)
        named = {version: batch.took_ms.get(((case.deployment.name, version), case.index)) for version in asked}
        return {version: took_ms for version, took_ms in named.items() if took_ms is not None}

    def _evidence(self, batch: _Batch, case: Case, chosen: Chosen) -> Evidence:
        signature = self._signature(batch, case, chosen)
        rows = self._plane.rows(case.project, case.deployment)
        return Evidence(
            batch.rows[signature, case.index],
            signature,
            batch.entities[case.index],
            batch.applied[case.deployment.name],
            rows.missing(batch.features[case.index]),
            rows.stale(case.at_s, self._plane.store.newest_s),
        )

    def _decision(self, message: Message, unit: str, answer: Answer, evidence: Evidence, **more: Any) -> DecisionMade:
        recovered = message.record.offset < self._recover_until
        version = self._plane.health.code_version
        return decided(message, unit, answer, evidence, recovered=recovered, code_version=version, **more)

    def _write(self, outputs: Outputs, message: Message, decision: DecisionMade, case: Case | None) -> None:
        outputs.outs.append(decision_out(self._decisions, message, decision))
        answered = answered_by(decision)
        self._answered.remember(answered)
        is_fast = case is not None and case.deployment.answer == "fast"
        self._reply(outputs.before if is_fast else outputs.after, message, answered, is_fast)

    def _repeat(self, outputs: Outputs, message: Message) -> None:
        answered = self._answered.find(message.event.deployment, message.envelope.id)
        if answered is not None:
            self._reply(outputs.after, message, answered, False)

    def _reply(self, replies: list[Out], message: Message, answered: PredictionAnswered, provisional: bool) -> None:
        told = msgspec.structs.replace(answered, provisional=True) if provisional else answered
        reply = reply_out(self._replies, self._reply_partitions, message, told)
        if reply is not None:
            replies.append(reply)

    def _tell_rungs(self, outputs: Outputs, batch: _Batch, chosen: Mapping[int, Chosen]) -> None:
        """One fact per deployment and assigned version whose answering rung is another one than after the batch before."""
        routed = (case for case in batch.cases if case.assigned.override != PREVIEW)
        newest = {(case.deployment.name, case.assigned.version): case for case in routed}
        for (name, assigned), case in newest.items():
            rung = rung_of(chosen[case.index])
            if self._rungs.get((name, assigned)) == rung:
                continue
            self._rungs[name, assigned] = rung
            message = batch.messages[case.index]
            fact = RungChanged(name, *rung, chosen[case.index].reason, self._plane.health.instance)
            identity = derived_id("rung", name, message.envelope.id, *rung)
            envelope = caused_by(message, id=identity, source="inference", time_s=case.at_s)
            outputs.outs.append(out(self._plane.topics.name("inference.facts"), name, fact, envelope))
