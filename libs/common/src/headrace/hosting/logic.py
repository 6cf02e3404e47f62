"""What a stateful service is to the host of its shards: what it reads to rebuild itself, its steps, and what a step wants written."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from headrace.errors import Poison
from headrace.log.codec import Message
from headrace.log.port import Out, TopicPartition


class Outputs(msgspec.Struct):
    """What one step of a shard wants written.

    `outs`: in the shard's transaction, together with the input offsets. `before`: at once, outside of it, and certainly
    before it is committed. `after`: once it is committed. `dead`: messages that turned out to be poison, dead-lettered in the same transaction. `deferred`:
    makes more of `outs`, called only when they are about to be committed, so that `before` need not wait for it.
    """

    outs: list[Out] = []
    before: list[Out] = []
    after: list[Out] = []
    dead: list[tuple[Message, Poison]] = []
    deferred: Callable[[], list[Out]] | None = None


class Rebuild(msgspec.Struct, frozen=True):
    """A topic to read before anything is consumed: the shard's partition (all of them when `whole`), or only its tail."""

    topic: str
    tail_records: int | None = None
    whole: bool = False


class ShardLogic(Protocol):
    """One shard of a stateful service, without Kafka in it."""

    def rebuild(self) -> Sequence[Rebuild]: ...
    async def on_history(self, message: Message) -> None: ...

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """After the history: where to read from; `committed` as it is, normally. A missing partition starts at its beginning."""
        ...

    async def on_batch(self, batch: Sequence[Any]) -> Outputs:
        """Messages, or whatever the host's `decode` makes of records."""
        ...

    async def on_tick(self) -> Outputs: ...


@runtime_checkable
class Closing(Protocol):
    """A shard's logic that keeps something open beside."""

    async def on_close(self) -> None:
        """End it; called once, after the last step."""
        ...
