"""The console on the log in memory, over a real socket."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.ops import DeploymentTraffic
from headrace.events.registry import AliasMoved, Route, RouteChanged
from headrace.hosting.alerts import Alarm, fire
from headrace.latency import BUCKETS

Scene = Any
ACT = {"X-Headrace-Act": "1"}
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
    route = Route("delay", {3: 1.0}, "s", 1, champion=3, reason="first")
    scene.append("registry.routes", "delay", route)
    decision = DecisionMade("r1", "delay", "AA-1", 5.0, Served(Score(3, "d", 0.5)), 0, route_offset=0)
    scene.append("inference.decisions", "AA-1", decision, cause="r1")
    async with scene.running() as client, asyncio.timeout(10):
        routed_s = (await client.get("/api/v1/records/registry.routes/0/0")).json()["appended_s"]
        while (found := await client.get("/api/v1/decisions/delay/AA-1")).status_code == 404:
            await asyncio.sleep(0.05)
        hits = (await client.get("/api/v1/find", params={"q": "AA-1"})).json()
        missing = await client.get("/api/v1/decisions/delay/nobody")
    assert (found.json()["request_id"], found.json()["place"]) == ("r1", "inference.decisions/0/0")
    (step,) = found.json()["why"]
    assert (step["mark"], step["place"], step["sentence"]) == ("ok", "registry.routes/0/0", "version 3 100%: first")
    assert step["wall_s"] == routed_s
    assert [(hit["kind"], hit["link"]) for hit in hits] == [("unit", "/deployments/delay/decisions/AA-1")]
    assert missing.status_code == 404


async def test_a_page_that_was_away_gets_what_changed_meanwhile_and_then_goes_on(scene: Scene, page: Page) -> None:
    async with scene.running() as client:
        await page.follow(client, "alerts,now", lambda p: len(p.values) == 2)
        before = page.last
        await page.follow(client, "alerts,now", lambda p: bool(p.as_of))
        page.names.clear()
        scene.append("alerts", "f1", fire(Alarm("BreakerOpen", {"deployment": "delay"}, "critical", "open", "c"), 1.0))
        await page.follow(client, "alerts,now", lambda p: p.values["alerts"]["alerts"])
        assert "snapshot" not in page.names
        page.last = "other-" + before.rpartition("-")[2]
        page.names.clear()
        await page.follow(client, "alerts,now", lambda p: len(p.names) >= 2)
    assert page.names[:2] == ["snapshot", "snapshot"]


async def test_streams_end_at_once_when_the_service_stops(scene: Scene) -> None:
    ended = asyncio.Event()

    async def follow(client: Any, is_open: asyncio.Event) -> None:
        async with client.stream("GET", "/api/v1/live?documents=now") as answer:
            async for _ in answer.aiter_lines():
                is_open.set()
        ended.set()

    is_open = asyncio.Event()
    async with scene.running() as client:
        following = asyncio.create_task(follow(client, is_open))
        await is_open.wait()
        began_s = asyncio.get_running_loop().time()
    await following
    assert ended.is_set()
    assert asyncio.get_running_loop().time() - began_s < 3.0


@pytest.mark.parametrize("keys", ["", ",", ",".join(f"deployment/d{n}" for n in range(17))])
async def test_too_few_or_too_many_documents_are_refused(scene: Scene, keys: str) -> None:
    async with scene.running() as client:
        answer = await client.get(f"/api/v1/live?documents={keys}")
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


async def test_a_document_that_cannot_be_has_no_value_and_ends_no_stream(scene: Scene, page: Page) -> None:
    odd = ["deployment/" + "x" * 600, "deployment/a,b%+& ü", "version/d", "nothing", "none", "deployment/"]
    query = ",".join(quote(key, safe="") for key in odd)
    async with scene.running() as client:
        await page.follow(client, f"now,{query}&documents=alerts", lambda p: len(p.values) == 8 and p.as_of.get("now"))
        assert {key for key, value in page.values.items() if value is not None} == {"now", "alerts"}
        assert (page.why["version/d"], page.why["nothing"]) == ("no such deployment", "no such document")
        assert set(page.values) == {"now", "alerts", *odd}


async def test_what_is_no_document_is_not_found(scene: Scene) -> None:
    async with scene.running() as client:
        answers = [
            await client.get(f"/api/v1/documents/{key}")
            for key in ("nothing", "none", "version/d", "deployment/nobody", f"deployment/{'x' * 600}")
        ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert all(answer.json()["error"] for answer in answers)


async def test_only_paths_of_the_page_lead_to_the_page(scene: Scene) -> None:
    async with scene.running() as client:
        there = [await client.get(path) for path in ("/", "/alerts", "/deployments/a/b", "/records/x/0/0")]
        missing = [
            await client.get(path) for path in ("/healthz", "/metrics", "/favicon.ico", "/deploymentsx", "/x/alerts")
        ]
        shown = await client.get("/nothing", headers={"Accept": "text/html,*/*"})
    assert [answer.status_code for answer in there] == [200] * 4
    assert [(answer.status_code, list(answer.json())) for answer in missing] == [(404, ["error"])] * 5
    assert (shown.status_code, shown.headers["content-type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "acts", "POST"), ("GET", "session", "POST, DELETE"), ("POST", "live", "GET"), ("POST", "find", "GET"),
        ("PUT", "acts", "POST"),
    ],
)  # fmt: skip
async def test_a_path_that_takes_another_method_says_which(scene: Scene, method: str, path: str, allowed: str) -> None:
    async with scene.running() as client:
        body = {"headers": ACT, "json": {}} if method != "GET" else {}
        answer = await client.request(method, f"/api/v1/{path}", **body)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_a_record_is_shown_at_its_place(scene: Scene) -> None:
    async with scene.running() as client:
        found = (await client.get("/api/v1/records/project.definitions/0/0")).json()
        statuses = [
            (await client.get(f"/api/v1/records/{place}")).status_code
            for place in ("project.definitions/0/9", "nothing/0/0", "project.definitions/0", "project.definitions/7/0")
        ]
    assert (found["place"], found["type"], found["value"]["name"]) == (
        "project.definitions/0/0",
        "project.applied",
        "p",
    )
    assert statuses == [404] * 4


async def test_the_page_and_its_files_have_their_headers(scene: Scene) -> None:
    async with scene.running() as client:
        page = await client.get("/deployments/delay")
        again = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
        missing = await client.get("/assets/nothing.js")
        wrong = [
            await client.get("/api/v2"),
            await client.get("/api/v1/nothing"),
            await client.put("/", headers=ACT, json={}),
        ]
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert (page.headers["cache-control"], again.status_code, missing.status_code) == ("no-cache", 304, 404)
    assert [answer.status_code for answer in wrong] == [404, 404, 405]


async def test_traffic_that_inference_reports_is_in_the_table(scene: Scene) -> None:
    async with scene.running() as client, asyncio.timeout(20):
        scene.report("inference", traffic={"delay": DeploymentTraffic({"served": 0}, {}, (0,) * BUCKETS)})
        served = 0
        while True:
            served += 10
            scene.report(
                "inference",
                traffic={"delay": DeploymentTraffic({"served": served}, {"1": served}, (served, *[0] * (BUCKETS - 1)))},
                started_s=1.0,
            )
            row = (await client.get("/api/v1/documents/now")).json()["value"]["deployments"]["delay"]
            if row["answers_per_s"]:
                break
            await asyncio.sleep(0.1)
    assert row["outcomes"].keys() == {"served"}
    assert 0 < row["p99_ms"] <= 5.0
