"""Who may ask, for what, and how often."""

from typing import Any

import pytest

from headrace.log.codec import header
from headrace_edge.rules.callers import Caller, digest_of

Bench = Any  # the fixture of conftest.py

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
        response = await client.post(bench.path, json=bench.body, headers=headers)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        page = await client.get("/docs", headers=headers)
        assert (page.status_code, page.headers["WWW-Authenticate"].partition(" ")[0]) == (401, "Basic")
        assert (await client.get("/v2/models/delay", headers=headers)).status_code == 401
        assert (await client.get("/v2/health/live", headers=headers)).status_code == 200
        assert "AA" not in (await client.get("/openapi.json", headers=headers)).text
    assert await bench.requests() == []


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "an API key is needed"),
        ({"Authorization": "Bearer wrong"}, "unknown key"),
        ({"X-API-Key": "x" * 5000}, "unknown key"),
        ({"Authorization": "Bearer gone"}, "the key has expired"),
    ],
)
async def test_401_says_which_of_the_three_it_is(bench: Bench, headers: dict[str, str], reason: str) -> None:
    async with bench.client(callers=KEYS) as client:
        assert reason in (await client.post(bench.path, json=bench.body, headers=headers)).json()["error"]


async def test_a_key_for_other_deployments_is_403_and_neither_sees_nor_asks_them(bench: Bench) -> None:
    async with bench.client(callers=KEYS, headers={"X-API-Key": "narrow"}) as client:
        for path in (
            bench.path,
            "/v1/deployments/delay/predict",
            "/v1/models/delay:predict",
            "/v2/models/nobody/infer",
        ):
            refused = await client.post(path, json=bench.body)
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
        assert (await client.post(bench.path, json=bench.body, auth=("any", "s3cret"))).status_code == 401


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer s3cret"}, {"X-API-Key": "s3cret"}])
async def test_a_key_names_the_tenant_on_the_request(bench: Bench, headers: dict[str, str]) -> None:
    async with bench.client(callers=KEYS) as client:
        assert (await client.post(bench.path, json=bench.body, headers=headers)).status_code == 200
    (request,) = await bench.requests()
    assert header(request.record.headers, "headrace_tenant") == "shop"


async def test_who_asks_too_often_gets_429_and_the_others_are_served(bench: Bench) -> None:
    async with bench.client(callers=KEYS) as client:
        often = [await client.post(bench.path, json=bench.body, headers={"X-API-Key": "slow"}) for _ in range(3)]
        other = await client.post(bench.path, json=bench.body, headers={"X-API-Key": "s3cret"})
    assert [response.status_code for response in often] == [200, 200, 429]
    assert often[2].headers["Retry-After"] == "2"
    assert other.status_code == 200
