"""The online feature store as records, and how far a shard of it has progressed."""

from typing import Annotated

import msgspec

from headrace.events.definition import ViewDefinition

# Limits of a topic's name and id, as Kafka has them. They are checked because anyone who writes to a source may write a
# marker.
RAW_TOPIC = "[a-zA-Z0-9._-]{1,249}"
TOPIC_ID = "[!-~]{0,36}"


class PaneColumns(msgspec.Struct, frozen=True, gc=False):
    """Panes of one width of one tile, ascending, as little-endian arrays of equal length.

    `width_s`: the width of a pane. `index`: int64 pane numbers; pane k covers [k*width, (k+1)*width). `count`: int64.
    `columns`: the partial aggregates per value column of the view, under the name `column:aggregate`: `sum`,
    `sum_squares`, `min`, `max`, `last` and `last_at` (seconds), all float64. Only those that the view's features need
    are there.
    """

    width_s: int
    index: bytes
    count: bytes
    columns: dict[str, bytes] = {}


class Tile(msgspec.Struct, frozen=True, gc=False):
    """The partial aggregates of one entity from one source partition: a ring of panes for each pane width.

    `view`: the view's key, `<name>@<digest>`.
    """

    view: str
    entity: str
    source_partition: int
    panes: tuple[PaneColumns, ...]


class FeatureShardAdvanced(msgspec.Struct, frozen=True):
    """How far a shard's tiles reach. It is written last in every transaction, to the same partition as its tiles.

    `applied`: the next offset of each `source topic/partition` (exclusive). `origins`: per raw `topic/partition` the
    highest raw offset up to which all effects are contained (inclusive). `sparse`: the applied origins above it, by
    which repeats are dropped: per raw `topic/partition` a list of `offset*65536+index`. `late`: the number of events
    that came after their pane was dropped. `repeated`: the number of events dropped as repeats. `views`: keys of the
    views that are complete up to `applied`. `topic_ids`: per raw `topic/partition` the id of the topic that `origins`
    and `sparse` refer to, where known.
    """

    source: str
    partition: int
    applied: dict[str, int]
    origins: dict[str, int] = {}
    sparse: dict[str, list[int]] = {}
    late: int = 0
    repeated: int = 0
    views: tuple[str, ...] = ()
    max_event_s: float = 0.0
    topic_ids: dict[str, str] = {}


class ViewAdopted(msgspec.Struct, frozen=True):
    """A shard keeps this view's tiles.

    It is written when the tiles are complete, so that they are kept while a changed view is built beside them.
    `definition` and `feature_delay_s` are all that folding needs.
    """

    source: str
    partition: int
    definition: ViewDefinition
    feature_delay_s: float


class IdentitiesSeen(msgspec.Struct, frozen=True, gc=False):
    """Identities of a deduplicated source seen in five minutes of event time (`bucket`), as little-endian arrays.

    The arrays have equal length. `codes`: uint64 hashes of key and identity. `at_s`: float64 instants of the newest
    counted event of each. `part`: a bucket with many identities takes several records, numbered from 0.
    """

    source: str
    partition: int
    bucket: int
    codes: bytes
    at_s: bytes
    part: int = 0


class PipelineAdvanced(msgspec.Struct, frozen=True, gc=False):
    """A progress marker, which a pipeline writes to every partition of its outputs.

    All output of the raw partition's records up to `offset` (inclusive) has been written. A later record with an origin
    at or below it is a repeat. `topic_id`: the id of the raw topic. Another id means that the topic was deleted and
    created again, and that everything known of the old one is void. Before a process reads its first record of a
    partition, it writes a marker for what lies before that record.
    """

    pipeline: str
    topic: Annotated[str, msgspec.Meta(pattern=f"^{RAW_TOPIC}$")]
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    offset: int
    topic_id: Annotated[str, msgspec.Meta(pattern=f"^{TOPIC_ID}$")] = ""
