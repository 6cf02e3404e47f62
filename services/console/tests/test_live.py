"""The console on the log in memory, over a real socket."""

import asyncio
from typing import Any

from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.registry import AliasMoved, Route, RouteChanged

Scene = Any
Page = Any


async def test_a_page_gets_a_snapshot_and_then_only_what_changed(scene: Scene, page: Page) -> None:
    async with scene.running() as client:
        await page.follow(client, "now", lambda p: "now" in p.values and p.as_of.get("now"))
        assert page.values["now"]["mark"] == "unknown"
        assert set(page.values["now"]["deployments"]) == {"delay", "plain"}
        route = Route("plain", {1: 1.0}, "s", 1, champion=1)
        scene.append("registry.facts", "plain", AliasMoved("plain", "champion", 1, None, "first"))
        scene.append("registry.facts", "plain", RouteChanged("plain", route))
        page.names.clear()
        await page.follow(client, "now", lambda p: p.values["now"]["deployments"]["plain"].get("champion") == 1)
    assert {"delta", "as_of"} >= set(page.names)


async def test_a_document_is_served_by_itself(scene: Scene) -> None:
    async with scene.running() as client:
        found = (await client.get("/api/v1/documents/deployment/delay")).json()
        missing = (await client.get("/api/v1/documents/deployment/nobody")).json()
        unknown = await client.get("/api/v1/documents/nothing")
    assert found["value"]["row"]["name"] == "delay"
    assert (missing["value"], missing["why"][:16]) == (None, "nothing is known")
    assert (unknown.status_code, "error" in unknown.json()) == (404, True)


async def test_a_decision_is_found_and_explained(scene: Scene) -> None:
    decision = DecisionMade("r1", "delay", "AA-1", 5.0, Served(Score(3, "d", 0.5)), 0)
    scene.append("inference.decisions", "AA-1", decision, cause="r1")
    async with scene.running() as client, asyncio.timeout(10):
        while (found := await client.get("/api/v1/decisions/delay/AA-1")).status_code == 404:
            await asyncio.sleep(0.05)
        hits = (await client.get("/api/v1/find", params={"q": "AA-1"})).json()
        missing = await client.get("/api/v1/decisions/delay/nobody")
    assert (found.json()["request_id"], found.json()["place"]) == ("r1", "inference.decisions/0/0")
    assert [(hit["kind"], hit["link"]) for hit in hits] == [("unit", "/deployments/delay/decisions/AA-1")]
    assert missing.status_code == 404
