"""Outcomes by every way in: HTTP, the Python client (over HTTP and Kafka), a pipeline. An outcome that is not valid is refused at
once, with the reason that the monitor would write into its dead letter, and no outcome of the call is accepted."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
import pytest_asyncio

from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, Message, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import Binary, Deployment, Multiclass, Number, Project, Regression
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_cli.client import AsyncClient, Client, Rejected
from headrace_cli.client.kafka_transport import KafkaTransport
from headrace_edge.rules.callers import Caller
from headrace_edge.rules.callers import digest_of as digest_of_key
from headrace_gateway.app import wire
from headrace_gateway.core.calls import Unclear
from headrace_gateway.core.outcomes import read_outcomes

X = [Number("x")]
PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment("late", "flight", X, label=Binary("late", "24h", classes=("no", "yes"))),
            Deployment("kind", "pet", X, label=Multiclass("kind", classes=("cat", "dog"), horizon="1h")),
            Deployment("price", "house", X, label=Regression("price", low=0, high=1e6, horizon="1h")),
            Deployment("plain", "thing", X),
        ],
    )
)
NOON = 1_364_817_600.0


class Bench:
    """A log with a project and a gateway with two keys, one of them for another deployment."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.clock, self.topics = log, SystemClock(), Topics.load()
        self.codec = Codec(self.topics)
        self.projects = Projects(log, self.codec, self.topics)
        self.url = ""

    async def set_up(self) -> None:
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        applied = ProjectApplied("p", digest_of(PROJECT), "", PROJECT, 0.0)
        self.log.append(out(self.topics.name("project.definitions"), "p", applied, Envelope("a", "", "test", 0.0)))
        await self.projects.start()

    async def outcomes(self) -> list[Message]:
        return await read_all(self.log, self.codec, [self.topics.name("inference.outcomes")])

    @asynccontextmanager
    async def http(self, key: str = "s3cret") -> AsyncIterator[httpx.AsyncClient]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            yield client

    async def post(self, body: object, deployment: str = "late", **headers: str) -> httpx.Response:
        async with self.http() as client:
            path = f"/v1/deployments/{deployment}/outcomes"
            if isinstance(body, bytes):
                return await client.post(path, content=body, headers=headers)
            return await client.post(path, json=body, headers=headers)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    found = Bench(MemoryLog(SystemClock()))
    await found.set_up()
    keys = (Caller("shop", digest_of_key("s3cret")), Caller("other", digest_of_key("0ther"), deployments=("kind",)))
    health = Health("gateway", "gateway-1", failures={})
    gateway = await wire(
        found.log, found.codec, found.topics, found.projects, health, found.clock, ("127.0.0.1", 0), callers=keys
    )
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    found.url = f"http://127.0.0.1:{gateway.port}"
    yield found
    stop.set()
    await running


async def test_an_outcome_over_http_is_on_the_log_when_202_comes(bench: Bench) -> None:
    body = {"unit": 7.0, "label": "yes", "at": "2013-04-01T12:00:00Z", "request_id": "r1", "corrects": "o0", "id": "o1"}
    response = await bench.post(body)
    assert (response.status_code, response.json()) == (202, {"id": "o1", "unit": "7", "at": "2013-04-01T12:00:00Z"})
    (found,) = await bench.outcomes()
    event, envelope = found.event, found.envelope
    assert (event.deployment, event.unit, event.label, event.request_id, event.corrects) == (
        "late",
        "7",
        "yes",
        "r1",
        "o0",
    )
    assert (envelope.id, envelope.time_s, found.record.key) == ("o1", NOON, b"7")


async def test_a_list_is_taken_whole_in_its_order_with_ids_of_its_key(bench: Bench) -> None:
    rows = [{"unit": f"u{n}", "label": n % 2} for n in range(1000)]
    response = await bench.post({"outcomes": rows}, **{"Idempotency-Key": "night"})
    assert response.status_code == 202
    assert [one["id"] for one in response.json()["outcomes"]][:2] == ["night/0", "night/1"]
    assert {m.envelope.id for m in await bench.outcomes()} == {f"night/{n}" for n in range(1000)}


@pytest.mark.parametrize(
    ("deployment", "body", "why"),
    [
        ("late", {"unit": "u", "label": 2}, "the label of 'late' must be 0 or 1 or no or yes, got 2.0"),
        ("late", {"unit": "u", "label": "maybe"}, "the label of 'late' must be 0 or 1 or no or yes, got 'maybe'"),
        ("kind", {"unit": "u", "label": "cow"}, "the label of 'kind' must be one of cat, dog, got 'cow'"),
        ("price", {"unit": "u", "label": -1}, "the label of 'price' must be in 0..1e+06, got -1.0"),
        ("plain", {"unit": "u", "label": 1}, "the deployment 'plain' declares no label, so it takes no outcomes"),
        ("late", {"label": 1}, "unit is missing"),
        ("late", {"unit": "u"}, "label is missing"),
        ("late", {"unit": "u", "label": None}, "label is missing"),
        ("late", {"unit": True, "label": 1}, "unit must be text or a number, got True"),
        ("late", {"unit": "u", "label": 1, "at": "yesterday"}, "at must be an RFC 3339 instant"),
        ("late", {"unit": "u", "label": 1, "at": "2500-01-01T00:00:00Z"}, "past the append time"),
        ("late", {"unit": "u", "label": 1, "corrects": 7}, "corrects must be printable text, got 7"),
        ("late", {"unit": "u", "label": 1, "id": "a", "corrects": "a"}, "corrects names the outcome's own id"),
        ("late", {"unit": "u", "lable": 1}, "an outcome has no field 'lable'"),
        ("late", {"outcomes": []}, "1..1000 in a call, got 0"),
        ("late", {"outcomes": [{"unit": "u", "label": 1}, {"unit": "u", "label": 3}]}, "outcomes[1]: the label of 'late'"),
        ("late", {"outcomes": [7]}, "outcomes[0] must be"),
        ("late", 7, "an outcome is"),
        ("late", b"{", "not JSON"),
        ("late", b'{"outcomes": [{"unit": "a", "label": NaN}]}', "outcomes[0].label: NaN and infinities are no numbers of JSON"),
        ("late", b"[" * 5000, "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_outcome_is_refused_with_the_reason(deployment: str, body: object, why: str) -> None:
    (found,) = [d for d in PROJECT.deployments if d.name == deployment]
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = read_outcomes(written, found, NOON + 60.0, None, lambda: "made")
    assert isinstance(answer, Unclear)
    assert why in answer.reason


async def test_a_call_with_one_bad_outcome_is_400_and_nothing_of_it_is_taken(bench: Bench) -> None:
    response = await bench.post({"outcomes": [{"unit": "u", "label": 1}, {"unit": "u", "label": 3}]})
    assert response.status_code == 400
    assert response.json()["error"] == "outcomes[1]: the label of 'late' must be 0 or 1 or no or yes, got 3.0"
    assert await bench.outcomes() == []


async def test_who_may_not_ask_for_predictions_may_not_send_outcomes(bench: Bench) -> None:
    body = {"unit": "u", "label": 1}
    for key, status in (("", 401), ("wrong", 401), ("0ther", 403)):
        async with bench.http(key) as client:
            assert (await client.post("/v1/deployments/late/outcomes", json=body)).status_code == status
    assert (await bench.post(body, "nobody")).status_code == 404
    assert await bench.outcomes() == []


async def test_the_page_shows_the_path_and_its_examples_work(bench: Bench) -> None:
    async with bench.http() as client:
        page = (await client.get("/openapi.json")).json()
    post = page["paths"]["/v1/deployments/{deployment}/outcomes"]["post"]
    examples = post["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == {"late", "kind", "price"}
    for name, example in examples.items():
        assert (await bench.post(example["value"], name)).status_code == 202
    assert "202" in post["responses"]
    assert "OutcomeReport" in page["components"]["schemas"]


@asynccontextmanager
async def over_http(bench: Bench) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(bench.url, key="s3cret") as client:
        yield client


@asynccontextmanager
async def over_kafka(bench: Bench) -> AsyncIterator[AsyncClient]:
    transport = KafkaTransport(bench.log, bench.codec, bench.topics, bench.projects, bench.clock)
    async with AsyncClient(transport=transport) as client:
        yield client


both = pytest.mark.parametrize("over", [over_http, over_kafka])


@both
async def test_the_client_sends_an_outcome_and_corrects_it(bench: Bench, over: Callable) -> None:
    at = datetime(2013, 4, 1, 12, tzinfo=UTC)
    async with over(bench) as client:
        first = await client.observe("kind", 7, "cat", at=at)
        again = await client.observe("kind", 7.0, "cat", at=at, id=first)
        fixed = await client.observe("kind", "7", "dog", corrects=first, request_id="r1")
    outcomes = [(m.envelope.id, m.event.unit, m.event.label, m.event.corrects) for m in await bench.outcomes()]
    assert again == first
    assert outcomes == [(first, "7", "cat", None), (first, "7", "cat", None), (fixed, "7", "dog", first)]


@both
async def test_the_client_sends_many_and_a_repeated_call_repeats_their_ids(bench: Bench, over: Callable) -> None:
    rows = [{"unit": n, "label": np.float32(n), "at": NOON} for n in range(600)]
    async with over(bench) as client:
        ids = await client.observe_many("price", rows, call_id="night")
        assert await client.observe_many("price", iter(rows), call_id="night") == ids
        assert await client.observe_many("price", []) == []
    found = await bench.outcomes()
    assert len(found) == 1200
    assert {m.envelope.id for m in found} == set(ids) == {f"night/{n}" for n in range(600)}
    assert all(m.event.label == float(m.event.unit) for m in found)


REJECTED = [
    ("late", {"unit": "u", "label": 2}, "the label of 'late' must be 0 or 1 or no or yes, got 2.0"),
    ("plain", {"unit": "u", "label": 1}, "declares no label"),
    ("late", {"unit": None, "label": 1}, "unit is missing"),
    ("late", {"unit": "u", "label": float("nan")}, "label is missing"),
    ("late", {"unit": "u", "label": 1, "at": "yesterday"}, "at must be an RFC 3339 instant"),
]


@both
async def test_what_is_no_outcome_is_rejected_in_the_same_words_by_either_way(bench: Bench, over: Callable) -> None:
    async with over(bench) as client:
        for deployment, outcome, why in REJECTED:
            with pytest.raises(Rejected) as refused:
                await client.observe(deployment, **outcome)
            assert why in str(refused.value)
        with pytest.raises(Rejected, match="outcomes\\[1\\]"):
            await client.observe_many("late", [{"unit": "u", "label": 1}, {"unit": "u", "label": 7}])
    assert await bench.outcomes() == []


async def test_the_blocking_client_sends_them_too(bench: Bench) -> None:
    def work() -> tuple[str, list[str]]:
        with Client(bench.url, key="s3cret") as client:
            return client.observe("late", "u", True, id="o1"), client.observe_many("late", [{"unit": "v", "label": 0}])

    one, many = await asyncio.to_thread(work)
    assert [m.envelope.id for m in await bench.outcomes()] in ([one, *many], [*many, one])
