"""What the gateway says of itself and of deployments: ready or not, and why."""

import asyncio
from typing import Any

import pytest

from headrace.log.port import Out

Bench = Any  # the fixture of conftest.py


async def test_health_and_metadata_are_json(bench: Bench) -> None:
    async with bench.client() as client:
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        assert (await client.get("/v2")).json()["name"] == "headrace"
        metadata = (await client.get("/v2/models/delay")).json()
        assert [found["name"] for found in metadata["inputs"]] == ["miles", "carrier", "flight"]
        bench.report()
        await bench.until_ready(client, "delay")
        assert (await client.get("/v2/models/delay/ready")).json() == {"name": "delay", "ready": True}
        plain = await client.get("/v2/models/plain/ready")
        assert (plain.status_code, plain.json()["reason"]) == (
            503,
            "no version takes traffic yet, and there is no prior",
        )


async def test_a_deployment_is_ready_while_its_champion_is_loaded_on_an_instance_that_lives(bench: Bench) -> None:
    ready = "/v2/models/delay/ready"
    bench.route(3)
    async with bench.client() as client:
        assert "no inference instance" in (await client.get(ready)).json()["reason"]
        bench.report("delay/3")
        await bench.until_ready(client, "delay")
        for report, reason in (
            ({"loaded": ("delay/2",)}, "degraded: version 3 is not loaded (loaded: 2)"),
            ({"loaded": ("delay/3",), "degraded": {"delay": "its breaker is open"}}, "degraded: its breaker is open"),
            ({"loaded": ("delay/3",), "stopping": True}, "no inference instance"),
        ):
            bench.report(*report.pop("loaded"), **report)
            async with asyncio.timeout(10):
                while reason not in (await client.get(ready)).json().get("reason", ""):
                    await asyncio.sleep(0.01)
            assert (await client.get(ready)).status_code == 503
            bench.report("delay/3")
            await bench.until_ready(client, "delay")
        assert (await client.get("/v2/models/delay/versions/3/ready")).status_code == 200


async def test_garbage_among_the_reports_is_passed_over(bench: Bench) -> None:
    topic = bench.topics.name("ops.health")
    async with bench.client() as client:
        for value, headers in ((b"\xc1", ()), (None, ()), (b"{}", (("ce_origin", b"a/b/c/d"), ("ce_type", b"x")))):
            bench.log.append(Out(topic, b"k", value, headers))
        bench.report()
        await bench.until_ready(client, "delay")


async def test_the_gateway_is_not_ready_while_a_part_of_it_fails_and_says_which(bench: Bench) -> None:
    async with bench.client() as client:
        bench.health.fail("heartbeat", "the broker takes no heartbeats")
        found = await client.get("/v2/health/ready")
        assert (found.status_code, found.json()) == (503, {"ready": False, "reason": "the broker takes no heartbeats"})
        assert (await client.get("/v2/health/live")).status_code == 200
        assert (await client.post(bench.path, json=bench.body)).status_code == 200  # what works is used
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
