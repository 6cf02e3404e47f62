"""What a shard writes to `features.online`, record by record, and under which keys.

key                                    | record
---------------------------------------|-------
`view/entity/shard`                    | `Tile`; a tombstone when its view is dropped
`~view/view/shard`                     | `ViewAdopted`: the view is complete; a tombstone when it is dropped
`~seen/source/bucket[/part]/shard`     | `IdentitiesSeen` of a deduplicated source; a tombstone when they can decide nothing any more
`~shard/source/shard`                  | `FeatureShardAdvanced`: how far the shard came, last in every transaction

All of them go to the partition of the shard, so that one partition holds all that a shard needs to go on.
"""

from collections.abc import Iterable

from headrace.bus.port import Out
from headrace.codec import Stamp, out, tombstone
from headrace.envelope import Envelope
from headrace.events.features import FeatureShardAdvanced, IdentitiesSeen, ViewAdopted
from headrace.features.plan import ViewPlan
from headrace_feature.core.source_fold import Touched

SERVICE = "feature"
VIEW = "~view"


class ShardRecords:
    """The records of one shard. `topic`: the full name of `features.online`."""

    def __init__(self, topic: str, shard: int) -> None:
        self._topic, self._shard = topic, shard

    def tiles(self, touched: Iterable[Touched], cause: Envelope | None, offset: int) -> list[Out]:
        """Tiles as they are after `offset` of the source, written because of the record under `cause`; None for a rebuilt view."""
        stamp = Stamp(self._topic, _envelope("", "tile", cause), self._shard)
        outs = []
        for plan, entity, state in touched:
            key = f"{plan.view.key}/{entity}/{self._shard}"
            outs.append(stamp.out(key, state.encode(plan, entity, self._shard), f"{key}@{offset}"))
        return outs

    def identities(self, seen: Iterable[IdentitiesSeen], cause: Envelope | None, offset: int) -> list[Out]:
        """Identities of a deduplicated source as they are after `offset`."""
        outs = []
        for found in seen:
            key = self._identities_key(found.source, found.bucket, found.part)
            outs.append(out(self._topic, key, found, _envelope(f"{key}@{offset}", "", cause), self._shard))
        return outs

    def expired(self, source: str, parts: Iterable[tuple[int, int]], cause: Envelope | None) -> list[Out]:
        """Tombstones of identities that can decide nothing any more. `parts`: (bucket, part) of each record."""
        keys = [self._identities_key(source, bucket, part) for bucket, part in parts]
        return [self._tombstone(key, "identities.seen", cause) for key in keys]

    def adopted(self, source: str, plan: ViewPlan) -> Out:
        """A view whose tiles are complete from now on."""
        key = self._view_key(plan.view.key)
        event = ViewAdopted(source, self._shard, plan.view, plan.settle_s)
        return out(self._topic, key, event, Envelope(key, "", SERVICE, 0.0), self._shard)

    def dropped(self, view: str, entities: Iterable[str]) -> list[Out]:
        """Tombstones of a view that no project defines any more, tile by tile."""
        keys = [f"{view}/{entity}/{self._shard}" for entity in entities] + [self._view_key(view)]
        return [self._tombstone(key, "tile", None) for key in keys]

    def advanced(self, event: FeatureShardAdvanced, applied: int, cause: Envelope | None) -> Out:
        """How far the shard came: everything before the offset `applied` of the source is contained."""
        key = f"~shard/{event.source}/{self._shard}"
        return out(self._topic, key, event, _envelope(f"{key}@{applied - 1}", "", cause), self._shard)

    def _view_key(self, view: str) -> str:
        return f"{VIEW}/{view}/{self._shard}"

    def _identities_key(self, source: str, bucket: int, part: int) -> str:
        # NB: the first part has the key that the whole bucket had before there were parts.
        return f"~seen/{source}/{bucket}/{part}/{self._shard}" if part else f"~seen/{source}/{bucket}/{self._shard}"

    def _tombstone(self, key: str, kind: str, cause: Envelope | None) -> Out:
        return tombstone(self._topic, key, _envelope(f"{key}@gone", kind, cause), self._shard)


def deleted_by(key: bytes | None) -> tuple[str, str]:
    """What a tombstone deletes: (`VIEW`, key of a view), or (key of a view, entity) of a tile.

    >>> deleted_by(b"~view/carrier@1/0"), deleted_by(b"carrier@1/AA/0")
    (('~view', 'carrier@1'), ('carrier@1', 'AA'))
    """
    kind, _, rest = (key or b"").decode("utf-8", "replace").partition("/")
    return kind, rest.rpartition("/")[0]


def _envelope(ident: str, kind: str, cause: Envelope | None) -> Envelope:
    if cause is None:
        return Envelope(ident, kind, SERVICE, 0.0)
    return Envelope(ident, kind, SERVICE, cause.time_s, causation_id=cause.id)
