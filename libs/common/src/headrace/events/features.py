"""The online store on the wire, and how far a shard of it has come."""

from typing import Annotated

import msgspec

from headrace.events.definition import ViewDefinition

# What Kafka lets a topic be called, and its id: whoever writes to a source may write a marker.
RAW_TOPIC = "[a-zA-Z0-9._-]{1,249}"
TOPIC_ID = "[!-~]{0,36}"


class PaneColumns(msgspec.Struct, frozen=True, gc=False):
    """Panes of one width of one tile, ascending, as little-endian arrays of equal length.

    `width_s`: pane width. `index`: int64 pane numbers (pane k covers [k*width, (k+1)*width)). `count`: int64.
    `columns`: per value column of the view its partial aggregates: `sum`, `sum_squares`, `min`, `max`, `last` as
    float64, `last_at` (seconds) as float64, under the name `column:aggregate`; only those that the view's features need.
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
    """How far a shard's tiles reach: written last in every transaction, to the same partition as its tiles.

    `applied`: next offset of each `source topic/partition` (exclusive). `origins`: per raw `topic/partition` the highest
    raw offset whose effects are all contained (inclusive). `sparse`: origins above it that were applied, to drop
    repeats: per raw `topic/partition` a list of `offset*65536+index`. `late`: events that came after their pane was dropped.
    `repeated`: events dropped as repeats of one another. `views`: keys of the views that are complete up to `applied`.
    `topic_ids`: per raw `topic/partition` which topic of that name the two speak of, where it is known.
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
    """A shard keeps this view's tiles: written when they are complete, so that they can be kept on while a changed view
    is built beside them. `definition`, `feature_delay_s`: all that folding needs.
    """

    source: str
    partition: int
    definition: ViewDefinition
    feature_delay_s: float


class IdentitiesSeen(msgspec.Struct, frozen=True, gc=False):
    """Identities of a deduplicated source seen in five minutes of event time (`bucket`), as little-endian arrays of equal
    length. `codes`: uint64 hashes of key and identity. `at_s`: float64 instants of the newest event of each that counted.
    `part`: a bucket of many identities is several records; the first is number 0.
    """

    source: str
    partition: int
    bucket: int
    codes: bytes
    at_s: bytes
    part: int = 0


class PipelineAdvanced(msgspec.Struct, frozen=True, gc=False):
    """A marker that a pipeline writes to every partition of its outputs: all that follows from the raw partition's
    records up to `offset` (inclusive) has been written. A later record with an origin at or below it is a repeat.

    `topic_id`: of the raw topic; with another one it was deleted and made again, and what was known of the old one counts
    no more. Before the first record that a process reads of a partition, it marks what lies before that one.
    """

    pipeline: str
    topic: Annotated[str, msgspec.Meta(pattern=f"^{RAW_TOPIC}$")]
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    offset: int
    topic_id: Annotated[str, msgspec.Meta(pattern=f"^{TOPIC_ID}$")] = ""
