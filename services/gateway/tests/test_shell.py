"""The gateway on the log in memory, with an inference that answers as the test says: what is asked, and what comes back over HTTP."""

import asyncio
import gzip
import secrets
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from headrace.events.inference import Answer, Invalid, Refused, Score, Served
from headrace.log.codec import header
from headrace_gateway.settings import Limits

Bench = Any  # the fixture of conftest.py


async def test_an_inference_call_becomes_a_request_and_its_answer_a_response(bench: Bench) -> None:
    async with bench.client() as client:
        response = await client.post(
            bench.path, json=bench.body | {"parameters": {"at": "2013-04-01T12:00:00Z", "unit": "F1"}}
        )
    (request,) = await bench.requests()
    assert response.status_code == 200
    assert response.json()["outputs"][0]["data"] == [0.5]
    assert response.json()["id"] == "mine"
    assert (request.event.unit, request.envelope.time_s) == ("F1", 1_364_817_600.0)
    assert request.event.inputs == {"miles": 500, "carrier": "AA"}


async def test_a_body_needs_no_content_type(bench: Bench) -> None:
    content = httpx.Request("POST", "http://gateway", json=bench.body).content
    async with bench.client() as client:
        response = await client.post(bench.path, content=content)
    assert response.status_code == 200


async def test_many_calls_at_once_each_get_their_own_answer(bench: Bench) -> None:
    bench.answer = lambda request: Served(Score(1, "d", request.event.inputs["miles"]))
    async with bench.client() as client:

        async def call(miles: float) -> float:
            inputs = [{"name": "miles", "shape": [1], "datatype": "FP64", "data": [miles]}, bench.body["inputs"][1]]
            return (await client.post(bench.path, json={"inputs": inputs})).json()["outputs"][0]["data"][0]

        answers = await asyncio.gather(*(call(float(n)) for n in range(50)))
    assert answers == [float(n) for n in range(50)]


async def test_no_answer_within_the_deadline_is_504_with_the_requests_id(bench: Bench) -> None:
    bench.answer = lambda _: None
    async with bench.client(Limits(deadline_ms=50)) as client:
        response = await client.post(bench.path, json=bench.body, headers={"Idempotency-Key": "k1"})
    assert (response.status_code, response.json()["request_id"]) == (504, "k1")


@pytest.mark.parametrize(
    ("answer", "status"), [(Invalid("miles is missing", "miles"), 400), (Refused("overload", 2.0), 503)]
)
async def test_a_refusal_by_inference_has_its_status(bench: Bench, answer: Answer, status: int) -> None:
    bench.answer = lambda _: answer
    async with bench.client() as client:
        response = await client.post(bench.path, json=bench.body)
    assert response.status_code == status
    assert "error" in response.json()


async def test_an_unknown_model_is_404_and_a_wrong_path_too(bench: Bench) -> None:
    follow = asyncio.create_task(bench.projects.run(stop := asyncio.Event()))
    async with bench.client() as client:
        for path in ("/v2/models/nobody/infer", "/v2/nowhere"):
            response = await client.post(path, json=bench.body)
            assert response.status_code == 404
            assert "error" in response.json()
    stop.set()
    await follow


async def test_an_unknown_input_is_400_and_nothing_is_asked(bench: Bench) -> None:
    async with bench.client() as client:
        response = await client.post(bench.path, json={"inputs": [bench.body["inputs"][0] | {"name": "height"}]})
    assert response.status_code == 400
    assert await bench.requests() == []


async def test_a_body_over_the_limit_is_413_announced_or_not(bench: Bench) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1024

    async with bench.client() as client:
        assert (await client.post(bench.path, content=b"x" * 70_000)).status_code == 413
        assert (await client.post(bench.path, content=chunks())).status_code == 413


async def test_more_rows_than_may_wait_are_503_with_retry_after(bench: Bench) -> None:
    async with bench.client(Limits(in_flight=0)) as client:
        response = await client.post(bench.path, json=bench.body)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


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
    content = httpx.Request("POST", "http://gateway", json=bench.body).content
    async with bench.client(headers={"Content-Encoding": encoding}) as client:
        assert (await client.post(bench.path, content=pack(content))).status_code == 200
        assert (await client.post(bench.path, content=pack(bytes(10_000_000)))).status_code == 413
        assert (await client.post(bench.path, content=b"not packed")).status_code == 400


async def test_a_large_answer_is_compressed_for_who_takes_it(bench: Bench) -> None:
    rows = 200
    inputs = [found | {"shape": [rows], "data": found["data"] * rows} for found in bench.body["inputs"]]
    async with bench.client() as client:
        packed = await client.post(bench.path, json={"inputs": inputs}, headers={"Accept-Encoding": "gzip"})
        plain = await client.post(bench.path, json={"inputs": inputs}, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json()["outputs"] == plain.json()["outputs"]


async def test_a_named_version_is_a_preview_and_must_be_loaded(bench: Bench) -> None:
    bench.route(3, 4)
    async with bench.client() as client:
        bench.report("delay/3", "delay/4")
        await bench.until_ready(client, "delay")
        assert (await client.post("/v2/models/delay/versions/4/infer", json=bench.body)).status_code == 200
        assert (await client.get("/v2/models/delay/versions/4/ready")).status_code == 200
        refused = await client.post("/v2/models/delay/versions/9/infer", json=bench.body)
        assert (refused.status_code, "loaded: 3, 4" in refused.json()["error"]) == (404, True)
        for odd in ("²", "٣", "-3", "3.0", "3 ", "000000003" + "9" * 5000, "%00", "x" * 5000):
            assert (await client.post(f"/v2/models/delay/versions/{odd}/infer", json=bench.body)).status_code == 404
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
    body = answer.json()
    assert answer.status_code == 200
    assert (body["value"], body["version"], body["step"], body["outcome"]) == (0.5, 3, "champion", "served")
    assert body["decision_id"]


async def test_two_calls_at_once_under_one_key_are_one_request_with_one_answer(bench: Bench) -> None:
    bench.answer = lambda _: Served(Score(3, "d", secrets.randbelow(10**9) / 10**9))
    async with bench.client(headers={"Idempotency-Key": "k1"}) as client:
        first, second = await asyncio.gather(
            client.post(bench.path, json=bench.body), client.post(bench.path, json=bench.body)
        )
    assert first.json() == second.json()
    assert len(await bench.requests()) == 1


async def test_a_key_used_for_another_body_is_422(bench: Bench) -> None:
    async with bench.client(headers={"Idempotency-Key": "k1"}) as client:
        assert (await client.post(bench.path, json=bench.body)).status_code == 200
        assert (await client.post(bench.path, json=bench.body | {"id": "other"})).status_code == 422


async def test_two_gateways_on_one_partition_each_take_only_their_own_answers(bench: Bench) -> None:
    bench.answer = lambda request: Served(Score(1, "d", request.event.inputs["miles"]))

    async def ask(client: httpx.AsyncClient, miles: float) -> float:
        inputs = [bench.body["inputs"][0] | {"data": [miles]}, bench.body["inputs"][1]]
        return (await client.post(bench.path, json={"inputs": inputs})).json()["outputs"][0]["data"][0]

    # One name and so one partition; and `bench.respond` runs for both, so that every answer comes twice.
    async with bench.client() as one, bench.client() as other:
        answers = await asyncio.gather(*(ask((one, other)[n % 2], float(n)) for n in range(40)))
    assert answers == [float(n) for n in range(40)]
