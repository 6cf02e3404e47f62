"""What can be asked for: deployments from the definitions, versions from routes and registry. V2's model metadata."""

import asyncio
from typing import Any

from headrace.bus.outputs import OutputKinds
from headrace.bus.port import Log
from headrace.bus.projects import Projects
from headrace.bus.views import View
from headrace.codec import Codec, Message
from headrace.events.registry import Route
from headrace.policy.prediction import OutputKind
from headrace.project.definition import DeploymentDefinition, InputDefinition
from headrace.topics import Topics
from headrace_gateway.core.answers import described_outputs


class Catalogue:
    """Deployments by name, always current."""

    def __init__(self, log: Log, codec: Codec, topics: Topics, projects: Projects) -> None:
        self._projects = projects
        self._routes: dict[str, Route] = {}
        self._view = View(log, codec, [topics.name("registry.routes")], self._take)
        self._kinds = OutputKinds(log, codec, topics)

    async def start(self) -> None:
        """Read what there is now."""
        await self._view.start()
        await self._kinds.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._view.run(stop))
            group.create_task(self._kinds.run(stop))

    async def find(self, name: str) -> DeploymentDefinition | None:
        """A deployment by name; one that was published a moment ago is waited for."""
        found = self._projects.deployment(name)
        if found is None:
            await self._projects.catch_up()
            found = self._projects.deployment(name)
        return None if found is None else found[1]

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

    def can_answer(self, deployment: DeploymentDefinition, version: int | None = None) -> bool:
        """Whether a version (this one) is loaded and takes requests, or the ladder ends in a prior."""
        if version is not None:
            return version in self.versions(deployment.name)
        route = self._routes.get(deployment.name)
        return bool(route and route.shares) or any(rung.kind == "prior" for rung in deployment.ladder)

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

    def index(self, only_ready: bool) -> list[dict[str, str]]:
        """The body of POST /v2/repository/index."""
        return [
            entry
            for deployment in self.deployments
            for entry in self._entries(deployment)
            if entry["state"] == "READY" or not only_ready
        ]

    def _entries(self, deployment: DeploymentDefinition) -> list[dict[str, str]]:
        name, loaded = deployment.name, self.versions(deployment.name)
        if not loaded and not self._kinds.versions(name):
            ready = self.can_answer(deployment)
            reason = "no version yet: the prior answers" if ready else "no version yet"
            return [{"name": name, "version": "0", "state": "READY" if ready else "UNAVAILABLE", "reason": reason}]
        known = sorted({*loaded, *self._kinds.versions(name)})
        return [_entry(name, version, version in loaded) for version in known]

    def _take(self, message: Message) -> None:
        if isinstance(message.event, Route):
            self._routes[message.event.deployment] = message.event
        elif message.event is None:
            self._routes.pop((message.record.key or b"").decode(), None)


def _entry(name: str, version: int, is_loaded: bool) -> dict[str, str]:
    state, reason = ("READY", "") if is_loaded else ("UNAVAILABLE", "registered, not routed")
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
