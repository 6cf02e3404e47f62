"""One shard of inference: it gathers what a batch is decided by, lets the core decide, and acts on it. No Kafka in here."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from headrace.errors import HeadraceError
from headrace.events.inference import DecisionMade, ShadowScored
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message
from headrace.log.port import TopicPartition
from headrace_inference.adapters.model_calls import ModelCalls
from headrace_inference.adapters.records import Records, answer_to, causes_of, kept_causes
from headrace_inference.adapters.serving_views import ServingViews
from headrace_inference.adapters.shadow_scoring import ShadowScoring
from headrace_inference.adapters.traffic_counts import Lap, TrafficCounts
from headrace_inference.core.admission import admit_all
from headrace_inference.core.answering import AnsweringSteps
from headrace_inference.core.batch import Decided, Repeat
from headrace_inference.core.decide import decide, next_calls, refused, start, with_results
from headrace_inference.core.eligibility import gathered, versions_of
from headrace_inference.core.faults import text_of
from headrace_inference.core.overload import longest_waits
from headrace_inference.core.repeats import WINDOW, WINDOW_BYTES, AnswerWindow
from headrace_inference.core.request import short_id
from headrace_inference.core.shadows import MOST_BYTES, Shadowed
from headrace_inference.core.takeover import Takeover

_log = logging.getLogger("headrace.inference")

# At a takeover, late scores of so many shadows per decision are read past, to find as many decisions in the tail as the window has.
_MOST_SHADOWS = 3


class InferenceShard:
    """Partition p of requests and decisions."""

    def __init__(self, views: ServingViews, number: int) -> None:
        self._views, self._number = views, number
        self._requests = views.topics.name("inference.requests")
        self._decisions = views.topics.name("inference.decisions")
        self._answers = AnswerWindow()
        self._takeover, self._steps = Takeover(self._answers), AnsweringSteps()
        self._calls, self._records = ModelCalls(views.models, views.clock), Records(views.topics, views.health.instance)
        self._shadows = ShadowScoring(views, self._calls, self._records, number)
        self._counts = TrafficCounts(views)
        # Requests below `_recover_until` were found at the takeover; those below `_decided_until` were decided by the former owner.
        self._recover_until = self._decided_until = 0

    def rebuild(self) -> Sequence[Rebuild]:
        """The tail of the shard's own decisions, with the late scores among them."""
        most = max((len(route.shadows) for route in self._views.registry.routes), default=0)
        return [Rebuild(self._decisions, tail_records=WINDOW * (1 + min(_MOST_SHADOWS, most)))]

    async def on_history(self, message: Message) -> None:
        """Take in a record of the shard's own: what was answered, and which scores of shadows are owed."""
        match message.event:
            case DecisionMade() as decision:
                record = message.record
                causes = kept_causes(record.headers)
                self._takeover.on_decision(decision, answer_to(decision), record.timestamp_ms, causes)
            case ShadowScored() as scored:
                self._takeover.on_shadow_scored(scored)

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Begin with the shadows of the former owner; its last replies are sent once more."""
        tp = TopicPartition(self._requests, self._number)
        self._recover_until = (await self._views.ends([tp]))[tp]
        self._decided_until = committed.get(tp, 0)
        for owed in self._takeover.take_owed():
            self._shadows.owe(owed)
        return {place: self._takeover.first_offset(offset) for place, offset in committed.items()}

    async def on_tick(self) -> Outputs:
        """Nothing was asked: only late scores of shadows are written."""
        self._report()
        return Outputs(outs=self._shadows.take())

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        """Answer requests."""
        definitions = self._views.definitions
        if any(definitions.deployment(name) is None for name in {message.event.deployment for message in batch}):
            # A deployment that was published a moment ago must not look unknown.
            await definitions.catch_up()
        outputs = await self._answer(batch)
        outputs.outs += self._shadows.take(len(batch))
        self._report()
        return outputs

    async def on_close(self) -> None:
        """Let the shadows go."""
        await self._shadows.close()

    async def _answer(self, requests: Sequence[Message]) -> Outputs:
        """Answer requests. A request over which something raises is found by halving the batch, and is refused alone."""
        views, code_version = self._views, self._views.health.code_version
        try:
            lap = Lap(views.clock)
            now_ms = int(lap.began_s * 1000)
            levels = views.note_waits(longest_waits(requests, now_ms, self._recover_until))
            states = views.states(dict.fromkeys(request.event.deployment for request in requests))
            admitted = admit_all(requests, states, self._answers, now_ms, self._recover_until)
            versions = views.versions(admitted, versions_of(admitted))
            lap.pass_stage("admitted")
            features = views.features(admitted)
            lap.pass_stage("features")
            found = gathered(admitted, features, versions, levels)
            scored = start(found)
            while calls := next_calls(found, scored, views.clock.now_s()):
                # NB: one call, as nearly always, needs no task of its own.
                alone = [await self._calls.ask(calls[0])] if len(calls) == 1 else None
                scored = with_results(found, scored, alone or await asyncio.gather(*map(self._calls.ask, calls)))
                lap.note_rows(found, calls)
            lap.pass_stage("model")
            return self._act(decide(found, scored, self._recover_until, code_version), lap)
        except HeadraceError:
            raise
        except Exception as error:
            # NB: a bug of ours, or a value that was not foreseen: in either case it must not stop the others.
            if len(requests) == 1:
                _log.exception("request %.200s cannot be handled", requests[0].envelope.id)
                reason = f"this request cannot be handled: {text_of(error)}"
                return self._act(refused(requests[0], reason, self._recover_until, code_version), Lap(views.clock))
            middle = len(requests) // 2
            return _joined(await self._answer(requests[:middle]), await self._answer(requests[middle:]))

    def _act(self, decided: Decided, lap: Lap) -> Outputs:
        """What a batch wants written, and counted then. NB: nothing is remembered before all of it is made: what raises before leaves no trace."""
        records, outputs = self._records, Outputs([], [], [], [])
        made = [(one, causes_of(one.request, one.headers, one.at_s)) for one in decided.decisions]
        replies = [(answer := answer_to(one.made), records.reply(one, answer, causes)) for one, causes in made]
        shadowed = {place: Shadowed.of(one.made, causes) for place, (one, causes) in enumerate(made) if one.is_shadowed}
        outputs.outs += map(records.step_changed, self._steps.on_batch(decided.cases, decided.chosen).facts)
        for one, (answer, reply) in zip(decided.decisions, replies, strict=True):
            appended_ms = one.request.record.timestamp_ms
            self._answers.remember(one.request.event.deployment, one.made.request_id, answer, appended_ms)
            if reply is not None:
                (outputs.before if one.is_fast else outputs.after).append(reply)
        for repeat in decided.repeats:
            self._repeat(outputs, repeat)
        for call in decided.shadow_calls:
            self._shadows.add(call, shadowed)
        outputs.deferred = partial(records.decisions, made, shadowed)
        outputs.committed = partial(self._counts.on_committed, decided.decisions, lap.decided(len(decided.cases)))
        return outputs

    def _repeat(self, outputs: Outputs, repeat: Repeat) -> None:
        event, record = repeat.request.event, repeat.request.record
        answer = self._answers.find(event.deployment, short_id(repeat.request.envelope.id))
        reply = self._records.repeated(repeat, answer) if answer is not None else None
        if reply is not None:
            # NB: what a former owner committed must be sent before these requests are behind us once more.
            (outputs.before if record.offset < self._decided_until else outputs.after).append(reply)

    def _report(self) -> None:
        health, number = self._views.health, self._number
        health.holds(f"answers of shard {number}", self._answers.bytes, WINDOW_BYTES)
        health.holds(f"shadows of shard {number}", self._shadows.bytes, MOST_BYTES)


def _joined(first: Outputs, second: Outputs) -> Outputs:
    makers = [found.deferred for found in (first, second) if found.deferred is not None]
    calls = [found.committed for found in (first, second) if found.committed is not None]

    def committed() -> None:
        for call in calls:
            call()

    return Outputs(
        first.outs + second.outs,
        first.before + second.before,
        first.after + second.after,
        first.dead + second.dead,
        lambda: [made for make in makers for made in make()],
        committed,
    )
