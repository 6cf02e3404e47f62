"""Acts over HTTP: a stranger, a viewer, an operator and an approver, and a registry that answers on the log."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.events.definition import RolloutDefinition
from headrace.events.registry import (
    ApprovalAwaited,
    ApproveVersion,
    CommandRefused,
    PauseRollout,
    RolloutAdvanced,
    RolloutPaused,
    RolloutStarted,
    VersionApproved,
)
from headrace.hosting.alerts import Alarm, fire
from headrace.hosting.settings import Settings
from headrace.log.views import read_all
from headrace.testing.registry import version_of

Scene = Any
ACT = {"X-Headrace-Act": "1"}
PAUSE = {"act": "pause", "reason": "it smells", "deployment": "delay"}
APPROVE = {"act": "approve", "reason": "it is good", "deployment": "delay", "version": 2}
CANARY = RolloutDefinition("canary", shares=(0.05, 1.0))


@pytest.fixture
def people(scene: Scene, tmp_path: Path) -> Scene:
    """The scene with a key per role, and one without a role; version 2 waits in its canary for an approval."""
    lines = [
        f'[[key]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'
        + (f'role = "{role}"\n' if role else "")
        for name, role in (("vera", "viewer"), ("otto", "operator"), ("anna", "approver"), ("shop", ""))
    ]
    (tmp_path / "keys.toml").write_text("\n".join(lines))
    scene.settings = Settings(console_port=0, api_keys_file=str(tmp_path / "keys.toml"))
    for version in (1, 2):
        scene.append("registry.facts", "delay", version_of(version, deployment="delay"))
    scene.append("registry.facts", "delay", RolloutStarted("delay", "r1", 2, "canary", "better", CANARY, 1))
    scene.append("registry.facts", "delay", RolloutAdvanced("delay", "r1", 2, "canary", 0.05, 0, 5.0))
    scene.append("registry.facts", "delay", ApprovalAwaited("delay", "r1", 2, "no label"))
    return scene


@asynccontextmanager
async def signed_in(scene: Scene, name: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a session, and a console that has read everything."""
    async with scene.running() as client, asyncio.timeout(10):
        while not (await client.get("/api/v1/documents/version/delay/2")).json()["as_of_s"]:
            await asyncio.sleep(0.02)
        if name:
            answer = await client.post("/api/v1/session", json={"key": name}, headers=ACT)
            assert answer.status_code == 200
            assert "HttpOnly" in answer.headers["set-cookie"]
        yield client


@asynccontextmanager
async def registry(scene: Scene, refuses: str = "") -> AsyncIterator[None]:
    """Answers commands as the registry does."""
    partitions = await scene.log.partitions(scene.topics.name("registry.commands"))
    reader = await scene.log.reader(partitions, "end")

    async def answer() -> None:
        while True:
            for record in await reader.fetch(0.05):
                message = scene.codec.decode(record)
                ident, event = message.envelope.id, message.event
                fact: Any = RolloutPaused("delay", "r1", 2, event.reason)
                if refuses:
                    fact = CommandRefused("delay", "pause.rollout", ident, refuses)
                elif isinstance(event, ApproveVersion):
                    fact = VersionApproved("delay", 2, event.reason, event.by)
                scene.append("registry.facts", "delay", fact, cause=ident)

    task = asyncio.create_task(answer())
    yield
    task.cancel()


def change_keys(scene: Scene, text: str, by: str) -> None:
    keys = Path(scene.settings.api_keys_file)
    keys.write_text(keys.read_text().replace(text, by))


async def commands(scene: Scene) -> list[Any]:
    return [found.event for found in await read_all(scene.log, scene.codec, [scene.topics.name("registry.commands")])]


async def test_an_operator_pauses_and_sees_the_record_and_what_followed(people: Scene) -> None:
    async with signed_in(people, "otto") as client, registry(people):
        answer = await client.post("/api/v1/acts", json=PAUSE, headers=ACT)
        assert answer.json() == {
            "place": "registry.commands/0/0",
            "facts": ["rollout of version 2 paused: it smells"],
            "refused": "",
        }
    assert await commands(people) == [PauseRollout("delay", "it smells", "otto")]


async def test_an_approver_approves(people: Scene) -> None:
    async with signed_in(people, "anna") as client, registry(people):
        answer = await client.post("/api/v1/acts", json=APPROVE, headers=ACT)
        assert (answer.status_code, answer.json()["refused"]) == (200, "")
    assert await commands(people) == [ApproveVersion("delay", 2, "it is good", "anna")]


async def test_what_the_registry_refuses_is_told(people: Scene) -> None:
    async with signed_in(people, "otto") as client, registry(people, refuses="nothing to pause"):
        assert (await client.post("/api/v1/acts", json=PAUSE, headers=ACT)).json()["refused"] == "nothing to pause"


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("", PAUSE, 401), ("vera", PAUSE, 403), ("otto", APPROVE, 403), ("otto", PAUSE | {"reason": " "}, 400),
        ("otto", {"act": "explode", "reason": "r"}, 400), ("otto", PAUSE | {"act": "resume"}, 409), ("otto", PAUSE | {"x": 1}, 400),
    ],
)  # fmt: skip
async def test_who_may_not_acts_on_nothing(people: Scene, name: str, body: Any, status: int) -> None:
    async with signed_in(people, name) as client:
        answer = await client.post("/api/v1/acts", json=body, headers=ACT)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert await commands(people) == []


async def test_a_page_of_another_site_acts_on_nothing(people: Scene) -> None:
    async with signed_in(people, "otto") as client:
        for headers in ({}, ACT | {"Origin": "https://evil.example"}):
            assert (await client.post("/api/v1/acts", json=PAUSE, headers=headers)).status_code == 403
        assert (await client.post("/api/v1/acts", content=b"{}", headers=ACT)).status_code == 403
    assert await commands(people) == []


async def test_the_page_is_told_who_looks_at_it(people: Scene) -> None:
    async with signed_in(people, "") as client:
        stranger = (await client.get("/api/v1/me")).json()
        assert (stranger["name"], stranger["role"], stranger["can_sign_in"]) == ("", None, True)
        refused = [
            await client.post("/api/v1/session", json={"key": key}, headers=ACT) for key in ("wrong", "shop", "")
        ]
        assert [answer.status_code for answer in refused] == [401, 401, 401]
        await client.post("/api/v1/session", json={"key": "anna"}, headers=ACT)
        assert (await client.get("/api/v1/me")).json()["role"] == "approver"
        await client.delete("/api/v1/session", headers=ACT)
        assert (await client.get("/api/v1/me")).json()["role"] is None


async def role(scene: Scene, cookie: str, *, ends: bool = False) -> str | None:
    """The role that a cookie has in a console that was just started. `ends`: the session is ended before."""
    headers = {"Cookie": cookie}
    async with scene.running() as client:
        if ends:
            await client.delete("/api/v1/session", headers=ACT | headers)
        return (await client.get("/api/v1/me", headers=headers)).json()["role"]


async def cookie_of(scene: Scene, name: str) -> str:
    async with scene.running() as client:
        answer = await client.post("/api/v1/session", json={"key": name}, headers=ACT)
        return answer.headers["set-cookie"].partition(";")[0]


async def test_a_session_outlives_the_process_until_its_person_ends_it(people: Scene) -> None:
    cookie, other = await cookie_of(people, "otto"), await cookie_of(people, "otto")
    assert await role(people, cookie) == "operator"
    assert await role(people, cookie, ends=True) is None
    assert await role(people, cookie) is None, "a copy of the cookie"
    assert await role(people, other) == "operator"


async def test_a_change_of_the_keys_ends_all_sessions(people: Scene) -> None:
    cookie = await cookie_of(people, "otto")
    change_keys(people, 'role = "viewer"', 'role = "approver"')
    assert await role(people, cookie) is None


async def test_wrong_keys_slow_down_whoever_tries_them_and_never_a_right_one(people: Scene) -> None:
    async with people.running() as client:
        statuses = [
            (await client.post("/api/v1/session", json={"key": f"wrong{number}"}, headers=ACT)).status_code
            for number in range(30)
        ]
        right = await client.post("/api/v1/session", json={"key": "otto"}, headers=ACT)
    assert (statuses[0], statuses[-1], right.status_code) == (401, 429, 200)


async def test_by_another_sites_name_nothing_is_served(people: Scene) -> None:
    async with people.running() as client:
        evil = {"Host": "evil.example:8090"}
        refused = [await client.get(path, headers=evil) for path in ("/", "/api/v1/me", "/api/v1/documents/now")]
        refused.append(await client.post("/api/v1/session", json={"key": "otto"}, headers=ACT | evil))
        local = await client.get("/api/v1/me", headers={"Host": "localhost"})
    assert [(answer.status_code, list(answer.json())) for answer in refused] == [(421, ["error"])] * 4
    assert local.status_code == 200


async def test_names_that_are_set_are_taken(people: Scene) -> None:
    people.settings = Settings(console_port=0, console_hosts="console.example.org")
    async with people.running() as client:
        statuses = [
            (await client.get("/", headers={"Host": host})).status_code for host in ("console.example.org", "x")
        ]
    assert statuses == [200, 421]


async def test_without_keys_nobody_can_act(scene: Scene) -> None:
    async with scene.running() as client:
        assert (await client.get("/api/v1/me")).json()["can_sign_in"] is False
        assert (await client.post("/api/v1/acts", json=PAUSE, headers=ACT)).status_code == 401


async def test_reading_from_outside_needs_a_persons_key_and_the_page_itself_does_not(people: Scene) -> None:
    people.settings = Settings(console_port=0, http_host="0.0.0.0", api_keys_file=people.settings.api_keys_file)
    async with people.running() as client:
        answers = [
            await client.get(path)
            for path in ("/api/v1/documents/now", "/api/v1/live?documents=now", "/api/v1/me", "/")
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 200, 200]
        known = {"X-API-Key": "vera"}
        assert (await client.get("/api/v1/documents/now", headers=known)).status_code == 200
        assert (await client.get("/api/v1/documents/now", headers={"X-API-Key": "shop"})).status_code == 401


async def test_an_operator_silences_an_alert_and_ends_the_silence(people: Scene) -> None:
    alert = fire(Alarm("BreakerOpen", {"deployment": "delay"}, "critical", "it is open", "headrace status"), 1.0)
    people.append("alerts", alert.fingerprint, alert)
    async with signed_in(people, "otto") as client:
        act = {"act": "silence", "reason": "known", "target": alert.fingerprint, "for_s": 600}
        answer = (await client.post("/api/v1/acts", json=act, headers=ACT)).json()
        assert (answer["place"], answer["facts"][0][:12]) == ("alerts.silences/0/0", "silent until")
        found = (await client.get("/api/v1/documents/alerts")).json()["value"]
        assert "by otto: known" in found["alerts"][alert.fingerprint]["silenced"]
        (silence,) = found["silences"]
        act = {"act": "unsilence", "reason": "mended", "target": silence}
        assert (await client.post("/api/v1/acts", json=act, headers=ACT)).json()["facts"] == ["the silence has ended"]
        assert (await client.get("/api/v1/documents/alerts")).json()["value"]["silences"] == {}
