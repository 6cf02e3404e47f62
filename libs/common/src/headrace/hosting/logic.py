"""The interface between a stateful service and the host of its shards: rebuilding, steps, and the outputs of a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from headrace.errors import Poison
from headrace.log.codec import Message
from headrace.log.port import Out, TopicPartition


class Outputs(msgspec.Struct):
    """The outputs of one step of a shard.

    - `outs`: written in the shard's transaction, together with the input offsets.
    - `before`: sent at once, outside of the transaction, and certainly before it is committed.
    - `after`: sent once it is committed.
    - `dead`: messages that turned out to be poison, which are dead-lettered in the same transaction.
    - `deferred`: makes more of `outs`, and is called only when they are about to be committed, so that `before` does
      not wait.
    - `committed`: called once all of it is committed. It must be quick, and raise nothing.
    """

    outs: list[Out] = []
    before: list[Out] = []
    after: list[Out] = []
    dead: list[tuple[Message, Poison]] = []
    deferred: Callable[[], list[Out]] | None = None
    committed: Callable[[], None] | None = None


class Rebuild(msgspec.Struct, frozen=True):
    """A topic to read before anything is consumed: the shard's partition (all of them when `whole`), or only its
    tail.
    """

    topic: str
    tail_records: int | None = None
    whole: bool = False


class ShardLogic(Protocol):
    """One shard of a stateful service, without Kafka in it."""

    def rebuild(self) -> Sequence[Rebuild]:
        """The topics to read before the first batch, so that the state is that of the former owner. Does not block."""
        ...

    async def on_history(self, message: Message) -> None:
        """Take one record of `rebuild`, in offset order per partition. What it raises ends the process."""
        ...

    async def on_start(self, committed: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Return the offsets to read from, after the history: normally `committed`. Other partitions start at their
        beginning.
        """
        ...

    async def on_batch(self, batch: Sequence[Any]) -> Outputs:
        """Handle a batch of messages, or of what the host's `decode` makes of records. May await.

        What it raises is treated as the fault of one record of the batch.
        """
        ...

    async def on_tick(self) -> Outputs:
        """Do periodic work, every `tick_s` while no batch waits. Its outputs are written like those of a batch."""
        ...


@runtime_checkable
class Closing(Protocol):
    """A shard's logic that holds resources."""

    async def on_close(self) -> None:
        """Release them. Called once, after the last step."""
        ...
