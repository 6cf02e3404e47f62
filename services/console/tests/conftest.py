"""The console on the log in memory: whatever a test appends is read, folded and served over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headrace.clock import SystemClock
from headrace.events.definition import digest_of
from headrace.events.ops import HealthReported
from headrace.events.project import ProjectApplied
from headrace.hosting.health import Health
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope
from headrace.log.memory import MemoryLog
from headrace.log.topics import Topics
from headrace.project import Binary, Deployment, Number, Project, prior
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace_console.app import ConsoleService, wire

PROJECT = compile_project(
    Project(
        "p",
        [
            Deployment(
                "delay",
                unit="flight",
                inputs=[Number("miles")],
                label=Binary("late", horizon="24h"),
                fallback=[prior(0.26)],
            ),
            Deployment("plain", unit="thing", inputs=[Number("x")]),
        ],
    )
)


class Scene:
    """A log with topics and a project. `settings`: of the console that `running` starts."""

    def __init__(self, log: MemoryLog, folder: Path) -> None:
        self.log, self.clock, self.folder = log, SystemClock(), folder
        self.settings = Settings(console_port=0)
        self.topics = Topics.load()
        self.codec = Codec(self.topics)
        self.health = Health("console", "console-1", failures={})
        self._number = 0

    async def set_up(self) -> "Scene":
        await ensure_topics(self.log, self.topics.specs(PROJECT))
        self.append("project.definitions", "p", ProjectApplied("p", digest_of(PROJECT), "", PROJECT, 0.0))
        return self

    def append(self, base: str, key: str, event: Any, *, ident: str = "", cause: str | None = None) -> str:
        """Append an event; returns its id."""
        self._number += 1
        ident = ident or f"e{self._number}"
        envelope = Envelope(ident, "", "test", self.clock.now_s(), causation_id=cause)
        self.log.append(out(self.topics.name(base), key, event, envelope))
        return ident

    def report(self, service: str, *, ready: bool = True, **changes: Any) -> None:
        """An instance reports."""
        instance = f"{service}-1"
        fields = {"started_s": self.clock.now_s() - 1.0} | changes
        self.append("ops.health", f"{service}/{instance}", HealthReported(service, instance, ready, **fields))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[httpx.AsyncClient]:
        """A console on a real socket, and a client of it."""
        projects = Projects(self.log, self.codec, self.topics)
        await projects.start()
        service: ConsoleService = wire(
            self.log,
            self.codec,
            self.topics,
            projects,
            self.health,
            self.clock,
            self.settings,
            self.folder,
        )
        stop = asyncio.Event()
        tasks = [asyncio.create_task(service.run(stop)), asyncio.create_task(projects.run(stop))]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=10) as client:
            yield client
            stop.set()
            async with asyncio.timeout(5):
                await asyncio.gather(*tasks)


class Page:
    """What a page keeps of a stream: values of documents, as RFC 7386 has it, and the last event's id."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.why: dict[str, str] = {}
        self.names: list[str] = []
        self.last = ""
        self.as_of: dict[str, Any] = {}

    async def follow(self, client: httpx.AsyncClient, keys: str, until: Any) -> None:
        """Follow documents until `until(self)` holds."""
        from headrace_console.core.patches import apply

        headers = {"Last-Event-ID": self.last} if self.last else {}
        async with (
            asyncio.timeout(10),
            client.stream("GET", f"/api/v1/live?documents={keys}", headers=headers) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            name = ""
            async for line in answer.aiter_lines():
                field, _, text = line.partition(": ")
                if field == "id":
                    self.last = text
                elif field == "event":
                    name = text
                elif field == "data":
                    found = json.loads(text)
                    self.names.append(name)
                    if name == "snapshot":
                        self.values[found["document"]], self.why[found["document"]] = found["value"], found["why"]
                    elif name == "delta":
                        self.values[found["document"]] = apply(found["patch"], self.values[found["document"]])
                    else:
                        self.as_of = found["as_of_s"]
                elif not line and until(self):
                    return


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> Scene:
    return await Scene(MemoryLog(SystemClock()), tmp_path).set_up()


@pytest.fixture
def page() -> Page:
    return Page()
