"""Answers that go on: events reach their client at once, for longer than every limit, and end with the service."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator

import httpx
import pytest

from headrace.hosting.catalogue import HTTP, HTTP_REQUESTS
from headrace.hosting.health import Health
from headrace_edge.edge import Receive, Scope, Send, respond
from headrace_edge.rules.compression import packed
from headrace_edge.rules.events import event_bytes
from headrace_edge.rules.limits import EdgeLimits
from headrace_edge.rules.replies import Reply
from headrace_edge.streaming import stream_events

from .conftest import Serving

SHORT = EdgeLimits(head_within_s=0.2, body_within_s=0.2, read_within_s=0.2)
GET = b"GET /events HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nAccept: text/event-stream\r\n\r\n"
LARGE = bytes(12_000_000)


class Source:
    """Sends what is put in, and remembers whether its stream was closed."""

    def __init__(self) -> None:
        self.put: asyncio.Queue[bytes] = asyncio.Queue()
        self.stop, self.closed = asyncio.Event(), asyncio.Event()

    async def events(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield event_bytes(await self.put.get())
        finally:
            self.closed.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await stream_events(receive, send, self.events(), self.stop)


async def next_chunk(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        size = int(await reader.readline(), 16)
        return (await reader.readexactly(size + 2))[:-2]


async def test_a_stream_outlives_every_limit_and_each_event_arrives_before_the_next_is_made(serving: Serving) -> None:
    source = Source()
    async with serving(SHORT, source) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).lower()
        assert b"content-type: text/event-stream\r\n" in head
        assert b"content-encoding" not in head
        begun_s, count = time.monotonic(), 0
        while time.monotonic() - begun_s < 1.2:  # six times as long as each limit
            source.put.put_nowait(b"x" * 2000)  # as large as what would be compressed
            assert await next_chunk(reader) == event_bytes(b"x" * 2000)
            count += 1
            await asyncio.sleep(0.25 if count % 2 else 0.0)  # longer than each limit: nothing happens at all meanwhile
        writer.close()
        async with asyncio.timeout(20):
            await source.closed.wait()
    assert count >= 6


async def test_a_stop_of_the_service_ends_the_stream_in_order(serving: Serving, health: Health) -> None:
    source = Source()
    async with serving(SHORT, source) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        source.stop.set()
        assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 20) == b"0\r\n\r\n"
        assert source.closed.is_set()
        writer.close()
    assert health.unforeseen == 0
    assert health.measured.read(HTTP_REQUESTS) == {("edge", "2xx"): 1}
    assert health.measured.read(HTTP) == {}  # as long as its reader stays: that is no duration of ours


async def test_a_stream_that_raises_is_counted_and_its_connection_closed(serving: Serving, health: Health) -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield event_bytes(b"1")
        raise ZeroDivisionError

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await stream_events(receive, send, events(), asyncio.Event())

    async with serving(SHORT, app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        received = await asyncio.wait_for(reader.read(), 20)
        assert event_bytes(b"1") in received
        assert not received.endswith(b"0\r\n\r\n")
        writer.close()
    assert health.unforeseen == 1


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, Reply(200, LARGE, {"Content-Encoding": "identity"}, "application/octet-stream"), {})


def slow_socket(port: int) -> socket.socket:
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(True)
    reader.connect(("127.0.0.1", port))
    reader.setblocking(False)
    return reader


async def read_some(reader: socket.socket, size: int) -> int:
    return len(await asyncio.get_running_loop().sock_recv(reader, size))


async def test_who_reads_slowly_gets_a_large_answer_to_its_end(serving: Serving) -> None:
    async with serving(EdgeLimits(read_within_s=0.3), large) as port:
        with slow_socket(port) as reader:
            await asyncio.get_running_loop().sock_sendall(reader, GET)
            begun_s, received = time.monotonic(), 0
            async with asyncio.timeout(60):
                while received < len(LARGE):
                    got = await read_some(reader, 65_536)
                    assert got, f"hung up on after {received} bytes"
                    received += got
                    # An even pace: the whole takes three times as long as may pass without reading.
                    await asyncio.sleep(max(0.0, begun_s + received / len(LARGE) - time.monotonic()))
            assert time.monotonic() - begun_s > 0.9


async def test_who_stops_reading_a_large_answer_is_hung_up_on(serving: Serving) -> None:
    async with serving(EdgeLimits(read_within_s=0.3), large) as port:
        with slow_socket(port) as reader:
            await asyncio.get_running_loop().sock_sendall(reader, GET)
            received = await read_some(reader, 65_536)
            await asyncio.sleep(1.0)  # what is limited is time
            with pytest.raises(ConnectionError):  # noqa: PT012 - whichever read meets the end
                while got := await read_some(reader, 1_000_000):
                    received += got
                raise ConnectionResetError
            assert received < len(LARGE)


async def test_what_is_compressed_already_is_sent_as_it_is(serving: Serving) -> None:
    bundle = b"export const page = 1;" * 500

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reply = Reply(200, packed(bundle, "gzip"), {"Content-Encoding": "gzip"}, "text/javascript")
        await respond(send, reply, dict(scope["headers"]))

    async with serving(SHORT, app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/page.js")
        assert (answer.content, answer.headers["content-encoding"]) == (bundle, "gzip")
        assert int(answer.headers["content-length"]) == len(packed(bundle, "gzip"))
