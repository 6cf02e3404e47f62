"""The gateway on the log in memory, with an inference that answers as told; HTTP through the ASGI app."""

import asyncio
import gzip
import secrets
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headrace.bus.admin import ensure_topics
from headrace.bus.asking import Asker
from headrace.bus.port import Out
from headrace.bus.projects import Projects
from headrace.bus.views import read_all
from headrace.clock import SystemClock
from headrace.codec import Codec, Message, header, out
from headrace.envelope import Envelope
from headrace.events.inference import Answer, Invalid, PredictionAnswered, Refused, Score, Served
from headrace.events.ops import HealthReported
from headrace.events.project import ProjectApplied
from headrace.events.registry import Route
from headrace.obs.health import Health
from headrace.project import Category, Deployment, Number, Project, prior
from headrace.project.compile import compile_project, digest
from headrace.testing.memory import MemoryLog
from headrace.topics import Topics
from headrace_gateway.adapters import server
from headrace_gateway.adapters.catalogue import Catalogue
from headrace_gateway.adapters.http import Doors, make_app
from headrace_gateway.adapters.server import HttpServer
from headrace_gateway.app import wire
from headrace_gateway.core.callers import Caller, digest_of
from headrace_gateway.settings import Limits

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
    async def client(
        self,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        callers: Sequence[Caller] = (),
        instance: str = "gateway-1",
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[httpx.AsyncClient]:
        asker = Asker(self.log, self.codec, self.topics, self.clock, instance)
        catalogue = Catalogue(self.log, self.codec, self.topics, self.projects, self.clock)
        await catalogue.start()
        doors = Doors(asker, catalogue, self.health, self.clock, limits)
        app = make_app(doors, catalogue, callers, self.clock, limits)
        await asker.start()
        stop = asyncio.Event()
        tasks = [asyncio.create_task(part(stop)) for part in (asker.run, self.respond)]
        following = asyncio.create_task(catalogue.run(stop))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
            yield client
        stop.set()
        following.cancel()
        await asyncio.gather(*tasks)

    async def respond(self, stop: asyncio.Event) -> None:
        """What inference does, as far as a gateway can tell."""
        reader = await self.log.reader(await self.log.partitions(self.topics.name("inference.requests")), "end")
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

    def route(self, *versions: int) -> None:
        """All traffic to the first version; the others are warm."""
        found = Route("delay", {versions[0]: 1.0}, "s", 1, champion=versions[0], warm=versions)
        self.log.append(out(self.topics.name("registry.routes"), "delay", found, Envelope("r", "", "test", 0.0)))

    def report(self, *loaded: str, **changes: Any) -> None:
        """An inference instance reports."""
        told = HealthReported("inference", "inference-1", True, loaded=loaded, **changes)
        topic = self.topics.name("ops.health")
        self.log.append(out(topic, "inference/inference-1", told, Envelope("h", "", "test", 0.0)))

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
        bench.report()
        await until_ready(client, "delay")
        assert (await client.get("/v2/models/delay/ready")).json() == {"name": "delay", "ready": True}
        plain = await client.get("/v2/models/plain/ready")
        assert (plain.status_code, plain.json()["reason"]) == (
            503,
            "no version takes traffic yet, and there is no prior",
        )


async def until_ready(client: httpx.AsyncClient, name: str) -> None:
    async with asyncio.timeout(10):
        while (await client.get(f"/v2/models/{name}/ready")).status_code != 200:
            await asyncio.sleep(0.01)


async def test_every_example_of_the_openapi_page_works(bench: Bench) -> None:
    async with bench.client() as client:
        page = (await client.get("/openapi.json")).json()
        for path in (
            "/v2/models/{deployment}/infer",
            "/v1/models/{deployment}:predict",
            "/v1/deployments/{deployment}/predict",
        ):
            content = page["paths"][path]["post"]["requestBody"]["content"]
            for shown in content["application/json"]["examples"].values():
                name = shown["summary"].partition(",")[0]
                answer = await client.post(path.replace("{deployment}", name), json=shown["value"])
                assert answer.status_code == 200, answer.text


async def test_the_docs_page_loads_nothing_from_elsewhere(bench: Bench) -> None:
    async with bench.client() as client:
        page = await client.get("/docs")
        assert "https://" not in page.text
        for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
            assert f"/docs/assets/{asset}" in page.text
            assert (await client.get(f"/docs/assets/{asset}")).status_code == 200


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_understood_and_a_bomb_is_413(
    bench: Bench, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    content = httpx.Request("POST", "http://gateway", json=BODY).content
    async with bench.client(headers={"Content-Encoding": encoding}) as client:
        assert (await client.post(INFER, content=pack(content))).status_code == 200
        assert (await client.post(INFER, content=pack(bytes(10_000_000)))).status_code == 413
        assert (await client.post(INFER, content=b"not packed")).status_code == 400


async def test_a_large_answer_is_compressed_for_who_takes_it(bench: Bench) -> None:
    rows = 200
    inputs = [found | {"shape": [rows], "data": found["data"] * rows} for found in BODY["inputs"]]
    async with bench.client() as client:
        packed = await client.post(INFER, json={"inputs": inputs}, headers={"Accept-Encoding": "gzip"})
        plain = await client.post(INFER, json={"inputs": inputs}, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json()["outputs"] == plain.json()["outputs"]


async def test_a_named_version_is_a_preview_and_must_be_loaded(bench: Bench) -> None:
    bench.route(3, 4)
    async with bench.client() as client:
        bench.report("delay/3", "delay/4")
        await until_ready(client, "delay")
        assert (await client.post("/v2/models/delay/versions/4/infer", json=BODY)).status_code == 200
        assert (await client.get("/v2/models/delay/versions/4/ready")).status_code == 200
        refused = await client.post("/v2/models/delay/versions/9/infer", json=BODY)
        assert (refused.status_code, "loaded: 3, 4" in refused.json()["error"]) == (404, True)
        for odd in ("²", "٣", "-3", "3.0", "3 ", "000000003" + "9" * 5000, "%00", "x" * 5000):
            assert (await client.post(f"/v2/models/delay/versions/{odd}/infer", json=BODY)).status_code == 404
        index = (await client.post("/v2/repository/index")).json()
    (request,) = await bench.requests()
    assert header(request.record.headers, "headrace_version") == "4"
    assert [(e["name"], e["version"], e["state"]) for e in index] == [
        ("delay", "3", "READY"),
        ("delay", "4", "READY"),
        ("plain", "0", "UNAVAILABLE"),
    ]


async def test_people_ask_with_named_inputs(bench: Bench) -> None:
    async with bench.client() as client:
        answer = await client.post(
            "/v1/deployments/delay/predict", json={"inputs": {"miles": 500, "carrier": "AA"}, "unit": "F1"}
        )
    told = answer.json()
    assert answer.status_code == 200
    assert (told["value"], told["version"], told["rung"], told["outcome"]) == (0.5, 3, "champion", "served")
    assert told["decision_id"]


async def test_a_deployment_is_ready_while_its_champion_is_loaded_on_an_instance_that_lives(bench: Bench) -> None:
    ready = "/v2/models/delay/ready"
    bench.route(3)
    async with bench.client() as client:
        assert "no inference instance" in (await client.get(ready)).json()["reason"]
        bench.report("delay/3")
        await until_ready(client, "delay")
        for report, said in (
            ({"loaded": ("delay/2",)}, "degraded: version 3 is not loaded (loaded: 2)"),
            ({"loaded": ("delay/3",), "degraded": {"delay": "its breaker is open"}}, "degraded: its breaker is open"),
            ({"loaded": ("delay/3",), "stopping": True}, "no inference instance"),
        ):
            bench.report(*report.pop("loaded"), **report)
            async with asyncio.timeout(10):
                while said not in (await client.get(ready)).json().get("reason", ""):
                    await asyncio.sleep(0.01)
            assert (await client.get(ready)).status_code == 503
            bench.report("delay/3")
            await until_ready(client, "delay")
        assert (await client.get("/v2/models/delay/versions/3/ready")).status_code == 200


async def test_garbage_among_the_reports_is_passed_over(bench: Bench) -> None:
    topic = bench.topics.name("ops.health")
    async with bench.client() as client:
        for value, headers in ((b"\xc1", ()), (None, ()), (b"{}", (("ce_origin", b"a/b/c/d"), ("ce_type", b"x")))):
            bench.log.append(Out(topic, b"k", value, headers))
        bench.report()
        await until_ready(client, "delay")


async def test_the_gateway_is_not_ready_while_a_part_of_it_fails_and_says_which(bench: Bench) -> None:
    async with bench.client() as client:
        bench.health.fail("heartbeat", "the broker takes no heartbeats")
        found = await client.get("/v2/health/ready")
        assert (found.status_code, found.json()) == (503, {"ready": False, "reason": "the broker takes no heartbeats"})
        assert (await client.get("/v2/health/live")).status_code == 200
        assert (await client.post(INFER, json=BODY)).status_code == 200  # what works is used
        bench.health.clear("heartbeat")
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}


async def test_an_unknown_model_is_404_within_a_second_or_so_though_the_broker_says_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.projects, "catch_up", silent)
    async with bench.client() as client:
        began_s = bench.clock.monotonic_s()
        many = await asyncio.gather(*(client.get(f"/v2/models/nobody{n}") for n in range(50)))
        assert bench.clock.monotonic_s() - began_s < 3
        assert {found.status_code for found in many} == {404}
        began_s = bench.clock.monotonic_s()
        assert (await client.get("/v2/models/nobody")).status_code == 404
        assert bench.clock.monotonic_s() - began_s < 0.9  # nobody waits behind somebody who waits in vain


KEYS = (
    Caller("shop", digest_of("s3cret"), "shop"),
    Caller("slow", digest_of("slow"), per_s=0.5, burst=2.0),
    Caller("gone", digest_of("gone"), expires_s=1.0),
    Caller("narrow", digest_of("narrow"), deployments=("plain",)),
)
ALG_NONE = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer gone"},
        {"Authorization": f"Bearer {ALG_NONE}"},
        {"Authorization": "Basic s3cret"},
        {"Authorization": "Bearer "},
    ],
)
async def test_who_has_no_valid_key_gets_401_and_nothing_is_asked(bench: Bench, headers: dict[str, str]) -> None:
    async with bench.client(callers=KEYS) as client:
        response = await client.post(INFER, json=BODY, headers=headers)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        page = await client.get("/docs", headers=headers)
        assert (page.status_code, page.headers["WWW-Authenticate"].partition(" ")[0]) == (401, "Basic")
        assert (await client.get("/v2/models/delay", headers=headers)).status_code == 401
        assert (await client.get("/v2/health/live", headers=headers)).status_code == 200
        assert "AA" not in (await client.get("/openapi.json", headers=headers)).text
    assert await bench.requests() == []


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "an API key is needed"),
        ({"Authorization": "Bearer wrong"}, "unknown key"),
        ({"X-API-Key": "x" * 5000}, "unknown key"),
        ({"Authorization": "Bearer gone"}, "the key has expired"),
    ],
)
async def test_401_says_which_of_the_three_it_is(bench: Bench, headers: dict[str, str], said: str) -> None:
    async with bench.client(callers=KEYS) as client:
        assert said in (await client.post(INFER, json=BODY, headers=headers)).json()["error"]


async def test_a_key_for_other_deployments_is_403_and_neither_sees_nor_asks_them(bench: Bench) -> None:
    async with bench.client(callers=KEYS, headers={"X-API-Key": "narrow"}) as client:
        for path in (INFER, "/v1/deployments/delay/predict", "/v1/models/delay:predict", "/v2/models/nobody/infer"):
            refused = await client.post(path, json=BODY)
            assert (refused.status_code, "narrow is not allowed" in refused.json()["error"]) == (403, True)
        assert (await client.get("/v2/models/delay")).status_code == 403
        assert (await client.get("/v1/models")).json() == {"models": ["plain"]}
        assert [entry["name"] for entry in (await client.post("/v2/repository/index")).json()] == ["plain"]
        assert "AA" not in (await client.get("/openapi.json")).text
        assert (await client.post("/v1/deployments/plain/predict", json={"inputs": {"x": 1}})).status_code == 200
    assert [request.event.deployment for request in await bench.requests()] == ["plain"]


async def test_a_browser_opens_the_docs_with_the_key_as_password_and_asks_nothing_with_it(bench: Bench) -> None:
    async with bench.client(callers=KEYS) as client:
        for path in ("/docs", "/docs/assets/swagger-ui.css", "/openapi.json"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, auth=("any", "wrong"))).status_code == 401
            assert (await client.get(path, auth=("any", "s3cret"))).status_code == 200
        # A page of somebody else's could make the browser send it along.
        assert (await client.post(INFER, json=BODY, auth=("any", "s3cret"))).status_code == 401


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer s3cret"}, {"X-API-Key": "s3cret"}])
async def test_a_key_names_the_tenant_on_the_request(bench: Bench, headers: dict[str, str]) -> None:
    async with bench.client(callers=KEYS) as client:
        assert (await client.post(INFER, json=BODY, headers=headers)).status_code == 200
    (request,) = await bench.requests()
    assert header(request.record.headers, "headrace_tenant") == "shop"


async def test_who_asks_too_often_gets_429_and_the_others_are_served(bench: Bench) -> None:
    async with bench.client(callers=KEYS) as client:
        often = [await client.post(INFER, json=BODY, headers={"X-API-Key": "slow"}) for _ in range(3)]
        other = await client.post(INFER, json=BODY, headers={"X-API-Key": "s3cret"})
    assert [response.status_code for response in often] == [200, 200, 429]
    assert often[2].headers["Retry-After"] == "2"
    assert other.status_code == 200


async def test_two_calls_at_once_under_one_key_are_one_request_with_one_answer(bench: Bench) -> None:
    bench.answer = lambda _: Served(Score(3, "d", secrets.randbelow(10**9) / 10**9))
    async with bench.client(headers={"Idempotency-Key": "k1"}) as client:
        first, second = await asyncio.gather(client.post(INFER, json=BODY), client.post(INFER, json=BODY))
    assert first.json() == second.json()
    assert len(await bench.requests()) == 1


async def test_a_key_used_for_another_body_is_422(bench: Bench) -> None:
    async with bench.client(headers={"Idempotency-Key": "k1"}) as client:
        assert (await client.post(INFER, json=BODY)).status_code == 200
        assert (await client.post(INFER, json=BODY | {"id": "other"})).status_code == 422


async def test_two_gateways_on_one_partition_each_take_only_their_own_answers(bench: Bench) -> None:
    bench.answer = lambda request: Served(Score(1, "d", request.event.inputs["miles"]))

    async def ask(client: httpx.AsyncClient, miles: float) -> float:
        inputs = [BODY["inputs"][0] | {"data": [miles]}, BODY["inputs"][1]]
        return (await client.post(INFER, json={"inputs": inputs})).json()["outputs"][0]["data"][0]

    # One name and so one partition; and `bench.respond` runs for both, so that every answer comes twice.
    async with bench.client() as one, bench.client() as other:
        answers = await asyncio.gather(*(ask((one, other)[n % 2], float(n)) for n in range(40)))
    assert answers == [float(n) for n in range(40)]


async def test_a_real_server_answers_and_ends_in_order(bench: Bench) -> None:
    async with (
        serving(bench, Limits()) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.post(INFER, json=BODY)).status_code == 200


@asynccontextmanager
async def serving(bench: Bench, limits: Limits) -> AsyncIterator[int]:
    """A gateway on a real socket; yields its port."""
    address = ("127.0.0.1", 0)
    gateway = await wire(
        bench.log, bench.codec, bench.topics, bench.projects, bench.health, bench.clock, address, limits
    )
    stop = asyncio.Event()
    tasks = [asyncio.create_task(part(stop)) for part in (gateway.run, bench.respond)]
    yield gateway.port
    stop.set()
    await asyncio.gather(*tasks)


async def said(port: int, *parts: bytes) -> bytes:
    """All that the server says before it hangs up, when it is sent `parts`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.writelines(parts)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


POST = b"POST /v2/models/delay/infer HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "parts", [(), (b"POST /v2",), (POST, b"X-More: 1\r\n"), (POST + b"Content-Length: 90\r\n\r\n{",)]
)
async def test_who_sends_slowly_gets_408_and_the_others_are_served(bench: Bench, parts: tuple[bytes, ...]) -> None:
    async with serving(bench, Limits(head_within_s=0.3, body_within_s=0.3)) as port:
        slow = asyncio.create_task(said(port, *parts))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post(INFER, json=BODY)).status_code == 200
        assert (await slow).startswith(b"HTTP/1.1 408 ")


async def test_a_head_without_end_is_431_and_a_bad_one_400(bench: Bench) -> None:
    async with serving(bench, Limits()) as port:
        assert (await said(port, POST, *[b"X-%d: %s\r\n" % (n, b"x" * 2000) for n in range(100)])).startswith(
            b"HTTP/1.1 431 "
        )
        assert (await said(port, b"\x16\x03\x01 garbage\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_connections_over_the_limit_are_503_and_the_others_are_served(bench: Bench) -> None:
    async with serving(bench, Limits(connections=2)) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post(INFER, json=BODY)).status_code == 200
            _, second = await asyncio.open_connection("127.0.0.1", port)
            answer = await said(port)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 1" in answer
            assert (await client.post(INFER, json=BODY)).status_code == 200
        second.close()


async def test_a_body_over_the_limit_is_413_while_it_is_still_being_sent(bench: Bench) -> None:
    async with (
        serving(bench, Limits()) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.post(INFER, content=b"x" * 3_000_000)).status_code == 413
        assert (await client.post(INFER, json=BODY)).status_code == 200


PREDICT = b"POST /v1/deployments/delay/predict HTTP/1.1\r\nHost: x\r\n"
PREDICT += b'Content-Length: 45\r\n\r\n{"inputs": {"miles": 500, "carrier": "AAAA"}}'


async def test_requests_sent_ahead_are_answered_in_order_and_too_many_end_the_connection(bench: Bench) -> None:
    async with serving(bench, Limits()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREDICT * 20)
        for _ in range(20):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert head.startswith(b"HTTP/1.1 200 ")
            size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(size)
        writer.close()
        assert (await said(port, PREDICT * 300)).startswith(b"HTTP/1.1 503 ")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post(INFER, json=BODY)).status_code == 200
    assert bench.health.unforeseen == 0


async def test_line_ends_between_requests_hold_no_connection(bench: Bench) -> None:
    async with serving(bench, Limits(head_within_s=0.3)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREDICT)
        await asyncio.wait_for(reader.readuntil(b"}"), 20)
        writer.write(b"\r\n")
        assert b"HTTP/1.1 408 " in await asyncio.wait_for(reader.read(), 20)
        writer.close()


async def test_who_does_not_read_his_answers_is_hung_up_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READ_WITHIN_S", 0.3)
    row = b'{"inputs": {"miles": 500, "carrier": "AA"}},'
    body = b'{"rows": [' + (row * 256)[:-1] + b"]}"
    large = b"POST /v1/deployments/delay/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )
    async with serving(bench, Limits()) as port:
        with socket.create_connection(("127.0.0.1", port)) as unread:
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            unread.setblocking(False)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(send_for_ever(unread, large), 60)


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
async def test_a_head_over_the_limit_is_431_though_it_comes_in_one_piece(bench: Bench, head: bytes) -> None:
    async with serving(bench, Limits()) as port:
        assert (await said(port, head)).startswith(b"HTTP/1.1 431 ")


def test_a_taken_port_is_a_clear_error() -> None:
    from headrace.errors import Misconfigured

    first = HttpServer(None, "127.0.0.1", 0)
    with pytest.raises(Misconfigured, match="HEADRACE_GATEWAY_PORT"):
        HttpServer(None, "127.0.0.1", first.port)
    first.close()
