"""An answer that goes on: server-sent events, until they end, the client leaves, or the service stops."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from headrace_edge.edge import Receive, Send
from headrace_edge.rules.events import EVENT_HEADERS


async def stream_events(receive: Receive, send: Send, events: AsyncGenerator[bytes, None], stop: asyncio.Event) -> None:
    """Send `events` one by one, each as soon as it is there. Waits while the client reads slowly; `events` is closed at the end.

    `stop`: of the service. A stream that did not end by it would hold the stop up for five seconds, and be cut.
    """
    await send({"type": "http.response.start", "status": 200, "headers": list(EVENT_HEADERS)})
    sending = asyncio.create_task(_send_all(send, events))
    ends = [asyncio.create_task(_until_gone(receive)), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait({sending, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, *ends):
            task.cancel()
        await asyncio.gather(sending, *ends, return_exceptions=True)
    await send({"type": "http.response.body", "body": b""})


async def _send_all(send: Send, events: AsyncGenerator[bytes, None]) -> None:
    async with contextlib.aclosing(events):
        async for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
