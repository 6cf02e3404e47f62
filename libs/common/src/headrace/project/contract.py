"""What may pass: raw bytes within limits on the way in, typed events of the pipeline's own sources on the way out."""

from typing import Any

import msgspec

from headrace.bus.port import Out, Record
from headrace.codec import MAX_VALUE_BYTES, is_json, out
from headrace.envelope import Envelope, Origin, derived_id
from headrace.errors import Poison
from headrace.events.inference import OutcomeObserved
from headrace.features.plan import instant_s
from headrace.project.compile import event_struct
from headrace.project.definition import PipelineDefinition, ProjectDefinition, SourceDefinition
from headrace.project.pipelines import Outcome
from headrace.topics import Topics


def read_raw(record: Record) -> Any:
    """The message of a raw record: its JSON, or MessagePack. Raises `Poison`."""
    value = record.value
    if value is None:
        raise Poison("value is empty")
    if len(value) > MAX_VALUE_BYTES:
        raise Poison(f"value has {len(value)} bytes, the limit is {MAX_VALUE_BYTES}")
    content_type = next(
        (found.decode("utf-8", "replace") for name, found in record.headers if name == "content-type"), ""
    )
    decode = msgspec.json.decode if is_json(value, content_type) else msgspec.msgpack.decode
    try:
        found = decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise Poison(f"not {'JSON' if decode is msgspec.json.decode else 'MessagePack'}: {error}") from None
    if not isinstance(found, dict):
        raise Poison(f"a message is an object, got {type(found).__name__}")
    return found


class Contract:
    """Turns what a transform yields into records of its sources and outcomes."""

    def __init__(
        self, topics: Topics, project: ProjectDefinition, pipeline: PipelineDefinition, targets: dict[type, str]
    ) -> None:
        self._topics, self._pipeline, self._targets = topics, pipeline, targets
        self._sources = {name: project.source(name) for name in pipeline.sources}
        self._encoder = msgspec.msgpack.Encoder()
        self._checks = {name: msgspec.msgpack.Decoder(event_struct(source)) for name, source in self._sources.items()}

    def write(self, yielded: Any, origin: Origin, cause_id: str) -> list[Out]:
        """The records of one yielded value. Raises `Poison` naming the pipeline when it may not pass."""
        if isinstance(yielded, Outcome):
            return [self._outcome(yielded, deployment, origin, cause_id) for deployment in self._pipeline.outcomes]
        name = self._targets.get(type(yielded))
        if name is None:
            known = ", ".join([kind.__name__ for kind in self._targets] + ["Outcome"] * bool(self._pipeline.outcomes))
            raise Poison(f"pipeline {self._pipeline.name} yielded {type(yielded).__name__}; its outputs are {known}")
        return [self._event(yielded, self._sources[name], origin, cause_id)]

    def _event(self, event: msgspec.Struct, source: SourceDefinition, origin: Origin, cause_id: str) -> Out:
        self._check(event, source.name)
        time_s = instant_s(getattr(event, source.event_time))
        envelope = Envelope(
            derived_id(source.name, origin), "", self._pipeline.name, time_s, cause_id, cause_id, origin
        )
        return out(self._topics.of_source(source.name), str(getattr(event, source.key)), event, envelope)

    def _check(self, event: msgspec.Struct, source: str) -> None:
        """Structs are not validated when they are made: the compiled contract reads what would be written."""
        try:
            self._checks[source].decode(self._encoder.encode(event))
        except msgspec.ValidationError as error:
            raise Poison(f"pipeline {self._pipeline.name} broke the contract of {source}: {error}") from None

    def _outcome(self, outcome: Outcome, deployment: str, origin: Origin, cause_id: str) -> Out:
        event = OutcomeObserved(deployment, outcome.unit, float(outcome.label))
        ident = derived_id("outcome", deployment, origin)
        envelope = Envelope(ident, "", self._pipeline.name, instant_s(outcome.at), cause_id, cause_id, origin)
        return out(self._topics.name("inference.outcomes"), outcome.unit, event, envelope)
