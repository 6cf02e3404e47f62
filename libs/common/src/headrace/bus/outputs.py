"""What the scores of each version mean: a view of `registry.models`, as far as an asker needs it."""

import asyncio

from headrace.bus.port import Log
from headrace.bus.views import View
from headrace.codec import Codec, Message
from headrace.events.registry import ModelVersion
from headrace.policy.prediction import OutputKind
from headrace.project.definition import DeploymentDefinition
from headrace.topics import Topics

_UNUSABLE = ("rejected", "archived", "deleted")


class OutputKinds:
    """Kinds of output by deployment and version, always current."""

    def __init__(self, log: Log, codec: Codec, topics: Topics) -> None:
        self._kinds: dict[str, dict[int, OutputKind]] = {}
        self._view = View(log, codec, [topics.name("registry.models")], self._take)

    async def start(self) -> None:
        """Read what is registered now."""
        await self._view.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow."""
        await self._view.run(stop)

    async def stop(self) -> None:
        """Give the connection back."""
        await self._view.stop()

    def versions(self, deployment: str) -> list[int]:
        """Registered versions that may be asked, ascending."""
        return sorted(self._kinds.get(deployment, {}))

    def of(self, deployment: DeploymentDefinition, version: int | None = None) -> OutputKind:
        """The kind of a version's scores; of the newest one when None, of the declared label where nothing is registered."""
        known = self._kinds.get(deployment.name, {})
        if known:
            return known.get(version or 0) or known[max(known)]
        label = deployment.label
        return OutputKind() if label is None else OutputKind(label.kind, label.classes)

    def _take(self, message: Message) -> None:
        found = message.event
        if not isinstance(found, ModelVersion):
            return
        registered = found.registered
        known = self._kinds.setdefault(registered.deployment, {})
        if found.stage in _UNUSABLE:
            known.pop(registered.version, None)
        else:
            known[registered.version] = OutputKind(registered.output, registered.classes)
