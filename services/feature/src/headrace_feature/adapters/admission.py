"""Reading a source's records. What cannot be read, or may not enter, is `Poison`, wherever the source is folded here.

Whether an event counts once it was admitted is decided in `core.source_fold`: each origin once, and no repeat of a deduplicated source.
"""

from collections.abc import Iterable

from headrace.events.definition import SourceDefinition
from headrace.events.features import PipelineAdvanced
from headrace.features.plan import admission
from headrace.log.codec import Codec, SourceEvent
from headrace.log.port import Record
from headrace.log.topics import Topics


class Admission:
    """Decodes the records of these sources."""

    def __init__(self, codec: Codec, topics: Topics, sources: Iterable[SourceDefinition]) -> None:
        self._refusals = {topics.of_source(source.name): admission(source) for source in sources}
        self._decode = codec.decode_event

    def decode(self, record: Record) -> SourceEvent:
        """The event, or a pipeline's progress marker. Raises `Poison` for what cannot be read or breaks the contract."""
        event, origin = self._decode(record)
        if event is not None and type(event) is not PipelineAdvanced:
            refused = self._refusals[record.topic](event, record.timestamp_ms)
            if refused is not None:
                raise refused
        return SourceEvent(record, event, origin)
