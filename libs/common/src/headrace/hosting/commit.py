"""Group commit: while one transaction commits, the next batches are handled, and their outputs become the next
transaction.

A shard gives each batch's outputs and input offsets to `gather`; `run` commits them together, all or none:

1. `before` is sent at once, outside of the transaction, and is acknowledged before the commit;
2. `outs`, `deferred` (made only now), dead letters and offsets are one transaction;
3. after the commit `committed` is called, and `after` is sent. The replies of at most two transactions can be lost with
   the process.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from headrace.hosting.logic import Outputs
from headrace.hosting.sends import Sends
from headrace.latency import Digest
from headrace.log.port import Out, TopicPartition, Transactor

# The number of gathered records above which the shard waits for a commit before it handles more.
MAX_PENDING = 20_000


class _Pending(msgspec.Struct):
    """The content of the next transaction. `count`: records, including those not made yet. `sends`: replies being
    sent.
    """

    sends: list[asyncio.Task[None]] = []
    outs: list[Out] = []
    after: list[Out] = []
    deferred: list[Callable[[], list[Out]]] = []
    committed: list[Callable[[], None]] = []
    count: int = 0


class GroupCommit:
    """Gathers the outputs of batches, and commits them by the shard's transactor, one transaction after another.

    `linger_s`: how long a transaction that no reply waits for may gather more work. `note_progress`: called after each
    commit. `committed`: the group's committed offsets. `took`: gets the duration of each commit.
    """

    def __init__(
        self, sends: Sends, linger_s: float, note_progress: Callable[[], None], took: Digest | None = None
    ) -> None:
        self.committed: Mapping[TopicPartition, int] = {}
        self._sends, self._linger_s, self._note_progress = sends, linger_s, note_progress
        self._took = took or Digest()
        self._pending = _Pending()
        self._offsets: dict[TopicPartition, int] = {}
        self._gathered, self._urgent, self._drained = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._drained.set()
        self._closing = False

    @property
    def is_drained(self) -> bool:
        """Whether everything that was gathered is committed."""
        return self._drained.is_set()

    def gather(
        self, outputs: Outputs, dead_letters: Sequence[Out], handled: Mapping[TopicPartition, int], messages: int
    ) -> None:
        """Add to the next transaction. `handled`: the next offset per partition; `messages`: the number of records in
        the batch.
        """
        pending = self._pending
        if outputs.before:
            pending.sends.append(self._sends.later(outputs.before))
        pending.outs += dead_letters
        pending.outs += outputs.outs
        pending.after += outputs.after
        if outputs.deferred is not None:
            pending.deferred.append(outputs.deferred)
        if outputs.committed is not None:
            pending.committed.append(outputs.committed)
        pending.count += len(dead_letters) + max(len(outputs.outs), messages)
        # NB: a shard that reads earlier records again never moves the group's offsets back.
        self._offsets.update({tp: max(o, self.committed.get(tp, 0)) for tp, o in handled.items()})
        if pending.outs or pending.after or pending.deferred or self._offsets:
            self._drained.clear()
            self._gathered.set()
        if pending.after or dead_letters or pending.count > MAX_PENDING:
            self._urgent.set()

    async def room(self) -> None:
        """Wait while more is gathered than one transaction should hold. Returns at once after `close`."""
        while self._pending.count > MAX_PENDING and not self._closing:
            await self._drained.wait()

    async def flush(self) -> None:
        """Wait until everything that was gathered is committed, without lingering. Returns at once after `close`."""
        self._urgent.set()
        while not self._closing and not self._drained.is_set():
            await self._drained.wait()

    def close(self) -> None:
        """Let `run` commit what was gathered and end, and wake all waiters."""
        self._closing = True
        self._drained.set()
        self._urgent.set()

    async def run(self, transactor: Transactor) -> None:
        """Commit until closed. Raises what the log raises; then nothing of that transaction is committed."""
        replies: list[asyncio.Task[None]] = []
        while not self._closing or self._gathered.is_set():
            if not await is_set(self._gathered, 0.2):
                continue
            # No reply waits for this transaction, so what is handled within a moment is added to it.
            if self._linger_s and not self._closing:
                await is_set(self._urgent, self._linger_s)
            self._gathered.clear()
            self._urgent.clear()
            pending, self._pending = self._pending, _Pending()
            offsets, self._offsets = self._offsets, {}
            await self._commit(transactor, pending, offsets)
            # NB: so only the replies of the last two transactions can be lost with this process.
            await asyncio.gather(*replies)
            replies = [self._sends.later(pending.after)] if pending.after else []
            if not self._gathered.is_set():
                self._drained.set()

    async def _commit(self, transactor: Transactor, pending: _Pending, offsets: dict[TopicPartition, int]) -> None:
        for make in pending.deferred:
            pending.outs += make()
            await asyncio.sleep(0)
        # NB: a process that dies here has committed and published nothing, and the next owner does the work again.
        await asyncio.gather(*pending.sends)
        if pending.outs or offsets:
            began_s = asyncio.get_running_loop().time()
            await transactor.commit(pending.outs, offsets)
            self._took.add(asyncio.get_running_loop().time() - began_s)
            self.committed = {**self.committed, **offsets}
        for call in pending.committed:
            call()
        self._note_progress()


async def is_set(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether an event is set, or becomes set within `timeout_s`."""
    if not event.is_set():
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
    return True
