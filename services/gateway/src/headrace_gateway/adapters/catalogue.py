"""What can be asked for: deployments from the definitions, versions from the routes. V2's model metadata."""

from typing import Any

from headrace.bus.port import Log
from headrace.bus.projects import Projects
from headrace.bus.views import View
from headrace.codec import Codec, Message
from headrace.events.registry import Route
from headrace.project.definition import DeploymentDefinition, InputDefinition
from headrace.topics import Topics


class Catalogue:
    """Deployments by name, always current."""

    def __init__(self, log: Log, codec: Codec, topics: Topics, projects: Projects) -> None:
        self._projects = projects
        self._routes: dict[str, Route] = {}
        self.view = View(log, codec, [topics.name("registry.routes")], self._take)

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

    def can_answer(self, deployment: DeploymentDefinition) -> bool:
        """Whether a version has traffic, or the ladder ends in a prior."""
        route = self._routes.get(deployment.name)
        return bool(route and route.shares) or any(rung.kind == "prior" for rung in deployment.ladder)

    def metadata(self, deployment: DeploymentDefinition) -> dict[str, Any]:
        """The body of GET /v2/models/{m}."""
        route = self._routes.get(deployment.name)
        inputs = [{"name": f.name, "datatype": _datatype(f), "shape": [-1]} for f in deployment.inputs]
        unit = {"name": deployment.unit, "datatype": "BYTES", "shape": [-1], "parameters": {"optional": True}}
        has_unit = any(field.name == deployment.unit for field in deployment.inputs)
        return {
            "name": deployment.name,
            "versions": [str(version) for version in route.shares] if route else [],
            "platform": "headrace",
            "inputs": inputs if has_unit else [*inputs, unit],
            "outputs": [
                {"name": "score", "datatype": "FP64", "shape": [-1]},
                {"name": "version", "datatype": "INT64", "shape": [-1]},
            ],
        }

    def _take(self, message: Message) -> None:
        if isinstance(message.event, Route):
            self._routes[message.event.deployment] = message.event
        elif message.event is None:
            self._routes.pop((message.record.key or b"").decode(), None)


def example(deployment: DeploymentDefinition) -> dict[str, Any]:
    """A V2 body that this deployment answers."""
    inputs = [
        {"name": f.name, "datatype": _datatype(f), "shape": [1], "data": [_example_value(f)]} for f in deployment.inputs
    ]
    return {"id": "my-first", "inputs": inputs, "parameters": {"unit": "example-1"}}


def _example_value(field: InputDefinition) -> float | str:
    if field.kind != "number":
        return "AA"
    low, high = field.low, field.high
    if low is not None and high is not None:
        return (low + high) / 2
    return low if low is not None else high if high is not None else 1.0


def _datatype(field: InputDefinition) -> str:
    return "FP64" if field.kind == "number" else "BYTES"
