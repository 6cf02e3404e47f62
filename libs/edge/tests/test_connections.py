"""An app behind the edge on real sockets: clients that are slow, greedy, silent or no clients at all."""

import asyncio
import socket

import httpx
import pytest

from headrace.errors import Misconfigured
from headrace.hosting.health import Health
from headrace_edge.rules.limits import EdgeLimits
from headrace_edge.server import HttpServer

from .conftest import Serving


async def test_a_real_server_answers_and_ends_in_order(serving: Serving) -> None:
    async with (
        serving() as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.post("/x", json=BODY)).status_code == 200


async def received(port: int, *parts: bytes) -> bytes:
    """All that the server sends before it closes the connection, when it is sent `parts`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.writelines(parts)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


BODY = {"miles": 500}
POST = b"POST /x HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "parts", [(), (b"POST /v2",), (POST, b"X-More: 1\r\n"), (POST + b"Content-Length: 90\r\n\r\n{",)]
)
async def test_who_sends_slowly_gets_408_and_the_others_are_served(serving: Serving, parts: tuple[bytes, ...]) -> None:
    async with serving(EdgeLimits(head_within_s=0.3, body_within_s=0.3)) as port:
        slow = asyncio.create_task(received(port, *parts))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/x", json=BODY)).status_code == 200
        assert (await slow).startswith(b"HTTP/1.1 408 ")


async def test_a_head_without_end_is_431_and_a_bad_one_400(serving: Serving) -> None:
    async with serving() as port:
        assert (await received(port, POST, *[b"X-%d: %s\r\n" % (n, b"x" * 2000) for n in range(100)])).startswith(
            b"HTTP/1.1 431 "
        )
        assert (await received(port, b"\x16\x03\x01 garbage\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_connections_over_the_limit_are_503_and_the_others_are_served(serving: Serving) -> None:
    async with serving(EdgeLimits(connections=2)) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/x", json=BODY)).status_code == 200
            _, second = await asyncio.open_connection("127.0.0.1", port)
            answer = await received(port)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 1" in answer
            assert (await client.post("/x", json=BODY)).status_code == 200
        second.close()


async def test_a_body_over_the_limit_is_413_while_it_is_still_being_sent(serving: Serving) -> None:
    async with (
        serving() as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.post("/x", content=b"x" * 3_000_000)).status_code == 413
        assert (await client.post("/x", json=BODY)).status_code == 200


ASK = b"POST /ask HTTP/1.1\r\nHost: x\r\n"
ASK += b'Content-Length: 45\r\n\r\n{"inputs": {"miles": 500, "carrier": "AAAA"}}'


async def test_requests_sent_ahead_are_answered_in_order_and_too_many_end_the_connection(
    serving: Serving, health: Health
) -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK * 20)
        for _ in range(20):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert head.startswith(b"HTTP/1.1 200 ")
            size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(size)
        writer.close()
        assert (await received(port, ASK * 300)).startswith(b"HTTP/1.1 503 ")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/x", json=BODY)).status_code == 200
    assert health.unforeseen == 0


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
WEBSOCKET = b"connection: keep-alive, upgrade\r\nUPGRADE: websocket\r\nSec-WebSocket-Version: 13\r\n"


def request_that_offers(offer: bytes, *, chunked: bool = False) -> bytes:
    head, _, body = ASK.partition(b"\r\n\r\n")
    if chunked:
        head, _, _ = head.partition(b"\r\nContent-Length")
        head += b"\r\nTransfer-Encoding: chunked"
        body = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    return head + b"\r\n" + offer + b"\r\n" + body


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET, b"Connection: Upgrade\r\nUpgrade: TLS/1.0, h2c\r\n"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upgrade_that_is_offered_is_ignored_and_the_body_is_read(
    serving: Serving, health: Health, offer: bytes, chunked: bool
) -> None:
    request = request_that_offers(offer, chunked=chunked)
    last = ASK.replace(b"Host: x", b"Host: x\r\nConnection: close")
    async with serving() as port:
        for pieces in ([request], [bytes([byte]) for byte in request], [request[:-20], request[-20:]]):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            writer.write(request * 2 + last)  # sent ahead
            answers = await asyncio.wait_for(reader.read(), 20)
            assert answers.count(b"HTTP/1.1 200 ") == 4
            assert answers.count(b"HTTP/1.1 ") == 4
            writer.close()
    assert health.unforeseen == 0


async def test_who_only_offers_an_upgrade_is_answered_and_kept(serving: Serving) -> None:
    async with serving() as port:
        asked = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + b"\r\n"
        answers = await received(port, asked, asked.replace(b"keep-alive", b"close"))
        assert answers.count(b"HTTP/1.1 200 ") == 2
        assert (await received(port, b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert (await received(port, POST, H2C, *[b"X-%d: %s\r\n" % (n, b"x" * 2000) for n in range(100)])).startswith(
            b"HTTP/1.1 431 "
        )


async def test_line_ends_between_requests_hold_no_connection(serving: Serving) -> None:
    async with serving(EdgeLimits(head_within_s=0.3)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        await asyncio.wait_for(reader.readuntil(b"}"), 20)
        writer.write(b"\r\n")
        assert b"HTTP/1.1 408 " in await asyncio.wait_for(reader.read(), 20)
        writer.close()


async def test_who_does_not_read_his_answers_is_hung_up_on(serving: Serving) -> None:
    async with serving(EdgeLimits(read_within_s=0.3)) as port:
        with socket.create_connection(("127.0.0.1", port)) as unread:
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            unread.setblocking(False)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(send_for_ever(unread, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"), 60)


async def send_for_ever(unread: socket.socket, made: bytes) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(unread, made)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v2 HTTP/1.1\r\nX-Big: %s\r\n\r\n" % (b"x" * 40_000),
        b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 64_000),
        b"GET /v2 HTTP/1.1\r\nIdempotency-Key: %s\r\n\r\n" % (b"x" * 60_000),
        b"".join([b"GET /v2 HTTP/1.1\r\n", *(b"X-%d: y\r\n" % n for n in range(9000)), b"\r\n"]),
    ],
)
async def test_a_head_over_the_limit_is_431_though_it_comes_in_one_piece(serving: Serving, head: bytes) -> None:
    async with serving() as port:
        assert (await received(port, head)).startswith(b"HTTP/1.1 431 ")


def test_a_taken_port_is_a_clear_error() -> None:
    first = HttpServer(None, "127.0.0.1", 0, EdgeLimits(), "THE_PORT")
    with pytest.raises(Misconfigured, match="set THE_PORT"):
        HttpServer(None, "127.0.0.1", first.port, EdgeLimits(), "THE_PORT")
    first.close()
