"""The Python client against a real gateway and on the log itself, with a simulated inference."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

import httpx
import numpy as np
import pandas as pd
import pytest
import pytest_asyncio

from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.inference import Answer, FellBack, Invalid, PredictionAnswered, Refused, Score, Served
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, header, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import Category, Deployment, Number, Project
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
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
from headrace_cli.client.kafka_transport import KafkaTransport
from headrace_edge.rules.callers import Caller
from headrace_edge.rules.callers import digest_of as digest_of_key
from headrace_gateway.app import Gateway, wire

PROJECT = compile_project(
    Project("p", [Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")])])
)
INPUTS = {"miles": 500, "carrier": "AA"}


class Bench:
    """A log with a project, a gateway with one key, and a simulated inference."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.clock, self.topics = log, SystemClock(), Topics.load()
        self.codec = Codec(self.topics)
        self.projects = Projects(log, self.codec, self.topics)
        self.answer: Callable[[Message], Answer | None] = lambda _: Served(Score(3, "d", 0.5))

    async def set_up(self) -> None:
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, 0.0)
        self.log.append(out(self.topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0)))
        await self.projects.start()

    async def gateway(self) -> Gateway:
        health = Health("gateway", "gateway-1", failures={})
        address, keys = ("127.0.0.1", 0), (Caller("shop", digest_of_key("s3cret"), "shop"),)
        return await wire(self.log, self.codec, self.topics, self.projects, health, self.clock, address, callers=keys)

    async def respond(self, stop: asyncio.Event) -> None:
        reader = await self.log.reader(await self.log.partitions(self.topics.name("inference.requests")), "beginning")
        while not stop.is_set():
            for record in await reader.fetch(0.05):
                request = self.codec.decode(record)
                answer = self.answer(request)
                if answer is not None:
                    self.log.append(self.reply(request, answer))

    def reply(self, request: Message, answer: Answer) -> Out:
        answered = PredictionAnswered(request.envelope.id, request.event.deployment, answer)
        reply_id = (header(request.record.headers, "headrace_reply_id") or "").encode()
        partition = int(header(request.record.headers, "headrace_reply_partition") or "0")
        made = out(self.topics.name("inference.replies"), None, answered, Envelope("x", "", "test", 0.0))
        return Out(made.topic, None, made.value, (*made.headers, ("headrace_reply_id", reply_id)), partition)

    async def requests(self) -> list[Message]:
        return await read_all(self.log, self.codec, [self.topics.name("inference.requests")])


@pytest_asyncio.fixture
async def bench(memory_log: MemoryLog) -> AsyncIterator[Bench]:
    found = Bench(memory_log)
    await found.set_up()
    stop = asyncio.Event()
    responding = asyncio.create_task(found.respond(stop))
    yield found
    stop.set()
    await responding


@asynccontextmanager
async def serving(bench: Bench) -> AsyncIterator[str]:
    gateway, stop = await bench.gateway(), asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    yield f"http://127.0.0.1:{gateway.port}"
    stop.set()
    await running


@asynccontextmanager
async def over_http(bench: Bench) -> AsyncIterator[AsyncClient]:
    async with serving(bench) as url, AsyncClient(url, key="s3cret") as client:
        yield client


@asynccontextmanager
async def over_kafka(bench: Bench) -> AsyncIterator[AsyncClient]:
    transport = KafkaTransport(bench.log, bench.codec, bench.topics, bench.projects, bench.clock)
    async with AsyncClient(transport=transport) as client:
        yield client


both = pytest.mark.parametrize("over", [over_http, over_kafka])


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


VALUES = [
    (np.float64(5), 5.0),
    (np.float32(0.5), 0.5),
    (np.int64(5), 5),
    (np.bool_(True), True),
    (np.str_("AA"), "AA"),
    (Decimal("2.5"), 2.5),
    (pd.NA, None),
    (pd.NaT, None),
    (pd.Series([1.5, None], dtype="Float64")[0], 1.5),
    (pd.Series([7], dtype="Int64")[0], 7),
    (np.array(2.5), 2.5),
    (np.array(7), 7),
    (np.array("AA"), "AA"),
    (np.array(math.nan), None),
    (np.array("NaT", "datetime64[ns]"), None),
    (Decimal("sNaN"), None),
    (pd.Timestamp("2013-04-01T12:00:00.000001", tz="America/New_York"), "2013-04-01T16:00:00.000001Z"),
    (datetime(2013, 4, 1, 12), "2013-04-01T12:00:00Z"),
    (np.datetime64("2013-04-01T12", "ns"), "2013-04-01T12:00:00Z"),
    (date(2013, 4, 1), "2013-04-01"),
    (math.nan, None),
    (np.float32("nan"), None),
    (np.datetime64("NaT"), None),
    (10**30, 1e30),
    (2**63, float(2**63)),
]


@both
async def test_a_value_means_the_same_by_both_ways(bench: Bench, over: Callable) -> None:
    async with over(bench) as client:
        for given, _ in VALUES:
            await client.predict("delay", {"miles": given, "carrier": None})
    asked = [message.event.inputs for message in sorted(await bench.requests(), key=lambda m: m.record.timestamp_ms)]
    wanted = [{"miles": value, "carrier": None} for _, value in VALUES]
    assert sorted(map(repr, asked)) == sorted(map(repr, wanted))


@both
async def test_a_unit_and_an_instant_mean_the_same_by_both_ways(bench: Bench, over: Callable) -> None:
    units = [7, 7.0, "7", np.int64(7), np.float64(7), np.array(7.0), Decimal("7"), pd.Series([7])[0], 7]
    instants = [
        "2013-04-01T12:00:00",
        datetime(2013, 4, 1, 12),
        1_364_817_600,
        np.datetime64("2013-04-01T12:00:00"),
        pd.Timestamp("2013-04-01T08:00:00", tz="America/New_York"),
        pd.Timestamp("2013-04-01T12:00:00"),
        np.array(1_364_817_600.0),
        Decimal("1364817600"),
        None,
    ]
    async with over(bench) as client:
        await client.predict_many("delay", [Row(INPUTS, *pair) for pair in zip(units, instants, strict=True)])
    found = await bench.requests()
    assert {message.event.unit for message in found} == {"7"}
    assert [message.envelope.time_s for message in found].count(1_364_817_600.0) == 8


NOT_TO_BE_ASKED = [
    ({"inputs": {"miles": math.inf}}, "input miles must be finite"),
    ({"inputs": {"miles": 10**400}}, "not a number that fits"),
    ({"inputs": {"miles": [1]}}, "got list"),
    ({"inputs": {"miles": np.array([1.0, 2.0])}}, "got ndarray"),
    ({"inputs": {"carrier": "x" * 1000}}, "512 characters"),
    ({"inputs": {"carrier": "\ud800"}}, "surrogate"),
    ({"inputs": {7: 1}}, "is text"),
    ({"inputs": None}, "a mapping"),
    ({"unit": True}, "unit must be"),
    ({"unit": math.nan}, "unit must be"),
    ({"unit": b"x"}, "unit must be"),
    ({"unit": "x" * 1000}, "512 characters"),
    ({"at": "yesterday"}, "at must be an RFC 3339 instant"),
    ({"at": math.nan}, "at must be an RFC 3339 instant"),
    ({"at": True}, "at must be an RFC 3339 instant"),
    ({"at": pd.NaT}, "at must be an RFC 3339 instant"),
    ({"at": date(2013, 4, 1)}, "at must be an RFC 3339 instant"),
    ({"unit": pd.NA}, "unit must be"),
    ({"inputs": {"miles": Decimal("1e400")}}, "input miles must be finite"),
    ({"inputs": {"miles": np.datetime64("30000-01-01")}}, "not an instant"),
    ({"inputs": {"miles": pd.Timedelta("1h")}}, "got Timedelta"),
    ({"at": "2500-01-01"}, "at 2500-01-01"),
    ({"at": 1e300}, "years"),
    ({"version": "x"}, "a version is"),
    ({"version": 1.5}, "a version is"),
    ({"request_id": "é"}, "printable ASCII"),
    ({"request_id": "x" * 600}, "1..508 characters"),
    ({"request_id": ""}, "1..508 characters"),
    ({"deadline_s": math.nan}, "deadline_s must lie"),
    ({"deadline_s": math.inf}, "deadline_s must lie"),
    ({"deadline_s": -1}, "deadline_s must lie"),
    ({"deadline_s": "2"}, "deadline_s must lie"),
    ({"deployment": None}, "is text"),
    ({"deployment": ""}, "is text"),
]


@both
async def test_what_cannot_be_asked_is_rejected_alike_before_it_is_sent(bench: Bench, over: Callable) -> None:
    async with over(bench) as client:
        for changes, reason in NOT_TO_BE_ASKED:
            with pytest.raises(Rejected, match=reason):
                await client.predict(**({"deployment": "delay", "inputs": INPUTS} | changes))
    assert await bench.requests() == []


@both
async def test_a_name_that_no_deployment_has_is_rejected_whatever_it_holds(bench: Bench, over: Callable) -> None:
    following = asyncio.create_task(bench.projects.run(stop := asyncio.Event()))
    async with over(bench) as client:
        for name in ("a/b", "../x", "a b?c#d", "%2f", "\n", "é", "x" * 3000):
            with pytest.raises(Rejected):
                await client.predict(name, INPUTS)
    stop.set()
    await following


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
