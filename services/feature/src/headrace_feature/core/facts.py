"""What a shard has to write: facts about its tiles, its views, and how far it came."""

from dataclasses import dataclass
from typing import Any, Protocol

from headrace.events.features import FeatureShardAdvanced, IdentitiesSeen, Tile, ViewAdopted
from headrace.log.envelope import Origin
from headrace.log.port import Record


class Read(Protocol):
    """A record of a source as it was read: the event (or a pipeline's progress marker) and its origin; see `SourceEvent`."""

    @property
    def record(self) -> Record:
        """Where it was read."""
        ...

    @property
    def event(self) -> Any:
        """An event of the source, or `PipelineAdvanced`."""
        ...

    @property
    def origin(self) -> Origin | None:
        """The raw record that the event was made of; None where its writer names none."""
        ...


@dataclass(frozen=True, slots=True)
class ViewDropped:
    """A view that no project defines any more: it is deleted, tile by tile. `view`: its key; `entities`: of its tiles."""

    source: str
    view: str
    entities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdentitiesExpired:
    """One part of a bucket of identities can decide nothing any more, and is deleted."""

    source: str
    bucket: int
    part: int


Fact = Tile | IdentitiesSeen | IdentitiesExpired | ViewAdopted | ViewDropped | FeatureShardAdvanced


@dataclass(frozen=True, slots=True)
class Written:
    """Facts about one source that belong together, in the order in which they are written.

    `cause`: the last record that was folded; None when no record was, since views were completed, adopted or dropped.
    `offset`: of the source, up to which the tiles among them contain everything.
    """

    facts: tuple[Fact, ...]
    offset: int
    cause: Record | None = None
