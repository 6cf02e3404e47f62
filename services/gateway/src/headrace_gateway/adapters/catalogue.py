"""What can be asked for: deployments from the definitions, versions from routes and registry. V2's model metadata."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from headrace.asking.output_kinds import OutputKinds
from headrace.asking.prediction import OutputKind
from headrace.clock import Clock
from headrace.errors import HeadraceError
from headrace.events.definition import DeploymentDefinition, InputDefinition
from headrace.events.registry import Route
from headrace.log.codec import Codec, Message
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.log.views import View
from headrace.project.applied import Projects
from headrace_gateway.adapters.reports import Reports
from headrace_gateway.core.answers import described_outputs
from headrace_gateway.core.readiness import loaded_on, why_not_ready

CATCH_UP_S = 1.0


class Catalogue:
    """Deployments by name, always current."""

    def __init__(self, log: Log, codec: Codec, topics: Topics, projects: Projects, clock: Clock) -> None:
        self._projects, self._clock = projects, clock
        self._routes: dict[str, Route] = {}
        self._view = View(log, codec, [topics.name("registry.routes")], self._take)
        self._kinds = OutputKinds(log, codec, topics)
        self._reports = Reports(log, codec, topics, clock)
        self._catching_up: asyncio.Task[None] | None = None
        self._until_s = 0.0

    async def start(self) -> None:
        """Read what there is now."""
        await self._view.start()
        await self._kinds.start()
        await self._reports.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._view.run(stop))
            group.create_task(self._kinds.run(stop))
            group.create_task(self._reports.run(stop))

    async def find(self, name: str) -> DeploymentDefinition | None:
        """A deployment by name; one that was published a moment ago is waited for, a second at most."""
        found = self._projects.deployment(name)
        if found is None:
            await self._catch_up()
            found = self._projects.deployment(name)
        return None if found is None else found[1]

    async def _catch_up(self) -> None:
        """One for all who wait; who comes while it takes longer than a second (the broker is away) is not held at all."""
        now_s = self._clock.monotonic_s()
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(_quietly(self._projects.catch_up))
            self._until_s = now_s + CATCH_UP_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._until_s - now_s):
                await asyncio.shield(self._catching_up)

    @property
    def deployments(self) -> list[DeploymentDefinition]:
        """All of them."""
        return [deployment for _, deployment in self._projects.deployments()]

    def kind(self, deployment: DeploymentDefinition, version: int | None = None) -> OutputKind:
        """What a version's scores mean; the champion's when None."""
        route = self._routes.get(deployment.name)
        return self._kinds.of(deployment, version or (route.champion if route else None))

    def versions(self, deployment: str) -> list[int]:
        """Versions that are loaded, so that a preview may name them."""
        route = self._routes.get(deployment)
        if route is None:
            return []
        named = {*route.shares, *route.shadows, *route.warm, route.champion, route.previous, route.baseline}
        return sorted(version for version in named if version is not None)

    def why_not_ready(self, deployment: DeploymentDefinition, version: int | None = None) -> str | None:
        """Why a deployment (this version) cannot be asked in full now; None when it can."""
        return why_not_ready(deployment, self._routes.get(deployment.name), self._reports.living(), version)

    def metadata(self, deployment: DeploymentDefinition, version: int | None = None) -> dict[str, Any]:
        """The body of GET /v2/models/{m}."""
        return {
            "name": deployment.name,
            "versions": [str(found) for found in self.versions(deployment.name)],
            "platform": "headrace",
            "inputs": _inputs(deployment),
            "outputs": described_outputs(self.kind(deployment, version)),
        }

    def config(self, deployment: DeploymentDefinition, version: int | None = None) -> dict[str, Any]:
        """The body of GET /v2/models/{m}/config: the same, in Triton's words."""
        told = self.metadata(deployment, version)
        return {
            "name": deployment.name,
            "platform": "headrace",
            "backend": "headrace",
            "max_batch_size": 0,
            "input": [_configured(found) for found in told["inputs"]],
            "output": [_configured(found) for found in told["outputs"]],
        }

    def index(self, only_ready: bool, allows: Callable[[str], bool] = lambda _: True) -> list[dict[str, str]]:
        """The body of POST /v2/repository/index. `allows`: whether who asks may see a deployment."""
        return [
            entry
            for deployment in self.deployments
            if allows(deployment.name)
            for entry in self._entries(deployment)
            if entry["state"] == "READY" or not only_ready
        ]

    def _entries(self, deployment: DeploymentDefinition) -> list[dict[str, str]]:
        name, routed = deployment.name, self.versions(deployment.name)
        if not routed and not self._kinds.versions(name):
            why = self.why_not_ready(deployment)
            reason = why or "no version yet: the prior answers"
            return [{"name": name, "version": "0", "state": "UNAVAILABLE" if why else "READY", "reason": reason}]
        loaded = loaded_on(self._reports.living(), name)
        known = sorted({*routed, *self._kinds.versions(name)})
        return [_entry(name, version, version in routed, version in loaded) for version in known]

    def _take(self, message: Message) -> None:
        if isinstance(message.event, Route):
            self._routes[message.event.deployment] = message.event
        elif message.event is None:
            self._routes.pop((message.record.key or b"").decode(), None)


async def _quietly(catch_up: Callable[[], Any]) -> None:
    """With the broker away, what is known is all that there is."""
    with contextlib.suppress(HeadraceError, OSError):
        await catch_up()


def _entry(name: str, version: int, is_routed: bool, is_loaded: bool) -> dict[str, str]:
    if is_routed and is_loaded:
        state, reason = "READY", ""
    else:
        state, reason = "UNAVAILABLE", "routed, not loaded" if is_routed else "registered, not routed"
    return {"name": name, "version": str(version), "state": state, "reason": reason}


def _inputs(deployment: DeploymentDefinition) -> list[dict[str, Any]]:
    inputs = [{"name": f.name, "datatype": datatype(f), "shape": [-1]} for f in deployment.inputs]
    if any(field.name == deployment.unit for field in deployment.inputs):
        return inputs
    return [
        *inputs,
        {"name": deployment.unit, "datatype": "BYTES", "shape": [-1], "parameters": {"optional": True}},
    ]


def _configured(found: dict[str, Any]) -> dict[str, Any]:
    kind = "TYPE_STRING" if found["datatype"] == "BYTES" else f"TYPE_{found['datatype']}"
    optional = {"optional": True} if found.get("parameters", {}).get("optional") else {}
    return {"name": found["name"], "data_type": kind, "dims": found["shape"]} | optional


def datatype(field: InputDefinition) -> str:
    """V2's datatype of an input."""
    return "FP64" if field.kind == "number" else "BYTES"
