"""What an HTTP call does: its rows are asked, or it joins the call under the same Idempotency-Key that is being answered."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from headrace_gateway.core.answers import Reply, turned_away
from headrace_gateway.core.joining import Keys, Meaning


class Joining:
    """Calls under an Idempotency-Key: one at a time each, whoever comes meanwhile gets the same answer."""

    def __init__(self, remembered: int) -> None:
        self._keys = Keys(remembered)
        self._running: dict[str, asyncio.Future[Reply]] = {}

    async def once(self, key: str, body: bytes, answer: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply of `answer`, or of the one that runs under this key already."""
        if self._keys.meet(key, hashlib.blake2b(body, digest_size=16).digest()) is Meaning.OTHER:
            return turned_away(422, "this Idempotency-Key was used for another body: a new call needs a new key")
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.ensure_future(answer())
            running.add_done_callback(lambda _: self._running.pop(key, None))
        # NB: whoever goes away must not take the answer from those who joined.
        return await asyncio.shield(running)
