"""A real Alertmanager (Debian's package `prometheus-alertmanager`): it receives alerts, groups them, is silenced, and resolves."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.cases.receivers_scene import Hook, World, on, serving, until

from headrace.events.alerts import SilenceSet
from headrace.hosting.alerts import WATCHDOG, Alarm, fire, linked, resolve
from headrace_broker import free_port

EXAMPLE = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"


def found(name: str) -> str:
    """The path of a program of the package. Where it is missing the test is skipped, and fails where HEADRACE_CI is 1."""
    path = shutil.which(name)
    why = f"no {name} on this machine: `.ci/run` shows how Debian's package prometheus-alertmanager brings it"
    if path is None and os.environ.get("HEADRACE_CI") != "1":
        pytest.skip(why)
    assert path is not None, why
    return path


def started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as written:
        return subprocess.Popen(command, stdout=written, stderr=written)


@asynccontextmanager
async def alertmanager(folder: Path, hook: str, port: int) -> AsyncIterator[str]:
    """An Alertmanager that gives its notifications to a hook at once; its address."""
    config = {
        "route": {
            "receiver": "hook", "group_by": ["alertname", "deployment"],
            "group_wait": "2s", "group_interval": "300ms", "repeat_interval": "1h",
        },
        "receivers": [{"name": "hook", "webhook_configs": [{"url": hook}]}],
    }  # fmt: skip
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    command = [
        found("prometheus-alertmanager"), f"--config.file={folder / 'config.yml'}", f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    process = started(command, folder / "log")
    address = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(30):
            while not await _answers(http, f"{address}/-/ready"):
                assert process.poll() is None, (folder / "log").read_text()
                await asyncio.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx.HTTPError:
        return False


async def held(address: str) -> dict[str, dict[str, Any]]:
    """The alerts that an Alertmanager has, by what they are about."""
    async with httpx.AsyncClient() as http:
        rows = (await http.get(f"{address}/api/v2/alerts")).json()
    return {row["labels"].get("about", row["labels"]["alertname"]): row for row in rows}


async def until_held(address: str, *about: str, silenced: bool = False) -> dict[str, dict[str, Any]]:
    async with asyncio.timeout(20):
        while True:
            rows = await held(address)
            if all(name in rows and bool(rows[name]["status"]["silencedBy"]) == silenced for name in about):
                return rows
            await asyncio.sleep(0.05)


async def test_a_real_alertmanager_receives_groups_is_silenced_and_resolves(tmp_path: Path) -> None:
    world, hook = World(), Hook()
    await world.begin()
    port = free_port()
    with serving(hook) as url:
        async with (
            alertmanager(tmp_path, url, port) as address,
            world.forwarding(address, "alertmanager", "alertmanager"),
        ):
            # NB: an alert that began longer ago than `group_wait` is passed on at once, and alone.
            now_s = time.time()
            first, second, third = (linked(on(n, now_s), "https://ops.example/runbooks") for n in range(3))
            await world.send(first, second)
            await until(lambda: sorted(hook.alerts) == [("firing", "c0"), ("firing", "c1")])
            assert [len(body["alerts"]) for body in hook.bodies] == [2]
            notes = hook.bodies[0]["alerts"][0]["annotations"]
            assert notes["runbook_url"] == "https://ops.example/runbooks/SourceChanged.md"

            silence = SilenceSet("s1", {"about": "c2"}, now_s, now_s + 600, "ann", "a test")
            world.silences = {"s1": silence}
            await world.send(third)
            rows = await until_held(address, "c2", silenced=True)
            assert rows["c0"]["status"]["state"] == "active"
            world.silences = {}
            beat = fire(Alarm(WATCHDOG, {"service": "monitor"}, "none", "", ""), now_s)
            await world.send(resolve(first, time.time()), beat)
            await until_held(address, "Watchdog")
            await until(lambda: ("resolved", "c0") in hook.alerts and ("firing", "c2") in hook.alerts)
            assert hook.alerts.index(("resolved", "c0")) > 1

        (tmp_path / "data" / "nflog").unlink(missing_ok=True)
        async with (
            alertmanager(tmp_path, url, port) as address,
            world.forwarding(address, "alertmanager", "alertmanager"),
        ):
            rows = await until_held(address, "c1", "c2")
            assert set(rows) == {"c1", "c2", "Watchdog"}
            assert "receiver:alertmanager" not in world.health.failures


def test_the_example_of_deploy_is_sound() -> None:
    ran = subprocess.run([found("amtool"), "check-config", str(EXAMPLE)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
