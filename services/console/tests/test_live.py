"""The console on the log in memory, over a real socket."""

from typing import Any

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
