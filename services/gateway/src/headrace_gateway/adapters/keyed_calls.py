"""The calls under an Idempotency-Key that are being answered: one task per key, whose answer all callers of that key share."""

import asyncio
from collections.abc import Awaitable, Callable

from headrace.hosting.health import Health
from headrace_edge.rules.replies import Reply, error_reply
from headrace_gateway.core.idempotency import IdempotencyKeys, KeyUse


class KeyedCalls:
    """Under each Idempotency-Key one call is answered at a time. `remembered`: keys whose bodies are compared with later ones."""

    def __init__(self, remembered: int) -> None:
        self._keys = IdempotencyKeys(remembered)
        self._running: dict[str, asyncio.Future[Reply]] = {}

    def report(self, health: Health) -> None:
        """Set the metrics of the memory that is held."""
        health.holds("idempotency keys", self._keys.held_bytes, self._keys.limit_bytes)

    async def once(self, key: str, body: bytes, answer: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply of `answer`, or of the call that runs under this key already; 422 for a key that was used for another body.

        Waits for that reply, and raises what `answer` raises.
        """
        if self._keys.note(key, body) is KeyUse.OTHER:
            return error_reply(422, "this Idempotency-Key was used for another body: a new call needs a new key")
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.ensure_future(answer())
            running.add_done_callback(lambda done: self._forget(key, done))
        # NB: a client that goes away must not cancel the answer of those who share it.
        return await asyncio.shield(running)

    def _forget(self, key: str, done: asyncio.Future[Reply]) -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            # All who wait receive the error. Where nobody waits any more, asyncio would log it as never retrieved.
            done.exception()
