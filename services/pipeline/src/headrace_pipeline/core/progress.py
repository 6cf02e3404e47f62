"""Which progress markers a pipeline writes: on every partition of its sources, how far it came in each raw partition.

A marker at a raw offset promises that everything that follows from the records up to it has been written. So it comes after all outputs of a
batch. Before the first record of a partition a marker names the topic that the records are of, since in a raw topic that was deleted and
made again the same offsets are other records.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from headrace.events.features import PipelineAdvanced
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.port import Out, Record
from headrace.step import Step
from headrace_pipeline.core.batch import reached
from headrace_pipeline.core.lookback import Place, place_of


@dataclass(frozen=True, slots=True)
class Progress:
    """Where pipeline `pipeline` marks its progress. `targets`: full topic name and partition count of each of its sources.

    `topic_id`: of the raw topic, "" where the broker gives none. `begun`: partitions of which what lies before their first record here
    is marked.
    """

    pipeline: str
    targets: tuple[tuple[str, int], ...]
    topic_id: str = ""
    begun: frozenset[Place] = frozenset()


def on_arrived(state: Progress, records: Iterable[Record]) -> Step[Progress, Out]:
    """Before these records are handled: markers of what lies before the first one of each partition that is new here."""
    if not state.topic_id:
        return Step(state)
    before: dict[Place, int] = {}
    for record in records:
        if (place := place_of(record)) not in state.begun:
            before.setdefault(place, record.offset - 1)
    if not before:
        return Step(state)
    return Step(replace(state, begun=state.begun | before.keys()), _markers(state, before))


def on_written(state: Progress, records: Iterable[Record]) -> Step[Progress, Out]:
    """After all that follows from these records was written: markers of the highest one of each partition."""
    return Step(state, _markers(state, reached(records)))


def _markers(state: Progress, offsets: Mapping[Place, int]) -> tuple[Out, ...]:
    return tuple(
        _marker(state, topic, partition, raw, offset)
        for raw, offset in offsets.items()
        for topic, count in state.targets
        for partition in range(count)
    )


def _marker(state: Progress, topic: str, partition: int, raw: Place, offset: int) -> Out:
    event = PipelineAdvanced(state.pipeline, *raw, offset, state.topic_id)
    envelope = Envelope(f"{state.pipeline}/{raw[0]}/{raw[1]}/{offset}/{partition}", "", state.pipeline, 0.0)
    return out(topic, None, event, envelope, partition)
