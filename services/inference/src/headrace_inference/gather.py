"""Gathering: who is let in, what was asked before, what the features say, and which versions cannot be asked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from headrace.events.definition import DeploymentDefinition
from headrace.events.failures import RowUnfit, Shed
from headrace.events.inference import Answer, Refused, Score
from headrace.features.rows import entities_of, look_up_many
from headrace.log.codec import Message
from headrace_inference.adapters.models import LoadedModel
from headrace_inference.core.admission import Admitted, admit, deadline_ms_of, due_ms, short_id, unit_of
from headrace_inference.core.batching import Case, Failures
from headrace_inference.core.ladder import Ask
from headrace_inference.core.outputs import other_label
from headrace_inference.core.overload import BASELINE, RETRY_AFTER_S, SHADOWS, is_refused, waited_share
from headrace_inference.core.repeats import Answered
from headrace_inference.core.routing import assign
from headrace_inference.core.rows import misfit, needs_views
from headrace_inference.core.warming import Name
from headrace_inference.plane import About, Plane


@dataclass(slots=True)
class Batch:
    """One batch in the making. `headers`: of each message, by name."""

    messages: Sequence[Message]
    headers: list[dict[str, bytes]]
    about: dict[str, About] = field(default_factory=dict)
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


class Gathering:
    """Makes batches. `answered`: what this shard was asked before; `recover_until`: requests below it were found at the takeover."""

    def __init__(self, plane: Plane, answered: Answered) -> None:
        self._plane, self._answered = plane, answered
        self.recover_until = 0

    def gather(self, messages: Sequence[Message]) -> Batch:
        """A batch of which every message is a case, turned away, or a repeat."""
        batch = Batch(messages, [dict(message.record.headers) for message in messages])
        now_ms = int(self._plane.clock.now_s() * 1000)
        self._note_loads(batch, now_ms)
        seen: set[tuple[str, str]] = set()
        by_deployment: dict[str, list[int]] = {}
        for index, message in enumerate(messages):
            identity = (message.event.deployment, short_id(message.envelope.id))
            if identity in seen or self._answered.find(*identity) is not None:
                batch.repeats.append(index)
                continue
            seen.add(identity)
            by_deployment.setdefault(identity[0], []).append(index)
        for name, indexes in by_deployment.items():
            self._admit_all(batch, name, indexes, now_ms)
        return batch

    def gaps(self, batch: Batch, case: Case, about: About) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The features of a case that have no value, and those whose source has been silent for too long."""
        found = batch.gaps.get(case.index)
        if found is None:
            features = batch.features.get(case.index)
            missing = about.rows.missing(features) if features is not None else ()
            found = (missing, about.rows.stale(case.at_s, partial(self._newest_s, batch)))
            batch.gaps[case.index] = found
        return found

    def _note_loads(self, batch: Batch, now_ms: int) -> None:
        """How long requests have waited, against their deadlines; those found at a takeover say nothing of the load."""
        waits: dict[str, tuple[float, float]] = {}
        for message in batch.messages:
            event, record = message.event, message.record
            if event.deadline_ms is not None and record.offset >= self.recover_until:
                deadline_ms = deadline_ms_of(event)
                if deadline_ms is None:
                    continue
                waited_ms = now_ms - record.timestamp_ms
                found = (waited_share(deadline_ms, waited_ms), waited_ms / 1000)
                waits[event.deployment] = max(found, waits.get(event.deployment, found))
        known = (name for name in waits if self._plane.definitions.deployment(name) is not None)
        for deployment, wait in [(name, waits[name]) for name in known]:
            if self._plane.loads.note(deployment, *wait) >= SHADOWS:
                batch.failures.shadows[deployment] = Shed("overload: shadows do not score along")

    def _overloaded(self, message: Message, now_ms: int) -> Refused | None:
        """Why a request that would be let in is refused after all."""
        event, record = message.event, message.record
        if event.deadline_ms is None or record.offset < self.recover_until:
            return None
        share = waited_share(event.deadline_ms, now_ms - record.timestamp_ms)
        if not is_refused(self._plane.loads.level(event.deployment), share):
            return None
        return Refused(f"overload: it had waited {share:.0%} of its deadline; ask again later", RETRY_AFTER_S)

    def _admit_all(self, batch: Batch, name: str, indexes: Sequence[int], now_ms: int) -> None:
        """Let in or turn away the requests of one deployment."""
        found = self._plane.definitions.deployment(name)
        about = self._plane.about(name, *found) if found is not None else None
        if about is not None:
            batch.about[name] = about
        inputs = [batch.messages[index].event.inputs for index in indexes]
        vouched = about.rows.contract.vouches(inputs) if about is not None else [False] * len(indexes)
        admitted: list[tuple[int, str]] = []
        for index, kept in zip(indexes, vouched, strict=True):
            message = batch.messages[index]
            event, record, envelope = message.event, message.record, message.envelope
            verdict = admit(
                event,
                record.key,
                found and found[1],
                record.timestamp_ms,
                now_ms,
                kept,
                at_s=envelope.time_s,
                request_id=envelope.id,
            )
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

    def _let_in(self, batch: Batch, about: About, index: int, unit: str) -> None:
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

    def _look_up(self, batch: Batch, deployment: DeploymentDefinition, indexes: Sequence[int]) -> None:
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

    def _check_versions(self, batch: Batch, case: Case, about: About) -> None:
        """Note which of a case's versions cannot be asked at all, and why."""
        breaker = case.deployment.breaker
        answering = {step.version for step in case.steps if isinstance(step, Ask)}
        for name in [(case.deployment.name, version) for version in case.versions]:
            if name in batch.scores:
                continue
            batch.scores[name], batch.took_ms[name] = {}, {}
            model = self._plane.shelf.find(name)
            failure = self._plane.shelf.why_not(name, breaker, as_shadow=name[1] not in answering)
            if failure is None and model is not None:
                reason = misfit(model.registered.signature, about.rows.bare)
                reason = reason or other_label(model.registered, about.deployment.label)
                failure = RowUnfit(reason) if reason is not None else None
            if failure is not None:
                batch.failures[name] = failure
            elif model is not None:
                batch.models[name] = model

    def _check_row(self, batch: Batch, case: Case, about: About) -> None:
        """Note which versions cannot answer this case: too many features are lacking, or load must be shed."""
        name, lack = case.deployment.name, self._lack(batch, case, about)
        if lack is not None:
            for version in case.versions:
                model = batch.models.get((name, version))
                if model is not None and needs_views(model.registered.signature):
                    batch.failures.note_row((name, version), case.index, RowUnfit(lack))
        if about.level >= BASELINE:
            spared = Shed("overload: the baseline is not asked")
            for step in case.steps:
                if isinstance(step, Ask) and step.rung == "baseline":
                    batch.failures.note_row((name, step.version), case.index, spared)

    def _lack(self, batch: Batch, case: Case, about: About) -> str | None:
        if case.deployment.degrade_when is None:
            return None
        return about.rows.lack(*self.gaps(batch, case, about))

    def _newest_s(self, batch: Batch, source: str) -> float:
        if source not in batch.newest_s:
            batch.newest_s[source] = self._plane.store.newest_s(source)
        return batch.newest_s[source]
