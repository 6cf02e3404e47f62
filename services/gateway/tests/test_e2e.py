"""Gateway and inference as real processes on a real broker: HTTP in, decisions out, plain clients welcome."""

import asyncio
import secrets
import struct
from typing import Any

import httpx
import msgpack
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

pytestmark = pytest.mark.kafka

INFER = "/v2/models/delay/infer"
BODY = {
    "inputs": [
        {"name": "miles", "shape": [1], "datatype": "FP64", "data": [500]},
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]},
    ],
    "parameters": {"at": "2013-04-01T12:00:00Z", "unit": "F1"},
}


async def _decisions(stack: Any, wanted: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Decisions by request id, read with plain aiokafka and msgpack, as soon as all wanted ones are there."""
    topic = stack.topics.name("inference.decisions")
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=stack.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    found: dict[str, list[dict[str, Any]]] = {}
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            while not wanted <= found.keys():
                record = await consumer.getone()
                decision = msgpack.unpackb(record.value)
                found.setdefault(decision["request_id"], []).append(decision)
    finally:
        await consumer.stop()
    return found


async def test_http_is_answered_by_the_prior_and_the_decision_is_on_the_log(stack: Any) -> None:
    key = secrets.token_hex(8)
    async with httpx.AsyncClient(base_url=stack.url) as client:
        first, second = [await client.post(INFER, json=BODY, headers={"Idempotency-Key": key}) for _ in range(2)]
    found = await _decisions(stack, {key})
    assert first.json() == second.json()
    assert first.json()["outputs"][0]["data"] == [0.26]
    assert first.json()["parameters"]["reason"] == "no version yet"
    assert len(found[key]) == 1
    assert found[key][0]["at_s"] == 1_364_817_600.0


async def test_a_plain_producer_without_our_types_is_answered_like_http(stack: Any) -> None:
    topic, name = stack.topics.name("inference.requests"), secrets.token_hex(8)
    headers = [("ce_id", name.encode()), ("ce_time", b"2013-04-01T12:00:00Z")]
    request = {"deployment": "delay", "inputs": {"miles": 500, "carrier": "AA"}}
    json_headers = [("ce_id", f"{name}-json".encode()), ("ce_time", b"2013-04-01T12:00:00Z")]
    json_value = b'{"deployment": "delay", "inputs": {"miles": 500, "carrier": "AA"}}'
    async with AIOKafkaProducer(bootstrap_servers=stack.bootstrap) as producer:
        await producer.send_and_wait(topic, b"\xc1 garbage", key=b"F2")
        await producer.send_and_wait(topic, msgpack.packb(request), key=b"F2", headers=headers)
        await producer.send_and_wait(topic, json_value, key=b"F2", headers=json_headers)
    found = await _decisions(stack, {name, f"{name}-json"})
    plain, json = found[name][0], found[f"{name}-json"][0]
    assert plain["unit"] == "F2"
    assert plain["answer"]["type"] == "fell_back"
    assert plain["answer"]["score"]["value"] == 0.26
    assert plain["answer"] == json["answer"]
    assert plain["row"] == json["row"]


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
async def test_nan_and_infinity_are_400_and_an_invalid_decision(stack: Any, odd: float) -> None:
    tensors = [BODY["inputs"][0] | {"parameters": {"binary_data_size": 8}}, BODY["inputs"][1]]
    del tensors[0]["data"]
    head, key = msgspec.json.encode({"inputs": tensors}), secrets.token_hex(8)
    headers = {"Inference-Header-Content-Length": str(len(head)), "Idempotency-Key": key}
    async with httpx.AsyncClient(base_url=stack.url) as client:
        answer = await client.post(INFER, content=head + struct.pack("<d", odd), headers=headers)
    found = await _decisions(stack, {key})
    assert (answer.status_code, answer.json()["outcome"]) == (400, "invalid")
    assert found[key][0]["answer"]["type"] == "invalid"
