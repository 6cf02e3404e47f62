"""What a shard writes to `features.online`, fact by fact, and under which keys.

key                                    | record
---------------------------------------|-------
`view/entity/shard`                    | `Tile`; a tombstone when its view is dropped
`~view/view/shard`                     | `ViewAdopted`: the view is complete; a tombstone when it is dropped
`~seen/source/bucket[/part]/shard`     | `IdentitiesSeen` of a deduplicated source; a tombstone when they can decide nothing any more
`~shard/source/shard`                  | `FeatureShardAdvanced`: how far the shard came, last in every transaction

All of them go to the partition of the shard, so that one partition holds all that a shard needs to go on.
"""

from collections.abc import Iterable
from typing import Any, assert_never

from headrace.events.features import FeatureShardAdvanced, IdentitiesSeen, Tile, ViewAdopted
from headrace.log.codec import Stamp, out, tombstone
from headrace.log.envelope import Envelope, read_headers
from headrace.log.port import Out
from headrace_feature.core.facts import Fact, IdentitiesExpired, ViewDropped, Written

SERVICE = "feature"
_VIEW = "~view"


class ShardRecords:
    """The records of one shard. `topic`: the full name of `features.online`."""

    def __init__(self, topic: str, shard: int) -> None:
        self._topic, self._shard = topic, shard

    def of(self, written: Iterable[Written]) -> list[Out]:
        """The records of these facts, in their order."""
        return [record for found in written for record in self._of_source(found)]

    def _of_source(self, written: Written) -> list[Out]:
        cause = None if written.cause is None else read_headers(written.cause)
        stamp = Stamp(self._topic, _envelope("", "tile", cause), self._shard)
        shard, outs = self._shard, list[Out]()
        for fact in written.facts:
            if isinstance(fact, Tile):  # NB: nearly all facts are tiles, and they share all headers but the id.
                key = f"{fact.view}/{fact.entity}/{shard}"
                outs.append(stamp.out(key, fact, f"{key}@{written.offset}"))
            else:
                outs += self._records(fact, written.offset, cause)
        return outs

    def _records(self, fact: Fact, offset: int, cause: Envelope | None) -> list[Out]:
        match fact:
            case FeatureShardAdvanced():
                (applied,) = fact.applied.values()
                return [self._out(f"~shard/{fact.source}/{self._shard}", fact, applied - 1, cause)]
            case IdentitiesSeen():
                return [self._out(self._identities_key(fact), fact, offset, cause)]
            case IdentitiesExpired():
                return [self._tombstone(self._identities_key(fact), "identities.seen", cause)]
            case ViewAdopted():
                key = f"{_VIEW}/{fact.definition.key}/{self._shard}"
                return [out(self._topic, key, fact, Envelope(key, "", SERVICE, 0.0), self._shard)]
            case ViewDropped():
                keys = [f"{fact.view}/{entity}/{self._shard}" for entity in fact.entities]
                keys.append(f"{_VIEW}/{fact.view}/{self._shard}")
                return [self._tombstone(key, "tile", cause) for key in keys]
            case Tile():
                raise AssertionError("tiles are written by their stamp")
            case _:
                assert_never(fact)

    def _identities_key(self, fact: IdentitiesSeen | IdentitiesExpired) -> str:
        # NB: the first part has the key that the whole bucket had before there were parts.
        bucket = f"{fact.bucket}/{fact.part}" if fact.part else f"{fact.bucket}"
        return f"~seen/{fact.source}/{bucket}/{self._shard}"

    def _out(self, key: str, event: Any, offset: int, cause: Envelope | None) -> Out:
        return out(self._topic, key, event, _envelope(f"{key}@{offset}", "", cause), self._shard)

    def _tombstone(self, key: str, kind: str, cause: Envelope | None) -> Out:
        return tombstone(self._topic, key, _envelope(f"{key}@gone", kind, cause), self._shard)


def deleted_by(key: bytes | None) -> tuple[str | None, str]:
    """What a tombstone deletes: (view, entity) of a tile, or (None, view) of an adopted view; views by their keys.

    >>> deleted_by(b"carrier@1/AA/0"), deleted_by(b"~view/carrier@1/0")
    (('carrier@1', 'AA'), (None, 'carrier@1'))
    """
    kind, _, rest = (key or b"").decode("utf-8", "replace").partition("/")
    return (None if kind == _VIEW else kind), rest.rpartition("/")[0]


def _envelope(ident: str, kind: str, cause: Envelope | None) -> Envelope:
    if cause is None:
        return Envelope(ident, kind, SERVICE, 0.0)
    return Envelope(ident, kind, SERVICE, cause.time_s, causation_id=cause.id)
