"""The Python client against a real gateway and on the log itself: its answers and its errors, with a simulated inference."""

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from libs.cli.tests.client_bench import INPUTS, Bench, both, over_http, serving

from headrace.events.inference import Answer, FellBack, Invalid, Refused, Score, Served
from headrace_cli.client import (
    AsyncClient,
    Client,
    ClientError,
    NotAnswered,
    Rejected,
    Row,
    Unreachable,
    kafka_transport,
)
from headrace_cli.client.http_transport import HttpTransport


@both
async def test_a_prediction_is_typed_and_its_request_holds_what_was_asked(bench: Bench, over: Callable) -> None:
    async with over(bench) as client:
        found = await client.predict("delay", INPUTS, unit="F1", at=datetime(2013, 4, 1, 12, tzinfo=UTC))
    (request,) = await bench.requests()
    assert (found.value, found.label, found.version, found.step, found.outcome) == (0.5, 1, 3, "champion", "served")
    assert (request.event.unit, request.envelope.time_s) == ("F1", 1_364_817_600.0)
    assert request.event.inputs == INPUTS


@both
async def test_many_rows_keep_their_order_over_all_batches(bench: Bench, over: Callable) -> None:
    bench.answer = lambda request: Served(Score(1, "d", request.event.inputs["miles"]))
    async with over(bench) as client:
        rows = [{"miles": float(n), "carrier": "AA"} for n in range(50)]
        found = await client.predict_many("delay", rows, batch_rows=8, request_id="mine")
    assert [prediction.value for prediction in found] == [float(n) for n in range(50)]
    assert {message.envelope.id.removeprefix("shop/") for message in await bench.requests()} == {
        f"mine.{n // 8}/{n % 8}" for n in range(48)
    } | {"mine.6/0", "mine.6/1"}


@both
async def test_a_fallback_is_an_answer_with_its_step(bench: Bench, over: Callable) -> None:
    bench.answer = lambda _: FellBack("prior", "no version yet", Score(0, "", 0.26))
    async with over(bench) as client:
        found = await client.predict("delay", INPUTS)
    assert (found.outcome, found.step, found.version, found.reason) == ("fell_back", "prior", None, "no version yet")


@both
@pytest.mark.parametrize(
    ("answer", "outcome"), [(Invalid("miles is missing", "miles"), "invalid"), (Refused("overload", 2.0), "refused")]
)
async def test_no_prediction_is_an_error_that_carries_why(
    bench: Bench, over: Callable, answer: Answer, outcome: str
) -> None:
    bench.answer = lambda _: answer
    async with over(bench) as client:
        with pytest.raises(NotAnswered) as raised:
            await client.predict("delay", INPUTS)
        many = await client.predict_many("delay", [INPUTS, INPUTS])
    assert raised.value.prediction.outcome == outcome
    assert [found.outcome for found in many] == [outcome, outcome]
    assert len(await bench.requests()) == 3  # what was decided is not asked again


@both
async def test_silence_ends_at_the_deadline_as_unknown(bench: Bench, over: Callable) -> None:
    bench.answer = lambda _: None
    async with over(bench) as client:
        with pytest.raises(NotAnswered) as raised:
            await client.predict("delay", INPUTS, deadline_s=0.1, request_id="r1")
    assert raised.value.prediction.outcome == "unknown"


@both
async def test_a_deployment_that_there_is_not_is_rejected(bench: Bench, over: Callable) -> None:
    following = asyncio.create_task(bench.projects.run(stop := asyncio.Event()))
    async with over(bench) as client:
        with pytest.raises(Rejected, match="nobody"):
            await client.predict("nobody", INPUTS)
    stop.set()
    await following


async def test_a_wrong_key_and_a_wrong_address_are_rejected(bench: Bench) -> None:
    async with serving(bench) as url, AsyncClient(url, key="wrong") as stranger:
        with pytest.raises(Rejected, match="401"):
            await stranger.predict("delay", INPUTS)
    for address in ("ftp://x", "localhost:8080"):
        with pytest.raises(Rejected, match="an address is"):
            Client(address)


class Flaky(httpx.AsyncBaseTransport):
    """A real transport that loses the first `lost` answers, after they were given."""

    def __init__(self, lost: int) -> None:
        self.lost, self.calls = lost, 0
        self._real = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        response = await self._real.handle_async_request(request)
        if self.calls <= self.lost:
            await response.aclose()
            raise httpx.ReadError("the answer was lost")
        return response

    async def aclose(self) -> None:
        await self._real.aclose()


async def test_a_lost_answer_is_asked_for_again_under_the_same_id(bench: Bench) -> None:
    async with serving(bench) as url:
        async with AsyncClient(transport=HttpTransport(url, "s3cret", 3, Flaky(2))) as flaky:
            found = await flaky.predict("delay", INPUTS, request_id="r1")
        async with AsyncClient(transport=HttpTransport(url, "s3cret", 1, Flaky(2))) as flaky:
            with pytest.raises(Unreachable, match="the answer was lost"):
                await flaky.predict("delay", INPUTS)
    assert found.value == 0.5
    assert {message.envelope.id for message in await bench.requests()} >= {"shop/r1"}


async def test_a_gateway_that_is_down_is_unreachable_and_the_error_has_the_id() -> None:
    async with AsyncClient("http://127.0.0.1:9", retries=1) as client:
        with pytest.raises(Unreachable) as raised:
            await client.predict("delay", INPUTS, request_id="r1")
    assert raised.value.request_id == "r1"


async def test_the_blocking_client_does_the_same_from_any_thread(bench: Bench) -> None:
    bench.answer = lambda request: Served(Score(1, "d", request.event.inputs["miles"]))
    async with serving(bench) as url:

        def ask() -> list[float | None]:
            with Client(url, key="s3cret") as client:
                one = client.predict("delay", INPUTS).value
                return [one, *(found.value for found in client.predict_many("delay", [Row(INPUTS), Row(INPUTS)]))]

        found = await asyncio.to_thread(ask)
    assert found == [500, 500, 500]
    assert not any(math.isnan(value or 0) for value in found)


async def test_long_rows_go_out_in_calls_that_a_gateway_takes(bench: Bench) -> None:
    async with over_http(bench) as client:
        found = await client.predict_many("delay", [{"miles": 1.0, "carrier": "x" * 500}] * 300)
    assert [prediction.is_answered for prediction in found] == [True] * 300


@pytest.mark.parametrize("address", ["http://x:99999", "http://[::1", "http://\x00", "kafka://", "x", None])
def test_what_is_no_address_is_an_error_of_the_clients(address: str) -> None:
    with pytest.raises(ClientError), Client(address, deadline_s=0.2, retries=0) as client:
        client.predict("delay", INPUTS)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"outcome": 1}', b'{"outcome":"served"}', b"\xff", b'{"rows":[{}]}']
)
async def test_a_server_that_is_no_gateway_is_reported_as_such(body: bytes) -> None:
    stranger = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    async with AsyncClient(transport=HttpTransport("http://x", None, 0, stranger)) as client:
        for asked in ([INPUTS], [INPUTS, INPUTS]):
            with pytest.raises(ClientError):
                await client.predict_many("delay", asked, deadline_s=0.2)


async def test_no_broker_is_unreachable_and_the_next_call_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_transport, "CONNECT_WITHIN_S", 0.2)
    client = AsyncClient("kafka://127.0.0.1:9")
    for _ in range(2):
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
            await client.predict("delay", INPUTS)
    await client.close()


async def test_a_closed_client_refuses_requests(bench: Bench) -> None:
    client = AsyncClient("http://127.0.0.1:9")
    await client.close()
    with pytest.raises(Rejected, match="closed"):
        await client.predict("delay", INPUTS)

    def blocking() -> None:
        made = Client("http://127.0.0.1:9")
        made.close()
        made.close()
        with pytest.raises(Rejected, match="closed"):
            made.predict("delay", INPUTS)

    await asyncio.to_thread(blocking)
