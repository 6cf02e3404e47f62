"""What an HTTP call does: its rows are asked, or it joins the call under the same Idempotency-Key that is being answered."""

import asyncio
from collections.abc import Awaitable, Callable

from headrace.hosting.health import Health
from headrace_gateway.core.answers import Reply, turned_away
from headrace_gateway.core.joining import Keys, Meaning


class Joining:
    """Calls under an Idempotency-Key: one at a time each, whoever comes meanwhile gets the same answer."""

    def __init__(self, remembered: int) -> None:
        self._keys = Keys(remembered)
        self._running: dict[str, asyncio.Future[Reply]] = {}

    def tell(self, health: Health) -> None:
        """What is held, for the metrics."""
        health.holds("idempotency keys", self._keys.held_bytes, self._keys.limit_bytes)

    async def once(self, key: str, body: bytes, answer: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply of `answer`, or of the one that runs under this key already."""
        if self._keys.meet(key, body) is Meaning.OTHER:
            return turned_away(422, "this Idempotency-Key was used for another body: a new call needs a new key")
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.ensure_future(answer())
            running.add_done_callback(lambda done: self._forget(key, done))
        # NB: whoever goes away must not take the answer from those who joined.
        return await asyncio.shield(running)

    def _forget(self, key: str, done: asyncio.Future[Reply]) -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()  # all who wait are told; when nobody does any more, asyncio would log it
