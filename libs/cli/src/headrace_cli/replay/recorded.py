"""Reads the requests and outcomes of a deployment on the log, to send them to another one.

A request keeps its instant, unit and inputs (those that the other one declares); its deadline is not copied. A repeated
id is one request. The hash of each request's id and its position are kept in memory, about 150 bytes.
"""

from collections.abc import Callable

from headrace.errors import Misconfigured, Poison
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import OutcomeObserved, PredictionRequested
from headrace.features.own import is_foreign
from headrace.log.codec import Message
from headrace.log.port import Record
from headrace.log.reading import pin_offsets, read_up_to
from headrace_cli.replay.history import Counted
from headrace_cli.replay.spool import Asked, Event, Known, Spool
from headrace_cli.session import Session

Place = tuple[int, int]


class Recorded:
    """The history of `source` on the log, in the form that `target` takes."""

    def __init__(self, session: Session, source: DeploymentDefinition, target: DeploymentDefinition) -> None:
        if source.name == target.name:
            raise Misconfigured(
                f"--to names {target.name} itself, whose requests are answered already: name another deployment"
            )
        self._session, self._source = session, source.name
        self._names = {found.name for found in target.inputs}
        recorded = {found.name for found in source.inputs}
        missing = [found.name for found in target.inputs if not found.nullable and found.name not in recorded]
        if missing:
            raise Misconfigured(
                f"{target.name} needs the input {', '.join(missing)}, which requests of {source.name} do not have"
            )
        self._keeps_labels = target.label is not None
        self._requests: dict[int, Place] = {}
        self._outcomes: dict[int, Place] = {}
        self._counted = Counted()

    async def digest(self) -> str:
        """A digest of the log's topics and the source deployment."""
        ids = await self._session.log.topic_ids([self._session.topics.name("inference.requests")])
        return f"{self._source} {sorted(ids.values())}"

    async def fill(self, spool: Spool[Event], progress: Callable[[int, int], None]) -> Counted:
        """Read requests, then outcomes, up to their current ends, into `spool`; `progress` gets how many of how many offsets."""
        # NB: an outcome names its request, which must be known by then.
        for noun in ("inference.requests", "inference.outcomes"):
            ends = await pin_offsets(self._session.log, [self._session.topics.name(noun)])
            await read_up_to(self._session.log, ends, lambda record: self._take(record, spool), progress)
        return self._counted

    def _take(self, record: Record, spool: Spool[Event]) -> None:
        if is_foreign(record, self._source):
            return
        try:
            message = self._session.codec.decode(record)
        except Poison:  # dead-lettered by its owner
            return
        event, place = message.event, (record.partition + 1, record.offset)
        if isinstance(event, PredictionRequested) and event.deployment == self._source:
            self._take_request(message, event, place, spool)
        elif isinstance(event, OutcomeObserved) and event.deployment == self._source and self._keeps_labels:
            self._take_outcome(message, event, place, spool)

    def _take_request(self, message: Message, event: PredictionRequested, place: Place, spool: Spool[Event]) -> None:
        if self._requests.setdefault(hash(message.envelope.id), place) != place:
            return
        self._counted.rows += 1
        unit = event.unit or (message.record.key or b"").decode("utf-8", "replace")
        inputs = {name: value for name, value in event.inputs.items() if name in self._names}
        spool.add(Asked(message.envelope.time_s, *place, unit, inputs))

    def _take_outcome(self, message: Message, event: OutcomeObserved, place: Place, spool: Spool[Event]) -> None:
        if self._outcomes.setdefault(hash(message.envelope.id), place) != place:
            return
        self._counted.labelled += 1
        of = None if event.request_id is None else self._requests.get(hash(event.request_id))
        corrects = None if event.corrects is None else self._outcomes.get(hash(event.corrects))
        spool.add(Known(message.envelope.time_s, *place, event.unit, event.label, of, corrects))
