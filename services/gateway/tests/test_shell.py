"""The gateway on the log in memory, with an inference that answers as told; HTTP through the ASGI app."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headrace.bus.admin import ensure_topics
from headrace.bus.port import Out
from headrace.bus.projects import Projects
from headrace.bus.views import read_all
from headrace.clock import SystemClock
from headrace.codec import Codec, Message, header, out
from headrace.envelope import Envelope
from headrace.events.inference import Answer, Invalid, PredictionAnswered, Refused, Score, Served
from headrace.events.project import ProjectApplied
from headrace.obs.health import Health
from headrace.project import Category, Deployment, Number, Project, prior
from headrace.project.compile import compile_project, digest
from headrace.testing.memory import MemoryLog
from headrace.topics import Topics
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.adapters.http import Doors, make_app
from headrace_gateway.adapters.server import HttpServer
from headrace_gateway.app import wire
from headrace_gateway.settings import Limits
from headrace_gateway.shell import Asker

PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment("delay", unit="flight", inputs=[Number("miles"), Category("carrier")], ladder=[prior(0.26)]),
            Deployment("plain", unit="thing", inputs=[Number("x")]),
        ],
    )
)
INFER = "/v2/models/delay/infer"
BODY: dict[str, Any] = {
    "id": "mine",
    "inputs": [
        {"name": "miles", "shape": [1], "datatype": "FP64", "data": [500]},
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]},
    ],
}


class Bench:
    """A log with topics, a project, and somebody who answers requests."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.clock = log, SystemClock()
        self.topics = Topics.load()
        self.codec = Codec(self.topics)
        self.health = Health("gateway", "gateway-1", failures={})
        self.projects = Projects(log, self.codec, self.topics)
        self.answer: Callable[[Message], Answer | None] = lambda _: Served(Score(3, "d", 0.5))

    async def set_up(self) -> "Bench":
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        applied = ProjectApplied("p", digest(PROJECT), "", PROJECT, 0.0)
        topic = self.topics.name("project.definitions")
        self.log.append(out(topic, "p", applied, Envelope("a", "", "test", 0.0)))
        await self.projects.start()
        return self

    @asynccontextmanager
    async def client(self, limits: Limits = Limits()) -> AsyncIterator[httpx.AsyncClient]:  # noqa: B008 - frozen
        asker = Asker(self.log, self.codec, self.topics, self.clock, self.health)
        catalogue = Catalogue(self.log, self.codec, self.topics, self.projects)
        await catalogue.view.start()
        app = make_app(Doors(asker, catalogue, self.health, self.clock, limits), catalogue)
        await asker.start()
        stop = asyncio.Event()
        tasks = [asyncio.create_task(asker.run(stop)), asyncio.create_task(self.respond(stop))]
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client
        stop.set()
        await asyncio.gather(*tasks)
        await catalogue.view.stop()

    async def respond(self, stop: asyncio.Event) -> None:
        """What inference does, as far as a gateway can tell."""
        reader = await self.log.reader(await self.log.partitions(self.topics.name("inference.requests")), "beginning")
        while not stop.is_set():
            for record in await reader.fetch(0.05):
                request = self.codec.decode(record)
                answer = self.answer(request)
                if answer is not None:
                    self.log.append(self.reply(request, answer))

    def reply(self, request: Message, answer: Answer) -> Out:
        answered = PredictionAnswered(request.envelope.id, request.event.deployment, answer)
        headers = request.record.headers
        reply_id = (header(headers, "headrace_reply_id") or "").encode()
        partition = int(header(headers, "headrace_reply_partition") or "0")
        made = out(self.topics.name("inference.replies"), None, answered, Envelope("x", "", "test", 0.0))
        return Out(made.topic, None, made.value, (*made.headers, ("headrace_reply_id", reply_id)), partition)

    async def requests(self) -> list[Message]:
        return await read_all(self.log, self.codec, [self.topics.name("inference.requests")])


@pytest_asyncio.fixture
async def bench(memory_log: MemoryLog) -> Bench:
    return await Bench(memory_log).set_up()


async def test_an_inference_call_becomes_a_request_and_its_answer_a_response(bench: Bench) -> None:
    async with bench.client() as client:
        response = await client.post(INFER, json=BODY | {"parameters": {"at": "2013-04-01T12:00:00Z", "unit": "F1"}})
    (request,) = await bench.requests()
    assert response.status_code == 200
    assert response.json()["outputs"][0]["data"] == [0.5]
    assert response.json()["id"] == "mine"
    assert (request.event.unit, request.envelope.time_s) == ("F1", 1_364_817_600.0)
    assert request.event.inputs == {"miles": 500, "carrier": "AA"}


async def test_a_body_needs_no_content_type(bench: Bench) -> None:
    content = httpx.Request("POST", "http://gateway", json=BODY).content
    async with bench.client() as client:
        response = await client.post(INFER, content=content)
    assert response.status_code == 200


async def test_many_calls_at_once_each_get_their_own_answer(bench: Bench) -> None:
    bench.answer = lambda request: Served(Score(1, "d", request.event.inputs["miles"]))
    async with bench.client() as client:

        async def call(miles: float) -> float:
            inputs = [{"name": "miles", "shape": [1], "datatype": "FP64", "data": [miles]}, BODY["inputs"][1]]
            return (await client.post(INFER, json={"inputs": inputs})).json()["outputs"][0]["data"][0]

        answers = await asyncio.gather(*(call(float(n)) for n in range(50)))
    assert answers == [float(n) for n in range(50)]


async def test_no_answer_within_the_deadline_is_504_with_the_requests_id(bench: Bench) -> None:
    bench.answer = lambda _: None
    async with bench.client(Limits(deadline_ms=50)) as client:
        response = await client.post(INFER, json=BODY, headers={"Idempotency-Key": "k1"})
    assert (response.status_code, response.json()["request_id"]) == (504, "k1")


@pytest.mark.parametrize(
    ("answer", "status"), [(Invalid("miles is missing", "miles"), 400), (Refused("overload", 2.0), 503)]
)
async def test_a_refusal_by_inference_has_its_status(bench: Bench, answer: Answer, status: int) -> None:
    bench.answer = lambda _: answer
    async with bench.client() as client:
        response = await client.post(INFER, json=BODY)
    assert response.status_code == status
    assert "error" in response.json()


async def test_an_unknown_model_is_404_and_a_wrong_path_too(bench: Bench) -> None:
    follow = asyncio.create_task(bench.projects.run(stop := asyncio.Event()))
    async with bench.client() as client:
        for path in ("/v2/models/nobody/infer", "/v2/nowhere"):
            response = await client.post(path, json=BODY)
            assert response.status_code == 404
            assert "error" in response.json()
    stop.set()
    await follow


async def test_an_unknown_input_is_400_and_nothing_is_asked(bench: Bench) -> None:
    async with bench.client() as client:
        response = await client.post(INFER, json={"inputs": [BODY["inputs"][0] | {"name": "height"}]})
    assert response.status_code == 400
    assert await bench.requests() == []


async def test_a_body_over_the_limit_is_413_announced_or_not(bench: Bench) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1024

    async with bench.client() as client:
        assert (await client.post(INFER, content=b"x" * 70_000)).status_code == 413
        assert (await client.post(INFER, content=chunks())).status_code == 413


async def test_more_rows_than_may_wait_are_503_with_retry_after(bench: Bench) -> None:
    async with bench.client(Limits(in_flight=0)) as client:
        response = await client.post(INFER, json=BODY)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


async def test_health_and_metadata_are_json(bench: Bench) -> None:
    async with bench.client() as client:
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        assert (await client.get("/v2")).json()["name"] == "headrace"
        metadata = (await client.get("/v2/models/delay")).json()
        assert [found["name"] for found in metadata["inputs"]] == ["miles", "carrier", "flight"]
        assert (await client.get("/v2/models/delay/ready")).status_code == 200
        assert (await client.get("/v2/models/plain/ready")).status_code == 503


async def test_the_openapi_page_shows_a_call_that_works(bench: Bench) -> None:
    async with bench.client() as client:
        page = (await client.get("/openapi.json")).json()
        content = page["paths"]["/v2/models/{deployment}/infer"]["post"]["requestBody"]["content"]
        shown = content["application/json"]["examples"]["delay"]["value"]
        assert (await client.post(INFER, json=shown)).status_code == 200


async def test_a_real_server_answers_and_ends_in_order(bench: Bench) -> None:
    topics, codec = bench.topics, bench.codec
    gateway = await wire(
        bench.log, codec, topics, bench.projects, bench.health, bench.clock, ("127.0.0.1", 0), Limits()
    )
    stop = asyncio.Event()
    tasks = [asyncio.create_task(gateway.run(stop)), asyncio.create_task(bench.respond(stop))]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        assert (await client.post(INFER, json=BODY)).status_code == 200
    stop.set()
    await asyncio.gather(*tasks)


def test_a_taken_port_is_a_clear_error() -> None:
    from headrace.errors import Misconfigured

    first = HttpServer(None, "127.0.0.1", 0)
    with pytest.raises(Misconfigured, match="HEADRACE_GATEWAY_PORT"):
        HttpServer(None, "127.0.0.1", first.port)
    first.close()
