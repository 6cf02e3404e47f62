"""One shard of inference: gather (features), score, decide (core), act (decisions and replies). No Kafka in here."""

import logging
from collections.abc import Mapping, Sequence

from headrace.errors import HeadraceError
from headrace.events.inference import DecisionMade, Invalid, ShadowScored
from headrace.hosting.logic import Outputs, Rebuild
from headrace.log.codec import Message
from headrace.log.port import Headers, TopicPartition
from headrace_inference.core.faults import told
from headrace_inference.core.records import Records, answered_by, kept_causes
from headrace_inference.core.repeats import WINDOW, WINDOW_BYTES, Answered, Untold
from headrace_inference.deciding import Deciding
from headrace_inference.gather import Gathering
from headrace_inference.plane import Plane
from headrace_inference.scoring import Scoring
from headrace_inference.shadowing import MOST_BYTES, Shadows

_log = logging.getLogger("headrace.inference")

# Of how many shadows per decision the late scores are read past, to find as many decisions in the tail as the window has.
_MOST_SHADOWS = 3


class InferenceShard:
    """Partition p of requests and decisions."""

    def __init__(self, plane: Plane, number: int) -> None:
        self._plane, self._number = plane, number
        self._answered, self._untold = Answered(), Untold()
        self._requests = plane.topics.name("inference.requests")
        self._decisions = plane.topics.name("inference.decisions")
        replies, reply_partitions = plane.topics.name("inference.replies"), plane.topics.count("replies")
        records = Records(self._decisions, replies, reply_partitions)
        self._gathering, self._scoring = Gathering(plane, self._answered), Scoring(plane)
        self._shadows = Shadows(plane, self._scoring, records, number)
        self._deciding = Deciding(plane, self._gathering, self._scoring, self._shadows, records, self._answered)
        self._owed: dict[tuple[str, str], tuple[DecisionMade, set[int], Headers]] = {}

    def rebuild(self) -> Sequence[Rebuild]:
        """The tail of its own decisions, with the late scores among them."""
        most = max((len(route.shadows) for route in self._plane.control.routes), default=0)
        return [Rebuild(self._decisions, tail_records=WINDOW * (1 + min(_MOST_SHADOWS, most)))]

    async def on_history(self, message: Message) -> None:
        """Take in a record of its own: what was answered, and which scores of shadows are owed."""
        event = message.event
        if isinstance(event, DecisionMade):
            decided_ms = message.record.timestamp_ms
            self._answered.remember(event.deployment, event.request_id, answered_by(event), decided_ms)
            self._untold.on_decision(decided_ms, event.request_offset)
            if event.shadows_due:
                causes = kept_causes(message.record.headers)
                self._owed[event.deployment, event.request_id] = (event, set(event.shadows_due), causes)
        elif isinstance(event, ShadowScored):
            self._on_shadow(event)

    def _on_shadow(self, event: ShadowScored) -> None:
        identity = (event.deployment, event.request_id)
        owed = self._owed.get(identity)
        if owed is None:
            return
        owed[1].discard(event.version)
        if not owed[1]:
            del self._owed[identity]

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Begin: the former owner's shadows first; its last answers are told once more."""
        tp = TopicPartition(self._requests, self._number)
        self._gathering.recover_until = (await self._plane.ends([tp]))[tp]
        self._deciding.decided_until = committed.get(tp, 0)
        owed, self._owed = self._owed, {}
        for decision, versions, causes in owed.values():
            for version in sorted(versions):
                self._shadows.owe(decision, version, causes)
        return {place: self._untold.first(offset) for place, offset in committed.items()}

    async def on_tick(self) -> Outputs:
        """Nothing was asked: only what shadows have said meanwhile is written."""
        self._report()
        return Outputs(outs=self._shadows.take())

    async def on_batch(self, batch: Sequence[Message]) -> Outputs:
        """Answer requests."""
        named = {message.event.deployment for message in batch}
        if any(self._plane.definitions.deployment(name) is None for name in named):
            # A deployment that was published a moment ago must not look unknown.
            await self._plane.definitions.catch_up()
        outputs = await self._handle(batch)
        outputs.outs += self._shadows.take(len(batch))
        self._report()
        return outputs

    async def on_close(self) -> None:
        """Let the shadows go."""
        await self._shadows.close()

    async def _handle(self, messages: Sequence[Message]) -> Outputs:
        """Whatever raises over one request is that request's: it is looked for in halves, and refused alone."""
        try:
            made = self._gathering.gather(messages)
            await self._scoring.score(made)
            return self._deciding.act(made)
        except HeadraceError:
            raise
        except Exception as error:
            # NB: a bug of ours, or a value that nobody thought of: either way it must not stop the others.
            if len(messages) == 1:
                _log.exception("request %.200s cannot be handled", messages[0].envelope.id)
                answer = Invalid(f"this request cannot be handled: {told(error)}")
                return self._deciding.refuse(messages[0], answer)
            middle = len(messages) // 2
            return _joined(await self._handle(messages[:middle]), await self._handle(messages[middle:]))

    def _report(self) -> None:
        health, number = self._plane.health, self._number
        health.holds(f"answers of shard {number}", self._answered.bytes, WINDOW_BYTES)
        health.holds(f"shadows of shard {number}", self._shadows.bytes, MOST_BYTES)


def _joined(first: Outputs, second: Outputs) -> Outputs:
    makers = [found.deferred for found in (first, second) if found.deferred is not None]
    return Outputs(
        first.outs + second.outs,
        first.before + second.before,
        first.after + second.after,
        first.dead + second.dead,
        lambda: [made for make in makers for made in make()],
    )
